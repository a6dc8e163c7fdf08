"""Convolution and pooling along time, on (batch, time, features)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.errors import ShapeError
from unrolled.kernels.product import project
from unrolled.kernels.recurrence import Activation
from unrolled.kernels.reference import ACTIVATIONS
from unrolled.nn.validation import check_activation, check_choice, check_input, check_mask, check_positive

__all__ = [
    "AveragePooling1D",
    "Conv1D",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "MaxPooling1D",
]


class Conv1D(nn.Module):
    """y(t) = φ(b + Σ_k W_k x(s·t + d·k - p)): a kernel of K steps slides along time.

    Args:
        in_channels: the features of x.
        filters: the features of y.
        kernel_size: K, in steps.
        strides: s, the steps from one output to the next.
        padding: "valid" (whole kernels only: p = 0), "same" (zeros on both sides, ⌈T/s⌉ outputs; the odd one
            goes to the right), or "causal" (zeros before the start: p = d·(K - 1), so that y(t) sees no
            later x).
        dilation_rate: d, the steps from one element of the kernel to the next.
        activation: φ: "tanh", "relu", "linear", "sigmoid", or None, which is linear.

    Raises:
        OptionError: a size below 1, an unknown padding or activation.
        ShapeError: on the call, x of another shape or shorter than the kernel.

    Glorot uniform weights and zero bias, as Keras; `weight` is (filters, in_channels, kernel_size), as
    torch's.

    >>> Conv1D(5, 32, 4, strides=2)(torch.zeros(8, 112, 5)).shape
    torch.Size([8, 55, 32])
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int,
        *,
        strides: int = 1,
        padding: Literal["valid", "same", "causal"] = "valid",
        dilation_rate: int = 1,
        activation: Activation | None = None,
    ):
        """Take the arguments that the class describes."""
        super().__init__()
        in_channels, filters, kernel_size, strides, dilation_rate = check_positive(
            "Conv1D", in_channels=in_channels, filters=filters, kernel_size=kernel_size, strides=strides,
            dilation_rate=dilation_rate,
        )  # fmt: skip
        check_choice("Conv1D", "padding", padding, ["valid", "same", "causal"])
        check_activation("Conv1D", activation or "linear")
        self.in_channels, self.filters, self.kernel_size = in_channels, filters, kernel_size
        self.strides, self.padding, self.dilation_rate = strides, padding, dilation_rate
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(filters, in_channels, kernel_size))
        self.bias = nn.Parameter(torch.empty(filters))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Glorot uniform weights, and zero the bias."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(
        self, x: Float[Tensor, "*members batch time channels"]
    ) -> Float[Tensor, "*members batch steps filters"]:
        """The convolution. With stacked weights (members first), so is x."""
        stacked = self.weight.ndim == 4
        axes = ("members",) * stacked + ("batch", "time", "features")
        check_input("Conv1D", x, axes, self.in_channels, self.weight.dtype, argument="in_channels")
        span = self.dilation_rate * (self.kernel_size - 1) + 1
        left, right = _padding(x.shape[-2], span, self.strides, self.padding)
        _check_span("Conv1D", x, left + right, span)
        x = F.pad(x, (0, 0, left, right))
        if stacked:
            # As a product a member: a convolution in groups would have other bits than each member's own.
            reach = (x.shape[-2] - span) // self.strides * self.strides + 1
            starts = range(0, span, self.dilation_rate)
            taps = torch.cat([x[..., start : start + reach : self.strides, :] for start in starts], -1)
            y = project(taps, self.weight.mT.flatten(-2), self.bias)
        else:
            y = F.conv1d(x.mT, self.weight, self.bias, self.strides, 0, self.dilation_rate).mT
        return ACTIVATIONS[self.activation](y) if self.activation else y

    def extra_repr(self) -> str:
        """The sizes, and the options that are not the default."""
        text = f"{self.in_channels}, {self.filters}, {self.kernel_size}"
        defaults = {"strides": 1, "padding": "valid", "dilation_rate": 1, "activation": None}
        changed = [f"{k}={getattr(self, k)!r}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join([text, *changed])


class _Pooling1D(nn.Module):
    def __init__(
        self, pool_size: int = 2, *, strides: int | None = None, padding: Literal["valid", "same"] = "valid"
    ):
        """Take the arguments that the class describes."""
        super().__init__()
        where = type(self).__name__
        strides = pool_size if strides is None else strides
        pool_size, strides = check_positive(where, pool_size=pool_size, strides=strides)
        check_choice(where, "padding", padding, ["valid", "same"])
        self.pool_size, self.strides, self.padding = pool_size, strides, padding

    def _pool(self, x: Tensor, pool: Callable[..., Tensor], fill: float) -> Tensor:
        where = type(self).__name__
        _check_sequence(where, x)
        left, right = _padding(x.shape[-2], self.pool_size, self.strides, self.padding)
        _check_span(where, x, left + right, self.pool_size)
        padded = F.pad(x, (0, 0, left, right), value=fill)
        return pool(padded.flatten(0, -3).mT, self.pool_size, self.strides).mT.unflatten(0, x.shape[:-2])

    def extra_repr(self) -> str:
        """The window, its stride and the padding."""
        return f"{self.pool_size}, strides={self.strides}, padding={self.padding!r}"


class MaxPooling1D(_Pooling1D):
    """The largest of each `pool_size` steps, by feature.

    Args:
        pool_size: steps in a window.
        strides: steps from one window to the next; by default `pool_size`.
        padding: "valid" (whole windows only) or "same" (⌈T/strides⌉ windows; padding does not count).

    Raises:
        OptionError: a size below 1 or an unknown padding.
        ShapeError: on the call, x of another rank or shorter than the window.

    >>> MaxPooling1D(2)(torch.tensor([[[1.0], [3.0], [2.0], [0.0]]])).flatten().tolist()
    [3.0, 2.0]
    """

    def forward(
        self, x: Float[Tensor, "*members batch time features"]
    ) -> Float[Tensor, "*members batch steps features"]:
        """The maximum of each window."""
        return self._pool(x, F.max_pool1d, -math.inf)


class AveragePooling1D(_Pooling1D):
    """The mean of each `pool_size` steps, by feature.

    Args:
        pool_size: steps in a window.
        strides: steps from one window to the next; by default `pool_size`.
        padding: "valid" (whole windows only) or "same" (⌈T/strides⌉ windows; padding does not count).

    Raises:
        OptionError: a size below 1 or an unknown padding.
        ShapeError: on the call, x of another rank or shorter than the window.

    >>> AveragePooling1D(2)(torch.tensor([[[1.0], [3.0], [2.0], [0.0]]])).flatten().tolist()
    [2.0, 1.0]
    """

    def forward(
        self, x: Float[Tensor, "*members batch time features"]
    ) -> Float[Tensor, "*members batch steps features"]:
        """The mean of each window, over those of its steps that exist."""
        y = self._pool(x, F.avg_pool1d, 0.0)
        if self.padding == "same":
            y = y / self._pool(torch.ones_like(x[..., :1]), F.avg_pool1d, 0.0)
        return y


class GlobalMaxPooling1D(nn.Module):
    """The largest of all steps, by feature; of the valid steps with a mask, and 0 where there are none.

    Raises:
        ShapeError: x or the mask of another shape or type.

    >>> GlobalMaxPooling1D()(torch.tensor([[[1.0], [3.0], [2.0]]])).tolist()
    [[3.0]]
    """

    def forward(
        self,
        x: Float[Tensor, "*members batch time features"],
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Float[Tensor, "*members batch features"]:
        """The maximum over time."""
        _check_sequence("GlobalMaxPooling1D", x)
        if mask is None:
            return x.amax(-2)
        check_mask("GlobalMaxPooling1D", mask, tuple(x.shape[:-1]))
        lowest = x.masked_fill(~mask[..., None], -math.inf).amax(-2)
        return lowest.masked_fill(~mask.any(-1, keepdim=True), 0)


class GlobalAveragePooling1D(nn.Module):
    """The mean of all steps, by feature; of the valid steps with a mask, and 0 where there are none.

    Raises:
        ShapeError: x or the mask of another shape or type.

    >>> GlobalAveragePooling1D()(torch.tensor([[[1.0], [3.0], [2.0]]])).tolist()
    [[2.0]]
    """

    def forward(
        self,
        x: Float[Tensor, "*members batch time features"],
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Float[Tensor, "*members batch features"]:
        """The mean over time."""
        _check_sequence("GlobalAveragePooling1D", x)
        if mask is None:
            return x.mean(-2)
        check_mask("GlobalAveragePooling1D", mask, tuple(x.shape[:-1]))
        return x.masked_fill(~mask[..., None], 0).sum(-2) / mask.sum(-1, keepdim=True).clamp(min=1)


def _padding(time: int, span: int, strides: int, padding: str) -> tuple[int, int]:
    """Zeros before the first step and after the last, for a window that spans `span` steps."""
    if padding == "causal":
        return span - 1, 0
    if padding == "valid":
        return 0, 0
    total = max((math.ceil(time / strides) - 1) * strides + span - time, 0)
    return total // 2, total - total // 2


def _check_sequence(where: str, x: Tensor) -> None:
    members = ("members",) * (isinstance(x, Tensor) and x.ndim == 4)
    check_input(where, x, (*members, "batch", "time", "features"), None, None)


def _check_span(where: str, x: Tensor, padded: int, span: int) -> None:
    if x.shape[-2] + padded < span:
        cure = 'Pass longer sequences, a smaller window, or padding="same".'
        raise ShapeError(where, f"at least {span} time steps", str(tuple(x.shape)), cure)
