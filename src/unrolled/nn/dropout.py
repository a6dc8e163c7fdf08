"""Dropout, and where its random numbers come from: torch's global generator, or in training one for each member."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.nn.validation import check_rate

__all__ = ["Dropout", "draw_kept", "drawing_from"]

_sources: tuple[Sequence[torch.Generator], bool] | None = None


@contextmanager
def drawing_from(generators: Sequence[torch.Generator], stacked: bool) -> Iterator[None]:
    """Draw all masks of dropout from these generators, one for each member.

    With `stacked`, tensors have a leading axis of members; without, there is one member and no such axis.

    >>> with drawing_from([torch.Generator().manual_seed(m) for m in (0, 1)], stacked=True):
    ...     two = draw_kept(torch.zeros(1), (2, 3), torch.float32, 0.5)
    >>> with drawing_from([torch.Generator().manual_seed(1)], stacked=False):
    ...     torch.equal(draw_kept(torch.zeros(1), (3,), torch.float32, 0.5), two[1])
    True
    """
    global _sources
    before, _sources = _sources, (generators, stacked)
    try:
        yield
    finally:
        _sources = before


def draw_kept(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype, rate: float) -> Tensor:
    """A mask of dropout, already divided by the share kept. From the global generator, it is that of F.dropout."""
    if _sources is None:
        if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None:
            return F.dropout(like.new_ones(shape, dtype=dtype), rate)  # nothing in place, for torch.vmap
        return like.new_empty(shape, dtype=dtype).bernoulli_(1 - rate).div_(1 - rate)
    generators, stacked = _sources
    mask = torch.empty(shape, dtype=dtype)
    for part, generator in zip(mask if stacked else [mask], generators, strict=True):
        part.bernoulli_(1 - rate, generator=generator)
    return mask.div_(1 - rate).to(like.device)


class Dropout(nn.Module):
    """In training, sets a share of the numbers to zero and divides the others by what is left (Srivastava et al. 2014).

    As torch.nn.Dropout, but under `unrolled.fit` each member draws from its own generator.

    Args:
        rate: the share to drop, in [0, 1).

    Raises:
        OptionError: a rate outside [0, 1).

    >>> Dropout(0.5).eval()(torch.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, rate: float):
        super().__init__()
        (self.rate,) = check_rate("Dropout", rate=rate)

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """x, of which in training some is dropped."""
        if not self.training or not self.rate:
            return x
        return x * draw_kept(x, tuple(x.shape), x.dtype, self.rate)

    def extra_repr(self) -> str:
        """The rate."""
        return f"{self.rate}"
