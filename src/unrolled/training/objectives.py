"""What training makes small: losses that count only the outputs that are asked for, a value for each member."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.errors import ShapeError

__all__ = [
    "LOSSES",
    "METRICS",
    "Loss",
    "check_counted",
    "check_shapes",
    "masked_loss",
    "member_losses",
    "slopes",
]


NEVER = -(2**31)  # no class is left out; target_mask is there for that


class Loss(NamedTuple):
    """A loss, output by output.

    Attributes:
        value: of outputs and targets, in the targets' shape.
        slope: its derivative by the outputs, in their shape.
        classes: whether outputs have one axis more than targets, the last: of classes or of levels.
    """

    value: Callable[[Tensor, Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor, Tensor], Tensor]
    classes: bool = False


def _pinball(output: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    below = target.unsqueeze(-1) - output
    return torch.maximum(levels * below, (levels - 1) * below).mean(-1)


def _pinball_slope(output: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    return (torch.where(target.unsqueeze(-1) > output, 0.0, 1.0) - levels) / len(levels)


def _cross_entropy(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    flat, weight = output.reshape(-1, output.shape[-1]), weights if len(weights) else None
    try:
        return F.cross_entropy(
            flat, target.reshape(-1), weight, reduction="none", ignore_index=NEVER
        ).reshape(target.shape)
    except IndexError as error:
        raise no_such_class() from error


def no_such_class() -> ShapeError:
    """The error for a target that the network has no output for."""
    return ShapeError(
        "fit",
        "classes from 0 to one less than the network's outputs",
        "another",
        "Number the classes from 0, and give the network's last layer one output for each.",
    )


def _cross_entropy_slope(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    slope = output.softmax(-1) - F.one_hot(target, output.shape[-1])
    return slope * weights[target].unsqueeze(-1) if len(weights) else slope


# In each: outputs, targets, and numbers: the levels of quantiles for "pinball", the weights of classes (or none) for
# "cross-entropy"; others use none.
LOSSES: dict[str, Loss] = {
    "huber": Loss(lambda o, t, _: F.huber_loss(o, t, reduction="none"), lambda o, t, _: (o - t).clamp(-1, 1)),
    "mse": Loss(lambda o, t, _: (o - t).square(), lambda o, t, _: 2 * (o - t)),
    "mae": Loss(lambda o, t, _: (o - t).abs(), lambda o, t, _: (o - t).sign()),
    "pinball": Loss(_pinball, _pinball_slope, classes=True),
    "cross-entropy": Loss(_cross_entropy, _cross_entropy_slope, classes=True),
    "binary-cross-entropy": Loss(
        lambda o, t, _: F.binary_cross_entropy_with_logits(o, t, reduction="none"),
        lambda o, t, _: o.sigmoid() - t,
    ),
}

# What the validation windows are judged by besides the loss; those of errors come in the data's units.
METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mae": lambda o, t: (o - t).abs(),
    "mse": lambda o, t: (o - t).square(),
    "accuracy": lambda o, t: ((o.argmax(-1) if o.ndim > t.ndim else o > 0) == t).to(o.dtype),
}


def member_losses(
    name: str,
    output: Tensor,
    target: Tensor,
    counted: Tensor | None = None,
    levels: Sequence[float] = (),
    weight: Tensor | None = None,
) -> Tensor:
    """Return the mean loss of each member over its outputs that are `counted`, (members,).

    Args:
        name: "huber" (δ = 1), "mse", "mae", "pinball" (Koenker and Bassett 1978, the mean over `levels`),
            "cross-entropy" (outputs are logits, targets numbers of classes) or "binary-cross-entropy"
            (logits).
        output: (members, …); for "pinball" and "cross-entropy" with a last axis of levels or classes.
        target: of `output`'s shape, without that last axis.
        counted: bool, of `target`'s shape; None counts all. Where none is, the loss is 0.
        levels: of the quantiles, each in (0, 1); of "cross-entropy", the weights of the classes, or none. The mean
            is over the outputs, not over their weights, as in Keras.
        weight: of `target`'s shape, what each output's loss is multiplied by; None for 1. The same holds for it.

    Raises:
        ShapeError: outputs and targets do not fit.

    >>> output, target = torch.tensor([[1.0, 9.0], [2.0, 0.0]]), torch.zeros(2, 2)
    >>> member_losses("mae", output, target).tolist()
    [5.0, 1.0]
    >>> member_losses("mae", output, target, torch.tensor([[True, False], [True, True]])).tolist()
    [1.0, 1.0]
    """
    loss = LOSSES[name]
    check_shapes(name, output, target, levels)
    check_counted(target, counted)
    if name != "cross-entropy":
        target = target.to(output.dtype)
    scale = output.new_tensor(levels)
    axes = tuple(range(1, target.ndim))
    each = loss.value(output, target if counted is None else target.masked_fill(~counted, 0), scale)
    if weight is not None:
        each = each * weight.to(each.dtype)
    if counted is None:
        return each.mean(axes)
    return torch.where(counted, each, 0).sum(axes) / counted.sum(axes).clamp(min=1)


def slopes(
    name: str, output: Tensor, target: Tensor, counted: Tensor | None = None, levels: Sequence[float] = ()
) -> Tensor:
    """Return the derivative of the sum of `member_losses` by `output`; where there is a corner, that of one side.

    >>> slopes("mse", torch.tensor([[3.0, 1.0]]), torch.zeros(1, 2)).tolist()
    [[3.0, 1.0]]
    """
    loss = LOSSES[name]
    scale = output.new_tensor(levels)
    if counted is None:
        return loss.slope(output, target, scale) / max(target[0].numel(), 1)
    axes = tuple(range(1, target.ndim))
    each = loss.slope(output, target.masked_fill(~counted, 0), scale)
    share = counted / counted.sum(axes, keepdim=True).clamp(min=1)
    share = share.unsqueeze(-1) if loss.classes else share
    return torch.where(share > 0, each * share, 0)


def masked_loss(name: str, output: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return the loss of a single network, a scalar: `member_losses` without their axis.

    >>> masked_loss("mae", torch.tensor([1.0, 9.0]), torch.zeros(2), torch.tensor([True, False])).item()
    1.0
    """
    counted = None if counted is None else counted[None]
    return member_losses(name, output[None], target[None], counted)[0]


