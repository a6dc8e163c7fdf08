"""How to train, and what training gave."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from unrolled.errors import OptionError
from unrolled.nn.validation import is_count, is_number, plain
from unrolled.training.objectives import LOSSES, METRICS

__all__ = ["OPTIMIZERS", "SCHEDULES", "Training", "TrainingRun"]

# in the order of csrc/optimizers.h
OPTIMIZERS = ("sgd", "adam", "adamw", "nadam", "rmsprop")
DEFAULT_LOSS = "huber"
SCHEDULES = ("constant", "cosine", "one-cycle", "plateau")


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        loss: "huber" (δ = 1), "mse", "mae", "pinball", "cross-entropy" or "binary-cross-entropy".
        optimizer: "sgd" (with `momentum`), "adam", "adamw", "nadam" or "rmsprop", torch's, with its defaults.
        learning_rate: the highest one, where a schedule changes it.
        schedule: "constant"; "cosine", down to 0 (arXiv:1608.03983, one period); "one-cycle" (arXiv:1708.07120);
            "plateau", a tenth after `plateau_patience` epochs without a better monitored value.
        epochs: passes over the training windows, at most.
        batch_size: windows in a step.
        patience: epochs without a better monitored value after which a member stops; None for never. It needs
            validation windows.
        restore_best: end with the weights of the best epoch, not of the last one.
        clip_norm: each member's gradient is scaled down to this norm; None for never.
        members: networks to train, each with its own seed.
        seed: of the first member; member m has seed + m.
        momentum: of "sgd".
        nesterov: whether that momentum looks ahead.
        weight_decay: of "adamw".
        levels: the quantiles of the "pinball" loss, each in (0, 1).
        metrics: of the validation windows, beside the loss: "mae", "mse" (in the data's units), "accuracy" (of a
            cross-entropy, which `SequenceClassifier` sets by itself).
        monitor: what decides which epoch is best: "valid_loss", or "valid_mae" and so on, of `metrics`. Without
            validation windows, nothing does: the last epoch is the best.
        plateau_patience: of the schedule "plateau", in epochs.
        bptt_steps: steps after which a gradient through time is cut off, while the state is carried on; the
            optimizer makes a step for each such piece, and memory grows with the piece, not with the sequence.
            None for whole sequences. (Williams and Peng 1990.)
        class_weights: of "cross-entropy", one above 0 for each class: what a sequence of that class counts in the
            mean over its batch; empty for 1.

    Raises:
        OptionError: a value is out of its range.

    >>> Training(epochs=0)
    Traceback (most recent call last):
    unrolled.errors.OptionError: Training: expected epochs of at least 1, got 0.
    """

    loss: str = DEFAULT_LOSS
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    epochs: int = 100
    batch_size: int = 32
    patience: int | None = None
    restore_best: bool = True
    clip_norm: float | None = 1.0
    members: int = 1
    seed: int = 0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.01
    levels: Sequence[float] = ()
    metrics: Sequence[str] = ()
    monitor: str = "valid_loss"
    plateau_patience: int = 5
    bptt_steps: int | None = None
    class_weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        for name, value in vars(self).copy().items():
            object.__setattr__(self, name, plain(value))
        for name in ("levels", "metrics", "class_weights"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                cure = f"Pass [{value!r}]." if isinstance(value, str) else ""
                raise OptionError("Training", f"{name} in a list", repr(value), cure)
            object.__setattr__(self, name, tuple(plain(tuple(value))))
        monitored = ("valid_loss", *(f"valid_{name}" for name in self.metrics))
        chosen = [(name, getattr(self, name), among) for name, among in (
            ("loss", tuple(LOSSES)), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("monitor", monitored),
        )]  # fmt: skip
        classes, levels = "cross-entropy" in self.loss, self.loss == "pinball"
        fitting = tuple(
            name
            for name in METRICS
            if (classes if name == "accuracy" else self.loss != "cross-entropy" and not levels)
            or (name == "accuracy" and self.loss == DEFAULT_LOSS)  # a classifier puts its own loss there
        )
        chosen += [("metrics", name, fitting) for name in self.metrics]
        for name, value, among in chosen:
            if value not in among:
                raise OptionError("Training", f"{name} one of {', '.join(among)}", repr(value))
        for name in ("epochs", "batch_size", "members", "plateau_patience", "bptt_steps"):
            value = getattr(self, name)
            if value is not None and not is_count(value, 1):
                raise OptionError("Training", f"{name} of at least 1", str(value))
        for name, least in (("patience", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not (is_count(value, least) and value < 2**63):
                raise OptionError("Training", f"{name} of at least {least}", str(value))
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if not (value is None and name == "clip_norm") and not (
                is_number(value) and 0 < value < math.inf
            ):
                raise OptionError("Training", f"a {name} above 0", str(value))
        for name in ("restore_best", "nesterov"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError("Training", f"{name} True or False", repr(getattr(self, name)))
        if not is_number(self.momentum) or not 0 <= self.momentum < 1:
            raise OptionError("Training", "a momentum in [0, 1)", str(self.momentum))
        if not is_number(self.weight_decay) or not 0 <= self.weight_decay < math.inf:
            raise OptionError("Training", "a weight_decay of at least 0", str(self.weight_decay))
        if not all(is_number(level) and 0 < level < 1 for level in self.levels) or (
            self.loss == "pinball"
        ) != bool(self.levels):
            raise OptionError(
                "Training", "levels in (0, 1) for the loss 'pinball', and none for others", repr(self.levels)
            )

        weights = self.class_weights
        if weights and (
            self.loss != "cross-entropy" or not all(is_number(w) and 0 < w < math.inf for w in weights)
        ):
            raise OptionError(
                "Training",
                "class_weights above 0 for the loss 'cross-entropy', and none for others",
                repr(weights),
            )

    def check_use(self, validated: bool) -> None:
        """Raise an `OptionError` where training would have no use for what is asked.

        Args:
            validated: whether there are validation windows.
        """
        if "accuracy" in self.metrics and "cross-entropy" not in self.loss:
            raise OptionError(
                "fit",
                "the metric 'accuracy' with a cross-entropy",
                f"the loss {self.loss!r}",
                "Change one of them.",
            )
        idle: list[tuple[str, Any]] = [("patience", self.patience)] * (self.patience is not None)
        idle += [("monitor", self.monitor)] * (self.monitor != "valid_loss")
        if idle and not validated:
            name, value = idle[0]
            raise OptionError(
                "fit",
                f"a validation part with {name}={value!r}",
                "none",
                f"Hold one back (valid=, or valid_size= of an estimator), or leave {name} out.",
            )

    @property
    def loss_numbers(self) -> Sequence[float]:
        """What the loss needs besides outputs and targets: levels of quantiles, or weights of classes."""
        return self.levels or self.class_weights

    def falls(self) -> bool:
        """Whether a better monitored value is a smaller one."""
        return self.monitor != "valid_accuracy"


@dataclass(frozen=True)
class TrainingRun:
    """What training gave.

    Attributes:
        members: the trained networks, each with its best weights, in eval mode; without those that failed.
        history: a row for each epoch and member: member, epoch (from 1), learning_rate, loss, valid_loss and the
            other metrics (valid_loss is None without validation windows), best.
        timing: a row for each epoch: epoch, seconds, steps.
        interrupted: whether it was stopped by hand.
        failures: for each member whose loss was no number any more, what happened to it.
    """

    members: list[nn.Module]
    history: list[dict[str, Any]] = field(default_factory=list)
    timing: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    failures: dict[int, str] = field(default_factory=dict)
