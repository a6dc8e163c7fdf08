"""Products of matrices by our kernels: a member of a stack gets the bits that it gets alone.

The order in which torch's products add up, and so the last bits, depend on the threads, and on AMD's processors also on
how many matrices there are in a batch and on how the memory of each is aligned.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrolled.kernels import native
from unrolled.kernels.operators import is_batched, is_plain

__all__ = ["product", "project"]

TYPES = (torch.float32, torch.float64)


def product(a: Float[Tensor, "*M N K"], b: Float[Tensor, "*M K O"]) -> Float[Tensor, "*M N O"]:
    """a · b of each pair of matrices, as `a @ b`.

    >>> product(torch.ones(3, 2, 4), torch.ones(3, 4, 5)).shape
    torch.Size([3, 2, 5])
    """
    if a.ndim == 2 or a.shape[:-2] != b.shape[:-2] or not all(map(_is_covered, (a, b))):
        return a @ b
    found: Tensor = _Products.apply(a.flatten(0, -3), b.flatten(0, -3))
    return found.unflatten(0, a.shape[:-2])


def _is_covered(t: Tensor) -> bool:
    if not (native.AVAILABLE and t.dtype in TYPES and t.is_cpu and t.layout is torch.strided and is_plain(t)):
        return False
    return not (is_batched(t) or torch.is_autocast_enabled("cpu"))


def project(
    x: Float[Tensor, "... I"], weight: Float[Tensor, "*M O I"], bias: Float[Tensor, "*M O"] | None
) -> Float[Tensor, "... O"]:
    """x Wᵀ + b over the last axis, as one product a member."""
    rows = product(x.reshape(*weight.shape[:-2], -1, x.shape[-1]), weight.mT)
    if bias is not None:
        rows = rows + bias[..., None, :]
    return rows.reshape(*x.shape[:-1], weight.shape[-2])


class _Products(torch.autograd.Function):
    """The products of (M, N, K) and (M, K, O)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return native.products(a, b)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        of_a, of_b = ctx.needs_input_grad
        return product(gradient, b.mT) if of_a else None, product(a.mT, gradient) if of_b else None
