"""Our C++ kernels (csrc/), called with addresses: forward and backward over the whole sequence.

What is here is raw: plain CPU tensors in, new ones out, no gradients recorded. `operators.py` gives it to
autograd, torch.func and torch.compile. A build without a compiler lacks the kernels; `AVAILABLE` says so.
Letters: `recurrence.py`.
"""

import math
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple, SupportsIndex

import torch
from torch import Tensor

from unrolled.errors import OptionError, ShapeError
from unrolled.kernels.recurrence import Recurrence

MISSING = "not built"
_native: Any = None
try:
    _native = import_module("unrolled.kernels._native")
except ModuleNotFoundError:
    pass
except ImportError as fault:  # of another machine, say
    MISSING = f"built, but do not load: {fault}"

__all__ = [
    "AVAILABLE",
    "MISSING",
    "Arguments",
    "Options",
    "backward",
    "ends_in_nan",
    "forward",
    "instruction_set",
    "new_stack",
    "options",
    "prepared",
    "products",
    "repack",
    "saved_size",
    "set_num_threads",
    "threads",
    "update",
]

AVAILABLE = _native is not None
LSTM = 1
CELLS = {"simple_rnn": 0, "lstm": LSTM, "gru": 2, "gru, reset before": 3}
NO_STRIDES = (0, 0, 0)
MOST_THREADS = 1 << 16
LARGE = 1 << 18  # numbers; torch's own memory is as good for fewer
ACTIVATIONS = {"tanh": 0, "relu": 1, "linear": 2, "sigmoid": 3}

_threads = torch.get_num_threads()


def threads() -> int:
    """Return how many threads our kernels use."""
    return _threads


def set_num_threads(n: SupportsIndex) -> None:
    """Let our kernels use `n` threads; by default as many as torch did when the package was first used.

    The results are the same bits for any number.

    Raises:
        OptionError: `n` is not a whole number from 1 to 65,536.

    >>> set_num_threads(2)
    >>> threads()
    2
    """
    global _threads
    if isinstance(n, bool) or not isinstance(n, SupportsIndex) or not 1 <= n.__index__() <= MOST_THREADS:
        expected = f"a whole number of threads ≥ 1, at most {MOST_THREADS}"
        raise OptionError("set_num_threads", expected, repr(n), "Pass for instance 2.")
    _threads = n.__index__()


def ends_in_nan(y: Tensor) -> bool:
    """Whether there is a NaN in y (batch, units), or in the last step of y (batch, time, units), on the CPU.

    In a fraction of the time that torch takes for few numbers.
    """
    if _native is None or y.dtype not in (torch.float32, torch.float64) or not y.is_contiguous():
        return bool((y if y.ndim == 2 else y[:, -1]).isnan().any())
    B, *T, H = y.shape
    found: bool = _native.ends_in_nan(y.data_ptr(), (B, T[0] if T else 1, H), y.dtype is torch.float64)
    return found


def instruction_set() -> str:
    """Return what the kernels in use were compiled for, or why there are none."""
    return _native.isa() if _native is not None else MISSING


if _native is not None and "UNROLLED_ISA" in os.environ:
    if os.environ["UNROLLED_ISA"] not in _native.isas():
        raise OptionError(
            "UNROLLED_ISA",
            f"one of {', '.join(_native.isas())}",
            repr(os.environ["UNROLLED_ISA"]),
            "Unset it.",
        )
    _native.choose(os.environ["UNROLLED_ISA"])


class Arguments(NamedTuple):
    """The tensors of a call; `mask` and `recurrent_mask` have no gradient. h0 and c0 are zeros where None."""

    x: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    bias_hh: Tensor | None
    h0: Tensor | None
    c0: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None
    mask: Tensor | None
    recurrent_mask: Tensor | None


Tensors = Sequence[Any]  # the fields of Arguments in a tuple, which is quicker to make
MASK = Arguments._fields.index("mask")


class Options(NamedTuple):
    """The rest of a call: numbers of `CELLS` and `ACTIVATIONS`, and flags of `Recurrence`."""

    cell: int
    activation: int
    reverse: bool
    last_only: bool
    time_major: bool


def options(r: Recurrence) -> Options:
    """The options of a recurrence, in numbers."""
    cell = r.cell if r.reset_after or r.cell != "gru" else "gru, reset before"
    return Options(CELLS[cell], ACTIVATIONS[r.activation], r.reverse, r.last_only, r.time_major)


def new_stack(members: int, slots: int, wide: bool) -> Any:
    """A stack of layers of which one call computes the gradients (csrc/stack.h); in float64 if `wide`."""
    return _native.Stack(members, slots, wide)


