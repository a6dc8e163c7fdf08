"""Tables with labels: a text in each row, a sequence in each row, or long tables with a row for each step."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.reading import Columns, numbers, read_columns, times
from unrolled.errors import DataError, OptionError

__all__ = ["Labelled", "read_labelled"]


@dataclass(frozen=True)
class Labelled:
    """Sequences, and the label of each.

    Attributes:
        inputs: texts, lists of words, or arrays (steps, features).
        labels: (n,), texts as they stand in the table, or numbers; with a label for each step, (n,) of such arrays;
            None where they were not asked for.
        names: (n,), of the sequences: their ids, or the numbers of their rows, from 1 on without the header.
        notes: what was assumed or done.
        kind: "pandas" or "polars", what the table was.
        groups: (n,), what each sequence belongs to, as a speaker; None where that was not asked for.
        held: (n,), whether a sequence comes from a file to score on; None where there is none.
        features: what the numbers of a step are, by their columns; empty where a column is a step, and of texts.
    """

    inputs: list[Any]
    labels: NDArray[Any] | None
    names: NDArray[Any]
    notes: tuple[str, ...] = ()
    kind: str = "pandas"
    groups: NDArray[Any] | None = None
    held: NDArray[np.bool_] | None = None
    features: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def with_test(self, test: "Labelled") -> "Labelled":
        """These sequences to learn from, and those of another table to score on."""
        assert self.labels is not None
        assert test.labels is not None
        return replace(
            self,
            inputs=[*self.inputs, *test.inputs],
            labels=np.concatenate([self.labels, test.labels]),
            names=np.concatenate([self.names, test.names]),
            notes=tuple(dict.fromkeys([*self.notes, *test.notes])),
            held=np.arange(len(self) + len(test)) >= len(self),
        )


def read_labelled(
    source: Any,
    *,
    label: str | None,
    text: str | None = None,
    sequence: Sequence[str] = (),
    id: str | None = None,
    time: str | None = None,
    per_step: bool = False,
    numeric: bool = False,
    group: str | None = None,
) -> Labelled:
    """Read a table of texts, or of sequences, with labels.

    Args:
        source: a path (CSV, Parquet), a pandas or a polars frame.
        label: the column of labels; None where they are to be told.
        text: the column of texts; with `per_step`, of the words of texts, one in each row.
        sequence: columns of numbers. With `id`, a row is a step, these its features; without, a row is a
            sequence of one feature, these its steps, and empty cells at its end are no steps.
        id: the column that tells which sequence a step belongs to; its label must be the same in all of its rows,
            or stand in some and be empty in the others.
        time: the column by which the steps of a sequence are ordered; by default they are as they stand.
        per_step: each row has a label of its own; needs `id`.
        numeric: labels are numbers.
        group: the column of what sequences belong to, as a speaker; with `id` the same in all rows of a sequence.

    Raises:
        DataError: a column is missing, a label or a number is missing, a text is empty, or a sequence has two labels.
        OptionError: both or none of `text` and `sequence`, `time` without `id`, or a label that is read as well.

    >>> import pandas as pd
    >>> long = pd.DataFrame({"who": ["a", "b", "a"], "t": [2, 1, 1], "v": [5.0, 6.0, 7.0], "kind": ["x", "y", "x"]})
    >>> read = read_labelled(long, label="kind", sequence=["v"], id="who", time="t")
    >>> [part.ravel().tolist() for part in read.inputs], read.labels.tolist()
    ([[7.0, 5.0], [6.0]], ['x', 'y'])
    """
    if bool(text) == bool(sequence):
        raise OptionError(
            "options",
            "--text or --sequence",
            "both" if text else "none",
            "Name the column of texts, or the columns of the sequence.",
        )
    if text and id and not per_step:
        raise OptionError(
            "options",
            "--text without --id, a whole text in each row",
            "both",
            "Leave --id out; where each row is a word with a label of its own, pass --per-step.",
        )
    if ((id or time) and not (sequence or per_step)) or (time and not id):
        raise OptionError(
            "options", "--id and --time with --sequence, and --id with --time", "less", "Name all of them."
        )
    if per_step and not id:
        raise OptionError(
            "options", "--id with --per-step", "none", "Name the column that says which rows belong together."
        )
    inputs = [*sequence, *([text] if text else [])]
    twice = next(
        (name for name in (*inputs, label, id) if (*inputs, label, id).count(name) > 1 and name), None
    )
    if twice is not None:
        raise OptionError(
            "options",
            "each column once",
            f"{twice!r} twice",
            "What is to be told, or an id, is not to be read as well.",
        )
    columns = read_columns(source)
    columns.check([name for name in (label, text, *sequence, id, time, group) if name is not None])
    notes: list[str] = []
    if label is not None and id is not None and not per_step:
        columns = _share_labels(columns, label, id, notes)
    labels = (
        None
        if label is None
        else _labels(columns, label, notes if numeric else None, id is None and len(sequence) == 1)
    )
    groups = None if group is None else _labels(columns, group, None)
    records = np.arange(1, len(columns.frame) + 1)
    if text is not None and id is not None:
        words = np.array(_texts(columns, text), object)
        return _long(columns, words, labels, label, id, time, notes, per_step, groups, group)
    if text is not None:
        return Labelled(
            _texts(columns, text), labels, records, tuple(dict.fromkeys(notes)), columns.kind, groups
        )
    values = np.stack([_numbers(columns, name, notes) for name in sequence], axis=1)
    if id is None:
        return Labelled(
            _rows(columns, sequence, values),
            labels,
            records,
            tuple(dict.fromkeys(notes)),
            columns.kind,
            groups,
        )
    _check_present(columns, sequence, values)
    found = _long(columns, values, labels, label, id, time, notes, per_step, groups, group)
    return replace(found, features=tuple(sequence))


def _labels(columns: Columns, name: str, notes: list[str] | None, single: bool = False) -> NDArray[Any]:
    """The labels as texts, or where there are `notes` as numbers. `single`: each row is a sequence of one step."""
    found = columns.frame[name].astype("string").str.strip()
    missing = (found.isna() | (found == "")).to_numpy(bool)
    if missing.any():
        row = int(columns.frame.index[int(np.argmax(missing))])
        cure = f"{np.count_nonzero(missing):,} of {len(missing):,} are missing: fill them in, or remove their rows."
        if single:
            cure += " Where several rows are one sequence, name the column that tells which by --id."
        raise DataError(columns.where(row, name), "a label", "an empty cell", cure)
    return np.asarray(found, object) if notes is None else numbers(columns, name, notes)


def _share_labels(columns: Columns, label: str, id: str, notes: list[str]) -> Columns:
    """Where a sequence has a label in some of its rows, and empty cells in the others, give it to all of them."""
    found = columns.frame[label]
    filled = found.fillna(found.groupby(columns.frame[id]).transform("first"))
    count = int(found.isna().sum() - filled.isna().sum())
    if not count:
        return columns
    notes.append(f"Column {label!r}: {count:,} empty cells take the label of their sequence.")
    return replace(columns, frame=columns.frame.assign(**{label: filled}))


def _numbers(columns: Columns, name: str, notes: list[str]) -> NDArray[np.float64]:
    """As `numbers`; where no cell holds one, say how texts are named."""
    import pandas as pd

    try:
        return numbers(columns, name, notes)
    except DataError as error:
        if pd.to_numeric(columns.frame[name], errors="coerce").notna().any():
            raise
        cure = f"It holds no number at all: name a column of texts by --text {shlex.quote(name)}."
        raise DataError(error.where, error.expected, error.got, cure) from error


def _texts(columns: Columns, name: str) -> list[str]:
    found = columns.frame[name].astype("string")
    empty = (found.isna() | (found.str.strip() == "")).to_numpy(bool)
    if empty.any():
        row = int(columns.frame.index[int(np.argmax(empty))])
        raise DataError(
            columns.where(row, name),
            "a text",
            "an empty cell",
            f"{np.count_nonzero(empty):,} of {len(empty):,} texts are empty: fill them in, or remove their rows.",
        )
    return [str(text) for text in found]


def _rows(columns: Columns, names: Sequence[str], values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """A sequence for each row; empty cells at its end are no steps."""
    present = ~np.isnan(values)
    lengths = np.where(present.any(1), len(names) - present[:, ::-1].argmax(1), 0)
    inside = np.arange(len(names)) < lengths[:, None]
    if not lengths.all():
        row = int(columns.frame.index[int(np.argmin(lengths))])
        raise DataError(columns.where(row, names[0]), "a number", "an empty row", "Remove such rows.")
    _check_present(columns, names, values, inside)
    return [row[:length, None] for row, length in zip(values, lengths, strict=True)]


def _check_present(
    columns: Columns,
    names: Sequence[str],
    values: NDArray[np.float64],
    inside: NDArray[np.bool_] | None = None,
) -> None:
    missing = np.isnan(values) if inside is None else np.isnan(values) & inside
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise DataError(
            columns.where(int(columns.frame.index[row]), names[column]),
            "a number inside the sequence",
            "an empty cell",
            f"Fill it in, or remove the sequence; such cells: {np.count_nonzero(missing):,}.",
        )


def _decimals(column: Any) -> NDArray[np.float64] | None:
    """Numbers of which some are fractions, as they only order steps; None for anything else, dates or whole numbers."""
    import pandas as pd

    text = column.astype("string").str.strip()
    found = pd.to_numeric(text, errors="coerce").to_numpy(float, na_value=np.nan)
    whole = text.str.fullmatch(r"[+-]?\d{1,18}").fillna(False).all()
    return None if whole or not np.isfinite(found).all() else found


def _long(
    columns: Columns,
    values: NDArray[Any],
    labels: NDArray[Any] | None,
    label: str | None,
    id: str,
    time: str | None,
    notes: list[str],
    per_step: bool,
    groups: NDArray[Any] | None,
    group: str | None,
) -> Labelled:
    """A sequence for each id, in the order in which ids first come."""
    import pandas as pd

    cells = columns.frame[id].astype("string").str.strip()
    if cells.isna().any():
        row = int(columns.frame.index[int(np.argmax(cells.isna().to_numpy(bool)))])
        raise DataError(columns.where(row, id), "an id", "an empty cell", "Fill it in, or remove the row.")
    codes, names = pd.factorize(cells)
    order = np.argsort(codes, kind="stable")
    if time is not None:
        stamps = _decimals(columns.frame[time])
        if stamps is None:
            stamps = times(columns, time, notes, codes.astype(np.int64))[0]
        order = np.lexsort((np.arange(len(codes)), stamps, codes))
        same = (np.diff(codes[order]) == 0) & (stamps[order][1:] == stamps[order][:-1])
        if same.any():
            row = int(columns.frame.index[order[1:][same][0]])
            raise DataError(
                columns.where(row, time),
                f"each time once in the sequence {names[codes[order[1:][same][0]]]!r}",
                "one twice",
                "Remove one of the rows, or leave --time out to take rows as they stand.",
            )
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    inputs = [values[order[a:b]] for a, b in pairwise(starts)]
    if values.ndim == 1:
        inputs = [words.tolist() for words in inputs]
    if groups is not None and group is not None:
        whole = groups[order[starts[:-1]]]
        split = np.flatnonzero(groups != whole[codes])
        if len(split):
            row, got = (
                int(columns.frame.index[split[0]]),
                f"{whole[codes[split[0]]]!r} and {groups[split[0]]!r}",
            )
            raise DataError(
                columns.where(row, group), "one group in all rows of a sequence", got, "Correct it."
            )
        groups = whole
    found: NDArray[Any] | None = None
    if labels is not None and per_step:
        found = np.empty(len(inputs), object)
        found[:] = [labels[order[a:b]] for a, b in pairwise(starts)]
    elif labels is not None:
        found = first = labels[order[starts[:-1]]]
        others = np.flatnonzero(labels != first[codes])
        if len(others):
            row = int(columns.frame.index[others[0]])
            raise DataError(
                columns.where(row, label or id),
                f"one label in all rows of {names[codes[others[0]]]!r}",
                f"{first[codes[others[0]]]!r} and {labels[others[0]]!r}",
                "Correct it, or pass --per-step where each row has a label of its own.",
            )
    return Labelled(
        inputs, found, np.asarray(names, object), tuple(dict.fromkeys(notes)), columns.kind, groups
    )
