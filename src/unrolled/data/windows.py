"""Windows over a table: what a network reads, and what it should have said."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.data.calendar_rows import rows_between
from unrolled.data.scaling import Power, Scaler
from unrolled.errors import OptionError, ShapeError

if TYPE_CHECKING:
    import torch

    from unrolled.data.features import Features
    from unrolled.data.table import Table

__all__ = ["Batch", "Samples", "SequenceBatches", "Windows", "make_windows", "timeseries_dataset_from_array"]


@dataclass(frozen=True)
class Batch:
    """All that passes between data and training; what a task does not have is None.

    Attributes:
        past: (batch, time, features), what is known up to the origin.
        future: (batch, horizon, known features), what is known of the steps to forecast.
        static: (batch, features), what does not change with time.
        mask: bool (batch, time), False where a step of `past` is to be skipped.
        target: (batch, horizon, targets), or another shape for other work.
        target_mask: bool, of `target`'s shape, False where an error is not to be counted.
        target_weight: of `target`'s shape, what its loss is multiplied by; the mean stays that over outputs.
    """

    past: "torch.Tensor"
    future: "torch.Tensor | None" = None
    static: "torch.Tensor | None" = None
    mask: "torch.Tensor | None" = None
    target: "torch.Tensor | None" = None
    target_mask: "torch.Tensor | None" = None
    target_weight: "torch.Tensor | None" = None

    def to(self, device: "torch.device | str") -> "Batch":
        """Return the batch on `device`."""
        moved: dict[str, Any] = {}
        for name in (one.name for one in fields(self)):
            tensor = getattr(self, name)
            moved[name] = None if tensor is None else tensor.to(device)
        return Batch(**moved)


@dataclass(frozen=True)
class Windows:
    """Windows of `length` rows and the `horizon` rows after each, gathered from one array by index.

    Series stand one after the other; one that is short may begin with padding, and after the last row of each
    may stand what is known ahead of it.

    Attributes:
        values: (rows, features), float32: what the windows are cut from; the targets come first.
        observed: (rows, targets), bool, False where a target's value was filled in; or (rows,) for a single
            target without an axis of its own.
        origins: (windows,), the row of each window's last step.
        length: steps in a window.
        horizon: steps after the origin that are to be forecast.
        scaler: by which the rows of each series were scaled, (series, targets + observed).
        power: what the targets went through before; None for nothing.
        known: (rows, features), float32: what is known of each row beforehand; None where nothing is.
        static: (series, features), float32; None where nothing is told of series.
        mask: (rows,), bool, False in padding; None where there is none.
        owner: (rows,), the number of each row's series.
        times: (rows,), of each row.
        every_step: whether the targets are those after every step of the window, not of the last one alone.
    """

    values: NDArray[np.float32]
    observed: NDArray[np.bool_]
    origins: NDArray[np.int64]
    length: int
    horizon: int
    owner: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    times: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.int64))
    scaler: Scaler = field(default_factory=lambda: Scaler(np.zeros((1, 1)), np.ones((1, 1))))
    power: Power | None = None
    known: NDArray[np.float32] | None = None
    static: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    every_step: bool = False

    def __post_init__(self) -> None:
        if not len(self.owner):
            object.__setattr__(self, "owner", np.zeros(len(self.values), np.int64))
        if not len(self.times):
            object.__setattr__(self, "times", np.arange(len(self.values)))

    @classmethod
    def of(
        cls,
        table: "Table",
        features: "Features",
        length: int,
        horizon: int,
        first: ArrayLike | None = None,
        stop: ArrayLike | None = None,
        *,
        scaler: Scaler | None = None,
        ahead: "Table | None" = None,
        shortest: int | None = None,
    ) -> "Windows":
        """Return the windows of `table` whose forecast rows lie between the rows `first` and `stop` of each series.

        Their inputs may reach back before `first`. A window never ends on a filled gap: the value
        there was drawn from rows after it. Raises nothing where no window fits: the result is empty.

        A step of a window has the targets, the observed columns, and what is known of the step after it.

        Args:
            table: of one or many series.
            features: how columns become numbers.
            length: steps in a window.
            horizon: steps after it.
            first: (series,), the first row that may be forecast, counted from the series' own start; by default any.
            stop: (series,), the row after the last that may be forecast, likewise.
            scaler: of the table's series; by default `features.of(table)`.
            ahead: what `known_ahead` returned: the only window of each series is then that of its last row.
            shortest: real steps of the first window of a series with fewer than `length` + 2 · `horizon` rows, which
                is padded before its start by its first value; by default nothing is padded.
        """
        scaler = features.of(table) if scaler is None else scaler
        targets, series = len(table.targets), len(table.names)
        rows = np.diff(table.starts)
        front = np.zeros(series, np.int64)
        if shortest is not None:
            short = (rows >= shortest) & (rows < length + (0 if ahead is not None else 2 * horizon))
            front[short] = max(length - shortest, 0)
        back = horizon if ahead is not None else 0
        values, known = features.past(table, scaler), features.known_ahead(table)
        observed, owner, times = table.observed[:, :targets], table.owner, table.times
        mask, starts = None, table.starts[:-1].copy()
        if back or front.any():
            place = rows_between(table.starts[:-1] - front, table.starts[1:])
            owner = np.repeat(np.arange(series), rows + front)
            taken = np.maximum(place, table.starts[owner])
            if front.any():
                mask = place >= table.starts[owner]
            values, known, observed, times = values[taken], known[taken], observed[taken], table.times[taken]
            if ahead is not None:
                order = np.argsort(np.concatenate([owner, ahead.owner]), kind="stable")
                owner = np.concatenate([owner, ahead.owner])[order]
                more = np.zeros((len(ahead), values.shape[1]), np.float32)
                values = np.concatenate([values, more])[order]
                known = np.concatenate([known, features.known_ahead(ahead)])[order]
                observed = np.concatenate([observed, np.zeros((len(ahead), targets), bool)])[order]
                times = np.concatenate([times, ahead.times])[order]
                mask = None if mask is None else np.concatenate([mask, np.ones(len(ahead), bool)])[order]
            starts = np.cumsum(rows + front + back) - (rows + front + back)
        begin = starts + front  # the first real row
        if ahead is not None:
            origins = (begin + rows - 1)[begin + rows - starts >= length]
        else:
            low = np.maximum(starts + length - 1, begin + _rows(first, 0) - 1)
            origins = rows_between(low, begin + np.minimum(_rows(stop, rows), rows) - horizon)
            origins = origins[observed[origins].all(axis=1)]
        tomorrow = np.append(known[1:], known[-1:], axis=0)[: len(values)]
        return cls(
            np.concatenate([values, tomorrow], axis=1),
            observed,
            origins,
            length,
            horizon,
            owner,
            times,
            scaler,
            features.power,
            known if known.shape[1] else None,
            features.statics(table),
            mask,
        )

    def __len__(self) -> int:
        return len(self.origins)

    def take(self, numbers: Any) -> "Windows":
        """Return the windows of the given numbers, or of a slice."""
        return replace(self, origins=self.origins[numbers])

    @property
    def pasts(self) -> NDArray[np.float32]:
        """All targets in each window, (windows, length, targets); a copy."""
        targets = self.values[:, : self.observed.shape[1]]
        return make_windows(targets, self.length)[self.origins - (self.length - 1)]

    @property
    def targets(self) -> NDArray[np.float32]:
        """The targets of all windows, (windows, horizon, targets); a copy."""
        return self.values[(self._ahead(self.origins), *self._own[1:])]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which `targets` were observed, (windows, horizon, targets); a copy."""
        return self.observed[self._ahead(self.origins)]

    @property
    def unit(self) -> float:
        """What one of the targets' numbers is in the units of the data, on average."""
        return float(self.scaler.scale[(slice(None), *self._own[1:])].mean())

    def in_units(self, scaled: NDArray[Any]) -> NDArray[np.float64]:
        """Return (windows, horizon, targets) in the units of the data, from scaled numbers."""
        targets = self.observed.shape[1]
        mean, scale = (part[self.series, None, :targets] for part in (self.scaler.mean, self.scaler.scale))
        units = np.asarray(scaled, np.float64) * scale + mean
        return units if self.power is None else self.power.inverse(units)

    def scaled(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `in_units`' argument from its result."""
        targets = self.observed.shape[1]
        if self.power is not None:
            units = self.power.transform(units.reshape(-1, targets)).reshape(units.shape)
        mean, scale = (part[self.series, None, :targets] for part in (self.scaler.mean, self.scaler.scale))
        return np.asarray((units - mean) / scale)

    @property
    def series(self) -> NDArray[np.int64]:
        """The number of each window's series, (windows,)."""
        return self.owner[self.origins]

    @property
    def ahead_times(self) -> NDArray[Any]:
        """The times that are forecast, (windows, horizon)."""
        return self.times[self._ahead(self.origins)]

    @property
    def clock(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The ranks of the times at which windows end, (windows,), and their targets are known, (windows, horizon)."""
        times = np.unique(self.times)
        return np.searchsorted(times, self.times[self.origins]), np.searchsorted(times, self.ahead_times)

    def inputs(self, index: NDArray[np.int64]) -> Batch:
        """Return what is known at the origins of the windows of the given numbers, as tensors."""
        import torch

        origins = self.origins[index]
        begins = origins - (self.length - 1)
        known = None if self.known is None else torch.from_numpy(self.known[self._ahead(origins)])
        static = None if self.static is None else torch.from_numpy(self.static[self.owner[origins]])
        mask = None if self.mask is None else torch.from_numpy(make_windows(self.mask, self.length)[begins])
        return Batch(torch.from_numpy(self._view[begins]), known, static, mask)

    def batch(self, index: NDArray[np.int64]) -> Batch:
        """Return the windows of the given numbers as tensors, in the shape of `index`."""
        import torch

        origins = self.origins[index]
        if self.every_step:
            origins = origins[..., None] + np.arange(1 - self.length, 1)
        ahead = self._ahead(origins)
        counted = self.observed[ahead]
        if self.every_step and self.mask is not None:
            counted &= self.mask[origins][(..., *[None] * self.observed.ndim)]
        return replace(
            self.inputs(index),
            target=torch.from_numpy(self.values[(ahead, *self._own[1:])]),
            target_mask=None if counted.all() else torch.from_numpy(counted),
        )

    @property
    def _own(self) -> tuple[Any, ...]:
        """Where the targets are on the axis of features."""
        return (..., 0) if self.observed.ndim == 1 else (..., slice(self.observed.shape[1]))

    def _ahead(self, origins: NDArray[np.int64]) -> NDArray[np.int64]:
        return origins[..., None] + np.arange(1, self.horizon + 1)

    @cached_property
    def _view(self) -> NDArray[np.float32]:
        return make_windows(self.values, self.length)


def _rows(given: ArrayLike | None, default: Any) -> Any:
    return default if given is None else np.asarray(given, np.int64)


@dataclass(frozen=True)
class Samples:
    """Sequences with their targets, gathered by index: arrays in memory, views of one, or `numpy.memmap`.

    Attributes:
        past: (n, time, features), or whatever else the network reads.
        target: (n, …): numbers, or whole numbers for classes.
        mask: bool (n, time), False where a step is to be skipped.
        target_mask: bool, of `target`'s shape, False where an error is not to be counted.
        unit: what one of the target's numbers is in the units of the data.

    Raises:
        ShapeError: the arrays have not the same length.

    >>> Samples(np.zeros((5, 10, 2)), np.zeros((5, 1))).batch(np.array([0, 3])).past.shape
    torch.Size([2, 10, 2])
    """

    past: NDArray[Any]
    target: NDArray[Any]
    mask: NDArray[np.bool_] | None = None
    target_mask: NDArray[np.bool_] | None = None
    unit: float = 1.0

    def __post_init__(self) -> None:
        lengths = {f.name: len(a) for f in fields(self)[:4] if (a := getattr(self, f.name)) is not None}
        if len(set(lengths.values())) > 1:
            got = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise ShapeError("Samples", "arrays of one length", got, "Give a target for each sequence.")

    def __len__(self) -> int:
        return len(self.past)

    def batch(self, index: NDArray[np.int64]) -> Batch:
        """Return the sequences of the given numbers as tensors, in the shape of `index`: float32, int64 or bool."""
        mask = None if self.mask is None else _tensor(self.mask[index])
        counted = None if self.target_mask is None else _tensor(self.target_mask[index])
        return Batch(_tensor(self.past[index]), None, None, mask, _tensor(self.target[index]), counted)


def _tensor(array: NDArray[Any]) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.ascontiguousarray(array, dtype=_KINDS.get(array.dtype.kind)))


_KINDS = {"f": np.float32, "i": np.int64, "u": np.int64}


def make_windows(
    array: ArrayLike, length: int, *, horizon: int = 0, stride: int = 1, sampling_rate: int = 1
) -> NDArray[Any]:
    """Return every window of `length` rows as a view, (windows, length, features).

    Args:
        array: (rows, features), or (rows,) for windows of (windows, length).
        length: steps in a window.
        horizon: rows to leave after each window, for its targets.
        stride: rows from one window's start to the next one's.
        sampling_rate: rows from one step of a window to the next.

    Raises:
        ShapeError: `array` has fewer rows than one window needs, or no rows at all.
        OptionError: a number is out of its range.

    >>> make_windows(np.arange(10).reshape(5, 2), 3).shape
    (3, 3, 2)
    """
    rows = np.asarray(array)
    for name, value, least in (
        ("length", length, 1), ("horizon", horizon, 0), ("stride", stride, 1), ("sampling_rate", sampling_rate, 1)
    ):  # fmt: skip
        if value < least:
            raise OptionError("make_windows", f"{name} of at least {least}", str(value))
    span = (length - 1) * sampling_rate + 1
    if rows.ndim == 0 or len(rows) < span + horizon:
        got = "a number" if rows.ndim == 0 else str(len(rows))
        raise ShapeError("make_windows", f"at least {span + horizon} rows", got, "Shorten the window.")
    view = np.lib.stride_tricks.sliding_window_view(rows, span, axis=0)
    return np.moveaxis(view, -1, 1)[: len(rows) - span - horizon + 1 : stride, ::sampling_rate]


@dataclass(frozen=True)
class SequenceBatches:
    """Batches of (windows, targets), or of windows alone; each pass over it starts anew."""

    windows: NDArray[Any]
    targets: NDArray[Any] | None
    batch_size: int
    shuffle: bool
    generator: np.random.Generator

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        import torch

        order = (
            self.generator.permutation(len(self.windows)) if self.shuffle else np.arange(len(self.windows))
        )
        for start in range(0, len(order), self.batch_size):
            index = order[start : start + self.batch_size]
            inputs = torch.from_numpy(self.windows[index])
            yield inputs if self.targets is None else (inputs, torch.from_numpy(self.targets[index]))


def timeseries_dataset_from_array(
    data: ArrayLike,
    targets: ArrayLike | None,
    sequence_length: int,
    *,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int | None = None,
) -> SequenceBatches:
    """Return batches as Keras' function of this name: `targets[i]` belongs to the window that starts at `i`.

    Args:
        data: (rows, features), or (rows,) for windows of (batch, sequence_length).
        targets: (rows, …), or None for windows alone. A window whose number exceeds them is left out.
        sequence_length: steps in a window.
        sequence_stride: rows from one window's start to the next one's.
        sampling_rate: rows from one step of a window to the next.
        batch_size: windows in a batch; the last one may be smaller.
        shuffle: a new order in each pass, repeatable with `seed`.
        seed: for `shuffle`.

    Raises:
        ShapeError: no window fits into `data`, or there are no targets.

    Source: `keras.utils.timeseries_dataset_from_array`.

    >>> batches = timeseries_dataset_from_array([0.0, 1.0, 2.0, 3.0, 4.0], [3.0, 4.0], 3, batch_size=8)
    >>> [(x.tolist(), y.tolist()) for x, y in batches]
    [([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [3.0, 4.0])]
    """
    if batch_size < 1:
        raise OptionError("timeseries_dataset_from_array", "batch_size of at least 1", str(batch_size))
    windows = make_windows(data, sequence_length, sampling_rate=sampling_rate)
    answers = None
    if targets is not None:
        answers = np.asarray(targets)
        if not len(answers):
            raise ShapeError(
                "timeseries_dataset_from_array",
                "at least one target",
                "none",
                "Give targets[i] for window i.",
            )
        windows = windows[: len(answers)]
        answers = answers[: len(windows)][::sequence_stride]
    windows = windows[::sequence_stride]
    return SequenceBatches(windows, answers, batch_size, shuffle, np.random.default_rng(seed))
