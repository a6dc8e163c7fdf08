"""The C++ kernels, beyond the contract that holds every implementation: threads, forks, edges, what they refuse."""

import functools
import os
import threading

import numpy as np
import pytest
import torch
from recurrences import CELLS, make
from test_kernel_contract import everything
from torch.func import functional_call

import unrolled as ur
from unrolled.errors import KernelError, OptionError, ShapeError
from unrolled.kernels import native, operators, reference

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")

LAYERS = [ur.nn.SimpleRNN, ur.nn.LSTM, ur.nn.GRU]


def layer_and_input(make, batch=70, dtype=torch.float32):
    torch.manual_seed(0)
    layer = make(3, 20, return_sequences=True).to(dtype)
    layer.implementation = "native"
    return layer, torch.randn(batch, 11, 3, dtype=dtype)


def results(layer, x):
    layer.zero_grad()
    x = x.clone().requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())]


@pytest.fixture(autouse=True)
def _threads():
    before = native.threads()
    yield
    native.set_num_threads(before)


VARIANTS = {
    **{make.__name__: make for make in LAYERS},
    "LSTM, layer norm": functools.partial(ur.nn.LSTM, layer_norm=True),
    "GRU, reset before": functools.partial(ur.nn.GRU, reset_after=False),
}


@pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("batch", [1, 7, 70])
def test_same_bits_for_any_number_of_threads(make, batch):
    layer, x = layer_and_input(make, batch)
    found = []
    for threads in (1, 2, 7):
        native.set_num_threads(threads)
        found.append(results(layer, x))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize(
    "options", [{}, {"norm": True}, {"dropped": True}, {"reverse": True, "last_only": True}], ids=str
)
@pytest.mark.parametrize(("cell", "variant"), CELLS, ids=str)
def test_inference_computes_what_training_computes(cell, variant, options, steps):
    """Without gradients nothing is saved, and a step or two take a way of their own."""
    for batch, units in ((1, 4), (1, 40), (3, 17)):
        r = make(cell, sizes=(batch, steps, 5, units), **variant, **options)
        with torch.no_grad():
            y, state = operators.run(r)
        expected, last = operators.run(r._replace(weight_hh=r.weight_hh.requires_grad_()))
        for got, wanted in zip((y, *state), (expected, *last), strict=True):
            torch.testing.assert_close(got, wanted.detach(), rtol=1e-12, atol=1e-12)
            if batch * steps > 4:
                assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    "options", [{}, {"mask": True, "dropped": True, "norm": True, "reverse": True}], ids=str
)
@pytest.mark.parametrize(("cell", "variant"), CELLS, ids=str)
def test_many_tiles_and_chunks_of_time(cell, variant, options):
    """More rows and steps than the kernels take at once; sums over groups of tiles."""
    for sizes in ((300, 5, 3, 17), (33, 70, 20, 35)):
        options = dict(options)
        if "mask" in options:
            options["mask"] = torch.rand(sizes[:2], generator=torch.Generator().manual_seed(3)) < 0.7
        r = make(cell, sizes=sizes, **variant, **options)
        found, expected = everything(operators.run, r), everything(reference.run, r)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{}, {"mask": True, "dropped": True, "norm": True, "reverse": True}], ids=str
)
@pytest.mark.parametrize(("cell", "variant"), CELLS, ids=str)
def test_more_units_than_the_caches_hold(cell, variant, options):
    """Their weights are read in parts (is_large in cells.h), here three; rows and units that fill no block."""
    vectors = {"simple_rnn": 2, "lstm": 4, "gru": 3 if variant.get("reset_after") else 2}[cell]
    units = 2 * native._native.part_bytes // (vectors * native._native.vector_bytes()) + 21
    mask = torch.rand((7, 3), generator=torch.Generator().manual_seed(3)) < 0.7 if options else None
    r = make(cell, sizes=(7, 3, 5, units), **variant, **{**options, "mask": mask})
    found, expected = everything(operators.run, r), everything(reference.run, r)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("order", ["by length", "as they come"])
@pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
def test_ragged_rows_are_computed_each_as_if_alone(make, order):
    """Rows that are over are left out; what lies there, NaN here, has no effect."""
    lengths = torch.randint(0, 12, (70,), generator=torch.Generator().manual_seed(1))
    lengths = lengths.sort(descending=True).values if order == "by length" else lengths
    layer, x = layer_and_input(make, dtype=torch.float64)
    mask = ur.nn.lengths_to_mask(lengths, 11)
    x[~mask] = torch.nan
    y = layer(x, mask=mask)
    y.square().sum().backward()
    found = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    total = 0.0
    for row, length in enumerate(lengths.tolist()):
        if length == 0:
            assert (y[row] == 0).all()
            continue
        alone = layer(x[row : row + 1, :length])[0]
        torch.testing.assert_close(y[row, :length], alone)
        torch.testing.assert_close(y[row, length:], alone[-1:].expand(11 - length, -1))
        total = total + alone.square().sum() + (11 - length) * alone[-1].square().sum()
    total.backward()
    for p, gradient in zip(layer.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, p.grad)


def test_inputs_of_any_layout():
    """Weights and states that are views, an expanded gradient: copied where the kernel needs it."""
    r = make("gru", sizes=(9, 7, 5, 6), dropped=True, norm=True)
    wide = {
        name: getattr(r, name).repeat_interleave(2, -1)[..., ::2]
        for name in ("weight_ih", "weight_hh", "bias")
    }
    wide = {name: t.requires_grad_() for name, t in wide.items()}
    other = r._replace(
        **wide, state=(r.state[0].T.contiguous().T,), recurrent_mask=r.recurrent_mask.T.contiguous().T
    )
    assert not other.weight_hh.is_contiguous() and not other.state[0].is_contiguous()
    plain = r._replace(**{name: t.detach().contiguous().requires_grad_() for name, t in wide.items()})
    y, expected = operators.run(other)[0], operators.run(plain)[0]
    assert torch.equal(y, expected)
    for a, b in zip(
        torch.autograd.grad(y.sum(), list(wide.values())),
        torch.autograd.grad(expected.sum(), [getattr(plain, n) for n in wide]),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_an_input_changed_before_the_backward_is_noticed():
    layer, x = layer_and_input(ur.nn.LSTM)
    y = layer(x).sum()
    with torch.no_grad():
        layer.weight_hh.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_too_little_memory_is_refused():
    layer, x = layer_and_input(ur.nn.LSTM)
    r = layer.recurrence(x)
    a = native.Arguments(r.x, r.weight_ih, r.weight_hh, r.bias, *(None,) * 7)
    o = native.Options(native.CELLS["lstm"], 0, False, False, False)
    rows = (torch.empty(70, 11, 20), torch.empty(70, 20), torch.empty(70, 20))
    with pytest.raises(ShapeError, match="what is saved needs more memory"):
        native._call(native._native.forward, a, o, (*rows, torch.empty(10), 10))


def test_nan_is_found():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.zeros(5, 7, dtype=dtype)
        assert not native.ends_in_nan(x)
        x[3, 2] = torch.inf
        assert not native.ends_in_nan(x)
        x[4, 6] = torch.nan
        assert native.ends_in_nan(x) and native.ends_in_nan(x.T)


def test_several_python_threads_at_once():
    native.set_num_threads(2)
    layer, x = layer_and_input(ur.nn.LSTM)
    with torch.no_grad():
        expected = layer(x)
        found = []
        threads = [threading.Thread(target=lambda: found.append(layer(x))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8
    assert all(torch.equal(y, expected) for y in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_computes_too():
    native.set_num_threads(2)
    layer, x = layer_and_input(ur.nn.GRU)
    with torch.no_grad():
        expected = layer(x)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(layer(x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_retained_graphs_give_the_same_gradient_twice():
    layer, x = layer_and_input(ur.nn.LSTM)
    loss = layer(x).sum()
    once = torch.autograd.grad(loss, layer.weight_hh, retain_graph=True)[0]
    assert torch.equal(once, torch.autograd.grad(loss, layer.weight_hh)[0])


def test_a_second_derivative_is_refused_with_its_cure():
    layer, x = layer_and_input(ur.nn.GRU)
    x.requires_grad_()
    with pytest.raises(
        KernelError, match="layer.implementation = 'reference', which can be differentiated twice"
    ):
        torch.autograd.grad(layer(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("make", LAYERS)
def test_large_inputs_saturate_and_nan_is_not_hidden(make):
    layer, x = layer_and_input(make)
    reference = make(3, 20, return_sequences=True).double()
    reference.load_state_dict(layer.state_dict())
    reference.implementation = "reference"
    with torch.no_grad():  # sums of 1e4 are rounded to 1e-3
        torch.testing.assert_close(layer(1e4 * x).double(), reference(1e4 * x.double()), atol=5e-3, rtol=0)
        x[3, 4, 1] = torch.nan
        assert layer(x)[3, 4:].isnan().any()
        assert layer(x)[4:].isfinite().all()


def test_an_unknown_instruction_set_is_refused():
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", "import unrolled.kernels.native"], env=os.environ | {"UNROLLED_ISA": "mmx"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "UNROLLED_ISA: expected one of" in done.stderr


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 2**63])
def test_set_num_threads_refuses_what_is_no_number_of_threads(threads):
    with pytest.raises(OptionError, match="a whole number of threads ≥ 1, at most 65536, got"):
        native.set_num_threads(threads)


@pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
def test_a_batch_of_no_sequences_gives_none_and_zero_gradients(make):
    layer = make(3, 4, return_sequences=True, return_state=True)
    x = torch.zeros(0, 5, 3, requires_grad=True)
    with torch.no_grad():
        assert layer(x)[0].shape == (0, 5, 4)
    y, *state = layer(x)
    assert y.shape == (0, 5, 4) and all(s.shape == (0, 4) for s in state)
    (y.sum() + sum(s.sum() for s in state)).backward()
    assert x.grad.shape == x.shape
    assert all((p.grad == 0).all() for p in layer.parameters())


@pytest.mark.parametrize(
    "name", ["weight_ih", "weight_hh", "bias", "bias_hh", "state", "recurrent_mask", "mask"]
)
def test_tensors_that_do_not_fit_are_refused_rather_than_read(name):
    r = make("gru", dropped=True, mask=torch.ones(3, 5))
    for change in (lambda t: t[..., 1:], lambda t: torch.stack((t, t)), lambda t: t.to(torch.float16)):
        value = (change(r.state[0]),) if name == "state" else change(getattr(r, name))
        with torch.no_grad(), pytest.raises(ShapeError, match="fit together|a mask of booleans"):
            operators.run(r._replace(**{name: value}))


def test_tensors_that_are_not_the_layers_are_refused():
    layer, x = ur.nn.GRU(3, 5), torch.randn(4, 6, 3)
    with pytest.raises(ShapeError, match="another shape"):
        functional_call(layer, {"weight_ih": layer.weight_ih.detach().T}, (x,))
    with pytest.raises(ShapeError, match="not on the CPU"):
        layer(x, mask=torch.ones(4, 6, dtype=torch.bool, device="meta"))
    with pytest.raises(ShapeError, match="not on the CPU"):
        ur.nn.LSTM(3, 5).to("meta")(x)
    dropin = ur.accelerate(torch.nn.GRU(3, 5))
    with pytest.raises(ShapeError, match="another type"):
        dropin(x, torch.ones(1, 6, 5, dtype=torch.int32))
    with pytest.raises(ShapeError, match="at least one time step"):
        dropin(torch.zeros(0, 2, 3))


def test_a_negative_view_is_read_negated():
    layer, x = ur.nn.GRU(3, 5), torch.randn(4, 6, 3)
    h = torch.complex(torch.randn(4, 5), torch.randn(4, 5)).conj().imag
    assert h.is_neg()
    a, b = (x.clone().requires_grad_() for _ in range(2))
    y, expected = layer(torch._neg_view(a), h), layer(-b, h.resolve_neg())
    assert torch.equal(y, expected)
    torch._neg_view(y).sum().backward()
    (-expected).sum().backward()
    assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("units", [5, 17, 32])
@pytest.mark.parametrize("make", [*VARIANTS.values()][:3], ids=[*VARIANTS][:3])
def test_an_infinite_input_leaves_the_gradients_that_it_does_not_reach(make, units):
    """Saturated gates have no slope: in lanes that pad a vector, 0 · inf would be NaN, and spread."""
    layer, x = make(3, units, return_sequences=True), torch.randn(4, 6, 3)
    x[1, 2, 0] = torch.inf
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad.isfinite().all() and layer.weight_hh.grad.isfinite().all()


def test_a_reset_before_the_product_with_an_infinite_input():
    layer, x = ur.nn.GRU(3, 5, reset_after=False), torch.randn(4, 6, 3)
    x[1, 2, 0] = torch.inf
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad.isfinite().all()


def test_numpy_counts_threads_too():
    native.set_num_threads(np.int64(2))
    assert native.threads() == 2


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux")
def test_threads_that_cannot_be_started_are_done_without():
    import subprocess
    import sys

    code = """if True:
        import resource, torch, unrolled as ur
        layer, x = ur.nn.LSTM(8, 64), torch.randn(512, 20, 8)
        ur.set_num_threads(1)
        with torch.no_grad():
            expected = layer(x)
            ur.set_num_threads(64)
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20,) * 2)
            assert torch.equal(layer(x), expected)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
