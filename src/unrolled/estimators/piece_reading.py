"""How a generator reads pieces, and how it gives back what it makes: numbers for symbols, scaled values."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.pieces import Pieces, take_pieces
from unrolled.data.sequences import Sequences
from unrolled.data.symbols import END, START, Symbols
from unrolled.errors import DataError, OptionError, ShapeError

__all__ = ["PieceReading", "learn_pieces", "read_context"]

FIRST = END  # the number of the first class that is told: the end


@dataclass(frozen=True)
class PieceReading:
    """What is known of pieces like those of the training.

    Attributes:
        kind: "values" or "symbols".
        form: what a piece was: "text", "list" or "array".
        flat: whether each step was a bare value or symbol, not a row of them.
        width: features of values, or streams of symbols.
        voices: streams that take turns in one; 1 for none.
        ends: whether pieces start and end: an end is told as a symbol is.
        alphabets: of each stream; one for all that take turns.
        mean, scale: of values, each (features,).
        change: (features,), the spread of a step's change, where changes are told; else None.
    """

    kind: str
    form: str
    flat: bool
    width: int
    voices: int = 1
    ends: bool = False
    alphabets: tuple[Symbols, ...] = ()
    mean: Any = None
    scale: Any = None
    change: Any = None

    def take(self, given: Any, where: str) -> Pieces:
        """Take pieces of the kind of the training.

        Raises:
            DataError, ShapeError: as `take_pieces`; or they are of another kind or width.
        """
        pieces = take_pieces(given, where, self.kind)
        if pieces.width != self.width:
            raise ShapeError(
                where, f"{self.width} columns, as in training", str(pieces.width), "Give the same columns."
            )
        return pieces

    def numbers(self, part: Any, where: str) -> NDArray[Any]:
        """A piece's steps as the network reads them, without start and end: (steps, columns), voices not yet added."""
        if self.kind == "values":
            scaled: NDArray[np.float32] = ((part - self.mean) / self.scale).astype(np.float32)
            return scaled
        if self.voices > 1:
            columns = [self.alphabets[0].numbers(column, where) for column in part]
            return np.stack(columns, 1).reshape(-1, 1)
        places = [where if self.width == 1 else f"{where}, stream {i}" for i in range(self.width)]
        found = [a.numbers(c, place) for a, c, place in zip(self.alphabets, part, places, strict=True)]
        return np.stack(found, 1)

    def with_voice(self, numbers: NDArray[Any], first: int) -> NDArray[Any]:
        """Numbers with whose turn comes next beside them; `first` is how many steps came before the next."""
        if self.voices == 1:
            return numbers
        turn = (np.arange(len(numbers)) + first) % self.voices
        return np.column_stack([numbers, turn])

    def read(self, pieces: Pieces, where: str) -> tuple[Sequences, Sequences]:
        """What is read at each step, and what is to come: numbers of classes, or scaled values or changes.

        Raises:
            DataError: an unseen symbol, or a piece too short to have a next step.
        """
        inputs, targets = [], []
        for number, part in enumerate(pieces.parts):
            place = where if pieces.single else f"{where}[{number}]"
            numbers = self.numbers(part, place)
            if self.ends:
                edge = np.full((1, numbers.shape[1]), START)
                inputs.append(self.with_voice(np.concatenate([edge, numbers]), 0))
                targets.append(np.concatenate([numbers, 0 * edge + END]) - FIRST)
                continue
            if len(numbers) < 2:
                raise DataError(place, "at least two steps", "one", "Leave it out: it has no next step.")
            inputs.append(self.with_voice(numbers[:-1], 1))
            if self.kind == "symbols":
                targets.append(numbers[1:] - FIRST)
            elif self.change is None:
                targets.append(numbers[1:])
            else:
                targets.append((np.diff(part, axis=0) / self.change).astype(np.float32))
        return Sequences.of(inputs), Sequences.of(targets)

    def uncounted(self, skip: int) -> int:
        """How many of the symbols or values told of a piece `skip` steps are; without ends its first is not told.

        >>> PieceReading("symbols", "array", False, 4, voices=4).uncounted(2)
        11
        """
        if self.ends or not skip:
            return skip * self.voices
        return (skip + 1) * self.voices - 1

    def values(self, before: NDArray[Any], outputs: NDArray[Any]) -> NDArray[np.float64]:
        """The next values, in the data's units, from what is told and the (unscaled) values before."""
        outputs = outputs.astype(np.float64)
        if self.change is None:
            scaled: NDArray[np.float64] = outputs * self.scale + self.mean
            return scaled
        changed: NDArray[np.float64] = before + outputs * self.change
        return changed

    def give_back(self, rows: NDArray[Any], pieces: Pieces | None) -> Any:
        """Made steps (n, streams or features) in the form of a seed, or of the training where there was none."""
        form, flat = (self.form, self.flat) if pieces is None else (pieces.form, pieces.flat)
        if self.kind == "values":
            found = rows[:, 0] if flat else rows
            return found if form == "array" else found.tolist()
        if self.voices > 1:
            flat_symbols = self.alphabets[0].decode(rows.ravel())
            columns = [flat_symbols[i :: self.voices] for i in range(self.voices)]
        else:
            columns = [a.decode(column) for a, column in zip(self.alphabets, rows.T, strict=True)]
        if form == "text":
            return "".join(map(str, columns[0]))
        made: list[Any] = columns[0] if flat else list(zip(*columns, strict=True))
        if form == "array":
            whole = all(isinstance(symbol, int) for a in self.alphabets for symbol in a.symbols)
            return np.array(made, np.int64 if whole else None).reshape((-1,) if flat else (-1, self.width))
        return made


