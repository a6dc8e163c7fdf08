"""Our C++ kernels (csrc/), called with addresses: forward and backward over the whole sequence.

A build without a compiler lacks them; `AVAILABLE` says so, and the dispatch goes on without. Letters:
`recurrence.py`.
"""

import os
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import KernelError
from unrolled.kernels.recurrence import Recurrence

try:
    from unrolled.kernels import _native  # type: ignore[attr-defined]
except ImportError:
    _native = None

__all__ = ["AVAILABLE", "instruction_set", "run", "set_num_threads", "threads"]

AVAILABLE = _native is not None
CELLS = {"simple_rnn": 0, "lstm": 1, "gru": 2}
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


def run(r: Recurrence) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `reference.run`."""
    if r.mask is not None:  # what is skipped may be anything, NaN too, and must not meet a zero gradient
        r = r._replace(x=torch.where(r.mask.unsqueeze(-1), r.x, 0.0))
    tensors = (r.x, r.weight_ih, r.weight_hh, r.bias, r.bias_hh, r.state[0], r.state[-1], r.recurrent_mask)
    wants_grad = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if wants_grad:
        h, *last = _OverTime.apply(r, *tensors)
    else:
        h, *last = _forward(r, tensors, save=False)[0]
    state = tuple(last[: len(r.state)])
    if r.last_only:
        y = state[0]
        if r.mask is not None:
            y = torch.where(r.mask.any(-1, keepdim=True), y, 0.0)
    else:
        y = h
        if r.mask is not None:
            order = r.mask.flip(-1) if r.reverse else r.mask
            y = torch.where((order.cumsum(-1) > 0).unsqueeze(-1), y, 0.0)
    return y, state


class _OverTime(torch.autograd.Function):
    """The states of all steps, and the last h and c."""

    @staticmethod
    def forward(ctx: Any, r: Recurrence, *tensors: Tensor | None) -> Any:
        outputs, kept, call = _forward(r, tensors, save=True)
        ctx.r, ctx.call = r._replace(x=r.x.detach(), state=()), call
        ctx.save_for_backward(*tensors, outputs[0], *kept)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise KernelError(
                f"native {ctx.r.cell}",
                "one backward",
                "a backward through the backward (create_graph=True)",
                "Set layer.implementation = 'reference', which can be differentiated twice.",
            )
        return None, *_backward(ctx, gradients)


def _rows(t: Tensor | None, members: bool) -> Tensor | None:
    """Give a tensor its axis of members."""
    return t if t is None or members else t.unsqueeze(0)


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()


def _forward(r: Recurrence, tensors: tuple[Tensor | None, ...], save: bool) -> Any:
    members = r.weight_ih.ndim == 3
    x, w_ih, w_hh, bias, bias_hh, h0, c0, keep = (_rows(t, members) for t in tensors)
    assert x is not None and w_ih is not None and w_hh is not None and h0 is not None and c0 is not None  # noqa: PT018
    if x.stride(-1) != 1:
        x = x.contiguous()
    w_ih, w_hh, h0, c0 = w_ih.contiguous(), w_hh.contiguous(), h0.contiguous(), c0.contiguous()
    bias, bias_hh, keep = (None if t is None else t.contiguous() for t in (bias, bias_hh, keep))
    mask = _rows(r.mask, members)
    M, B, T, F = x.shape
    H = h0.shape[-1]
    h = x.new_empty(M, B, T, H) if save or not r.last_only else None
    h_last, c_last = torch.empty_like(h0), torch.empty_like(c0) if r.cell == "lstm" else None
    wide = x.dtype == torch.float64
    item = x.element_size()
    x_start, x_time = x.data_ptr(), x.stride(2)
    mask_start, mask_strides = 0, [0, 0, 0]
    if mask is not None:
        mask_start, mask_strides = mask.data_ptr(), list(mask.stride())
    if r.reverse:
        x_start, x_time = x_start + (T - 1) * x_time * item, -x_time
        mask_start += (T - 1) * mask_strides[2]
        mask_strides[2] *= -1
    call = [
        CELLS[r.cell], ACTIVATIONS[r.activation], M, B, T, F, H, _threads,
        x_start, x.stride(0), x.stride(1), x_time, mask_start, *mask_strides, h0.data_ptr(), c0.data_ptr(),
        w_ih.data_ptr(), w_hh.data_ptr(), _address(bias), _address(bias_hh), _address(keep),
        _address(h), h_last.data_ptr(), _address(c_last), 0, *(0,) * 10,
    ]  # fmt: skip
    kept = None
    if save:
        kept = x.new_empty(M * B * T * _native.saved_size(tuple(call), wide))
        call[26] = kept.data_ptr()
    _native.forward(tuple(call), wide)
    outputs: tuple[Tensor | None, ...] = (h, h_last) if c_last is None else (h, h_last, c_last)
    if not members:
        outputs = tuple(t if t is None else t.squeeze(0) for t in outputs)
    # What the addresses in `call` point to must live until backward: the copies made here.
    return (
        outputs,
        (kept, x, w_ih, w_hh, h0, c0, *(t for t in (keep, mask) if t is not None)) if save else (),
        call,
    )


def _backward(ctx: Any, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    r = ctx.r
    x, w_ih, w_hh, bias, bias_hh, h0, c0 = ctx.saved_tensors[:7]
    contiguous = [None if g is None else g.contiguous() for g in gradients]
    dh, dh_last, dc_last = (*contiguous, None)[:3]
    dx = torch.empty(x.shape, dtype=x.dtype) if ctx.needs_input_grad[1] else None
    new = [torch.empty(t.shape, dtype=t.dtype) for t in (h0, c0, w_ih, w_hh)]
    dbias, dbias_hh = (None if t is None else torch.empty(t.shape, dtype=t.dtype) for t in (bias, bias_hh))
    call = list(ctx.call)
    call[7] = _threads
    call[27:37] = [_address(t) for t in (dh, dh_last, dc_last, dx, *new, dbias, dbias_hh)]
    _native.backward(tuple(call), x.dtype == torch.float64)
    if dx is not None and r.reverse:
        dx = dx.flip(-2)
    dh0, dc0, dw_ih, dw_hh = new
    return dx, dw_ih, dw_hh, dbias, dbias_hh, dh0, (dc0 if r.cell == "lstm" else None), None
