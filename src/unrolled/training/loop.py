"""One loop that trains the members of a stack together; what it did is a `TrainingRun`."""

import logging
import math
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.windows import Batch, Samples, SequenceBatches
from unrolled.errors import InputError, OptionError, RunFolderError, TrainingError
from unrolled.training import ranks
from unrolled.training.checkpoint import load_checkpoint, save_checkpoint
from unrolled.training.members import Members, each, takes_members
from unrolled.training.objectives import METRICS, member_losses
from unrolled.training.optimizers import Optimizer, rate_and_momentum
from unrolled.training.options import Training, TrainingRun
from unrolled.training.progress import show_progress

__all__ = ["Data", "Epoch", "fit", "repeatable"]

logger = logging.getLogger("unrolled")


class Data(Protocol):
    """What `fit` learns from: sequences that are gathered by their numbers."""

    def __len__(self) -> int:
        """How many sequences there are."""

    def batch(self, index: Any) -> Batch:
        """The sequences of these numbers."""


@dataclass(frozen=True)
class Epoch:
    """What a callback is told at the end of each epoch.

    Attributes:
        number: from 1.
        rows: of the history, one for each member that is still training.
        weights: gives the state_dict of the member of a number, as it is now.
    """

    number: int
    rows: list[dict[str, Any]]
    weights: Callable[[int], dict[str, Tensor]]


def fit(
    network: nn.Module | Callable[[], nn.Module],
    train: Any,
    valid: Any = None,
    training: Training | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: bool | None = None,
    callbacks: Sequence[Callable[[Epoch], bool | None]] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 60.0,
) -> TrainingRun:
    """Train a network, or `training.members` of them together, and restore each one's best weights.

    The same seed gives the same bits, and member m those of a run of its own with the seed + m. An interrupt
    (Ctrl-C) ends training after the step at work, and keeps what was best. Under `torchrun`, members are spread over
    the processes; a single one shares each batch among them.

    Args:
        network: a module, called as `network(past)` with (batch, time, features), and with `future`, `static` and
            `mask` where the batches have them; or a function without arguments that makes one, which more than one
            member needs.
        train: what to learn from: `Windows`, `Samples`, a tuple (sequences, targets) of arrays, what
            `timeseries_dataset_from_array` gives, or anything with a length and `batch(index)`.
        valid: what decides which weights are best; without it the last are.
        training: how to train; by default `Training()`.
        device: where.
        progress: False for silence; by default a bar where standard error is a terminal, else a line at the end.
        callbacks: functions that are given each `Epoch`; one that returns True ends training.
        folder: an existing folder for checkpoints; None for none.
        resume: go on from the newest checkpoint in `folder`, if there is one.
        checkpoint_seconds: between two checkpoints, at least.

    Raises:
        OptionError: there is nothing to learn from, or several members are asked of one module.
        ShapeError: the network's outputs have not the targets' shape.
        TrainingError: no member has a finite loss any more.
        RunFolderError: a checkpoint cannot be written, or belongs to other data or options.

    >>> import unrolled as ur
    >>> x = np.random.default_rng(0).normal(size=(64, 12, 1))
    >>> network = lambda: nn.Sequential(ur.nn.GRU(1, 8), ur.nn.Dense(8, 1))
    >>> run = fit(network, (x, x[:, 0]), training=Training(epochs=2, members=3), progress=False)
    >>> len(run.members), [row["member"] for row in run.history]
    (3, [0, 1, 2, 0, 1, 2])
    """
    t = training or Training()
    train, valid = _data(train), None if valid is None else _data(valid)
    if not len(train):
        raise OptionError(
            "fit", "at least one training window", "none", "Give more rows, or shorten the window."
        )
    if isinstance(network, nn.Module):
        if t.members > 1:
            raise OptionError(
                "fit", "a function that makes a network", "a module", "Pass lambda: Network(...)."
            )
        module = network
        network = lambda: module  # noqa: E731
    folder = None if folder is None else Path(folder)
    with repeatable(), _interruptible() as stopped, show_progress(t.epochs, progress) as report:
        networks, drawn = [], []
        for number in range(t.members):
            torch.manual_seed(t.seed + number)
            networks.append(network().to(device))
            drawn.append(torch.get_rng_state())
        found = _Found({}, [], [], {})
        for group in _groups(networks, ranks.members(t.members), train, t):
            torch.set_rng_state(drawn[group[0]])
            course = _Course([networks[m] for m in group], group, train, valid, t, torch.device(device))
            place = folder if folder is None or len(group) == t.members else folder / f"member-{group[0]}"
            if place is not None:
                place.mkdir(exist_ok=True)
                if resume:
                    course.resume(place)
            for number, rows in course.epochs(stopped, place, checkpoint_seconds):
                report(rows, course.timing[-1]["steps"])
                if any([callback(Epoch(number, rows, course.weights)) for callback in callbacks]):  # noqa: C419
                    break
            found.add(course)
            if stopped():
                break
        return found.finish(networks, stopped())