def update(numbers: tuple[int, int, bool], tensors: Sequence[Tensor], scales: tuple[float, ...]) -> float:
    """Make a step of an optimizer (csrc/optimizers.h) on contiguous tensors; return NAdam's product of momenta.

    Args:
        numbers: which rule, how many steps were made, whether momentum looks ahead.
        tensors: parameters, their gradients, and the one or two that the rule keeps.
        scales: learning rate, momentum, β₂, ε, weight decay, product.
    """
    p = tensors[0]
    rule, steps, nesterov = numbers
    addresses = [t.data_ptr() for t in tensors]
    found: float = _native.update(
        (rule, p.numel(), steps, nesterov), (*addresses, 0)[:4], scales, p.dtype is torch.float64
    )
    return found


def forward(
    a: Tensors, o: Options, save: bool, needs_state: bool = True, clean: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """y, the final h and c, and with `save` what backward needs. c is None but of an LSTM; both may not be needed.

    Skipped rows leave gaps in what is saved; with `clean` they are zeros, the same numbers at every call.
    """
    x = a[0]
    shape, units = x.shape, a[2].shape[-1]
    state = (*shape[:-2], units)
    y = x.new_empty(state) if o.last_only else new_steps(x, units, o)
    h = x.new_empty(state) if needs_state else None
    c = x.new_empty(state) if needs_state and o.cell == LSTM else None
    saved, size = None, 0
    if 0 in shape:
        _check_steps(x)
        return y, h, c, x.new_empty(0) if save else None
    if save:
        size = saved_size(a, o)
        saved = x.new_zeros(size) if clean else _scratch(size, x)
    _call(_native.forward, a, o, (y, h, c, saved, size))
    return y, h, c, saved


def _scratch(size: int, x: Tensor) -> Tensor:
    """An empty tensor of x's type; a large one lies in memory that earlier calls gave back (csrc/memory.h)."""
    if size < LARGE:
        return x.new_empty(size)
    try:
        return torch.frombuffer(_native.Memory(size * x.element_size()), dtype=x.dtype)
    except MemoryError:
        return x.new_empty(size)  # torch says how much it was


def new_steps(x: Tensor, features: int, o: Options) -> Tensor:
    """An empty tensor (M, B, T, features) for y or the gradient of x."""
    *rows, B, T, _ = x.shape
    if o.time_major:
        return x.new_empty((*rows, T, B, features)).transpose(-3, -2)
    return x.new_empty((*rows, B, T, features))


def backward(
    a: Tensors, o: Options, saved: Tensor, gradients: Sequence[Tensor | None], needs: Sequence[bool]
) -> list[Tensor | None]:
    """From the gradients of y, h and c to those of the first nine arguments, where needed."""
    x = a[0]
    if 0 in x.shape:
        _check_steps(x)
        return [
            torch.zeros_like(t) if n and t is not None else None for t, n in zip(a, needs[:9], strict=False)
        ]
    found = [
        t.new_empty(t.shape) if n and t is not None else None for t, n in zip(a, needs[:9], strict=False)
    ]
    if found[0] is not None and o.time_major:
        found[0] = new_steps(x, x.shape[-1], o)
    dx, w_ih, w_hh, bias, bias_hh, *states = found
    dy, dh, dc = gradients
    if o.time_major and not o.last_only and dy is not None:
        dy = dy.transpose(-3, -2)  # as it lies
    outputs = (saved, dy, dh, dc, dx, *states[:2], w_ih, w_hh, bias, bias_hh, *states[2:], saved.numel())
    _call(_native.backward, a, o, outputs)
    return found


def prepared(r: Recurrence, after: tuple[Tensor, ...]) -> Callable[[], None]:
    """A call of the kernel, checked once: from `r.state` to the state `after` its steps, each in the same memory.

    All tensors are contiguous, members first. They are the caller's, who keeps them as long as the call.
    """
    (h0, c0), (h, c) = (*r.state, None)[:2], (*after, None)[:2]
    weights = (r.weight_ih, r.weight_hh, r.bias, r.bias_hh)
    a = Arguments(r.x, *weights, h0, c0, r.norm_weight, r.norm_bias, None, None)
    o = options(r)
    sizes = (o.cell, o.activation, *r.x.shape, r.weight_hh.shape[-1], o.reverse, o.last_only, False, 1)
    wide, strides = r.x.dtype is torch.float64, r.x.stride()[:-1]
    call: Callable[[], None] = _native.Prepared(sizes, strides, NO_STRIDES, a, (None, h, c, None, 0), wide)
    return call


def products(a: Tensor, b: Tensor) -> Tensor:
    """a · b of each pair of matrices (M, N, K) and (M, K, O), of one type, float32 or float64."""
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1] or a.dtype is not b.dtype:
        raise ShapeError(
            "products", f"matrices that fit to {a.dtype} {tuple(a.shape)}", f"{b.dtype} {tuple(b.shape)}"
        )
    a, b = a.resolve_neg(), b.resolve_neg()
    c = a.new_empty((*a.shape[:2], b.shape[2]))
    addresses = (a.data_ptr(), b.data_ptr(), c.data_ptr())
    sizes = (*a.shape, b.shape[2], _threads)
    _native.products(sizes, addresses, a.stride(), b.stride(), a.dtype is torch.float64)
    return c


