"""The rows of a PackedSequence to padded sequences and back, on our threads.

torch does the same on its own threads, which then wait in a loop for more work, on the processors that the kernels'
threads want.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled.kernels import native
from unrolled.kernels.operators import is_batched, is_plain

__all__ = ["lengths_of", "pack", "pad"]


def pad(rows: Tensor, sizes: Tensor) -> Tensor:
    """Packed rows (N, features) as (batch, time, features), with zeros where a sequence has ended.

    Args:
        rows: as in `PackedSequence.data`.
        sizes: how many sequences have each step, as in `PackedSequence.batch_sizes`.
    """
    if _is_covered(rows):
        padded: Tensor = _Repack.apply(rows, sizes, False)
        return padded
    return pad_packed_sequence(PackedSequence(rows, sizes), batch_first=True)[0]


def pack(x: Tensor, sizes: Tensor) -> Tensor:
    """The packed rows (N, features) of x (batch, time, features): what `pad` was given."""
    if _is_covered(x):
        rows: Tensor = _Repack.apply(x, sizes, True)
        return rows
    return pack_padded_sequence(x, lengths_of(sizes), batch_first=True).data


def lengths_of(sizes: Tensor) -> Tensor:
    """The length of each sequence (batch,), from how many sequences have each step."""
    return (torch.arange(int(sizes[0]))[:, None] < sizes).sum(1)


def _is_covered(x: Tensor) -> bool:
    return native.AVAILABLE and is_plain(x) and not is_batched(x) and x.is_cpu


class _Repack(torch.autograd.Function):
    """One of the two ways; its gradient is the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Tensor, packs: bool) -> Tensor:
        ctx.sizes, ctx.packs = sizes, packs
        return native.repack(x, sizes, packs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return (pad if ctx.packs else pack)(gradient, ctx.sizes), None, None
