"""What training makes small: losses that count only the outputs that are asked for."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LOSSES", "masked_loss"]

LOSSES: dict[str, Callable[..., Tensor]] = {"huber": F.huber_loss, "mse": F.mse_loss, "mae": F.l1_loss}


def masked_loss(name: str, output: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return the mean loss over the outputs that are `counted`, a scalar.

    Args:
        name: "huber" (δ = 1), "mse" or "mae".
        output: any shape.
        target: of `output`'s shape.
        counted: bool, of `output`'s shape; None counts all. Where none is, the loss is 0.

    >>> masked_loss("mae", torch.tensor([1.0, 9.0]), torch.zeros(2), torch.tensor([True, False])).item()
    1.0
    """
    if counted is None:
        return LOSSES[name](output, target)
    target = torch.where(counted, target, output.detach())  # no NaN, not even times zero in the gradient
    return LOSSES[name](output, target, reduction="sum") / counted.sum().clamp(min=1)