def repack(x: Tensor, sizes: Tensor, packs: bool) -> Tensor:
    """x (B, T, F), longest sequences first, to the rows that are there, `sizes` (T,) at each step; or the other way."""
    x, sizes = x.contiguous().resolve_neg(), sizes.contiguous()
    B, T, features = int(sizes[0]), len(sizes), x.shape[-1]
    total = int(sizes.sum())
    if sizes.dtype is not torch.int64 or x.shape[:-1] != ((B, T) if packs else (total,)):
        expected = "as many rows as the batch sizes say"
        raise ShapeError("PackedSequence", expected, f"{tuple(x.shape)}, batch sizes {sizes.tolist()}")
    found = x.new_empty((total, features) if packs else (B, T, features))
    padded, packed = (x, found) if packs else (found, x)
    addresses = (sizes.data_ptr(), padded.data_ptr(), packed.data_ptr())
    try:
        _native.repack((B, T, features * x.element_size()), addresses, packs, _threads)
    except ValueError as fault:
        raise ShapeError("PackedSequence", "batch sizes ≥ 1 that never grow", str(sizes.tolist())) from fault
    return found


def _call(function: Any, a: Tensors, o: Options, rest: tuple[Any, ...]) -> None:
    """Call a kernel; the inputs that it cannot read as they lie are copied first, which few calls need."""
    x, mask = a[0], a[MASK]
    shape, strides, mask_strides = x.shape, x.stride(), NO_STRIDES if mask is None else mask.stride()
    if strides[-1] != 1:
        x = x.contiguous()
        a, strides = (x, *a[1:]), x.stride()
    if len(shape) == 3:  # no axis of members
        sizes: tuple[Any, ...] = (o.cell, o.activation, 1, *shape, a[2].shape[-1], *o[2:], _threads)
        strides = (0, *strides[:2])
        mask_strides = mask_strides if mask is None else (0, *mask_strides)
    else:
        sizes, strides = (*o[:2], *shape, a[2].shape[-1], *o[2:], _threads), strides[:3]
    if mask is not None and (mask.shape != x.shape[:-1] or mask.dtype is not torch.bool):
        raise ShapeError(
            "native", f"a mask of booleans {tuple(x.shape[:-1])}", f"{mask.dtype} {tuple(mask.shape)}"
        )
    try:
        function(sizes, strides, mask_strides, a, rest, x.dtype is torch.float64)
    except _native.NotContiguous:
        if function is _native.backward:  # what is saved, and the gradients given
            rest = (*map(_contiguous, rest[:4]), *rest[4:])
        _call(function, tuple(t if i == MASK else _contiguous(t) for i, t in enumerate(a)), o, rest)
    except ValueError as fault:
        shapes = ", ".join(
            f"{n} {t.dtype} {tuple(t.shape)}{'' if t.is_cpu else f' on {t.device}'}"
            for n, t in zip(Arguments._fields, a, strict=True)
            if t is not None
        )
        raise ShapeError(
            "native",
            "tensors that fit together",
            f"{fault}: {shapes}",
            "Stack the weights of all members, or of none; give all one type, and memory on the CPU.",
        ) from fault


def _contiguous(t: Tensor | None) -> Tensor | None:
    return t if t is None else t.contiguous().resolve_neg()


def _check_steps(x: Tensor) -> None:
    """An empty x has no sequences; without steps or features there would be nothing to compute states from."""
    if 0 in x.shape[-2:]:
        raise ShapeError(
            "native",
            "at least one time step and one feature",
            str(tuple(x.shape)),
            "Drop empty sequences before the call.",
        )


def saved_size(a: Tensors, o: Options) -> int:
    """How many numbers `forward` saves: gates and states of all steps, padded to vectors (Plan in plan.h)."""
    x, H, norm = a[0], a[2].shape[-1], a[7]
    *rows, T, _ = x.shape
    panel = _native.vector_bytes() // x.element_size() * (1 if o.cell else 2)
    units = -(-H // panel) * panel
    states = (1 + (o.cell == LSTM)) * (T + 1) + (a[10] is not None) * T
    gates = 4 * units if o.cell else units
    norms = 0 if norm is None else gates + (o.cell == LSTM) * units + norm.shape[-1] // H
    return math.prod(rows) * (states * units + T * ((gates if o.cell else 0) + norms))
