"""Random recurrences, every option with every other: the kernels against the reference, trained and not."""

import random

import pytest
import torch

from unrolled.kernels import dispatch, native, operators, reference
from unrolled.kernels.recurrence import GATE_NAMES, Recurrence

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")

TENSORS = ["x", "weight_ih", "weight_hh", "bias", "bias_hh", "norm_weight", "norm_bias"]


def draw(seed):
    """A recurrence in float64, half of them with members, some of few enough steps for inference's own way."""
    pick, g = random.Random(seed), torch.Generator().manual_seed(seed)
    cell, members = pick.choice(["simple_rnn", "lstm", "gru"]), pick.choice([(), (), (2,), (3,)])
    B, T = pick.choice([(1, 1), (2, 2), (1, 4), (3, 5), (9, 3), (33, 9)])
    F, H = pick.choice([1, 3, 8, 17]), pick.choice([2, 5, 8, 16, 17, 33])
    gates, after, normed = len(GATE_NAMES[cell]), pick.random() < 0.5, pick.random() < 0.3
    norms = (gates + (cell == "lstm")) * H

    def numbers(*shape):
        return torch.randn(*members, *shape, generator=g, dtype=torch.float64) * 0.7

    x = numbers(B, T, F + 2)[..., :F] if pick.random() < 0.4 else numbers(T, B, F).transpose(-2, -3)
    mask = torch.rand(*members, T, B, generator=g).mT < 0.6 if pick.random() < 0.5 else None
    kept = torch.rand(*members, B, H, generator=g).double().round() * 2 if pick.random() < 0.4 else None
    return Recurrence(
        cell=cell,
        x=x,
        state=tuple(numbers(B, H) for _ in range(1 + (cell == "lstm"))) if pick.random() < 0.6 else (),
        weight_ih=numbers(gates * H, F) / F**0.5,
        weight_hh=numbers(gates * H, H) / H**0.5,
        bias=numbers(gates * H),
        bias_hh=numbers(gates * H) if cell == "gru" and after else None,
        norm_weight=numbers(norms) + 1 if normed else None,
        norm_bias=numbers(norms) if normed else None,
        mask=mask,
        recurrent_mask=kept,
        activation=pick.choice(["tanh", "relu", "linear", "sigmoid"]),
        reset_after=after,
        reverse=pick.random() < 0.4,
        last_only=pick.random() < 0.3,
        time_major=pick.random() < 0.3,
    )


@pytest.mark.parametrize("seed", range(300))
def test_a_random_recurrence(seed):
    r, pick = draw(seed), random.Random(seed + 1000)  # not the numbers that drew r
    names = [n for n in TENSORS if getattr(r, n) is not None]
    learned = pick.sample(names, pick.choice([1, 1, len(names)]))
    found = []
    for run in (operators.run, reference.run):
        given = {n: getattr(r, n).detach().requires_grad_() for n in learned}
        states = tuple(s.detach().requires_grad_() for s in r.state)
        y, last = run(r._replace(state=states, **given))
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
        total = (y * weight).sum() + sum((s * (k + 1)).sin().sum() for k, s in enumerate(last))
        gradients = torch.autograd.grad(total, [*given.values(), *states], materialize_grads=True)
        with torch.no_grad():
            inferred, ended = run(r)
        found.append([y, *last, *gradients, inferred, *ended])
    for got, wanted in zip(*found, strict=True):
        scale = max(1.0, wanted.abs().max().item())
        assert (got - wanted).abs().max().item() <= 1e-11 * scale


def test_the_choice_looks_at_the_weights_type_and_whether_to_log():
    r = draw(0)._replace(state=(), mask=None)
    single = r._replace(x=r.x.float(), weight_ih=r.weight_ih.float())
    assert dispatch.choose(single)[0].name == "native"
    assert dispatch.choose(single._replace(weight_ih=r.weight_ih.half()))[0].name != "native"


def test_explaining_first_does_not_keep_the_call_from_logging(caplog, without_native):
    dispatch._logged.clear()
    r = draw(0)._replace(state=(), mask=None)
    dispatch.choose(r, log=False)
    with caplog.at_level("INFO", "unrolled"):
        assert not caplog.messages
        dispatch.choose(r)
    assert len(caplog.messages) == 1
