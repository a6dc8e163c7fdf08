"""Files of pieces: a text of characters, or a table of values or of symbols; and pieces back into files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.reading import Columns, categories, is_numeric, numbers, read_columns, times
from unrolled.errors import DataError, OptionError

__all__ = ["PieceFile", "read_piece_file", "write_midi"]

TABLES = (".csv", ".tsv", ".parquet", ".pq")
EXACT = 2.0**53  # float64 tells smaller whole numbers apart; larger ones are symbols as they are written
NOTES = 128  # of MIDI; 0 is silence here
PULSES = 480  # of a quarter note


@dataclass(frozen=True)
class PieceFile:
    """Pieces as they stand in a file.

    Attributes:
        kind: "text", "values" or "symbols".
        pieces: texts; arrays (steps, columns) of numbers or of whole numbers; or lists of symbols or of tuples.
        columns: the names of what a step holds; empty for a text.
        names: of the pieces: their ids, or the file's name.
        notes: what was assumed or done.
    """

    kind: str
    pieces: list[Any]
    columns: tuple[str, ...]
    names: list[str]
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """The steps of all pieces."""
        return sum(map(len, self.pieces))


def read_piece_file(
    path: Path,
    *,
    columns: Sequence[str] = (),
    id: str | None = None,
    time: str | None = None,
    kind: str = "auto",
    as_texts: bool = False,
    lenient: bool = False,
) -> PieceFile:
    """Read a table (CSV, TSV, Parquet) of a row for each step, or any other file as a text of characters.

    Args:
        path: the file.
        columns: what a step holds; by default all but `id` and `time`.
        id: the column that tells which piece a row belongs to; without it all rows are one piece.
        time: the column by which the steps of a piece are ordered; by default they are as they stand.
        kind: "values", "symbols", or "auto": columns that all are numbers, not all of them whole, are values.
        as_texts: whether symbols are texts where all of them are whole numbers too.
        lenient: whether the columns `id` and `time` may be missing: then it is one piece, in the order of the rows.

    Raises:
        DataError: the file or a column is missing, a cell is empty, or a text is no UTF-8.
        OptionError: columns of a text, or an unknown kind.
    """
    if kind not in ("auto", "values", "symbols"):
        raise OptionError("--kind", "auto, values or symbols", repr(kind))
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if not path.is_dir() and not any(suffix in TABLES for suffix in suffixes):
        return _read_text(path, bool(columns or id or time))
    table = read_columns(path)
    if lenient:
        id, time = (name if name in table.frame.columns else None for name in (id, time))
    table.check([name for name in (*columns, id, time) if name is not None])
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise OptionError("--column", "each column once", f"{twice!r} twice", "Name it once.")
    chosen = tuple(columns) or tuple(str(n) for n in table.frame.columns if n not in (id, time))
    if not chosen:
        raise DataError(table.source, "a column of values or symbols", "none beside --id and --time")
    notes: list[str] = []
    order = np.arange(len(table.frame))
    if time is not None:
        order = np.argsort(_times(table, time, notes), kind="stable")
    found: Any = [_read_column(table, name, notes) for name in chosen]
    numeric = all(column.dtype.kind == "f" for column in found)
    whole = numeric and all((column % 1 == 0).all() for column in found)
    if kind == "values" and not numeric:
        raise DataError(table.source, "columns of numbers as values", "texts", "Leave --kind out.")
    if kind == "auto":
        kind = "values" if numeric and not whole else "symbols"
    if kind == "values":
        steps: Any = np.stack(found, 1)
    elif whole and not as_texts and all((np.abs(column) < EXACT).all() for column in found):
        steps = np.stack(found, 1).astype(np.int64)
    else:
        texts = [categories(table, name) for name in chosen]
        steps = np.stack(texts, 1)
    if id is None:
        return PieceFile(kind, [_piece(steps[order])], chosen, [path.name], tuple(notes))
    owner = categories(table, id)
    if (owner == "").any():
        row = int(np.argmax(owner == ""))
        raise DataError(table.where(row, id), "an id", "an empty cell", "Fill it in, or remove its row.")
    names = list(dict.fromkeys(owner.tolist()))
    rows: dict[str, list[int]] = {name: [] for name in names}
    for row in order.tolist():
        rows[owner[row]].append(row)
    pieces = [_piece(steps[rows[name]]) for name in names]
    return PieceFile(kind, pieces, chosen, names, tuple(notes))


def _read_text(path: Path, with_columns: bool) -> PieceFile:
    if with_columns:
        raise OptionError(
            str(path), "a table for --column, --id and --time", "a text",
            f"Leave them out, or name a file of {', '.join(TABLES)}.",
        )  # fmt: skip
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "bytes that are none" if isinstance(error, UnicodeDecodeError) else error.strerror or "none"
        raise DataError(str(path), "a text in UTF-8", reason.lower(), "Check the file.") from error
    text = text.replace("\r\n", "\n")
    if not text.strip():
        raise DataError(str(path), "a text", "an empty file", "Check how it was written.")
    return PieceFile("text", [text], (), [path.name])


def _read_column(table: Columns, name: str, notes: list[str]) -> NDArray[Any]:
    """A column as numbers, or as texts; no cell is empty."""
    found: NDArray[Any] = numbers(table, name, notes) if is_numeric(table, name) else categories(table, name)
    missing = np.isnan(found) if found.dtype.kind == "f" else found == ""
    if missing.any():
        row = int(table.frame.index[int(np.argmax(missing))])
        raise DataError(
            table.where(row, name), "a value or symbol", "an empty cell",
            f"{np.count_nonzero(missing):,} of {len(missing):,} are missing: fill them in, or remove their rows.",
        )  # fmt: skip
    return found


def _times(table: Columns, name: str, notes: list[str]) -> NDArray[Any]:
    return numbers(table, name, notes) if is_numeric(table, name) else times(table, name, notes)[0]


def _piece(steps: NDArray[Any]) -> Any:
    """Steps (n, columns) as a generator takes them: texts as a list of them, or of tuples."""
    if steps.dtype != object:
        return steps
    return steps[:, 0].tolist() if steps.shape[1] == 1 else list(map(tuple, steps.tolist()))


def write_midi(path: Path, notes: NDArray[np.int64], *, step: float = 0.25, tempo: float = 90.0) -> None:
    """Write notes as a MIDI file, a track for each voice; a note that comes again at once is held.

    Args:
        path: of the file.
        notes: (steps, voices), MIDI's numbers from 1 to 127 (60 is the middle C), 0 for silence.
        step: quarter notes that a step lasts.
        tempo: quarter notes a minute.

    Raises:
        DataError: a note is none of MIDI's.
        OptionError: the package mido is not installed.
    """
    try:
        import mido
    except ImportError as error:
        raise OptionError(
            "MIDI", "the package mido", "none installed", "Install it: pip install 'unrolled[midi]'."
        ) from error
    if notes.dtype.kind not in "iu" or ((notes < 0) | (notes >= NOTES)).any():
        strange = (
            notes.ravel()[0] if notes.dtype.kind not in "iu" else notes[(notes < 0) | (notes >= NOTES)][0]
        )
        raise DataError(
            "MIDI",
            "whole numbers from 0 (silence) to 127 as notes",
            repr(strange.item()),
            "Write a .csv instead.",
        )
    file = mido.MidiFile(ticks_per_beat=PULSES)
    for number, voice in enumerate(notes.T):
        channel = [*range(9), *range(10, 16)][number % 15]  # the tenth is of drums
        track = mido.MidiTrack()
        file.tracks.append(track)
        if number == 0:
            track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
        began, before = 0, 0  # the step up to which is written
        for at, note in enumerate([*voice.tolist(), 0]):
            if note == before and at < len(voice):
                continue
            pulses = round((at - began) * step * PULSES)
            if before:
                track.append(mido.Message("note_off", note=before, time=pulses, channel=channel))
                pulses = 0
            if note:
                track.append(mido.Message("note_on", note=note, velocity=72, time=pulses, channel=channel))
            if before or note:
                began = at
            before = note
    file.save(path)
