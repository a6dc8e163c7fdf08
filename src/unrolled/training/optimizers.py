"""Optimizers that act on the parameters of all members at once, and the course of their learning rate.

The rules are torch's, called as functions: what they keep between steps is flat like the parameters, so that
members can leave the stack, and each can have a learning rate of its own.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.nadam import nadam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from unrolled.training.options import Training

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
        self.kept = [torch.zeros_like(flat) for _ in range(KEPT.get(training.optimizer, 2))]
        self.steps, self.product = 0, 1.0

    def step(self, parts: Sequence[tuple[Tensor, Tensor, Sequence[Tensor], float]], momentum: float) -> None:
        """Make a step: of each part its parameters, gradients, what is kept of it, and its learning rate."""
        product = torch.tensor(self.product)
        for parameters, gradient, kept, rate in parts:
            product = torch.tensor(self.product)
            self._rule([parameters], [gradient], [[k] for k in kept], rate, momentum, product)
        self.steps += 1
        self.product = product.item()

    def _rule(
        self, p: list[Tensor], g: list[Tensor], kept: list[list[Tensor]], rate: float, momentum: float, product: Tensor
    ) -> None:  # fmt: skip
        t, count = self.training, [torch.tensor(float(self.steps))]
        name = t.optimizer
        # Not fused, which rounds the last numbers of a tensor otherwise: a member's bits would depend on its place.
        if name == "sgd":
            sgd(p, g, kept[0], weight_decay=0.0, momentum=momentum, lr=rate, dampening=0.0,
                nesterov=t.nesterov and momentum > 0, maximize=False, foreach=False)  # fmt: skip
        elif name == "rmsprop":
            rmsprop(p, g, kept[0], [], [], count, lr=rate, alpha=0.99, eps=EPSILON, weight_decay=0.0, momentum=0.0,
                    centered=False)  # fmt: skip
        elif name == "nadam":
            nadam(p, g, *kept, [product], count, beta1=momentum, beta2=BETA2, lr=rate, weight_decay=0.0,
                  momentum_decay=4e-3, eps=EPSILON)  # fmt: skip
        else:
            rule, decay = (adamw, t.weight_decay) if name == "adamw" else (adam, 0.0)
            rule(p, g, *kept, [], count, amsgrad=False, beta1=momentum, beta2=BETA2, lr=rate, weight_decay=decay,
                 eps=EPSILON, maximize=False, foreach=False)  # fmt: skip