def _groups(
    networks: Sequence[nn.Module], numbers: list[int], train: Data, training: Training
) -> list[list[int]]:
    """The members that are trained together: all, or where torch.func cannot take their network one after another."""
    if len(numbers) < 2 or takes_members(networks[0]):
        return [numbers] if numbers else []
    try:
        probe = Members([networks[m] for m in numbers], numbers, training)
        batch = train.batch(np.zeros(2 * len(numbers), np.int64)).to(probe.device)
        batch = each(batch, lambda tensor: tensor.unflatten(0, (len(numbers), 2)))
        for piece, _ in islice(_pieces(batch, training.bptt_steps), 2):  # two, to see a state carried
            probe.advance(piece) if piece.target is None else probe.step(piece)
    except InputError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0][:160]
        logger.warning(
            "Members are trained one after another: torch.vmap cannot take the network (%s).", reason
        )
        return [[m] for m in numbers]
    return [numbers]


@dataclass(frozen=True)
class _Found:
    """What the groups of members have come to."""

    results: dict[int, dict[str, Tensor]]
    history: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    failures: dict[int, TrainingError]

    def add(self, course: "_Course") -> None:
        self.results.update(course.results())
        self.history.extend(course.history)
        self.timing.extend(course.timing)
        self.failures.update(course.failures)

    def finish(self, networks: Sequence[nn.Module], interrupted: bool) -> TrainingRun:
        """Put the best weights into the networks; raise where no member has any."""
        results, history, failures = ranks.collect(self.results, self.history, self.failures)
        if not results and failures:
            raise failures[min(failures)]
        for number, weights in results.items():
            networks[number].load_state_dict(weights, strict=False)
        trained = [networks[number].eval() for number in sorted(results)]
        texts = {number: str(error) for number, error in failures.items()}
        return TrainingRun(trained, history, self.timing, interrupted, texts)


def _data(given: Any) -> Data:
    if isinstance(given, tuple):
        return Samples(*(np.asanyarray(part) for part in given))
    if isinstance(given, SequenceBatches):
        if given.targets is None:
            raise OptionError("fit", "windows with targets", "windows alone", "Give targets to the data set.")
        return Samples(given.windows, given.targets)
    data: Data = given
    return data


@contextmanager
def repeatable() -> Iterator[None]:
    """Leave the caller's random numbers alone, and compute on one thread: sums depend on the number of threads.

    Our own kernels do not, and use their threads all the same.

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


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed; a second one interrupts at once."""
    pressed = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