def check_counted(target: Tensor, counted: Tensor | None) -> None:
    """What is counted is bool, and of the targets' shape; else a `ShapeError`."""
    if counted is not None and (counted.dtype is not torch.bool or counted.shape != target.shape):
        raise ShapeError(
            "fit",
            f"a target_mask of booleans of shape {tuple(target.shape[1:])}",
            f"{counted.dtype} of shape {tuple(counted.shape[1:])}",
            "Give one for each target: numpy.ones(y.shape, bool).",
        )


def check_shapes(name: str, output: Tensor, target: Tensor, levels: Sequence[float]) -> None:
    """Outputs and targets, members first, fit together for this loss; else a `ShapeError`."""
    shape, expected = tuple(output.shape), tuple(target.shape)
    if not LOSSES[name].classes and shape != expected:
        raise ShapeError(
            "fit",
            f"outputs of the targets' shape (batch, …) = {expected[1:]}",
            f"{shape[1:]}",
            "Change the network's last layer, or reshape the targets.",
        )
    if name == "cross-entropy" and (target.is_floating_point() or target.dtype is torch.bool):
        cure = "Number the classes from 0, one number for each output: y.argmax(-1) of one-hot targets."
        raise ShapeError(
            "fit", "whole numbers of classes as targets of 'cross-entropy'", str(target.dtype), cure
        )
    last = len(levels) or None
    if LOSSES[name].classes and (shape[:-1] != expected or (last and shape[-1] != last)):
        what = "levels" if name == "pinball" else "classes"
        size = f"{what}={last}" if last else what
        raise ShapeError(
            "fit",
            f"outputs of shape ({', '.join(map(str, expected[1:]))}, {size}) for {name!r}",
            f"{shape[1:]}",
            "Change the network's last layer, or the targets.",
        )