def learn_pieces(
    X: Any,
    where: str,
    *,
    kind: str,
    in_turn: bool,
    ends: bool | None,
    differences: bool | None,
    learned: Callable[[Pieces], list[Any]],
) -> tuple[PieceReading, Pieces]:
    """Find out how pieces are read; values are scaled by the parts of them that `learned` gives.

    Raises:
        DataError, ShapeError: as `take_pieces`, or what is no symbol.
        OptionError: an argument that does not fit the kind of pieces.
    """
    pieces = take_pieces(X, where, kind)
    reading = PieceReading(pieces.kind, pieces.form, pieces.flat, pieces.width)
    if pieces.kind == "symbols":
        if differences:
            raise OptionError(
                "SequenceGenerator", "differences of values", "symbols", "Leave differences out."
            )
        if in_turn and pieces.width == 1:
            raise OptionError(
                "SequenceGenerator", "in_turn with several streams", "one", "Leave in_turn out."
            )
        streams: list[list[Any]] = [[] for _ in range(pieces.width)]
        for part in pieces.parts:
            for i, column in enumerate(part):
                streams[i].append(column)
        alphabets: tuple[Symbols, ...]
        if in_turn:
            alphabets = (Symbols.of([column for stream in streams for column in stream], where),)
        else:
            alphabets = tuple(Symbols.of(stream, where) for stream in streams)
        voices = pieces.width if in_turn else 1
        ends = len(pieces) > 1 if ends is None else ends
        return replace(reading, alphabets=alphabets, voices=voices, ends=ends), pieces
    if ends or in_turn:
        raise OptionError(
            "SequenceGenerator",
            "ends and in_turn of symbols",
            "values",
            "Leave them out: values have no end.",
        )
    parts = learned(pieces)
    values = np.concatenate(parts)
    mean, scale = values.mean(0), _spread(values)
    changes = [np.diff(part, axis=0) for part in parts if len(part) > 1]
    change = _spread(np.concatenate(changes), 0.0) if changes else scale
    if differences is None:  # a slow series' change has less to it than its value
        differences = bool((change < scale).all())
    return replace(reading, mean=mean, scale=scale, change=change if differences else None), pieces


def _spread(values: NDArray[Any], about: Any = None) -> NDArray[np.float64]:
    found: Any = values.std(0) if about is None else np.sqrt(np.mean((values - about) ** 2, 0))
    return np.where(found > 0, found, 1.0)


def read_context(context: Any, count: int | None, size: int | None) -> NDArray[np.float32]:
    """Vectors (n, size), all of them finite; more axes, as an image's, are laid in one.

    Raises:
        ShapeError: they are not as many as the pieces, or not of the training's size.
        DataError: a number is not finite.
    """
    try:
        found = np.asarray(context, np.float32)
    except (TypeError, ValueError) as error:
        raise ShapeError("context", "numbers of shape (n, size)", "what is no number") from error
    if found.ndim < 2 or 0 in found.shape or (count is not None and len(found) != count):
        raise ShapeError(
            "context", f"shape ({'n' if count is None else count}, size)", str(found.shape),
            "Give a vector for each piece.",
        )  # fmt: skip
    found = found.reshape(len(found), -1)
    if size is not None and found.shape[1] != size:
        raise ShapeError("context", f"vectors of {size} numbers, as in training", str(found.shape[1]))
    fine = np.isfinite(found)
    if not fine.all():
        number = int(np.argwhere(~fine)[0][0])
        raise DataError(f"context[{number}]", "finite numbers", str(found[~fine][0]), "Fill them in.")
    return found
