"""Our C++ kernels (csrc/), called with addresses: forward and backward over the whole sequence.

What is here is raw: plain CPU tensors in, new ones out, no gradients recorded. `operators.py` gives it to
autograd, torch.func and torch.compile. A build without a compiler lacks the kernels; `AVAILABLE` says so.
Letters: `recurrence.py`.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unrolled.errors import KernelError

try:
    from unrolled.kernels import _native  # type: ignore[attr-defined]
except ImportError:
    _native = None

__all__ = [
    "AVAILABLE",
    "Arguments",
    "Options",
    "backward",
    "forward",
    "has_nan",
    "instruction_set",
    "saved_size",
    "set_num_threads",
    "threads",
]

AVAILABLE = _native is not None
LSTM = 1
CELLS = {"simple_rnn": 0, "lstm": LSTM, "gru": 2, "gru, reset before": 3}
NOTHING = (0,) * 17  # the rest of a Call
ACTIVATIONS = {"tanh": 0, "relu": 1, "linear": 2, "sigmoid": 3}

_threads = torch.get_num_threads()


def threads() -> int:
    """Return how many threads our kernels use."""
    return _threads


def set_num_threads(n: int) -> None:
    """Let our kernels use `n` threads; by default as many as torch did when the package was first used.

    The results are the same bits for any number.

    Raises:
        KernelError: `n` is below 1.

    >>> set_num_threads(2)
    >>> threads()
    2
    """
    if n < 1:
        raise KernelError("set_num_threads", "at least 1 thread", str(n))
    global _threads
    _threads = n


def has_nan(t: Tensor) -> bool:
    """Whether there is a NaN in a tensor; on the CPU in a fraction of the time that torch takes for few numbers."""
    if _native is None or t.device.type != "cpu" or t.dtype not in (torch.float32, torch.float64):
        return bool(t.isnan().any())
    t = t.contiguous()
    return _native.has_nan(t.data_ptr(), t.numel(), t.dtype is torch.float64)


def instruction_set() -> str:
    """Return what the kernels in use were compiled for, or why there are none."""
    return _native.isa() if _native is not None else "not built"


if _native is not None and "UNROLLED_ISA" in os.environ:
    if os.environ["UNROLLED_ISA"] not in _native.isas():
        raise KernelError(
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


class Options(NamedTuple):
    """The rest of a call: numbers of `CELLS` and `ACTIVATIONS`, and two flags of `Recurrence`."""

    cell: int
    activation: int
    reverse: bool
    last_only: bool


def forward(
    a: Arguments, o: Options, save: bool, clean: bool = False
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """y, the final h and c, and with `save` what backward needs. c is None but of an LSTM.

    Skipped rows leave gaps in what is saved; with `clean` they are zeros, the same numbers at every call.
    """
    a, sizes, call = _prepare(a, o)
    x, state = a.x, (*sizes[:-2], sizes[-1])
    y = x.new_empty(*sizes[:-2], 1 if o.last_only else sizes[-2], sizes[-1])
    h = x.new_empty(state)
    c = x.new_empty(state) if o.cell == LSTM else None
    wide = x.dtype is torch.float64
    saved = (x.new_zeros if clean else x.new_empty)(saved_size(a, o)) if save else None
    call[27:32] = (y.data_ptr(), h.data_ptr(), _address(c), _address(saved), saved.numel() if save else 0)
    _native.forward(call, wide)
    return (y.squeeze(-2) if o.last_only else y), h, c, saved


def backward(
    a: Arguments, o: Options, saved: Tensor, gradients: Sequence[Tensor | None], needs: Sequence[bool]
) -> list[Tensor | None]:
    """From the gradients of y, h and c to those of the first nine arguments, where needed."""
    a, _, call = _prepare(a, o)
    given = [None if g is None else g.contiguous() for g in gradients]
    found = [torch.empty_like(t) if n and t is not None else None for t, n in zip(a[1:9], needs[1:9], strict=True)]
    found.insert(0, torch.empty(a.x.shape, dtype=a.x.dtype) if needs[0] else None)
    dx, dw_ih, dw_hh, dbias, dbias_hh, dh0, dc0, dnorm, dnorm_bias = map(_address, found)
    call[30:32] = saved.data_ptr(), saved.numel()
    call[32:44] = (*map(_address, given), dx, dh0, dc0, dw_ih, dw_hh, dbias, dbias_hh, dnorm, dnorm_bias)
    _native.backward(call, a.x.dtype is torch.float64)
    return found


def saved_size(a: Arguments, o: Options) -> int:
    """How many numbers `forward` saves: gates and states of all steps, padded to vectors (Plan in recurrence.cpp)."""
    lanes = _native.vector_bytes() // a.x.element_size()
    panel = lanes * (2 if o.cell == 0 else 1)
    units = -(-a.weight_hh.shape[-1] // panel) * panel
    states = (1 + (o.cell == LSTM)) * (a.x.shape[-2] + 1) + (a.recurrent_mask is not None) * a.x.shape[-2]
    T = a.x.shape[-2]
    rows = a.x.shape[0] * (1 if a.x.ndim == 3 else a.x.shape[1])
    gates = (1 if o.cell == 0 else 4) * units
    norms = 0 if a.norm_weight is None else gates + (units if o.cell == LSTM else 0) + a.norm_weight.shape[-1] // a.weight_hh.shape[-1]
    return rows * (states * units + T * ((0 if o.cell == 0 else gates) + norms))


def _prepare(a: Arguments, o: Options) -> tuple[Arguments, tuple[int, ...], list[int]]:
    """The arguments in the layout that the kernels read, (members) batch, time, units, and the numbers of a Call."""
    x, w_ih, w_hh, bias, bias_hh, h0, c0, norm, norm_bias, mask, keep = a
    if x.stride(-1) != 1:
        x = x.contiguous()
    # Most calls find everything contiguous already.
    rest = (w_ih, w_hh, bias, bias_hh, h0, c0, norm, norm_bias, keep)
    if not all([t is None or t.is_contiguous() for t in rest]):  # noqa: C419 a list is faster
        w_ih, w_hh, bias, bias_hh, h0, c0, norm, norm_bias, keep = (t if t is None else t.contiguous() for t in rest)
    shape, strides = x.shape, x.stride()
    units = w_hh.shape[-1]
    if len(shape) == 3:
        (B, T, F), M = shape, 1
        x_strides, mask_strides = (0, *strides[:2]), (0, 0, 0) if mask is None else (0, *mask.stride())
    else:
        M, B, T, F = shape
        x_strides, mask_strides = strides[:3], (0, 0, 0) if mask is None else mask.stride()
    call = [
        o.cell, o.activation, M, B, T, F, units, o.reverse, o.last_only, _threads,
        x.data_ptr(), *x_strides, _address(mask), *mask_strides, _address(h0), _address(c0),
        w_ih.data_ptr(), w_hh.data_ptr(), _address(bias), _address(bias_hh), _address(norm), _address(norm_bias),
        _address(keep), *NOTHING,
    ]  # fmt: skip
    return Arguments(x, w_ih, w_hh, bias, bias_hh, h0, c0, norm, norm_bias, mask, keep), (*shape[:-1], units), call


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()
