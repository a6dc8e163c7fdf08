"""The C++ kernels for autograd, torch.func and torch.compile.

Eager calls go straight to `native.py`. Under torch.compile and torch.jit.trace, and wherever tensors are not plain
(fake ones, dispatch modes), they go through two operators of `torch.library`, unrolled::recurrence and
unrolled::recurrence_backward, of which neither is differentiable: the autograd.Function lies outside them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from unrolled.errors import KernelError, ShapeError
from unrolled.kernels import native
from unrolled.kernels.native import Arguments, Options
from unrolled.kernels.recurrence import Recurrence

__all__ = ["is_batched", "is_plain", "run", "run_in_float32"]

INPUTS = len(Arguments._fields)
DIFFERENTIABLE = 9  # of them, the first ones
NO_GRADIENTS = (None,) * (INPUTS - DIFFERENTIABLE)
NO_OPTIONS = (None,) * len(Options._fields)
# of the way back's inputs: the first after the options, and of the booleans after what is saved and three gradients
SAVED = INPUTS + len(NO_OPTIONS)
NEEDS = SAVED + 4


def run(r: Recurrence) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `reference.run`."""
    options = native.options(r)
    h0, c0 = (*r.state, None, None)[:2]
    arguments = (
        *(r.x, r.weight_ih, r.weight_hh, r.bias, r.bias_hh, h0, c0),
        *(r.norm_weight, r.norm_bias, r.mask, r.recurrent_mask),
    )
    if is_plain(r.x):
        if torch.is_grad_enabled() and any([t is not None and t.requires_grad for t in arguments]):  # noqa: C419
            y, *state = _apply_plain(*arguments, options, r.needs_state)
        else:
            y, *state, _ = native.forward(arguments, options, False, r.needs_state)
        return y, tuple([s for s in state if s is not None])
    if _transformed():  # what requires a gradient lies under the transformation
        y, h, *rest = _OverTime.apply(*arguments, *options)
    elif torch.is_grad_enabled() and any([t is not None and t.requires_grad for t in arguments]):  # noqa: C419
        if _in_jit_trace():
            raise KernelError(
                "torch.jit.trace",
                "no gradients, which a traced graph would lose",
                "weights or an input that require them",
                "Trace under torch.no_grad(), and call the traced module so; or use torch.compile.",
            )
        function = _Traced if torch.compiler.is_compiling() else _OverTime
        y, h, *rest = function.apply(*arguments, *options)
    elif _in_forward_mode():
        y, h, *rest = _OverTime.apply(*arguments, *options)  # its jvp refuses a tangent, which would get lost
    else:
        y, h, *rest = _forward(Arguments(*arguments), options, save=False, plain=False)
    return y, (h, rest[0]) if r.cell == "lstm" else (h,)


def run_in_float32(r: Recurrence) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same for a type that the kernels have not, as bfloat16: in float32, and back."""
    dtype = r.x.dtype
    wide: Any = {
        n: v.float() for n, v in r._asdict().items() if isinstance(v, Tensor) and v.is_floating_point()
    }
    y, state = run(r._replace(state=tuple(s.float() for s in r.state), **wide))
    return y.to(dtype), tuple(s.to(dtype) for s in state)


def _transformed() -> bool:
    """Whether this runs inside torch.func: vmap, grad and the like."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def _unwrapped(t: Tensor | None) -> Tensor | None:
    return t if t is None else torch._C._functorch.unwrap_if_dead(t)


def is_plain(x: Tensor) -> bool:
    """Whether x is a tensor with memory of its own, and nobody watches its operations."""
    return (
        not torch.compiler.is_compiling()
        and type(x) in (Tensor, torch.nn.Parameter)
        and not _transformed()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._get_tracing_state() is None
        and forward_ad._current_level < 0
    )


def _in_forward_mode() -> bool:
    return not torch.compiler.is_compiling() and forward_ad._current_level >= 0


