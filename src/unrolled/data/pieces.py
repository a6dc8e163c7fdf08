"""Pieces: sequences to go on with, of values or of symbols; and their windows, each step's target the next step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.sequences import Sequences, take_numbers
from unrolled.data.windows import Batch
from unrolled.errors import DataError, ShapeError

__all__ = ["PieceWindows", "Pieces", "take_pieces"]


@dataclass(frozen=True)
class Pieces:
    """Pieces of one kind.

    Attributes:
        kind: "values" or "symbols".
        parts: of values, arrays (steps, features) of float64; of symbols, for each stream a list of its symbols.
        single: whether there was one piece alone, not a list of pieces.
        form: what a piece was: "text", "list" or "array".
        flat: whether each step was a bare value or symbol, not a row of them.
    """

    kind: str
    parts: list[Any]
    single: bool
    form: str
    flat: bool

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def width(self) -> int:
        """Features of values, or streams of symbols."""
        return self.parts[0].shape[1] if self.kind == "values" else len(self.parts[0])

    def steps(self, number: int) -> int:
        """The steps of a piece."""
        part = self.parts[number]
        return len(part) if self.kind == "values" else len(part[0])


def take_pieces(given: Any, where: str, kind: str = "auto") -> Pieces:
    """Take one piece, or a list of pieces.

    Args:
        given: one piece: a text, an array (steps,) or (steps, columns), a list of numbers or of tuples, a tuple for
            each step; or pieces: an array (n, steps, columns), or a list of texts, of arrays, or of lists (of symbols,
            or of tuples of symbols).
        where: what to call them in messages.
        kind: "values", "symbols", or "auto": what has a point is values, texts and whole numbers are symbols.

    Raises:
        DataError: there is no piece, an empty one, or a value that is no finite number.
        ShapeError: what is none of these, or pieces of different kinds or widths.

    >>> take_pieces("abba", "X").parts
    [(['a', 'b', 'b', 'a'],)]
    >>> take_pieces([["a", "bold", "seven"], ["a", "thin", "one"]], "X").kind
    'symbols'
    >>> take_pieces([[(60, 55), (62, 55)]], "X").parts
    [([60, 62], [55, 55])]
    >>> take_pieces([0.5, 0.25], "X").parts[0].shape
    (2, 1)
    """
    if isinstance(given, Mapping | set):
        raise ShapeError(
            where, "a piece, or a list of pieces", f"a {type(given).__name__}", "Give its values."
        )
    if hasattr(given, "__array__") and not isinstance(given, np.ndarray):
        given = np.asarray(given)
    single = _is_piece(given)
    try:
        pieces = [given] if single else list(given)
    except TypeError as error:
        raise ShapeError(
            where, "a piece (a text, an array, a list), or a list of pieces", f"a {type(given).__name__}"
        ) from error
    if not pieces:
        raise DataError(where, "at least one piece", "none", "Check how the data was read.")
    places = [where if single else f"{where}[{number}]" for number in range(len(pieces))]
    arrays: list[Any] = [
        piece if isinstance(piece, str) else _array(piece, place)
        for piece, place in zip(pieces, places, strict=True)
    ]
    for piece, place in zip(arrays, places, strict=True):
        if not len(piece):
            raise DataError(place, "at least one step", "an empty piece", "Leave empty pieces out.")
    if kind == "auto":
        kind = "values" if any(not isinstance(a, str) and a.dtype.kind == "f" for a in arrays) else "symbols"
    first = arrays[0]
    form = "text" if isinstance(first, str) else "array" if isinstance(pieces[0], np.ndarray) else "list"
    flat = isinstance(first, str) or first.ndim == 1
    if kind == "symbols":
        parts: list[Any] = [_columns(piece) for piece in arrays]
        widths = [len(part) for part in parts]
    else:
        for piece, place in zip(arrays, places, strict=True):
            if isinstance(piece, str) or piece.dtype.kind not in "fiu":
                raise ShapeError(place, "values: numbers", "texts", "Give pieces of one kind.")
        if take_numbers(arrays, where).values.ndim != 2:  # which finds what is not finite
            raise ShapeError(where, "values of shape (steps, features)", str(arrays[0].shape))
        parts = [
            np.asarray(a, np.float64).reshape(len(a), -1) for a in arrays
        ]  # a large offset needs the digits
        widths = [part.shape[1] for part in parts]
    for width, place in zip(widths, places, strict=True):
        if width != widths[0]:
            raise ShapeError(
                place, f"{widths[0]} columns, as the first piece has", str(width), "Give all pieces the same."
            )
    return Pieces(kind, parts, single, form, flat)


def _is_piece(given: Any) -> bool:
    """Whether this is one piece, not a list of them."""
    if isinstance(given, str):
        return True
    if isinstance(given, np.ndarray):
        return given.ndim < 3 and given.dtype.kind not in "OU"  # an array of texts is a list of pieces
    if not isinstance(given, list | tuple) or not given or isinstance(given[0], str):
        return False
    if isinstance(given[0], tuple):  # a step of several symbols
        return bool(given[0]) and all(np.isscalar(symbol) for symbol in given[0])
    return np.isscalar(given[0]) or getattr(given[0], "ndim", 1) == 0


def _array(piece: Any, place: str) -> NDArray[Any]:
    """A piece as (steps,) or (steps, columns), of numbers or of objects."""
    try:
        found = piece if isinstance(piece, np.ndarray) else np.asarray(piece)
        if found.dtype.kind not in "fiuO":  # texts keep their length, and truth values what they are
            found = np.asarray(piece, object)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            place, "a piece of shape (steps,) or (steps, columns)", "rows of different lengths",
            "Give each step as many values.",
        ) from error  # fmt: skip
    if found.ndim not in (1, 2) or 0 in found.shape[1:]:
        raise ShapeError(place, "a piece of shape (steps,) or (steps, columns)", str(found.shape))
    return found


def _columns(piece: Any) -> tuple[list[Any], ...]:
    if isinstance(piece, str):
        return (list(piece),)
    return (piece.tolist(),) if piece.ndim == 1 else tuple(piece.T.tolist())


@dataclass(frozen=True)
class PieceWindows:
    """Windows of pieces, for `unrolled.fit`: of each step, what is read and what is to come.

    A piece longer than `steps` is cut every `stride` steps, and once more so that its end is there; a shorter one is a
    window of its own, padded at its end, where nothing is counted.

    Attributes:
        inputs: (all steps, columns), what is read.
        targets: (all steps, columns), what is to come.
        steps: of a window, at most.
        stride: from a window's begin to the next one's.
        context: (n, size), a vector of each piece; None where there are none.

    >>> piece = np.arange(8.0)[:, None]
    >>> windows = PieceWindows(Sequences.of([piece[:-1]]), Sequences.of([piece[1:]]), 4, 2)
    >>> batch = windows.batch(np.arange(len(windows)))
    >>> batch.past[..., 0].tolist(), batch.target[-1, :, 0].tolist()
    ([[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0], [3.0, 4.0, 5.0, 6.0]], [4.0, 5.0, 6.0, 7.0])
    """

    inputs: Sequences
    targets: Sequences
    steps: int
    stride: int
    context: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        rows = []
        for number, (start, length) in enumerate(zip(self.inputs.starts, self.inputs.lengths, strict=False)):
            last = max(int(length) - self.steps, 0)
            begins = [*range(0, last, self.stride), last]
            rows += [(number, start + begin, min(self.steps, length)) for begin in begins]
        object.__setattr__(self, "_rows", np.array(rows, np.int64))

    def __len__(self) -> int:
        return len(self._rows)  # type: ignore[attr-defined]

    def batch(self, index: Any) -> Batch:
        """The windows of these numbers, and of each step the target."""
        import torch

        numbers, starts, lengths = self._rows[np.asarray(index)].T  # type: ignore[attr-defined]
        steps = np.arange(lengths.max())
        inside = steps < lengths[:, None]
        places = np.where(inside, starts[:, None] + steps, starts[:, None])
        past, target = self.inputs.values[places], self.targets.values[places]
        mask = None
        if not inside.all():
            past[~inside] = 0
            mask = torch.from_numpy(np.broadcast_to(inside[..., None], target.shape).copy())
        static = None if self.context is None else torch.from_numpy(self.context[numbers])
        return Batch(torch.from_numpy(past), None, static, None, torch.from_numpy(target), mask)
