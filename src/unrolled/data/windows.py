"""Windows over a table: what a network reads, and what it should have said."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
        target: (batch, horizon) or (batch, horizon, targets).
        target_mask: bool, of `target`'s shape, False where an error is not to be counted.
    """

    past: "torch.Tensor"
    future: "torch.Tensor | None" = None
    static: "torch.Tensor | None" = None
    mask: "torch.Tensor | None" = None
    target: "torch.Tensor | None" = None
    target_mask: "torch.Tensor | None" = None

    def to(self, device: "torch.device | str") -> "Batch":
        """Return the batch on `device`."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            tensor = getattr(self, field.name)
            moved[field.name] = None if tensor is None else tensor.to(device)
        return Batch(**moved)


@dataclass(frozen=True)
class Windows:
    """Windows of `length` rows and the `horizon` rows after each, gathered from one array by index.

    Attributes:
        values: (rows, features), float32: what the windows are cut from; the target is column 0.
        observed: (rows,), bool, False where the target's value was filled in.
        origins: (windows,), the row of each window's last step.
        length: steps in a window.
        horizon: steps after the origin that are to be forecast.
        unit: what one of the target's numbers is in the units of the data.
        known: (rows, features), float32: what is known of each row beforehand; None where nothing is.
    """

    values: NDArray[np.float32]
    observed: NDArray[np.bool_]
    origins: NDArray[np.int64]
    length: int
    horizon: int
    unit: float = 1.0
    known: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        table: "Table",
        features: "Features",
        length: int,
        horizon: int,
        first: int = 0,
        last: int = -1,
        ahead: "Table | None" = None,
    ) -> "Windows":
        """Return the windows of `table` whose forecast rows lie between the rows `first` and `last`, both included.

        Their inputs may reach back before `first`. A window never ends on a filled gap: the value
        there was drawn from rows after it. Raises nothing where no window fits: the result is empty.
        With `ahead`, what `known_ahead` returned, the only window is that of the last row.

        A step of a window has the target, the observed columns, and what is known of the step after it.
        """
        past = features.past(table)
        observed = table.observed[:, 0]
        known = features.known(table)
        if ahead is not None:
            origins = np.array([len(table) - 1])
            known = np.concatenate([known, features.known(ahead)])
        else:
            origins = np.arange(max(first - 1, length - 1), last % len(table) - horizon + 1)
            origins = origins[observed[origins]] if len(origins) else origins
        tomorrow = np.append(known[1:], known[-1:], axis=0)[: len(past)]
        return cls(
            np.concatenate([past, tomorrow], axis=1),
            observed,
            origins,
            length,
            horizon,
            float(features.scaler.scale[0]),
            known if features.width else None,
        )

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def past(self) -> NDArray[np.float32]:
        """The target in each window, (windows, length); a copy."""
        return make_windows(self.values[:, 0], self.length)[self.origins - (self.length - 1)]

    @property
    def targets(self) -> NDArray[np.float32]:
        """The targets of all windows, (windows, horizon); a copy."""
        return self.values[self._ahead(self.origins), 0]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which `targets` were observed, (windows, horizon); a copy."""
        return self.observed[self._ahead(self.origins)]

    def inputs(self, index: NDArray[np.int64]) -> Batch:
        """Return what is known at the origins of the windows of the given numbers, as tensors."""
        import torch

        origins = self.origins[index]
        past = torch.from_numpy(self._view[origins - (self.length - 1)])
        if self.known is None:
            return Batch(past)
        return Batch(past, torch.from_numpy(self.known[self._ahead(origins)]))

    def batch(self, index: NDArray[np.int64]) -> Batch:
        """Return the windows of the given numbers as tensors, in the shape of `index`."""
        import torch

        ahead = self._ahead(self.origins[index])
        counted = self.observed[ahead]
        return replace(
            self.inputs(index),
            target=torch.from_numpy(self.values[ahead, 0]),
            target_mask=None if counted.all() else torch.from_numpy(counted),
        )

    def _ahead(self, origins: NDArray[np.int64]) -> NDArray[np.int64]:
        return origins[..., None] + np.arange(1, self.horizon + 1)

    @cached_property
    def _view(self) -> NDArray[np.float32]:
        return make_windows(self.values, self.length)


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