def _in_jit_trace() -> bool:
    return not torch.compiler.is_compiling() and torch._C._get_tracing_state() is not None


def _forward(a: Arguments, o: Options, save: bool, plain: bool) -> tuple[Tensor, ...]:
    """y, h, for an LSTM c, and with `save` what is saved."""
    if plain:
        return tuple(t for t in native.forward(a, o, save) if t is not None)
    y, h, c, saved = torch.ops.unrolled.recurrence(*a, *o, save)
    return (y, h) + (c,) * (o.cell == native.LSTM) + (saved,) * save


class _OverTime(torch.autograd.Function):
    """y, h, for an LSTM c, and what is saved."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return _forward(
            Arguments(*inputs[:INPUTS]), Options(*inputs[INPUTS:]), save=True, plain=is_plain(inputs[0])
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:INPUTS], output[-1])
        ctx.options = inputs[INPUTS:]
        ctx.mark_non_differentiable(output[-1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, saved = ctx.saved_tensors
        dy, dh, dc = (*gradients[: 2 + (ctx.options[0] == native.LSTM)], None)[:3]
        if not torch.compiler.is_compiling() and not _transformed():
            # The pullback of torch.func.vjp runs after its transformation, whose tensors are still wrapped.
            *tensors, saved, dy, dh, dc = map(_unwrapped, (*tensors, saved, dy, dh, dc))
        needs = ctx.needs_input_grad[:DIFFERENTIABLE]
        inputs = (*tensors, *ctx.options, saved, dy, dh, dc, *needs)
        if not torch.compiler.is_compiling() and (_transformed() or torch.is_grad_enabled()):
            found = _Backward.apply(*inputs)
            left = iter(found if isinstance(found, tuple) else (found,))
            found = [
                next(left) if n and t is not None else None for n, t in zip(needs, tensors, strict=False)
            ]
        else:
            found = _backward(*inputs)
        return (*found, *NO_GRADIENTS, *NO_OPTIONS)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise _no_forward_mode()

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        return _over_members(_OverTime.apply, info.batch_size, in_dims, inputs, INPUTS)


class _Traced(_OverTime):
    """The same for torch.compile, which likes it in one function better, and no jvp."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = _OverTime.forward(*inputs)
        _OverTime.setup_context(ctx, inputs, output)
        return output

    setup_context, jvp = torch.autograd.Function.setup_context, torch.autograd.Function.jvp


class _Plain(_OverTime):
    """The same for plain tensors, the usual case, where every microsecond counts: few inputs and outputs."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        tensors, (options, needs_state) = inputs[:INPUTS], inputs[INPUTS:]
        found = native.forward(tensors, options, True, needs_state)
        ctx.save_for_backward(*tensors, found[3])
        ctx.options = options
        ctx.set_materialize_grads(False)
        return found[:3]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise _no_second_derivative()
        tensors = ctx.saved_tensors
        try:
            found = native.backward(
                tensors[:INPUTS], ctx.options, tensors[INPUTS], gradients, ctx.needs_input_grad
            )
        except RuntimeError:  # of a tensor without memory, which is looked for only then
            if _transformed() or any(map(is_batched, gradients)):
                return (*_OverTime.backward(ctx, *gradients)[:INPUTS], None, None)
            raise
        return (*found, *NO_GRADIENTS, None, None)

    setup_context = torch.autograd.Function.setup_context


_apply_plain = super(torch.autograd.Function, _Plain).apply  # what follows the checks for torch.func


def _backward(*inputs: Any) -> list[Tensor | None]:
    """The gradients of the first nine arguments, or None."""
    a, o = Arguments(*inputs[:INPUTS]), Options(*inputs[INPUTS:SAVED])
    saved, *gradients = inputs[SAVED:NEEDS]
    needs = inputs[NEEDS:]
    if not torch.compiler.is_compiling() and any(map(is_batched, gradients)):
        return _over_batch(inputs, gradients)
    if is_plain(saved):
        return native.backward(a, o, saved, gradients, needs)
    found = torch.ops.unrolled.recurrence_backward(*a, *o, saved, *gradients, list(needs))
    return [g if needed and t is not None else None for g, needed, t in zip(found, needs, a, strict=False)]


def is_batched(t: Tensor | None) -> bool:
    """Whether a gradient comes from `is_grads_batched=True`, which maps by a means of its own, before torch.func."""
    return t is not None and torch._C._functorch.is_legacy_batchedtensor(t)


def _over_batch(inputs: tuple[Any, ...], gradients: list[Tensor | None]) -> list[Tensor | None]:
    """`_backward` of such gradients: their mapped axis as members."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    first = next(g for g in gradients if g is not None and is_batched(g))
    size = torch._remove_batch_dim(first, level, 0, 0).shape[0]
    given = [g if g is None else torch._remove_batch_dim(g, level, size, 0) for g in gradients]
    at = SAVED + 1  # the gradients among the inputs
    dims = tuple(0 if at <= i < at + 3 and t is not None else None for i, t in enumerate(inputs))
    found, _ = _over_members(_Backward.apply, size, dims, (*inputs[:at], *given, *inputs[at + 3 :]), NEEDS)
    left = iter(torch._add_batch_dim(g, 0, level) for g in found)
    return [
        next(left) if n and t is not None else None for n, t in zip(inputs[at + 3 :], inputs[:9], strict=True)
    ]


