"""`fit`: members trained together, what they learn from, and what comes of it."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.windows import Samples, SequenceBatches
from unrolled.errors import InputError, OptionError, TrainingError
from unrolled.training import ranks
from unrolled.training.checkpoint import make_place
from unrolled.training.course import Course, Data, pieces_of
from unrolled.training.members import Members, each, takes_members
from unrolled.training.options import Training, TrainingRun
from unrolled.training.progress import show_progress

__all__ = ["Epoch", "fit", "repeatable"]

logger = logging.getLogger("unrolled")


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
    checkpoint_seconds: float = 10.0,
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
        callbacks: functions that are given each `Epoch`; one that returns True ends training (where members are
            trained one after another, that of the member at work).
        folder: for checkpoints, made where it is not there; None for none.
        resume: go on from the newest checkpoint in `folder`, if there is one; without it, one there is an error.
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
    t.check_use(valid is not None and len(valid) > 0)
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
        if len({id(made) for made in networks}) < t.members:
            raise OptionError(
                "fit", "a new network from each call of the function", "the same one twice", "Make it inside."
            )
        found = _Found({}, [], [], {})
        for group in _groups(networks, ranks.members(t.members), train, t):
            torch.set_rng_state(drawn[group[0]])
            course = Course([networks[m] for m in group], group, train, valid, t, torch.device(device))
            place = folder if folder is None or len(group) == t.members else folder / f"member-{group[0]}"
            if place is not None:
                place = ranks.own_place(place, course.shared)
                if ranks.first() or not course.shared:
                    make_place(place, resume)
                ranks.wait()
                if resume:
                    course.resume(place)
                ranks.wait()
            for number, rows in course.epochs(stopped, place, checkpoint_seconds):
                report(rows, course.timing[-1]["steps"])
                if any([callback(Epoch(number, rows, course.weights)) for callback in callbacks]):  # noqa: C419
                    if place is not None:
                        course.save(place)
                    break
            found.add(course)
            if stopped():
                if not course.history:
                    logger.warning("Interrupted before the end of the first epoch.")
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
        each_step = training.bptt_steps is not None and probe.answers_each_step(batch)
        for piece, _ in islice(
            pieces_of(batch, training.bptt_steps, each_step), 2
        ):  # two, to see a state carried
            probe.advance(piece) if piece.target is None else probe.step(piece)
    except InputError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        logger.warning(
            "Members are trained one after another: torch.vmap cannot take the network, as where a module of your own "
            "has dropout or a torch.nn.LSTM (%s).", reason,
        )  # fmt: skip
        return [[m] for m in numbers]
    return [numbers]


@dataclass(frozen=True)
class _Found:
    """What the groups of members have come to."""

    results: dict[int, dict[str, Tensor]]
    history: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    failures: dict[int, TrainingError]

    def add(self, course: "Course") -> None:
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
        history = sorted(history, key=lambda row: (row["epoch"], row["member"]))
        return TrainingRun(trained, history, self.timing, interrupted, texts)


def _data(given: Any) -> Data:
    if isinstance(given, tuple):
        return Samples(*(np.asanyarray(part) for part in given))
    if isinstance(given, SequenceBatches):
        if given.targets is None:
            raise OptionError("fit", "windows with targets", "windows alone", "Give targets to the data set.")
        return Samples(given.windows, given.targets)
    if not hasattr(given, "batch") or not hasattr(given, "__len__"):
        raise OptionError(
            "fit", "a tuple (sequences, targets), Samples, Windows, or what has a length and batch(index)",
            f"a {type(given).__name__}", "Pass fit(network, (x, y), valid=(x_valid, y_valid)).",
        )  # fmt: skip
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
