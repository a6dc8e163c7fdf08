"""The loop: members on their way through steps and epochs, and all that is needed to go on from any step."""

import logging
import math
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.windows import Batch, Samples, Windows
from unrolled.errors import RunFolderError, TrainingError
from unrolled.training import ranks
from unrolled.training.checkpoint import load_checkpoint, save_checkpoint
from unrolled.training.members import NAMES, Members, each
from unrolled.training.objectives import METRICS, member_losses
from unrolled.training.optimizers import Optimizer, rate_and_momentum
from unrolled.training.options import Training

__all__ = ["Course", "Data", "OrderedData", "pieces_of"]

logger = logging.getLogger("unrolled")


class Data(Protocol):
    """What `fit` learns from: sequences that are gathered by their numbers."""

    def __len__(self) -> int:
        """How many sequences there are."""

    def batch(self, index: Any) -> Batch:
        """The sequences of these numbers."""


class OrderedData(Data, Protocol):
    """Data that says in which order it is read, as where batches are to be of one length."""

    def orders(self, shuffles: Sequence[np.random.Generator], epoch: int, batch_size: int) -> Any:
        """The order of an epoch (from 1) for each member, whole numbers of shape (members, length).

        A member's own depends on its generator alone, not on who else is there.
        """


class Course:
    """Members on their way through the epochs, and all that is needed to go on from any step.

    What is of one member stands in lists, in the order of `members.numbers`.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        numbers: Sequence[int],
        train: Data,
        valid: Data | None,
        training: Training,
        device: torch.device,
    ):
        self.train, self.valid, self.training, self.device = train, valid, training, device
        self.members = Members(networks, numbers, training)
        self.optimizer = Optimizer(training, self.members.flat)
        self.steps = -(-len(train) // training.batch_size)
        self.epoch, self.step = 1, 0
        self.sums, self.weights_seen = [0.0] * len(numbers), [0.0] * len(numbers)
        self.shuffles = [np.random.default_rng(training.seed + number) for number in numbers]
        self.shuffled = [s.bit_generator.state for s in self.shuffles]  # as this epoch began
        self.best = self.members.flat.clone()
        self.best_others: list[dict[str, Tensor]] = [{} for _ in numbers]
        self.best_value, self.since_best, self.rates = (
            [value] * len(numbers) for value in (math.inf, 0, training.learning_rate)
        )
        self.since_lower = [0] * len(numbers)
        self.done: dict[int, dict[str, Tensor]] = {}
        self.history: list[dict[str, Any]] = []
        self.timing: list[dict[str, Any]] = []
        self.failures: dict[int, TrainingError] = {}
        self.takes_tables = isinstance(train, Samples | Windows)  # of numbers: others take one row of them
        self.shared = training.members == 1 and ranks.joined()  # whether processes share each batch
        self.each_step: bool | None = None  # whether there is a target at each step
        self.last_checkpoint = time.monotonic()

    def epochs(
        self, stopped: Callable[[], bool], folder: Path | None, seconds: float
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Train an epoch at a time; yield its number and its rows of the history."""
        while self.epoch <= self.training.epochs and self.members.numbers:
            start = time.perf_counter()
            first = self.step
            order = self._orders()
            while self.step < self.steps and self.members.numbers:
                order = self._one_step(order)
                self.step += 1
                enough = stopped()
                if folder is not None and (enough or time.monotonic() - self.last_checkpoint >= seconds):
                    self.save(folder)
                if enough:
                    return
            self._give_up_infinite()
            if not self.members.numbers:
                break
            rows, number = self._end_epoch(), self.epoch
            self.history += rows
            self.timing.append(
                {"epoch": number, "seconds": time.perf_counter() - start, "steps": self.step - first}
            )
            self._drop_stopped()
            self.epoch, self.step = self.epoch + 1, 0
            self.sums, self.weights_seen = ([0.0] * len(self.members.numbers) for _ in range(2))
            self.shuffled = [s.bit_generator.state for s in self.shuffles]
            yield number, rows
        if folder is not None:
            self.save(folder)

    def _orders(self) -> Any:
        """The order in which each member reads in this epoch, (members, sequences)."""
        if hasattr(self.train, "orders"):
            ordered = cast(OrderedData, self.train)
            return ordered.orders(self.shuffles, self.epoch, self.training.batch_size)
        return np.stack([s.permutation(len(self.train)) for s in self.shuffles])

    def _one_step(self, order: Any) -> Any:
        t, members = self.training, self.members
        index = order[:, self.step * t.batch_size : (self.step + 1) * t.batch_size]
        mine = ranks.share(index) if self.shared else index
        batch = self._gather(mine)
        pieces = [(batch, 1.0)]
        if t.bptt_steps is not None:
            if self.each_step is None:
                self.each_step = members.answers_each_step(batch)
            members.reset_state()
            pieces = list(pieces_of(batch, t.bptt_steps, bool(self.each_step)))
        left = list(range(len(index)))
        for number, (piece, share) in enumerate(pieces):
            if len(left) < len(index):
                piece = each(piece, itemgetter(left))
            if piece.target is None:
                members.advance(piece)
                continue
            values, norms = members.step(piece)
            size = float(len(index[0]))
            if self.shared:
                values, size = ranks.add_up(values, members.gradient, piece)
                norms = members.norms()
            self._clip(norms)
            bad = [i for i, (v, n) in enumerate(zip(values, norms, strict=True)) if not math.isfinite(v + n)]
            for i, value in enumerate(values):
                weight = share * size
                if piece.target_mask is not None and not self.shared:
                    weight *= piece.target_mask[i].double().mean().item()
                self.sums[i] += value * weight
                self.weights_seen[i] += weight
            total = t.epochs * self.steps * len(pieces)
            at = ((self.epoch - 1) * self.steps + self.step) * len(pieces) + number
            rate, momentum = rate_and_momentum(t, at, total)
            if t.schedule != "plateau":
                self.rates = [rate] * len(self.rates)
            if bad:
                for i in bad:
                    self._fail(
                        i,
                        self.step + 1,
                        "a finite loss and gradient",
                        f"loss {values[i]:g} and gradient norm {norms[i]:g}",
                    )
                good = [i for i in range(len(values)) if i not in bad]
                order, left = order[good], [left[i] for i in good]
                self._keep(good)
                if not good:
                    break
            self._update(momentum)
        return order

    def _gather(self, index: Any) -> Batch:
        """The batch of each member's numbers, (members, batch, …)."""
        if self.takes_tables:
            batch = self.train.batch(index)
        else:
            batch = each(self.train.batch(index.reshape(-1)), lambda tensor: tensor.unflatten(0, index.shape))
        return batch if self.device.type == "cpu" else batch.to(self.device)

    def _clip(self, norms: list[float]) -> None:
        """Scale each member's gradient down to the norm allowed."""
        most = self.training.clip_norm
        if most is None or not any(most < norm < math.inf for norm in norms):
            return
        scales = torch.tensor(
            [min(1.0, most / (norm + 1e-6)) for norm in norms], dtype=self.members.flat.dtype
        )
        for view in self.members.views(self.members.gradient).values():
            view.mul_(scales.to(self.device).view(-1, *[1] * (view.ndim - 1)))

    def _update(self, momentum: float) -> None:
        members, kept = self.members, self.optimizer.kept
        if len(set(self.rates)) == 1:
            self.optimizer.step([(members.flat, members.gradient, kept, self.rates[0])], momentum)
            return
        parts = []
        for i, rate in enumerate(self.rates):
            rows = [members.rows(flat, i) for flat in (members.flat, members.gradient, *kept)]
            parts += [(p, g, k, rate) for p, g, *k in zip(*rows, strict=True)]
        self.optimizer.step(parts, momentum)

    def _fail(self, i: int, step: int, expected: str, got: str) -> None:
        """Give a member up that has numbers no more."""
        number = self.members.numbers[i]
        error = TrainingError(
            f"training, member {number}, epoch {self.epoch}, step {step}",
            expected,
            f"{got} at learning rate {self.rates[i]:g}",
            "Lower the learning rate, set clip_norm, or check the data for extreme values.",
        )
        self.failures[number] = error
        if self.training.members > 1:
            logger.warning("%s The other members go on.", error)

    def _give_up_infinite(self) -> None:
        """Give members up whose last step has left weights that are no numbers."""
        if bool(torch.isfinite(self.members.flat).all()):
            return
        rows = [self.members.rows(self.members.flat, i) for i in range(len(self.members.numbers))]
        bad = [i for i, parts in enumerate(rows) if not all(bool(torch.isfinite(p).all()) for p in parts)]
        for i in bad:
            self._fail(i, self.step, "finite weights", "infinite ones")
        self._keep([i for i in range(len(rows)) if i not in bad])

    def _end_epoch(self) -> list[dict[str, Any]]:
        """Look at the validation windows, and at which members have become better; a row for each."""
        t, count = self.training, len(self.members.numbers)
        measured = self._measure() if self.valid is not None and len(self.valid) else None
        rows, better = [], []
        for i, number in enumerate(self.members.numbers):
            found: dict[str, Any] = {"valid_loss": None} | {f"valid_{name}": None for name in t.metrics}
            if measured is not None:
                found = {name: values[i] for name, values in measured.items()}
            value = found[t.monitor]
            value = value if value is None or t.falls() else -value
            best = value is None or value < self.best_value[i]
            self.since_best[i] = 0 if best else self.since_best[i] + 1
            if best:
                self.best_value[i] = math.inf if value is None else value
                better.append(i)
            row = {"member": number, "epoch": self.epoch, "learning_rate": self.rates[i]}
            rows.append(
                row | {"loss": self.sums[i] / max(self.weights_seen[i], 1e-300)} | found | {"best": best}
            )
            if t.schedule == "plateau":
                self.since_lower[i] = 0 if best else self.since_lower[i] + 1
                if self.since_lower[i] > t.plateau_patience:
                    self.rates[i], self.since_lower[i] = self.rates[i] / 10, 0
        for i in better:
            self.best_others[i] = self.members.others_of(i)
        if len(better) == count:
            self.best.copy_(self.members.flat)
        else:
            for i in better:
                for to, row_now in zip(
                    self.members.rows(self.best, i), self.members.rows(self.members.flat, i), strict=True
                ):
                    to.copy_(row_now)
        return rows

    @torch.no_grad()
    def _measure(self) -> dict[str, list[float]] | None:
        """The loss and the metrics of each member over the validation windows."""
        assert self.valid is not None
        t, count, size = self.training, len(self.members.numbers), max(self.training.batch_size, 256)
        unit = getattr(self.valid, "unit", 1.0)
        sums = {name: np.zeros(count) for name in ("loss", *t.metrics)}
        total = 0
        for start in range(0, len(self.valid), size):
            numbers = np.arange(start, min(start + size, len(self.valid)))
            batch = self.valid.batch(numbers).to(self.device)
            assert batch.target is not None
            counted = batch.target.numel() if batch.target_mask is None else int(batch.target_mask.sum())
            total += counted
            batch = each(batch, lambda x: x.unsqueeze(0).expand(count, *x.shape))
            self.members.reset_state()
            output, target = self.members.outputs(batch), batch.target
            assert target is not None
            losses = member_losses(
                t.loss, output, target, batch.target_mask, t.loss_numbers, batch.target_weight
            )
            sums["loss"] += counted * losses.cpu().numpy().astype(float)
            for name in t.metrics:
                errors = METRICS[name](output, target).double()
                if batch.target_mask is not None:
                    errors = errors.where(batch.target_mask, 0)
                scale = {"mae": unit, "mse": unit**2}.get(name, 1.0)
                sums[name] += scale * errors.flatten(1).sum(1).cpu().numpy()
        return (
            {f"valid_{name}": (values / max(total, 1)).tolist() for name, values in sums.items()}
            if total
            else None
        )

    def _drop_stopped(self) -> None:
        """Let members go that have not become better for too long: they cost nothing any more."""
        patience = self.training.patience
        stay = [i for i, since in enumerate(self.since_best) if patience is None or since <= patience]
        if len(stay) < len(self.since_best):
            for i in set(range(len(self.since_best))) - set(stay):
                self.done[self.members.numbers[i]] = self._result(i)
            self._keep(stay)

    def _result(self, i: int) -> dict[str, Tensor]:
        restore = self.training.restore_best and math.isfinite(self.best_value[i])
        return (
            self.members.state_dict(i, self.best) | self.best_others[i]
            if restore
            else self.members.state_dict(i)
        )

    def _keep(self, index: Sequence[int]) -> None:
        """Go on with these members."""
        for name in (
            "sums", "weights_seen", "shuffles", "shuffled", "best_others", "best_value", "since_best", "since_lower",
            "rates",
        ):  # fmt: skip
            values = getattr(self, name)
            setattr(self, name, [values[i] for i in index])
        if not index:
            self.members.numbers = []
            return
        cut = self.members.keep(index)
        self.best, self.optimizer.kept = cut(self.best), [cut(kept) for kept in self.optimizer.kept]

    def weights(self, number: int) -> dict[str, Tensor]:
        """The state_dict of a member, as it is now."""
        if number in self.done:
            return {name: tensor.clone() for name, tensor in self.done[number].items()}
        return self.members.state_dict(self.members.numbers.index(number))

    def results(self) -> dict[int, dict[str, Tensor]]:
        """The weights to end with, of each member."""
        return self.done | {number: self._result(i) for i, number in enumerate(self.members.numbers)}

    def _fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree on with the training that goes on from it; more epochs may be added."""
        found = {name: repr(value) for name, value in asdict(self.training).items()}
        if self.training.schedule in ("constant", "plateau"):
            del found["epochs"]
        return found | {
            "parameters": repr({name: tuple(shape) for name, shape in self.members.shapes.items()}),
            "network": repr(self.members.networks[0]),
            "data": _sum_of(self.train),
            "validation data": _sum_of(self.valid) if self.valid is not None and len(self.valid) else "",
            "processes": repr(ranks.count()),
        }

    def save(self, folder: Path) -> None:
        """Write a checkpoint: all that is needed to go on from this step."""
        if self.shared and not ranks.first():
            return
        members = self.members
        tensors = {"flat": members.flat, "best": self.best, "torch": torch.get_rng_state()}
        tensors |= {f"kept.{i}": kept for i, kept in enumerate(self.optimizer.kept)}
        tensors |= {f"generator.{i}": g.get_state() for i, g in enumerate(members.generators)}
        tensors |= {f"other.{name}": t for name, t in members.others.items()}
        tensors |= {
            f"best.{i}.{name}": t for i, other in enumerate(self.best_others) for name, t in other.items()
        }
        tensors |= {f"done.{m}.{name}": t for m, weights in self.done.items() for name, t in weights.items()}
        names = ("epoch", "step", "sums", "weights_seen", "shuffled", "best_value", "since_best", "since_lower",
                 "rates", "history", "timing")  # fmt: skip
        facts = {name: getattr(self, name) for name in names}
        facts |= {
            "numbers": members.numbers,
            "steps": self.optimizer.steps,
            "product": self.optimizer.product,
        }
        facts |= {"failures": {str(m): error.args for m, error in self.failures.items()}}
        save_checkpoint(
            folder, {name: t.contiguous().cpu() for name, t in tensors.items()}, facts | {"of": self._fingerprint()}
        )  # fmt: skip
        self.last_checkpoint = time.monotonic()

    def resume(self, folder: Path) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            RunFolderError: it belongs to other data, options or networks.
        """
        found = load_checkpoint(folder)
        if found is None:
            return
        tensors, facts = found
        of, mine = facts.pop("of"), self._fingerprint()
        others = [name for name in mine if of.get(name) != mine[name]]
        if others or of.keys() != mine.keys():
            raise RunFolderError(
                str(folder), "a checkpoint of this training", f"one of another {', '.join(others) or 'kind'}",
                "Start anew without resume, or give what it was started with.",
            )  # fmt: skip
        best: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            if name.startswith("done."):
                _, number, path = name.split(".", 2)
                self.done.setdefault(int(number), {})[path] = tensor
            if name.startswith("best."):
                best[name.removeprefix("best.")] = tensor
        all_numbers, numbers = self.members.numbers, facts.pop("numbers")
        self._keep([all_numbers.index(number) for number in numbers])
        self.optimizer.steps, self.optimizer.product = facts.pop("steps"), facts.pop("product")
        self.failures = {int(number): TrainingError(*args) for number, args in facts.pop("failures").items()}
        for name, value in facts.items():
            setattr(self, name, value)
        self.best_others = [
            {path.partition(".")[2]: t for path, t in best.items() if path.partition(".")[0] == str(i)}
            for i in range(len(numbers))
        ]
        for shuffle, state in zip(self.shuffles, self.shuffled, strict=False):
            shuffle.bit_generator.state = state
        if numbers:
            members = self.members
            members.flat.copy_(tensors["flat"])
            self.best.copy_(tensors["best"])
            for i, kept in enumerate(self.optimizer.kept):
                kept.copy_(tensors[f"kept.{i}"])
            for i, generator in enumerate(members.generators):
                generator.set_state(tensors[f"generator.{i}"])
            for name, other in members.others.items():
                other.copy_(tensors[f"other.{name}"])
        torch.set_rng_state(tensors["torch"])


