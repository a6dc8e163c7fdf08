"""Sequences of any lengths: from arrays, lists and long tables to padded batches with a mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.windows import Batch
from unrolled.errors import DataError, ShapeError

__all__ = ["SequenceSamples", "Sequences", "round_up", "take_numbers"]


@dataclass(frozen=True)
class Sequences:
    """Sequences of any lengths: all of their steps in one array, one sequence after the other.

    Attributes:
        values: (all steps, …), what each step holds: features, an image, or the number of a word.
        starts: (n + 1,), where each begins, and the end.

    >>> two = Sequences.of([np.ones((3, 2)), np.ones((1, 2))])
    >>> len(two), two.lengths.tolist(), two.values.shape
    (2, [3, 1], (4, 2))
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[NDArray[Any]]) -> "Sequences":
        """Put arrays (steps, …) together."""
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return cls(np.concatenate(list(parts)), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> NDArray[Any]:
        """The steps of one sequence, a view."""
        return self.values[self.starts[number] : self.starts[number + 1]]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The steps of each sequence."""
        return np.diff(self.starts)

    @cached_property
    def longest(self) -> int:
        """The steps of the longest sequence."""
        return int(self.lengths.max()) if len(self) else 0

    @property
    def ragged(self) -> bool:
        """Whether lengths differ."""
        return bool((self.lengths != self.longest).any())

    def take(self, index: NDArray[np.int64]) -> "Sequences":
        """The sequences of these numbers."""
        return Sequences.of([self[number] for number in index])

    def cut(self, most: int) -> "Sequences":
        """The sequences without the steps after the first `most`."""
        if self.longest <= most:
            return self
        lengths = np.minimum(self.lengths, most)
        inside = np.arange(len(self.values)) - np.repeat(self.starts[:-1], self.lengths)
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Sequences(self.values[inside < most], starts)

    def padded(self, index: NDArray[np.int64], length: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return sequences with zeros after their ends, (…, length, …), and where they are not padding, (…, length)."""
        steps = np.arange(length)
        inside = steps < self.lengths[index][..., None]
        found = self.values[np.where(inside, self.starts[index][..., None] + steps, 0)]
        found[~inside] = 0
        return found, inside


@dataclass(frozen=True)
class SequenceSamples:
    """Sequences with their targets, for `unrolled.fit`: padded at their ends, with a mask, in batches of like lengths.

    Attributes:
        sequences: what is read.
        target: (n, …), one for each sequence; with `per_step` (all steps, …), one for each of `sequences.values`.
        per_step: whether each step has a target.
        ragged: whether batches have a mask although all lengths may be the same.
        unit: what one of the target's numbers is in the units of the data.
        weights: (n,), what the loss of each sequence is multiplied by; None for 1.

    >>> samples = SequenceSamples(Sequences.of([np.ones((3, 2)), np.ones((1, 2))]), np.array([0, 1]))
    >>> batch = samples.batch(np.array([1, 0]))
    >>> batch.past.shape, batch.mask.tolist()
    (torch.Size([2, 3, 2]), [[True, False, False], [True, True, True]])
    """

    sequences: Sequences
    target: NDArray[Any] | None
    per_step: bool = False
    ragged: bool = False
    unit: float = 1.0
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    @cached_property
    def masked(self) -> bool:
        """Whether batches have a mask."""
        return self.ragged or self.sequences.ragged

    @cached_property
    def padded_lengths(self) -> NDArray[np.int64]:
        """The length that a batch has at least, of which each sequence is one: one of a few."""
        return np.minimum(round_up(self.sequences.lengths), self.sequences.longest)

    def batch(self, index: NDArray[np.int64]) -> Batch:
        """Return the sequences of these numbers as tensors, in the shape of `index`."""
        index = np.asarray(index)
        length = int(self.padded_lengths[index].max())
        past, inside = self.sequences.padded(index, length)
        target = counted = None
        if self.target is not None and self.per_step:
            target, counted = Sequences(self.target, self.sequences.starts).padded(index, length)
            counted = counted.reshape(*counted.shape, *[1] * (target.ndim - counted.ndim))
            counted = np.broadcast_to(counted, target.shape).copy()
        elif self.target is not None:
            target = self.target[index]
        weight = None
        if self.weights is not None and target is not None:
            weight = self.weights[index]
            weight = weight.reshape(*weight.shape, *[1] * (target.ndim - weight.ndim))
            weight = np.broadcast_to(weight, target.shape).copy()
        return Batch(
            _tensor(past), None, None, _tensor(inside) if self.masked else None, _tensor(target),
            _tensor(counted) if self.masked else None, _tensor(weight),
        )  # fmt: skip

    def orders(
        self, shuffles: Sequence[np.random.Generator], epoch: int, batch_size: int
    ) -> NDArray[np.int64]:
        """The order of an epoch for each member: batches of like lengths, one after another at random.

        Which lengths a step reads is the same for all members, so that all have the same padding; which
        sequences of that length, each member draws. What does not fill a batch comes last.
        """
        found = []
        whole = len(self) // batch_size
        turns = np.random.default_rng(epoch).permutation(whole)
        for shuffle in shuffles:
            order = shuffle.permutation(len(self))
            if self.sequences.ragged:
                order = order[np.argsort(self.padded_lengths[order], kind="stable")]
                batches = order[: whole * batch_size].reshape(whole, batch_size)[turns]
                order = np.concatenate([batches.ravel(), order[whole * batch_size :]])
            found.append(order)
        return np.stack(found)


def round_up(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round lengths up to one of eight in each power of two, which adds less than one part in eight.

    >>> round_up(np.array([1, 15, 16, 17, 33, 1000])).tolist()
    [1, 15, 16, 18, 36, 1024]
    """
    lengths = np.maximum(lengths, 1)
    step = 2 ** np.maximum(np.floor(np.log2(lengths)).astype(np.int64) - 3, 0)
    return -(-lengths // step) * step


def take_numbers(given: Any, where: str) -> Sequences:
    """Take an array (n, steps), (n, steps, features) or (n, steps, height, width), or a list of such without the n.

    One feature may be left out. Whole numbers and truth values become float32, as all numbers.

    Raises:
        ShapeError: it is not such an array or list.
        DataError: a sequence has no steps, or holds what is not a finite number.

    >>> take_numbers([[1.0, 2.0], [3.0]], "X").values.tolist()
    [[1.0], [2.0], [3.0]]
    """
    if hasattr(given, "__array__"):
        given = _as_array(given, where)
    if isinstance(given, np.ndarray) and given.dtype != object:
        sequences = _take_array(given, where)
    else:
        sequences = _take_list(given, where)
    _check_finite(sequences, where)
    return sequences


def _take_array(array: NDArray[Any], where: str) -> Sequences:
    if array.ndim not in (2, 3, 4) or array.dtype.kind not in "fiub":
        got = f"{array.dtype} of shape {array.shape}"
        raise ShapeError(
            where, "numbers of shape (n, steps, features), or a list of arrays (steps, features)", got,
            "Reshape your data: x[:, :, None] where there is one feature.",
        )  # fmt: skip
    if not len(array) or 0 in array.shape[1:]:
        raise DataError(
            where,
            "at least one sequence, with steps and features",
            f"an array of shape {array.shape}",
            "Check how the data was read.",
        )
    array = array[:, :, None] if array.ndim == 2 else array
    with np.errstate(over="ignore"):  # what becomes infinite is told below
        values = np.ascontiguousarray(array, dtype=np.float32).reshape(-1, *array.shape[2:])
    return Sequences(values, np.arange(len(array) + 1, dtype=np.int64) * array.shape[1])


def _take_list(given: Any, where: str) -> Sequences:
    try:
        parts = [_as_array(part, where) for part in given]
    except ShapeError:
        raise
    except (TypeError, ValueError) as error:
        raise ShapeError(
            where, "an array (n, steps, features), or a list of arrays (steps, features)",
            f"a {type(given).__name__}", "Convert the data first.",
        ) from error  # fmt: skip
    if not parts:
        raise DataError(where, "at least one sequence", "none", "Check how the data was read.")
    empty = [number for number, part in enumerate(parts) if not part.size]
    if empty:
        raise DataError(
            f"{where}[{empty[0]}]",
            "a sequence of at least one step",
            "an empty one",
            f"Leave such sequences out: there are {len(empty):,}.",
        )
    parts = [part[:, None] if part.ndim == 1 else part for part in parts]
    first = parts[0]
    for number, part in enumerate(parts):
        if part.ndim not in (2, 3) or part.dtype.kind not in "fiub" or part.shape[1:] != first.shape[1:]:
            wanted = (
                f"(steps, {', '.join(map(str, first.shape[1:]))})"
                if first.ndim in (2, 3)
                else "(steps, features)"
            )
            raise ShapeError(
                f"{where}[{number}]", f"numbers of shape {wanted}", f"{part.dtype} of shape {part.shape}",
                "Give all sequences the same features.",
            )  # fmt: skip
    with np.errstate(over="ignore"):
        return Sequences.of([part.astype(np.float32, copy=False) for part in parts])


def _as_array(given: Any, where: str) -> NDArray[Any]:
    """An array; what is masked or None in it becomes NaN, which is refused."""
    try:
        masked = isinstance(given, np.ma.MaskedArray)
        array = given.astype(np.float64).filled(np.nan) if masked else np.asarray(given)
    except RuntimeError as error:  # a tensor that has a gradient
        reason = " ".join(str(error).split())[:120]
        raise ShapeError(where, "arrays of numbers", f"a {type(given).__name__}", reason) from error
    if array.dtype == object and all(isinstance(one, Real | None) for one in array.flat):
        return array.astype(np.float64)
    return array


def _check_finite(sequences: Sequences, where: str) -> None:
    fine = np.isfinite(sequences.values)
    if fine.all():
        return
    at = np.argwhere(~fine)[0]
    number = int(np.searchsorted(sequences.starts, at[0], "right")) - 1
    place = f"{where}[{number}], step {at[0] - sequences.starts[number]}"
    if sequences.values.ndim == 2 and sequences.values.shape[1] > 1:
        place += f", feature {at[1]}"
    found = str(sequences.values[tuple(at)])
    raise DataError(
        place,
        "a finite number" if found == "nan" else "a finite number (of at most 3.4e38)",
        {"nan": "NaN"}.get(found, found),
        f"Fill it in, or leave the sequence out; such numbers: {np.count_nonzero(~fine):,}.",
    )


def _tensor(array: NDArray[Any] | None) -> Any:
    import torch

    if array is None:
        return None
    kinds: dict[str, Any] = {"f": np.float32, "i": np.int64, "u": np.int64}
    return torch.from_numpy(np.ascontiguousarray(array, kinds.get(array.dtype.kind)))
