"""Every row of the dispatch table against the reference in float64: outputs, final states, all gradients."""

import logging

import pytest
import torch
from recurrences import CELLS, make

import unrolled as ur
from unrolled.kernels import dispatch, native, reference
from unrolled.kernels.dispatch import TABLE, Choice

needs_native = pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")
SIZES = [(1, 1, 1, 1), (3, 7, 5, 4), (2, 1, 3, 17), (17, 5, 1, 33)]
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-13}
OPTIONS = {
    "plain": {},
    "relu": {"activation": "relu"},
    "sigmoid": {"activation": "sigmoid"},
    "linear": {"activation": "linear"},
    "sigmoid, layer norm": {"activation": "sigmoid", "norm": True},
    "mask": {"mask": True},
    "recurrent dropout": {"dropped": True},
    "layer norm": {"norm": True},
    "reverse": {"reverse": True},
    "last only": {"last_only": True},
    "everything": {"mask": True, "dropped": True, "norm": True, "reverse": True, "last_only": True},
}
TENSORS = ["x", "weight_ih", "weight_hh", "bias", "bias_hh", "norm_weight", "norm_bias"]


def everything(run, r):
    """Outputs, states and gradients of all that is given."""
    given = {n: getattr(r, n).detach().requires_grad_() for n in TENSORS if getattr(r, n) is not None}
    states = [s.detach().requires_grad_() for s in r.state]
    y, last = run(r._replace(state=tuple(states), **given))
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
    total = (y * weight).sum() + sum((s * (k + 1)).sin().sum() for k, s in enumerate(last))
    gradients = torch.autograd.grad(total, [*given.values(), *states])
    names = [
        "y",
        *(f"state {k}" for k in range(len(last))),
        *given,
        *(f"initial {k}" for k in range(len(last))),
    ]
    return dict(zip(names, [y, *last, *gradients], strict=True))


def to(r, dtype, layout):
    """The recurrence in another type, its input laid out otherwise in memory."""
    x = r.x.to(dtype)
    if layout == "time first":
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    elif layout == "every second":
        x = torch.stack((x, torch.full_like(x, torch.nan)), -1).flatten(-2)[..., ::2]
    floats = {
        n: getattr(r, n).to(dtype) for n in [*TENSORS[1:], "recurrent_mask"] if getattr(r, n) is not None
    }
    return r._replace(x=x, state=tuple(s.to(dtype) for s in r.state), **floats)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("cell", "variant"), CELLS, ids=str)
@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
def test_contract(row, cell, variant, options, sizes, dtype):
    options = dict(options)
    if options.get("mask"):
        options["mask"] = torch.rand(sizes[:2], generator=torch.Generator().manual_seed(8)) < 0.6
    r = make(cell, sizes=sizes, **variant, **options)
    expected = everything(reference.run, r)
    for layout in ("batch first", "time first", "every second"):
        cast = to(r, dtype, layout)
        try:
            dispatch.choose(cast, row.name)
        except ur.errors.KernelError:
            return
        got = everything(row.run, cast)
        for name, value in expected.items():
            error = (got[name].double() - value).abs()
            scale = max(1.0, value.abs().max().item())
            assert error.max() <= 5 * TOLERANCE[dtype] * scale, (name, layout)
            assert error.square().mean().sqrt() <= TOLERANCE[dtype] * scale, (name, layout)


def test_the_table_covers_what_it_says():
    """Guards the `return` of the contract: which rows run what."""
    covered = {
        (row.name, cell, str(variant), name)
        for row in TABLE
        for cell, variant in CELLS
        for name, options in OPTIONS.items()
        if not dispatch._missing(row, r := made(cell, variant, options), dispatch._options(r))
    }
    torch_rows = {key[1:] for key in covered if key[0] == "torch"}
    plain = [("lstm", "{}"), ("gru", "{'reset_after': True}"), ("simple_rnn", "{}")]
    assert torch_rows == {(*cell, name) for cell in plain for name in ("plain", "reverse", "last only")} | {
        ("simple_rnn", "{}", "relu")
    }
    for name in ("reference", *("native",) * native.AVAILABLE):
        assert sum(key[0] == name for key in covered) == len(CELLS) * len(OPTIONS)


def made(cell, variant, options):
    options = options | ({"mask": torch.ones(3, 5)} if options.get("mask") else {})
    return make(cell, **variant, **options)


def test_explain_says_what_will_run_and_draws_nothing(without_native):
    x = torch.zeros(2, 5, 3)
    layer = ur.nn.LSTM(3, 4, dropout=0.5, recurrent_dropout=0.5)
    before = torch.get_rng_state()
    missing = "native needs the C++ kernels, which were not built; torch does not cover"
    assert ur.explain(layer, x) == Choice("reference", f"{missing} recurrent_dropout")
    assert torch.equal(torch.get_rng_state(), before)
    assert ur.explain(layer.eval(), x).implementation == "torch"
    assert ur.explain(layer, x, torch.ones(2, 5, dtype=torch.bool)).reason == f"{missing} mask"
    assert ur.explain(ur.nn.Bidirectional(layer), x).implementation == "torch"
    assert ur.explain(ur.nn.GRU(3, 4, reset_after=False), x).reason == f"{missing} reset_after=False"
    layer.implementation = "reference"
    assert ur.explain(layer, x) == Choice("reference", "asked for by name")
    with pytest.raises(
        ur.errors.OptionError, match=r"expected a recurrent layer of unrolled.nn or a drop-in"
    ):
        ur.explain(torch.nn.Linear(3, 4), x)


def test_a_fallback_is_logged_once(caplog, without_native):
    dispatch._logged.clear()
    layer, x = ur.nn.GRU(3, 4, layer_norm=True), torch.zeros(2, 5, 3)
    with caplog.at_level(logging.INFO, "unrolled"):
        layer(x)
        layer(x)
        ur.nn.GRU(3, 4)(x)
    native = "native needs the C++ kernels, which were not built"
    assert caplog.messages == [
        f"gru: running on 'reference', because {native}; torch does not cover layer_norm",
        f"gru: running on 'torch', because {native}",
    ]


@needs_native
def test_the_native_kernels_run_by_default():
    choice = ur.explain(ur.nn.LSTM(3, 4, layer_norm=True, recurrent_dropout=0.5), torch.zeros(2, 5, 3))
    assert choice == Choice("native", "the first in the table that covers lstm on cpu in float32")


def test_kernels_that_are_not_built_cannot_be_asked_for(without_native):
    layer = ur.nn.LSTM(3, 4)
    layer.implementation = "native"
    with pytest.raises(ur.errors.KernelError, match="kernels, which were not built"):
        layer(torch.zeros(2, 5, 3))


def test_a_requested_implementation_runs_or_raises():
    layer, x = ur.nn.LSTM(3, 4, layer_norm=True), torch.zeros(2, 5, 3)
    layer.implementation = "torch"
    with pytest.raises(
        ur.errors.KernelError, match=r"lstm: expected implementation 'torch' .* got layer_norm. Set"
    ):
        layer(x)
    layer.implementation = "fastest"
    with pytest.raises(ur.errors.KernelError, match="no such implementation"):
        layer(x)
    layer = ur.nn.LSTM(3, 4).half()
    layer.implementation = "native"
    with pytest.raises(ur.errors.KernelError, match="got (float16|the C.. kernels)"):
        layer(x.half())
