"""Pairs of sequences of different lengths: how symbols are read and written, and padded batches with a mask."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled.data.reading import read_columns
from unrolled.data.sequences import Sequences, round_up
from unrolled.data.symbols import END, START, Symbols
from unrolled.data.text import is_missing
from unrolled.data.windows import Batch
from unrolled.errors import DataError, ShapeError

__all__ = ["PairSamples", "Pairs", "SymbolReading", "holds_numbers", "read_pairs", "split_symbols"]

Kind = Literal["characters", "words", "symbols"]


@dataclass(frozen=True)
class SymbolReading:
    """How sequences of symbols are read, and written again: texts by character or by word, or lists of symbols.

    Attributes:
        kind: "characters" and "words" (of texts), or "symbols" (of lists).
        alphabet: the symbols that have numbers.

    >>> reading, split = SymbolReading.learn(["ab", "b"], "y", "characters")
    >>> reading.numbers(split, "y", end=True).values.tolist(), reading.write([3, 4])
    ([3, 4, 2, 4, 2], 'ab')
    """

    kind: Kind
    alphabet: Symbols

    @classmethod
    def learn(
        cls, given: Iterable[Any], where: str, level: Literal["characters", "words"], *, empty: bool = True
    ) -> "tuple[SymbolReading, list[Sequence[Any]]]":
        """Find out what kind of symbols these are, and number them; return the sequences split as well.

        Raises:
            DataError: a sequence is missing, or empty where it must not, or holds what is no symbol.
            ShapeError: they are no sequences.
        """
        found = _listed(given, where)
        first = next((one for one in found if not is_missing(one)), None)
        kind: Kind = level if isinstance(first, str) else "symbols"
        split = split_symbols(found, where, kind, empty=empty)
        return cls(kind, Symbols.of(split, where)), split

    def numbers(self, split: Sequence[Sequence[Any]], where: str, *, end: bool = False) -> Sequences:
        """The numbers of sequences that are split already, with `end` that of the end behind each.

        Raises:
            DataError: a symbol that was not seen in training.
        """
        return Sequences.of(
            [self.alphabet.numbers(one, f"{where}[{number}]", end=end) for number, one in enumerate(split)]
        )

    def write(self, numbers: Iterable[int]) -> Any:
        """The text, or the list of symbols, of numbers up to the first end."""
        symbols = self.alphabet.decode(numbers)
        if self.kind == "symbols":
            return symbols
        return ("" if self.kind == "characters" else " ").join(map(str, symbols))


def split_symbols(given: Iterable[Any], where: str, kind: Kind, *, empty: bool = True) -> list[Sequence[Any]]:
    """Split texts into characters, or into words at white space; lists of symbols are taken as they are.

    Args:
        given: texts, or lists of symbols.
        where: what to call them in messages.
        kind: "characters", "words" or "symbols".
        empty: whether one may be empty.

    Raises:
        DataError: one is missing, or empty, or of another kind.

    >>> split_symbols(["a fine  day"], "X", "words")
    [['a', 'fine', 'day']]
    """
    found: list[Sequence[Any]] = []
    for number, one in enumerate(_listed(given, where)):
        place = f"{where}[{number}]"
        wanted = "a list of symbols" if kind == "symbols" else "a text"
        if is_missing(one):
            cure = "Fill it in, or leave the pair out."
            raise DataError(place, wanted, "a missing value", cure)
        if isinstance(one, str) == (kind == "symbols") or not hasattr(one, "__iter__"):
            got = f"a {type(one).__name__}"
            raise DataError(place, wanted, got, "Give what training was given: all of one kind.")
        split = one.split() if kind == "words" else one if isinstance(one, str) else list(one)
        if not empty and not len(split):
            cure = "Leave empty sequences out."
            raise DataError(place, "at least one symbol", "an empty sequence", cure)
        found.append(split)
    return found


def _listed(given: Any, where: str) -> list[Any]:
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        got = "a single text" if isinstance(given, str) else f"a {type(given).__name__}"
        raise ShapeError(where, "a list of sequences", got, "Put it into a list.")
    found = list(given)
    if not found:
        raise DataError(where, "at least one sequence", "none", "Check how the data was read.")
    return found


def holds_numbers(given: Any) -> bool:
    """Whether sequences are of measured numbers, not of symbols.

    Numbers are floats, or have an axis of features; whole numbers and texts in a row are symbols.

    >>> holds_numbers([[0.5, 1.0]]), holds_numbers([[1, 2]]), holds_numbers(["ab"]), holds_numbers([[[1], [2]]])
    (True, False, False, True)
    """
    if hasattr(given, "__array__") and getattr(given, "ndim", 1) > 1:
        array = np.asarray(given)
        return array.dtype.kind == "f" or (array.ndim > 2 and array.dtype.kind in "iub")
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        return False
    for one in given:
        if isinstance(one, str) or not hasattr(one, "__len__") or not len(one):
            continue
        if isinstance(one, list | tuple) and isinstance(one[0], str):
            return False
        try:
            array = np.asarray(one)
        except ValueError:
            return False
        return array.dtype.kind == "f" or (array.ndim > 1 and array.dtype.kind in "iub")
    return False


@dataclass(frozen=True)
class PairSamples:
    """Sources and targets, for `unrolled.fit`: padded at their ends, in batches of like lengths of both.

    Attributes:
        sources: numbers of symbols, or (all steps, features).
        targets: numbers of symbols, each with the end's number behind.
        unit: what one of the target's numbers is in the units of the data.

    >>> pairs = PairSamples(Sequences.of([np.array([3, 4, 5]), np.array([3])]), Sequences.of([np.array([3, 2])] * 2))
    >>> batch = pairs.batch(np.array([1, 0]))
    >>> batch.past.tolist(), batch.future.tolist(), batch.target.tolist()
    ([[3, 0, 0], [3, 4, 5]], [[1, 3], [1, 3]], [[1, 0], [1, 0]])
    """

    sources: Sequences
    targets: Sequences
    unit: float = 1.0

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def padded_lengths(self) -> NDArray[np.int64]:
        """(n, 2): the lengths of source and target that a batch has at least, each one of a few."""
        both = (np.minimum(round_up(side.lengths), side.longest) for side in (self.sources, self.targets))
        return np.stack(list(both), axis=1)

    def batch(self, index: NDArray[np.int64]) -> Batch:
        """Return the pairs of these numbers as tensors, in the shape of `index`.

        `future` is what the decoder is given, `target` what it shall answer, a class for each step: 0 for the end.
        """
        import torch

        index = np.asarray(index)
        long, wide = (int(lengths.max()) for lengths in np.moveaxis(self.padded_lengths[index], -1, 0))
        past, inside = self.sources.padded(index, long)
        target, counted = self.targets.padded(index, wide)
        given = np.concatenate([np.full((*index.shape, 1), START), target[..., :-1]], axis=-1)
        return Batch(
            torch.from_numpy(past), torch.from_numpy(given), None,
            torch.from_numpy(inside) if self.sources.ragged else None,
            torch.from_numpy(np.maximum(target - END, 0)),
            torch.from_numpy(counted) if self.targets.ragged else None,
        )  # fmt: skip

    def orders(
        self, shuffles: Sequence[np.random.Generator], epoch: int, batch_size: int
    ) -> NDArray[np.int64]:
        """The order of an epoch for each member: batches of like lengths, one after another at random.

        As `SequenceSamples.orders`: which lengths a step reads is the same for all members, which pairs of those
        lengths each member draws, and what does not fill a batch comes last.
        """
        found = []
        whole = len(self) // batch_size
        turns = np.random.default_rng(epoch).permutation(whole)
        for shuffle in shuffles:
            order = shuffle.permutation(len(self))
            if self.sources.ragged or self.targets.ragged:
                lengths = self.padded_lengths[order]
                order = order[np.lexsort((lengths[:, 1], lengths[:, 0]))]
                batches = order[: whole * batch_size].reshape(whole, batch_size)[turns]
                order = np.concatenate([batches.ravel(), order[whole * batch_size :]])
            found.append(order)
        return np.stack(found)


@dataclass(frozen=True)
class Pairs:
    """Texts in pairs, as a table holds them.

    Attributes:
        sources: what is read.
        targets: what is to be written.
        names: (n,), of the pairs: the numbers of their lines or rows.
        columns: the names of the two columns.
    """

    sources: list[str]
    targets: list[str]
    names: NDArray[Any]
    columns: tuple[str, str]

    def __len__(self) -> int:
        return len(self.sources)


def read_pairs(table: Any, source: str | None = None, target: str | None = None) -> Pairs:
    """Read two columns of texts.

    Args:
        table: a path (CSV, Parquet), a pandas or a polars frame.
        source: the column that is read; by default the first.
        target: the column that is to be written; by default the first other one.

    Raises:
        DataError: a column is missing, or a pair lacks a side.

    >>> import pandas as pd
    >>> pairs = read_pairs(pd.DataFrame({"date": ["May 1"], "iso": ["05-01"]}))
    >>> pairs.sources, pairs.targets, pairs.columns
    (['May 1'], ['05-01'], ('date', 'iso'))
    """
    columns = read_columns(table, as_texts=True)
    names = list(columns.frame.columns)
    if len(names) < 2:
        raise DataError(
            columns.source,
            "two columns, of sources and of targets",
            f"one, {names[0]!r}" if names else "none",
            "Write a comma, semicolon or tab between them, and put texts that hold one in quotes.",
        )
    source = source or next(name for name in names if name != target)
    target = target or next(name for name in names if name != source)
    columns.check([source, target])
    if source == target:
        raise DataError(
            columns.source, "two different columns", f"{source!r} twice", "Name another --target."
        )
    sides = []
    for name in (source, target):
        texts = columns.frame[name].astype("string")
        empty = (texts.isna() | (texts.str.strip() == "")).to_numpy(bool)
        if empty.any():
            row = int(columns.frame.index[int(np.argmax(empty))])
            raise DataError(
                columns.where(row, name),
                "a text on either side of the pair",
                "an empty cell",
                f"{np.count_nonzero(empty):,} of {len(empty):,} are empty: fill them in, or remove their rows.",
            )
        sides.append([str(text) for text in texts])
    return Pairs(sides[0], sides[1], columns.frame.index.to_numpy() + columns.first_row, (source, target))
