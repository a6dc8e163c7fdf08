"""The kernels as operators of torch: autograd, torch.func, torch.compile, opcheck."""

import io

import pytest
import torch
from recurrences import CELLS, make
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

import unrolled as ur
from unrolled.errors import KernelError, ShapeError
from unrolled.kernels import dispatch, native, operators, reference

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")

MASK = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
OPTIONS = {
    "plain": {},
    "time first in memory": {"time_major": True},
    "everything": {"mask": MASK, "dropped": True, "norm": True, "reverse": True, "last_only": True},
}
each_cell = pytest.mark.parametrize(("cell", "variant"), CELLS, ids=str)
each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def inputs(r):
    before = r.cell == "gru" and not r.reset_after
    return (
        *(
            r.x,
            r.weight_ih,
            r.weight_hh,
            r.bias,
            r.bias_hh,
            r.state[0],
            r.state[1] if r.cell == "lstm" else None,
        ),
        *(r.norm_weight, r.norm_bias, r.mask, r.recurrent_mask),
        *(native.CELLS["gru, reset before" if before else r.cell], 0, r.reverse, r.last_only, r.time_major),
    )


@pytest.mark.filterwarnings("ignore")
@each_cell
@each_option
def test_opcheck(cell, variant, options):
    arguments = inputs(make(cell, **variant, **options))
    for save in (False, True):
        torch.library.opcheck(torch.ops.unrolled.recurrence.default, (*arguments, save))
    y, _, c, saved = torch.ops.unrolled.recurrence(*arguments, True)
    gradients = (torch.ones_like(y), None, torch.ones_like(c) if cell == "lstm" else None)
    needs = [True] * 5 + [False, True, True, True]
    torch.library.opcheck(
        torch.ops.unrolled.recurrence_backward.default, (*arguments, saved, *gradients, needs)
    )


def test_the_bare_operator_refuses_a_gradient():
    r = make("lstm")
    arguments = list(inputs(r))
    arguments[1] = arguments[1].requires_grad_()
    with pytest.raises(KernelError, match="no gradient to be asked of the bare operator"):
        torch.ops.unrolled.recurrence(*arguments, False)
    with torch.no_grad():
        y = torch.ops.unrolled.recurrence(*arguments, False)[0]
    torch.testing.assert_close(y, reference.run(r)[0].detach())