class _Course:
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
        self.epoch, self.step, self.sums = 1, 0, [0.0] * len(numbers)
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
        self.last_checkpoint = time.monotonic()

    def epochs(
        self, stopped: Callable[[], bool], folder: Path | None, seconds: float
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Train an epoch at a time; yield its number and its rows of the history."""
        while self.epoch <= self.training.epochs and self.members.numbers:
            start = time.perf_counter()
            first = self.step
            order = np.stack([s.permutation(len(self.train)) for s in self.shuffles])
            while self.step < self.steps and self.members.numbers:
                order = self._one_step(order)
                self.step += 1
                if folder is not None and time.monotonic() - self.last_checkpoint >= seconds:
                    self.save(folder)
                if stopped():
                    return
            if not self.members.numbers:
                break
            rows, number = self._end_epoch(), self.epoch
            self.history += rows
            self.timing.append(
                {"epoch": number, "seconds": time.perf_counter() - start, "steps": self.step - first}
            )
            self._drop_stopped()
            self.epoch, self.step, self.sums = self.epoch + 1, 0, [0.0] * len(self.members.numbers)
            self.shuffled = [s.bit_generator.state for s in self.shuffles]
            yield number, rows
        if folder is not None:
            self.save(folder)

    def _one_step(self, order: Any) -> Any:
        t, members = self.training, self.members
        index = order[:, self.step * t.batch_size : (self.step + 1) * t.batch_size]
        shared = len(members.numbers) == t.members == 1 and ranks.joined()
        mine = ranks.share(index) if shared else index
        batch = self._gather(mine)
        if t.bptt_steps is not None:
            members.reset_state()
        pieces, left = list(_pieces(batch, t.bptt_steps)), list(range(len(index)))
        for number, (piece, share) in enumerate(pieces):
            if len(left) < len(index):
                piece = each(piece, lambda tensor, left=left: tensor[left])
            if piece.target is None:
                members.advance(piece)
                continue
            losses = members.step(piece)
            if shared:
                losses = ranks.add_up(losses, members.gradient, piece)
            norms = self._clip()
            values = losses.tolist()
            bad = [i for i, (v, n) in enumerate(zip(values, norms, strict=True)) if not math.isfinite(v + n)]
            for i, value in enumerate(values):
                self.sums[i] += value * share * len(index[0])
            total = t.epochs * self.steps * len(pieces)
            at = ((self.epoch - 1) * self.steps + self.step) * len(pieces) + number
            rate, momentum = rate_and_momentum(t, at, total)
            if t.schedule != "plateau":
                self.rates = [rate] * len(self.rates)
            if bad:
                for i in bad:
                    self._fail(i, values[i], norms[i])
                good = [i for i in range(len(values)) if i not in bad]
                order, left = order[good], [left[i] for i in good]
                self._keep(good)
                if not good:
                    break
            self._update(momentum)
        return order

    def _gather(self, index: Any) -> Batch:
        """The batch of each member's numbers, (members, batch, …)."""
        count, size = index.shape
        batch = self.train.batch(index.reshape(-1)).to(self.device)
        return each(batch, lambda tensor: tensor.unflatten(0, (count, size)))

    def _clip(self) -> list[float]:
        """Scale each member's gradient down to the norm allowed; return the norms as they were."""
        members, most = self.members, self.training.clip_norm
        squares = [g.flatten(1).square().sum(1) for g in members.views(members.gradient).values()]
        # added up one by one, so that a member's norm does not depend on how many there are
        norms = [math.sqrt(sum(parts)) for parts in zip(*torch.stack(squares).tolist(), strict=True)]
        if most is not None and any(most < norm < math.inf for norm in norms):
            scales = [min(1.0, most / (norm + 1e-6)) for norm in norms]
            if len(scales) == 1:
                members.gradient.mul_(scales[0])
            else:
                for view in members.views(members.gradient).values():
                    view.mul_(view.new_tensor(scales).view(-1, *[1] * (view.ndim - 1)))
        return norms

    @torch.no_grad()
    def _update(self, momentum: float) -> None:
        members, kept = self.members, self.optimizer.kept
        if len(set(self.rates)) == 1:
            self.optimizer.step([(members.flat, members.gradient, kept, self.rates[0])], momentum)
            return
        self.optimizer.step(
            [
                (p, g, k, rate)
                for i, rate in enumerate(self.rates)
                for p, g, *k in zip(*(members.rows(flat, i) for flat in (members.flat, members.gradient, *kept)), strict=True)
            ],
            momentum,
        )  # fmt: skip

    def _fail(self, i: int, loss: float, norm: float) -> None:
        """Give a member up whose loss is no number any more."""
        number = self.members.numbers[i]
        error = TrainingError(
            f"training, member {number}, epoch {self.epoch}, step {self.step + 1}",
            "a finite loss and gradient",
            f"loss {loss:g} and gradient norm {norm:g} at learning rate {self.rates[i]:g}",
            "Lower the learning rate, set clip_norm, or check the data for extreme values.",
        )
        self.failures[number] = error
        if self.training.members > 1:
            logger.warning("%s The other members go on.", error)

    def _end_epoch(self) -> list[dict[str, Any]]:
        """Look at the validation windows, and at which members have become better; a row for each."""
        t, count = self.training, len(self.members.numbers)
        measured = self._measure() if self.valid is not None and len(self.valid) else None
        rows, better = [], []
        for i, number in enumerate(self.members.numbers):
            found = {"valid_loss": None} | {f"valid_{name}": None for name in t.metrics}
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
            rows.append(row | {"loss": self.sums[i] / len(self.train)} | found | {"best": best})
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
    def _measure(self) -> dict[str, list[float]]:
        """The loss and the metrics of each member over the validation windows."""
        assert self.valid is not None
        t, count, size = self.training, len(self.members.numbers), max(self.training.batch_size, 256)
        unit = getattr(self.valid, "unit", 1.0)
        sums = {name: np.zeros(count) for name in ("loss", *t.metrics)}
        weights = 0.0
        for start in range(0, len(self.valid), size):
            numbers = np.arange(start, min(start + size, len(self.valid)))
            batch = each(
                self.valid.batch(numbers).to(self.device), lambda x: x.unsqueeze(0).expand(count, *x.shape)
            )
            self.members.reset_state()
            output, target = self.members.outputs(batch), batch.target
            assert target is not None
            sums["loss"] += len(numbers) * member_losses(
                t.loss, output, target, batch.target_mask, t.levels
            ).cpu().numpy().astype(float)  # fmt: skip
            for name in t.metrics:
                errors = METRICS[name](output, target).flatten(1).double()
                if batch.target_mask is not None:
                    counted = batch.target_mask.flatten(1)
                    errors = torch.where(counted, errors, 0).sum(1) / counted.sum(1).clamp(min=1)
                else:
                    errors = errors.mean(1)
                scale = {"mae": unit, "mse": unit**2}.get(name, 1.0)
                sums[name] += len(numbers) * scale * errors.cpu().numpy()
            weights += len(numbers)
        return {f"valid_{name}": (total / weights).tolist() for name, total in sums.items()}

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
            "sums", "shuffles", "shuffled", "best_others", "best_value", "since_best", "since_lower", "rates",
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
            return self.done[number]
        return self.members.state_dict(self.members.numbers.index(number))

    def results(self) -> dict[int, dict[str, Tensor]]:
        """The weights to end with, of each member."""
        return self.done | {number: self._result(i) for i, number in enumerate(self.members.numbers)}

    def _fingerprint(self) -> str:
        """What a checkpoint must agree on with the training that goes on from it."""
        shapes = {name: list(shape) for name, shape in self.members.shapes.items()}
        first = self.train.batch(np.array([0, len(self.train) - 1])).past
        numbers = zlib.crc32(first.cpu().contiguous().numpy().tobytes())
        return repr((asdict(self.training), shapes, len(self.train), len(self.valid or ()), numbers))

    def save(self, folder: Path) -> None:
        """Write a checkpoint: all that is needed to go on from this step."""
        members = self.members
        tensors = {"flat": members.flat, "best": self.best, "torch": torch.get_rng_state()}
        tensors |= {f"kept.{i}": kept for i, kept in enumerate(self.optimizer.kept)}
        tensors |= {f"generator.{i}": g.get_state() for i, g in enumerate(members.generators)}
        tensors |= {f"other.{name}": t for name, t in members.others.items()}
        tensors |= {
            f"best.{i}.{name}": t for i, other in enumerate(self.best_others) for name, t in other.items()
        }
        tensors |= {f"done.{m}.{name}": t for m, weights in self.done.items() for name, t in weights.items()}
        names = ("epoch", "step", "sums", "shuffled", "best_value", "since_best", "since_lower", "rates", "history",
                 "timing")  # fmt: skip
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
        if facts.pop("of") != self._fingerprint():
            raise RunFolderError(
                str(folder), "a checkpoint of this training", "one of other data, options or networks",
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


def _pieces(batch: Batch, steps: int | None) -> Iterator[tuple[Batch, float]]:
    """The pieces in time of a batch, and the share of its loss that each has.

    Where there is a target at each step, each piece has its own; else the last piece has it, and those before
    only carry the state.
    """
    length = batch.past.shape[2]
    if steps is None or steps >= length:
        yield batch, 1.0
        return
    assert batch.target is not None
    each_step = batch.target.ndim > 2 and batch.target.shape[2] == length
    for start in range(0, length, steps):
        part = slice(start, start + steps)
        piece = replace(
            batch, past=batch.past[:, :, part], mask=None if batch.mask is None else batch.mask[:, :, part]
        )
        if each_step:
            piece = replace(
                piece, target=batch.target[:, :, part],
                target_mask=None if batch.target_mask is None else batch.target_mask[:, :, part],
            )  # fmt: skip
        elif start + steps < length:
            piece = replace(piece, target=None)
        yield piece, (piece.past.shape[2] / length if each_step else float(start + steps >= length))
