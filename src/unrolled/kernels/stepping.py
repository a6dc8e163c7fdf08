"""A recurrence one step at a time, its state carried, with nothing around the kernel that takes time.

A step of one sequence is so little work that each operation of PyTorch beside it would cost as much. So memory is laid
out once, what is read is written into it, and a step is one call.
"""

from typing import Any

import torch
from numpy.typing import NDArray

from unrolled.errors import KernelError
from unrolled.kernels import native, reference
from unrolled.kernels.recurrence import Recurrence

__all__ = ["OneStep"]

WEIGHTS = Recurrence._fields[3:9]


class OneStep:
    """A recurrence that goes on by one step at each call.

    Args:
        r: its weights and, in `state`, where it starts; of `x` (M, B, 1, I), on the CPU, only the shape counts.

    Attributes:
        x: (M, B, I), to be written before each call.

    Raises:
        KernelError: what only whole sequences have: a mask, dropout or reversed time.

    >>> w, u = torch.ones(1, 1, 1), torch.full((1, 1, 1), 0.5)
    >>> halved = Recurrence("simple_rnn", torch.ones(1, 1, 1, 1), (), w, u, activation="linear")
    >>> step = OneStep(halved)
    >>> step.x[:] = 1.0
    >>> [step().item() for _ in range(3)]
    [1.0, 1.5, 1.75]
    """

    def __init__(self, r: Recurrence):
        if r.mask is not None or r.recurrent_mask is not None or r.reverse:
            raise KernelError("OneStep", "a recurrence of single steps", "a mask, dropout or reversed time")
        with torch.inference_mode():
            x = torch.zeros(r.x.shape, dtype=r.weight_hh.dtype)
            state = tuple(s.detach().clone().contiguous() for s in reference.start(r._replace(x=x)))
            own = {name: t.detach().contiguous() for name in WEIGHTS if (t := getattr(r, name)) is not None}
            self.r = r._replace(x=x, state=state, last_only=True, **own)
            self.x: NDArray[Any] = x.numpy()[..., 0, :]
            self.native = native.AVAILABLE and x.dtype in (torch.float32, torch.float64)
            # where a step is read from, and where it is written to: these take turns
            self.states = [state, tuple(torch.zeros_like(s) for s in state)]
            self.arrays = [s[0].numpy() for s in self.states]
            self.turn = 0
            if self.native:
                self.calls = [
                    native.prepared(self.r._replace(state=self.states[i]), self.states[1 - i]) for i in (0, 1)
                ]

    def __call__(self) -> NDArray[Any]:
        """Go on by one step: h, (M, B, H), which the next call but one writes over."""
        self.turn, now = 1 - self.turn, self.turn
        if self.native:
            self.calls[now]()
        else:
            with torch.inference_mode():
                found = reference.run(self.r._replace(state=self.states[now]))[1]
                for to, part in zip(self.states[self.turn], found, strict=True):
                    to.copy_(part)
        return self.arrays[self.turn]
