"""The plain layers around a recurrence: `Dense`, `RepeatVector`, and masks from lengths."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.errors import ShapeError
from unrolled.kernels.product import project
from unrolled.kernels.recurrence import Activation
from unrolled.kernels.reference import ACTIVATIONS
from unrolled.nn.validation import check_activation, check_input, check_positive

__all__ = ["Dense", "RepeatVector", "lengths_to_mask"]


class Dense(nn.Module):
    """y = φ(W x + b) over the last axis, at each step alike.

    Args:
        in_features: the size of the last axis of x.
        units: the size of the last axis of y.
        activation: φ: "tanh", "relu", "linear", "sigmoid", or None, which is linear.

    Raises:
        OptionError: a size below 1 or an unknown activation.
        ShapeError: on the call, x with another number of features.

    Initial weights as published with Keras' examples: Glorot uniform (Glorot and Bengio 2010) and zero bias,
    which are not torch.nn.Linear's. `weight` is (units, in_features) as there.

    >>> Dense(8, 3)(torch.zeros(32, 10, 8)).shape
    torch.Size([32, 10, 3])
    """

    def __init__(self, in_features: int, units: int, *, activation: Activation | None = None):
        """Take the arguments that the class describes."""
        super().__init__()
        in_features, units = check_positive("Dense", in_features=in_features, units=units)
        check_activation("Dense", activation or "linear")
        self.in_features, self.units, self.activation = in_features, units, activation
        self.weight = nn.Parameter(torch.empty(units, in_features))
        self.bias = nn.Parameter(torch.empty(units))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Glorot uniform weights, and zero the bias."""
        bound = math.sqrt(6 / (self.in_features + self.units))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch units"]:
        """The product at each position of x. With stacked weights (members first), so is x."""
        axes = ("…",) * max(x.ndim - 1, 1) + ("features",) if isinstance(x, Tensor) else ("…", "features")
        check_input("Dense", x, axes, self.in_features, self.weight.dtype, argument="in_features")
        stacked = self.weight.ndim == 3
        y = project(x, self.weight, self.bias) if stacked else F.linear(x, self.weight, self.bias)
        return ACTIVATIONS[self.activation](y) if self.activation else y

    def extra_repr(self) -> str:
        """The sizes, and the activation if any."""
        activation = f", activation={self.activation!r}" if self.activation else ""
        return f"{self.in_features}, {self.units}{activation}"


class RepeatVector(nn.Module):
    """The same vector at each of n steps: (batch, features) to (batch, n, features). For vector to sequence.

    Raises:
        OptionError: n below 1.
        ShapeError: on the call, x of another rank.

    >>> RepeatVector(3)(torch.tensor([[1.0, 2.0]])).tolist()
    [[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]]
    """

    def __init__(self, n: int):
        """Take the arguments that the class describes."""
        super().__init__()
        (self.n,) = check_positive("RepeatVector", n=n)

    def forward(
        self, x: Float[Tensor, "*members batch features"]
    ) -> Float[Tensor, "*members batch time features"]:
        """x, n times along a new axis of time."""
        members = ("members",) * (isinstance(x, Tensor) and x.ndim == 3)
        check_input("RepeatVector", x, (*members, "batch", "features"), None, None)
        return x.unsqueeze(-2).expand(*x.shape[:-1], self.n, x.shape[-1])

    def extra_repr(self) -> str:
        """The number of steps."""
        return str(self.n)


def lengths_to_mask(lengths: Int[Tensor, "*batch"], time: int | None = None) -> Bool[Tensor, "*batch time"]:
    """The mask of sequences padded at their ends: True for the first `lengths[i]` steps of sequence i.

    Args:
        lengths: steps of each sequence, each from 0 to `time`.
        time: the steps that the mask has; by default the longest length.

    Raises:
        ShapeError: lengths are not integers, or lie outside 0 to `time`.

    >>> lengths_to_mask(torch.tensor([2, 3]), time=4)
    tensor([[ True,  True, False, False],
            [ True,  True,  True, False]])
    """
    if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        got = str(lengths.dtype) if isinstance(lengths, Tensor) else f"a {type(lengths).__name__}"
        raise ShapeError("lengths_to_mask", "a tensor of integers", got, "Pass torch.tensor([3, 5, 2]).")
    longest = int(lengths.max()) if lengths.numel() else 0
    time = longest if time is None else time
    if lengths.numel() and (int(lengths.min()) < 0 or longest > time):
        got = f"{int(lengths.min())} to {longest}"
        raise ShapeError(
            "lengths_to_mask", f"lengths from 0 to {time}", got, "Cut the sequences, or raise time."
        )
    return torch.arange(time, device=lengths.device) < lengths[..., None]
