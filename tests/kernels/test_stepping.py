"""Single steps of a recurrence with carried state: the same as the whole sequence at once."""

import pytest
import torch

import unrolled as ur
from unrolled.errors import KernelError
from unrolled.kernels import native, reference, stepping
from unrolled.kernels.stepping import OneStep

CELLS = [(ur.nn.SimpleRNN, {"activation": "relu"}), (ur.nn.LSTM, {}), (ur.nn.GRU, {}),
         (ur.nn.GRU, {"reset_after": False}), (ur.nn.LSTM, {"layer_norm": True})]  # fmt: skip


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("cell", "options"), CELLS, ids=lambda c: getattr(c, "__name__", str(c)))
@pytest.mark.parametrize(("members", "rows"), [(1, 1), (3, 2), (2, 7)])
def test_steps_are_the_sequence(cell, options, members, rows, dtype, built, monkeypatch):
    if built and not native.AVAILABLE:
        pytest.skip("no kernels here")
    monkeypatch.setattr(stepping.native, "AVAILABLE", built)
    torch.manual_seed(0)
    layers = [cell(3, 5, **options).to(dtype) for _ in range(members)]
    weights = {name: torch.stack([layer.get_parameter(name).detach() for layer in layers])
               for name, _ in layers[0].named_parameters()}  # fmt: skip
    x = torch.randn(members, rows, 6, 3, dtype=dtype)
    state = tuple(torch.randn(members, rows, 5, dtype=dtype) for _ in range(2 if cell is ur.nn.LSTM else 1))
    kept = [s.clone() for s in state]
    r = layers[0].as_recurrence(x, state)._replace(**weights)
    wide = {name: w.double() for name, w in weights.items()}  # without a rounding of the reference's own
    exact = r._replace(x=x.double(), state=tuple(s.double() for s in state), **wide)
    expected = reference.run(exact)[0].to(dtype)
    step = OneStep(r._replace(x=x[:, :, :1]))
    for t in range(6):
        step.x[:] = x[:, :, t].numpy()
        found = torch.from_numpy(step().copy())
        torch.testing.assert_close(found, expected[:, :, t], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(kept, state, strict=True))  # the caller's own


def test_without_a_state_from_zeros():
    layer = ur.nn.GRU(2, 4)
    x = torch.randn(1, 3, 1, 2)
    weights = {name: p.detach()[None] for name, p in layer.named_parameters()}
    step = OneStep(layer.as_recurrence(x, ())._replace(**weights))
    step.x[:] = x[:, :, 0].numpy()
    torch.testing.assert_close(torch.from_numpy(step()[0]), layer(x[0]).detach())


def test_what_only_whole_sequences_have():
    r = ur.nn.GRU(2, 4, go_backwards=True).as_recurrence(torch.zeros(1, 1, 2), (), reverse=True)
    with pytest.raises(KernelError, match="a recurrence of single steps"):
        OneStep(r)