def _sum_of(data: Data) -> str:
    """A sum over some of the sequences, which differs where they do."""
    some = data.batch(np.linspace(0, len(data) - 1, 256).astype(np.int64))
    total = 0
    for name in NAMES:
        tensor = getattr(some, name)
        total = zlib.crc32(b"" if tensor is None else tensor.cpu().contiguous().numpy().tobytes(), total)
    return f"{len(data)}, {total}"


def pieces_of(batch: Batch, steps: int | None, each_step: bool) -> Iterator[tuple[Batch, float]]:
    """The pieces in time of a batch, and the share of its loss that each has.

    With a target at `each_step`, each piece has its own; else the last piece has it, and those before only carry the
    state.
    """
    length = batch.past.shape[2]
    if steps is None or steps >= length:
        yield batch, 1.0
        return
    assert batch.target is not None
    for start in range(0, length, steps):
        part = slice(start, start + steps)
        piece = replace(
            batch, past=batch.past[:, :, part], mask=None if batch.mask is None else batch.mask[:, :, part]
        )
        if each_step:
            piece = replace(
                piece, target=batch.target[:, :, part],
                target_mask=None if batch.target_mask is None else batch.target_mask[:, :, part],
                target_weight=None if batch.target_weight is None else batch.target_weight[:, :, part],
            )  # fmt: skip
        elif start + steps < length:
            piece = replace(piece, target=None)
        yield piece, (piece.past.shape[2] / length if each_step else float(start + steps >= length))