class _Backward(torch.autograd.Function):
    """The way back as a function of its own, for torch.func; it has no derivative."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return tuple(g for g in _backward(*inputs) if g is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        raise _no_second_derivative()

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise _no_forward_mode()

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        return _over_members(_Backward.apply, info.batch_size, in_dims, inputs, NEEDS)


def _no_second_derivative() -> KernelError:
    return KernelError(
        "native",
        "one backward",
        "a backward through the backward (create_graph=True)",
        "Set layer.implementation = 'reference', which can be differentiated twice.",
    )


def _no_forward_mode() -> KernelError:
    return KernelError(
        "native",
        "derivatives backwards (backward, grad, jacrev)",
        "forward mode (jvp, jacfwd, hessian)",
        "Set layer.implementation = 'reference', which has both.",
    )


def _over_members(
    function: Any, size: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...], tensors: int
) -> tuple[Any, Any]:
    """A function of tensors, and what follows them, with the mapped axis as members, the first axis."""
    nested = inputs[1].ndim - (in_dims[1] is not None) == 3  # weight_ih has an axis of members already
    merged = []
    for position, (t, dim) in enumerate(zip(inputs, in_dims, strict=True)):
        if not isinstance(t, Tensor):
            merged.append(t)
            continue
        t = t.unsqueeze(0).expand(size, *t.shape) if dim is None else t.movedim(dim, 0)
        flat = position == SAVED  # what is saved: members lie one after the other
        merged.append(t.reshape(-1) if flat else t.flatten(0, 1) if nested else t)
    outputs = function(*merged)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    apart = tuple(
        t.reshape(size, -1) if t.ndim == 1 else t.unflatten(0, (size, -1)) if nested else t for t in outputs
    )
    return apart, (0,) * len(apart)


_library = torch.library.Library("unrolled", "DEF")
_ARGUMENTS = (
    "Tensor x, Tensor weight_ih, Tensor weight_hh, Tensor? bias, Tensor? bias_hh, Tensor? h0, Tensor? c0, "
    "Tensor? norm_weight, Tensor? norm_bias, Tensor? mask, Tensor? recurrent_mask, "
    "int cell, int activation, bool reverse, bool last_only, bool time_major"
)
_library.define(f"recurrence({_ARGUMENTS}, bool save) -> (Tensor, Tensor, Tensor, Tensor)")
_library.define(
    f"recurrence_backward({_ARGUMENTS}, Tensor saved, Tensor? dy, Tensor? dh, Tensor? dc, bool[] needs) -> "
    f"({', '.join(['Tensor'] * DIFFERENTIABLE)})"
)


def _check(inputs: tuple[Any, ...]) -> None:
    """The axes that sizes are taken from; the kernels' call compares all tensors with those."""
    a = Arguments(*inputs[:INPUTS])
    needs = inputs[-1] if isinstance(inputs[-1], Sequence) else [True] * DIFFERENTIABLE
    norm = a.norm_weight
    if (
        a.x.ndim not in (3, 4)
        or a.weight_hh.ndim not in (2, 3)
        or a.weight_hh.shape[-1] == 0
        or (norm is None) != (a.norm_bias is None)
        or (norm is not None and norm.ndim == 0)
        or len(needs) != DIFFERENTIABLE
    ):
        raise ShapeError(
            "torch.ops.unrolled",
            f"x of 3 or 4 axes, weights of 2 or 3, both norms or none, {DIFFERENTIABLE} needs",
            f"x {tuple(a.x.shape)}, weight_hh {tuple(a.weight_hh.shape)}, {len(needs)} needs",
            "Call the layer itself, which makes these.",
        )


