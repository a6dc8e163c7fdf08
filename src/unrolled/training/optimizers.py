"""Optimizers that act on the parameters of all members at once, and the course of their learning rate.

The rules are torch's: what they keep between steps is flat like the parameters, so that members can leave the stack,
and each can have a learning rate of its own. On the CPU our C++ makes the step (csrc/optimizers.cpp): torch's fused
kernels round the last numbers of a tensor otherwise, so that a member of a stack would not be one alone, and its other
ones take longer than a small network's backward.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.nadam import nadam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from unrolled.kernels import native
from unrolled.training.options import OPTIMIZERS, Training

__all__ = ["Optimizer", "rate_and_momentum"]

KEPT = {"sgd": 1, "rmsprop": 1}  # tensors like the parameters that a rule keeps; the others keep two
BETA2, EPSILON = 0.999, 1e-8


def rate_and_momentum(training: Training, step: int, steps: int) -> tuple[float, float]:
    """The learning rate and the momentum (β₁) of a step, from 0; those of torch's schedulers.

    >>> rate_and_momentum(Training(schedule="cosine", learning_rate=1.0), 50, 100)
    (0.5, 0.9)
    """
    high = training.learning_rate
    own = training.momentum if training.optimizer == "sgd" else 0.9
    if training.schedule == "cosine":
        return 0.5 * high * (1 + math.cos(math.pi * step / steps)), own
    if training.schedule != "one-cycle":
        return high, own
    peak = 0.3 * steps - 1  # torch's OneCycleLR: a rise of three tenths, and a fall to far below the start
    if step <= peak or steps == 1:
        share = step / peak if peak > 0 else 1.0
        return _between(high / 25, high, share), _between(0.95, 0.85, share)
    share = (step - peak) / (steps - 1 - peak)
    return _between(high, high / 25e4, share), _between(0.85, 0.95, share)


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


class Optimizer:
    """A rule, and what it keeps between steps.

    Attributes:
        kept: tensors like the flat parameters.
        steps: made so far.
        product: of NAdam's momenta so far.
    """

    def __init__(self, training: Training, flat: Tensor):
        self.training = training
        self.ours = native.AVAILABLE and flat.device.type == "cpu"
        self.rule = OPTIMIZERS.index(training.optimizer)
        self.decay = training.weight_decay if training.optimizer == "adamw" else 0.0
        self.kept = [torch.zeros_like(flat) for _ in range(KEPT.get(training.optimizer, 2))]
        self.steps, self.product = 0, 1.0

    def step(self, parts: Sequence[tuple[Tensor, Tensor, Sequence[Tensor], float]], momentum: float) -> None:
        """Make a step: of each part its parameters, gradients, what is kept of it, and its learning rate."""
        product = self.product
        for parameters, gradient, kept, rate in parts:
            self.product = self._rule(parameters, gradient, kept, rate, momentum, product)
        self.steps += 1

    def _rule(
        self, p: Tensor, g: Tensor, kept: Sequence[Tensor], rate: float, momentum: float, product: float
    ) -> float:
        if self.ours:
            scales = (rate, momentum, BETA2, EPSILON, self.decay, product)
            return native.update((self.rule, self.steps, self.training.nesterov), (p, g, *kept), scales)
        with torch.no_grad():
            return self._by_torch(p, g, kept, rate, momentum, product)

    def _by_torch(
        self, p: Tensor, g: Tensor, kept: Sequence[Tensor], rate: float, momentum: float, product: float
    ) -> float:
        t, name = self.training, self.training.optimizer
        lists, count = [[k] for k in kept], [torch.tensor(float(self.steps))]
        twice: Any = {"beta1": momentum, "beta2": BETA2, "lr": rate, "eps": EPSILON}
        if name == "sgd":
            sgd([p], [g], lists[0], weight_decay=0.0, momentum=momentum, lr=rate, dampening=0.0,  # type: ignore[arg-type]
                nesterov=t.nesterov and momentum > 0, maximize=False)  # fmt: skip
        elif name == "rmsprop":
            rmsprop([p], [g], lists[0], [], [], count, lr=rate, alpha=0.99, eps=EPSILON, weight_decay=0.0, momentum=0.0,
                    centered=False)  # fmt: skip
        elif name == "nadam":
            momenta = [torch.tensor(product, dtype=torch.float64)]
            nadam(
                [p], [g], lists[0], lists[1], momenta, count, weight_decay=0.0, momentum_decay=4e-3, **twice
            )
            return momenta[0].item()
        else:
            rule: Any = adamw if name == "adamw" else adam
            rule([p], [g], *lists, [], count, amsgrad=False, maximize=False, weight_decay=self.decay, **twice)
        return product