@pytest.mark.filterwarnings("ignore")
@each_cell
@each_option
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_forward_and_backward_as_one_graph(cell, variant, options, backend):
    torch._dynamo.reset()
    r = make(cell, **variant, **options)
    weights = {n: getattr(r, n).clone().requires_grad_() for n in ("x", "weight_ih", "weight_hh", "bias")}

    def run(weights):
        return dispatch.run(r._replace(**weights), "native")[0].square().sum()

    expected = torch.autograd.grad(run(weights), list(weights.values()))
    compiled = torch.compile(run, backend=backend, fullgraph=True)
    found = torch.autograd.grad(compiled(weights), list(weights.values()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_layer_is_the_layer():
    torch._dynamo.reset()
    layer, x = ur.nn.LSTM(3, 4, return_sequences=True), torch.randn(2, 5, 3)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    compiled(x).sum().backward()
    found = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    layer(x).sum().backward()
    for p, g in zip(layer.parameters(), found, strict=True):
        torch.testing.assert_close(p.grad, g)


@each_cell
@each_option
def test_torch_func_equals_autograd(cell, variant, options):
    r = make(cell, **variant, **options)

    def loss(weight_hh, x, implementation):
        return dispatch.run(r._replace(weight_hh=weight_hh, x=x), implementation)[0].square().sum()

    for run in (grad(loss), jacrev(loss), grad(loss, argnums=1)):
        torch.testing.assert_close(run(r.weight_hh, r.x, "native"), run(r.weight_hh, r.x, "reference"))


@each_cell
@each_option
@pytest.mark.parametrize("mapped", ["both", "weights", "x"])
def test_gradients_for_each_member(cell, variant, options, mapped):
    """vmap(grad): the axis of members goes through the backward; also where only one of the tensors has it."""
    r = make(cell, **variant, **options)
    weights = torch.stack([r.weight_hh, 0.5 * r.weight_hh]) if mapped != "x" else r.weight_hh
    x = torch.stack([r.x, 2 * r.x]) if mapped != "weights" else r.x
    dims = (0 if mapped != "x" else None, 0 if mapped != "weights" else None)

    def loss(implementation):
        return lambda w, x: dispatch.run(r._replace(weight_hh=w, x=x), implementation)[0].square().sum()

    found = vmap(grad(loss("native"), argnums=(0, 1)), dims)(weights, x)
    expected = vmap(grad(loss("reference"), argnums=(0, 1)), dims)(weights, x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_through_vmap_and_vmap_of_vmap():
    layers = [ur.nn.GRU(3, 4).double() for _ in range(2)]
    x = torch.randn(2, 5, 6, 3, dtype=torch.float64)
    stacked, _ = stack_module_state(layers)
    y = vmap(lambda p, x: functional_call(layers[0], p, (x,)))(stacked, x)
    y.square().sum().backward()
    for name, p in stacked.items():
        for layer, x_m, g in zip(layers, x, p.grad, strict=True):
            layer.zero_grad()
            layer(x_m).square().sum().backward()
            torch.testing.assert_close(layer.get_parameter(name).grad, g)

    twice = torch.stack((x, 2 * x), 1)  # members, 2, batch, time, features
    inner = vmap(lambda p, x: vmap(lambda x: functional_call(layers[0], p, (x,)))(x))(stacked, twice)
    for layer, a, b in zip(layers, twice, inner, strict=True):
        torch.testing.assert_close(b, torch.stack([layer(part) for part in a]))


def test_a_second_derivative_is_refused_in_torch_func_too():
    layer, x = ur.nn.GRU(3, 4).double(), torch.randn(1, 5, 3, dtype=torch.float64)
    with pytest.raises(KernelError, match="'reference', which can be differentiated twice"):
        grad(lambda x: grad(lambda x: layer(x).sum())(x).sum())(x)
    layer.implementation = "reference"
    grad(lambda x: grad(lambda x: layer(x).sum())(x).sum())(x)


def test_frozen_weights_get_no_gradient():
    layer, x = ur.nn.LSTM(3, 4), torch.randn(2, 5, 3, requires_grad=True)
    expected = torch.autograd.grad(layer(x).sum(), x)[0]
    layer.requires_grad_(False)
    layer(x).sum().backward()
    assert torch.equal(x.grad, expected)
    assert all(p.grad is None for p in layer.parameters())
    assert operators.run(layer.recurrence(x.detach()))[0].grad_fn is None


TRACED = {
    "LSTM": lambda: ur.nn.LSTM(3, 4),
    "GRU": lambda: ur.nn.GRU(3, 4, return_sequences=True, layer_norm=True),
    "SimpleRNN, both ways": lambda: ur.nn.Bidirectional(ur.nn.SimpleRNN(3, 4)),
    "accelerated": lambda: ur.accelerate(
        torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", TRACED.values(), ids=TRACED)
def test_a_jit_trace_holds_the_kernel(make):
    layer, x = make(), torch.randn(4, 6, 3)
    with torch.no_grad():
        traced = torch.jit.trace(layer, torch.zeros(2, 5, 3))
        assert "unrolled::recurrence" in str(traced.inlined_graph)
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        torch.testing.assert_close(torch.jit.load(file)(x), layer(x))
    with pytest.raises(RuntimeError, match="no gradient to be asked of the bare operator"):
        traced(x)
    with pytest.raises(KernelError, match=r"no gradients, .* Trace under torch.no_grad\(\)"):
        torch.jit.trace(layer, x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", TRACED.values(), ids=TRACED)
def test_an_exported_program_holds_the_kernel_and_wants_no_grad(make):
    layer, x = make(), torch.randn(2, 5, 3)
    program = torch.export.export(layer, (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(program(x), layer(x))
    with pytest.raises(KernelError, match=r"torch.export, make_fx .* under torch.no_grad\(\)"):
        program(x)


@pytest.mark.filterwarnings("ignore")
def test_make_fx_records_the_kernel():
    layer, x = ur.nn.GRU(3, 4), torch.randn(2, 5, 3)
    with torch.no_grad():
        graph = make_fx(layer)(torch.zeros(2, 5, 3))
        assert "unrolled.recurrence" in graph.code
        torch.testing.assert_close(graph(x), layer(x))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")
@each_cell
@pytest.mark.parametrize("asks_for_gradients", [False, True])
def test_forward_mode_is_refused_and_never_loses_a_tangent(cell, variant, asks_for_gradients):
    r = make(cell, **variant)
    x, weights = r.x.requires_grad_(asks_for_gradients), r.weight_hh.requires_grad_(asks_for_gradients)

    def run(x, implementation="native"):
        return dispatch.run(r._replace(x=x, weight_hh=weights), implementation)[0]

    def dual():
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(run(forward_ad.make_dual(x, torch.ones_like(x)))).tangent

    calls = [
        lambda: jvp(run, (x,), (torch.ones_like(x),)),
        lambda: jacfwd(run)(x),
        lambda: hessian(lambda x: run(x).sum())(x),
        dual,
    ]
    for call in calls:
        with pytest.raises(KernelError, match=r"forward mode \(jvp, .* 'reference', which has both"):
            call()
    assert jvp(lambda x: run(x, "reference"), (x,), (torch.ones_like(x),))[1].abs().max() > 0
    torch.testing.assert_close(jacrev(run)(x), jacfwd(lambda x: run(x, "reference"))(x))


def test_a_second_derivative_is_not_lost_where_a_mode_watched_the_forward():
    layer = ur.nn.GRU(3, 5)
    x = torch.randn(4, 6, 3, requires_grad=True)
    with FlopCounterMode(display=False):
        y = layer(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(KernelError, match="which can be differentiated twice"):
        g.sum().backward()


def test_the_pullback_of_vjp_outside_its_transformation():
    layer, x = ur.nn.LSTM(3, 5), torch.randn(4, 6, 3, requires_grad=True)
    v = torch.randn(4, 5)
    (expected,) = torch.autograd.grad(layer(x), x, v)
    torch.testing.assert_close(vjp(layer, x.detach())[1](v)[0], expected)


@each_cell
@each_option
def test_a_batch_of_gradients_at_once(cell, variant, options):
    r = make(cell, **variant, **options)
    x, w = r.x.requires_grad_(), r.weight_hh.requires_grad_()
    y = operators.run(r)[0]
    several = torch.randn(3, *y.shape, dtype=y.dtype)
    expected = [torch.autograd.grad(y, (x, w), v, retain_graph=True) for v in several]
    legacy = torch.autograd.grad(y, (x, w), several, is_grads_batched=True, retain_graph=True)
    mapped = vmap(lambda v: torch.autograd.grad(y, (x, w), v, retain_graph=True))(several)
    for found in (legacy, mapped):
        for got, wanted in zip(found, zip(*expected, strict=True), strict=True):
            torch.testing.assert_close(got, torch.stack(wanted))


BAD = {
    "x of another type": (0, lambda t: t.half()),
    "x of one axis": (0, lambda t: t[0, 0]),
    "no steps": (0, lambda t: t[:, :0]),
    "integer weights": (1, lambda t: t.long()),
    "transposed weights": (1, lambda t: t.T),
    "a gain without its shift": (7, lambda t: torch.ones(20, dtype=torch.float64)),
}


@pytest.mark.parametrize(("position", "change"), BAD.values(), ids=BAD)
def test_the_bare_operator_refuses_what_it_cannot_read(position, change):
    arguments = list(inputs(make("lstm")))
    arguments[position] = change(arguments[position])
    with pytest.raises(ShapeError, match="expected"):
        torch.ops.unrolled.recurrence(*arguments, True)


def test_what_is_saved_is_read_as_it_lies_and_of_its_type():
    arguments = inputs(make("lstm"))
    y, _, _, saved = torch.ops.unrolled.recurrence(*arguments, True)

    def back(saved, needs=(True,) * 9):
        return torch.ops.unrolled.recurrence_backward(
            *arguments, saved, torch.ones_like(y), None, None, needs
        )

    apart = torch.stack((saved, saved + 9), -1)[..., 0]
    assert all(torch.equal(a, b) for a, b in zip(back(apart), back(saved), strict=True))
    for narrow in (saved.to(torch.int8), saved.float()):
        with pytest.raises(ShapeError, match="a tensor of another type"):
            back(narrow)
    with pytest.raises(ShapeError, match="3 needs"):
        back(saved, (True,) * 3)
    layer, x = ur.nn.LSTM(3, 5), torch.randn(4, 6, 3)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.half() if t.ndim == 1 else t, lambda t: t):
        y = layer(x)
    with pytest.raises(ShapeError, match="a tensor of another type"):
        y.sum().backward()