def _recurrence(*inputs: Any) -> tuple[Tensor, ...]:
    _check(inputs)
    found = native.forward(Arguments(*inputs[:INPUTS]), Options(*inputs[INPUTS:-1]), inputs[-1], clean=True)
    return tuple(inputs[0].new_empty(0) if t is None else t for t in found)


def _recurrence_backward(*inputs: Any) -> tuple[Tensor, ...]:
    _check(inputs)
    a, o, rest = Arguments(*inputs[:INPUTS]), Options(*inputs[INPUTS:SAVED]), inputs[SAVED:]
    found = native.backward(a, o, rest[0], rest[1:4], rest[4])
    return tuple(a.x.new_empty(0) if t is None else t for t in found)


def _fake_recurrence(*inputs: Any) -> tuple[Tensor, ...]:
    _check(inputs)
    a, o, save = Arguments(*inputs[:INPUTS]), Options(*inputs[INPUTS:-1]), inputs[-1]
    state = (*a.x.shape[:-2], a.weight_hh.shape[-1])
    y = a.x.new_empty(state) if o.last_only else native.new_steps(a.x, state[-1], o)
    h = a.x.new_empty(state)
    c = a.x.new_empty(state if o.cell == native.LSTM else 0)
    size = native.saved_size(a, o) if save else 0
    return y, h, c, a.x.new_empty(size)


def _fake_backward(*inputs: Any) -> tuple[Tensor, ...]:
    _check(inputs)
    a, o, needs = inputs[:DIFFERENTIABLE], Options(*inputs[INPUTS:SAVED]), inputs[-1]
    found = [
        torch.empty(t.shape, dtype=t.dtype) if needed and t is not None else inputs[0].new_empty(0)
        for t, needed in zip(a, needs, strict=True)
    ]
    if needs[0] and o.time_major:
        found[0] = native.new_steps(a[0], a[0].shape[-1], o)
    return tuple(found)


def _refuse_gradients(name: str) -> Any:
    """The operator at the level of autograd: it has no derivative, and says so rather than lose one."""

    def call(*inputs: Any) -> Any:
        if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in inputs):
            raise KernelError(
                f"torch.ops.unrolled.{name}",
                "no gradient to be asked of the bare operator",
                "an input that requires one",
                "Call the layer itself, or this (a program of torch.export, make_fx or torch.jit.trace, too) "
                "under torch.no_grad().",
            )
        with torch._C._AutoDispatchBelowAutograd():
            return getattr(torch.ops.unrolled, name)(*inputs)

    return call


for _name, _function, _fake in (
    ("recurrence", _recurrence, _fake_recurrence),
    ("recurrence_backward", _recurrence_backward, _fake_backward),
):
    _library.impl(_name, _function, "CPU")
    _library.impl(_name, _refuse_gradients(_name), "Autograd")
    torch.library.register_fake(f"unrolled::{_name}", _fake, lib=_library)
