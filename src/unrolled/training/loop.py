"""One loop that trains any network on windows; what it did is a `TrainingRun`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from unrolled.data.windows import Windows
from unrolled.errors import OptionError, TrainingError
from unrolled.training.objectives import LOSSES, masked_loss
from unrolled.training.progress import show_progress

__all__ = ["Training", "TrainingRun", "fit", "repeatable"]


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        loss: "huber", "mse" or "mae".
        optimizer: "sgd" (Nesterov momentum 0.9), "adam" or "adamw" (weight decay 0.01).
        learning_rate: the highest one, where a schedule changes it.
        schedule: "constant" or "one-cycle" (Smith and Topin, 2017).
        epochs: passes over the training windows.
        batch_size: windows in a step.
        patience: epochs without a better validation loss after which a member stops; None for never.
        restore_best: end with the weights of the best epoch, not of the last one.
        clip_norm: gradients are scaled down to this norm; None for never.
        members: networks to train, each with its own seed.
        seed: of the first member; member m has seed + m.

    Raises:
        OptionError: a value is out of its range.

    >>> Training(epochs=0)
    Traceback (most recent call last):
    unrolled.errors.OptionError: Training: expected epochs of at least 1, got 0.
    """

    loss: str = "huber"
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

    def __post_init__(self) -> None:
        for name, choices in (
            ("loss", tuple(LOSSES)), ("optimizer", ("sgd", "adam", "adamw")), ("schedule", ("constant", "one-cycle"))
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise OptionError(
                    "Training", f"{name} one of {', '.join(choices)}", repr(getattr(self, name))
                )
        for name in ("epochs", "batch_size", "members"):
            if getattr(self, name) < 1:
                raise OptionError("Training", f"{name} of at least 1", str(getattr(self, name)))
        if not 0 < self.learning_rate < float("inf"):
            raise OptionError("Training", "a learning_rate above 0", str(self.learning_rate))


@dataclass(frozen=True)
class TrainingRun:
    """What training gave.

    Attributes:
        members: the trained networks, each with its best weights, in eval mode.
        history: a row for each member and epoch: member, epoch (from 1), learning_rate, loss,
            valid_loss (None without validation windows), best.
        timing: a row for each row of `history`: member, epoch, seconds.
        interrupted: whether it was stopped by hand.
    """

    members: list[nn.Module]
    history: list[dict[str, Any]] = field(default_factory=list)
    timing: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False


def fit(
    network: nn.Module | Callable[[], nn.Module],
    train: Windows,
    valid: Windows | None = None,
    training: Training | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: bool | None = None,
) -> TrainingRun:
    """Train a network, or `training.members` of them, and restore each one's best weights.

    The same seed gives the same bits. An interrupt (Ctrl-C) ends training, and keeps what was best.

    Args:
        network: a module, called as `network(past)` with (batch, time, features); or a function
            without arguments that makes one, which more than one member needs.
        train: the windows to learn from.
        valid: the windows whose loss decides which weights are best; without them the last are.
        training: how to train; by default `Training()`.
        device: where.
        progress: whether to show a bar; by default where standard error is a terminal.

    Raises:
        OptionError: there are no windows, or several members are asked of one module.
        TrainingError: the loss is not finite.
    """
    training = training or Training()
    if not len(train):
        raise OptionError(
            "fit", "at least one training window", "none", "Give more rows, or shorten the window."
        )
    if isinstance(network, nn.Module):
        if training.members > 1:
            raise OptionError(
                "fit", "a function that makes a network", "a module", "Pass lambda: Network(...)."
            )
        module = network
        network = lambda: module  # noqa: E731
    run = TrainingRun([])
    interrupted = False
    with repeatable(), show_progress(training.members * training.epochs, progress) as report:
        for member in range(training.members):
            torch.manual_seed(training.seed + member)
            trained = _Member(network().to(device), train, valid, training, member, torch.device(device))
            run.members.append(trained.network)
            try:
                for row, seconds in trained.epochs():
                    run.history.append(row)
                    run.timing.append({"member": member, "epoch": row["epoch"], "seconds": seconds})
                    report(row)
            except KeyboardInterrupt:
                interrupted = True
            trained.restore()
            if interrupted:
                break
    return TrainingRun(run.members, run.history, run.timing, interrupted)


@contextmanager
def repeatable() -> Iterator[None]:
    """Leave the caller's random numbers alone, and compute on one thread: sums depend on the number of threads.

    >>> with repeatable():
    ...     torch.get_num_threads()
    1
    """
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _Member:
    """One network on its way: its optimizer, its order of batches, its best weights."""

    def __init__(
        self,
        network: nn.Module,
        train: Windows,
        valid: Windows | None,
        training: Training,
        number: int,
        device: torch.device,
    ):
        self.network, self.train, self.valid = network, train, valid
        self.training, self.number, self.device = training, number, device
        self.order = np.random.default_rng(training.seed + number)
        rate = training.learning_rate
        parameters = list(network.parameters())
        self.optimizer: torch.optim.Optimizer
        if training.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)
        elif training.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=rate)
        else:
            self.optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
        steps = training.epochs * -(-len(train) // training.batch_size)
        self.schedule = (
            torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, total_steps=steps)
            if training.schedule == "one-cycle"
            else None
        )
        self.best_loss = float("inf")
        self.best_weights = self._weights()

    def epochs(self) -> Iterator[tuple[dict[str, Any], float]]:
        """Train an epoch at a time; yield its row of the history, and the seconds it took."""
        since_best = 0
        for epoch in range(1, self.training.epochs + 1):
            start = time.perf_counter()
            loss = self._one_epoch(epoch)
            valid_loss = self._valid_loss() if self.valid is not None and len(self.valid) else None
            best = valid_loss is None or valid_loss < self.best_loss
            if best:
                self.best_loss, since_best = valid_loss if valid_loss is not None else loss, 0
                self.best_weights = self._weights()
            else:
                since_best += 1
            row = {
                "member": self.number,
                "epoch": epoch,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "loss": loss,
                "valid_loss": valid_loss,
                "best": best,
            }
            yield row, time.perf_counter() - start
            if self.training.patience is not None and since_best > self.training.patience:
                return

    def restore(self) -> None:
        """Put the best weights back where that is wanted, and end training mode."""
        if self.training.restore_best:
            self.network.load_state_dict(self.best_weights)
        self.network.eval()

    def _one_epoch(self, epoch: int) -> float:
        self.network.train()
        order = self.order.permutation(len(self.train))
        size = self.training.batch_size
        total = 0.0
        for step, start in enumerate(range(0, len(order), size)):
            index = order[start : start + size]
            self.optimizer.zero_grad()
            loss = self._loss(self.train, index)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(
                self.network.parameters(), self.training.clip_norm or float("inf")
            )
            value = loss.item()
            if not (np.isfinite(value) and bool(torch.isfinite(norm))):
                rate = self.optimizer.param_groups[0]["lr"]
                raise TrainingError(
                    f"training, member {self.number}, epoch {epoch}, step {step + 1}",
                    "a finite loss and gradient",
                    f"loss {value:g} and gradient norm {norm.item():g} at learning rate {rate:g}",
                    "Lower the learning rate, or check the data for extreme values.",
                )
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            total += value * len(index)
        return total / len(order)

    @torch.no_grad()
    def _valid_loss(self) -> float:
        assert self.valid is not None
        self.network.eval()
        size = max(self.training.batch_size, 256)
        numbers = np.arange(len(self.valid))
        parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        return sum(self._loss(self.valid, part).item() * len(part) for part in parts) / len(numbers)

    def _loss(self, windows: Windows, index: Any) -> torch.Tensor:
        batch = windows.batch(index).to(self.device)
        assert batch.target is not None
        return masked_loss(self.training.loss, self.network(batch.past), batch.target, batch.target_mask)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
