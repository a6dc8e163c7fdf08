"""Rows as they were read, put in order and on the steps of one calendar, all series at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.frequency import Frequency, show_time, steps_of, time_of
from unrolled.errors import DataError

__all__ = [
    "Rows",
    "count",
    "in_order",
    "join_words",
    "on_calendar",
    "rows_between",
    "some_names",
    "with_values",
]

ROOM = 50  # rows that a calendar may put in the place of one; more of them are a wrong time stamp


@dataclass(frozen=True)
class Rows:
    """Rows on their way to a table.

    Attributes:
        series: (rows,), the number of each row's series.
        times: (rows,), datetime64[us] or int64.
        values: (rows, columns), NaN where missing; labels by their number.
        names: of the series.
    """

    series: NDArray[np.int64]
    times: NDArray[Any]
    values: NDArray[np.float64]
    names: tuple[str, ...]

    def take(self, rows: NDArray[Any]) -> "Rows":
        """Return some rows, by index or mask."""
        return Rows(self.series[rows], self.times[rows], self.values[rows], self.names)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each series begins, and the end: (series + 1,); the rows are in the order of the series."""
        return np.searchsorted(self.series, np.arange(len(self.names) + 1))

    def named(self, row: int) -> str:
        """Name a row's series for an error, where there are several: " in series 'a'"."""
        return f" in series {self.names[self.series[row]]!r}" if len(self.names) > 1 else ""


def join_words(words: list[str]) -> str:
    """Join words as a sentence does.

    >>> join_words(["naive"]), join_words(["naive", "linear", "sarima"])
    ('naive', 'naive, linear and sarima')
    """
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def count(number: int, thing: str) -> str:
    """Return a number and its noun: "1 row", "1,200 rows"."""
    return f"{number:,} {thing}{'' if number == 1 or thing.endswith('series') else 's'}"


def some_names(names: Any, most: int = 3) -> str:
    """Return the first names of a list: "a, b, c, …"."""
    names = list(names)
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def rows_between(first: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row numbers first[0], …, stop[0] - 1, first[1], …, stop[1] - 1, and so on.

    >>> rows_between(np.array([0, 7]), np.array([3, 9])).tolist()
    [0, 1, 2, 7, 8]
    """
    lengths = np.maximum(stop - first, 0)
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(first - before, lengths)


def in_order(rows: Rows, where: str, time: str, labels: list[NDArray[Any]], notes: list[str]) -> Rows:
    """Sort by series and time, and remove rows that repeat another.

    Args:
        rows: in any order.
        where: what to name in an error.
        time: the name of the time column.
        labels: the categories of the last columns of `rows.values`, for an error.
        notes: is added to.

    Raises:
        DataError: one series has two different rows at one time.
    """
    grouped = np.argsort(rows.series, kind="stable")
    stamps = rows.times[grouped]
    if ((stamps[1:] < stamps[:-1]) & (np.diff(rows.series[grouped]) == 0)).any():
        notes.append(f"The rows were not in the order of time ({time!r}): sorted.")
    rows = rows.take(np.lexsort((rows.times, rows.series)))
    repeats = np.append(False, (rows.times[1:] == rows.times[:-1]) & (rows.series[1:] == rows.series[:-1]))
    again = np.flatnonzero(repeats)
    if not len(again):
        return rows
    here, above = rows.values[again], rows.values[again - 1]
    same = np.all((here == above) | (np.isnan(here) & np.isnan(above)), axis=1)
    if not same.all():
        at = int(again[np.argmin(same)])
        raise DataError(
            where,
            "one row for each time",
            f"{show_time(rows.times[at])}{rows.named(at)} with different values "
            f"({_pair(rows.values[at - 1], rows.values[at], labels)})",
            "Aggregate the rows first; for several series, name their column with series= (--series).",
        )
    parts = (np.diff(again) > 40) | (np.diff(rows.series[again]) != 0)
    runs = np.split(again, np.flatnonzero(parts) + 1)
    spans = ", ".join(
        f"{show_time(rows.times[run[0]])} to {show_time(rows.times[run[-1]])}{rows.named(run[0])}"
        for run in runs[:4]
    )
    more = f" and {len(runs) - 4:,} more places" if len(runs) > 4 else ""
    notes.append(f"Removed {count(len(again), 'exact duplicate row')} ({spans}{more}).")
    return rows.take(~repeats)


def _pair(left: NDArray[np.float64], right: NDArray[np.float64], labels: list[NDArray[Any]]) -> str:
    at = int(np.argmax(~((left == right) | (np.isnan(left) & np.isnan(right)))))
    number = at - (len(left) - len(labels))
    if number < 0:
        return f"{left[at]:g} and {right[at]:g}"
    shown = ["empty" if np.isnan(code) else repr(labels[number][int(code)]) for code in (left[at], right[at])]
    return " and ".join(shown)


def on_calendar(rows: Rows, calendar: Frequency, notes: list[str]) -> Rows:
    """Put every row on its step of the calendar; steps that a series lacks become rows of NaN.

    A calendar that leaves out parts of the week closes on holidays too: up to a week without rows is
    taken for that, and nothing is put there; nor are rows outside the calendar (an extra session) moved.

    Raises:
        DataError: two rows belong on one step, or a time lies so far from the rest that it must be wrong.
    """
    if calendar.slots:
        return _in_slots(rows, calendar, notes)
    numbers, phase = steps_of(rows.times, calendar, rows.series)
    snapped = time_of(numbers, phase, calendar)
    moved = int(np.count_nonzero(snapped != rows.times))
    one_series = rows.series[1:] == rows.series[:-1]
    collisions = one_series & (np.diff(numbers) == 0)
    if collisions.any():
        at = int(np.argmax(collisions))
        raise DataError(
            "times",
            f"one row for each step of the calendar ({calendar.label})",
            f"both {show_time(rows.times[at])} and {show_time(rows.times[at + 1])}{rows.named(at)}",
            "Aggregate the rows to a regular step first.",
        )
    if moved:
        notes.append(f"Moved {count(moved, 'row')} to the nearest step of the calendar ({calendar.label}).")
    starts = rows.starts
    first, last = starts[:-1], starts[1:] - 1
    lengths = numbers[last] - numbers[first] + 1
    _check_room(rows, numbers, int(lengths.sum()), one_series)
    begins = np.cumsum(lengths) - lengths
    series = np.repeat(np.arange(len(rows.names)), lengths)
    place = numbers - (numbers[first] - begins)[rows.series]
    full = np.full((len(series), rows.values.shape[1]), np.nan)
    full[place] = rows.values
    grid = np.arange(len(series)) + (numbers[first] - begins)[series]
    return Rows(series, time_of(grid, phase[first][series], calendar), full, rows.names)


def _check_room(rows: Rows, numbers: NDArray[np.int64], wanted: int, one_series: NDArray[np.bool_]) -> None:
    if wanted <= ROOM * len(rows.times) + 10_000:
        return
    at = int(np.argmax(np.where(one_series, np.diff(numbers), 0)))
    raise DataError(
        "times",
        f"at most {ROOM} steps without a row for each step that has one",
        f"{numbers[at + 1] - numbers[at] - 1:,} steps from {show_time(rows.times[at])} to "
        f"{show_time(rows.times[at + 1])}{rows.named(at)}",
        "Correct the time, or leave out the rows on one side.",
    )


def _in_slots(rows: Rows, calendar: Frequency, notes: list[str]) -> Rows:
    slots = len(calendar.slots)
    upto, _ = steps_of(rows.times, calendar)
    on_grid = time_of(upto, upto, calendar) == rows.times
    ends = np.zeros(len(upto), bool)
    ends[rows.starts[:-1]] = ends[rows.starts[1:] - 1] = True
    edge = np.flatnonzero(on_grid | ends)  # between two of these no slot has a row
    before = np.where(on_grid, upto - 1, upto)[edge[1:]]  # the last slot before the later one
    absent = np.where(rows.series[edge[1:]] == rows.series[edge[:-1]], before - upto[edge[:-1]], 0)
    closed = int(absent[(absent > 0) & (absent <= slots)].sum())
    if closed:
        notes.append(
            f"Left out {count(closed, 'closed step')} of the calendar ({calendar.label}), such as holidays."
        )
    lost = np.flatnonzero(absent > slots)
    if not len(lost):
        return rows
    room = len(rows.times) + int(absent[lost].sum())
    _check_room(rows, upto, room, rows.series[1:] == rows.series[:-1])
    added = rows_between(upto[edge[lost]] + 1, before[lost] + 1)
    series = np.append(rows.series, np.repeat(rows.series[edge[lost]], absent[lost]))
    stamps = np.append(rows.times, time_of(added, added, calendar))
    empty = np.full((len(added), rows.values.shape[1]), np.nan)
    joined = Rows(series, stamps, np.concatenate([rows.values, empty]), rows.names)
    return joined.take(np.lexsort((stamps, series)))


def with_values(
    rows: Rows, numeric: tuple[str, ...], targets: int, notes: list[str]
) -> tuple[Rows, NDArray[np.int64]]:
    """Leave out the series that lack all values of a column up to their last target; return the numbers of the rest."""
    present = ~np.isnan(rows.values[:, : len(numeric)])
    some = np.any(present[:, :targets], axis=1)
    last = np.full(len(rows.names), -1)
    np.maximum.at(last, rows.series[some], np.flatnonzero(some))
    present &= (np.arange(len(some)) <= last[rows.series])[:, None]
    counts = np.add.reduceat(present.astype(np.int64), rows.starts[:-1], axis=0)
    empty = last < 0
    if empty.any():
        listed = some_names(np.asarray(rows.names, object)[empty])
        notes.append(f"Left out {count(int(empty.sum()), 'series')} without a value to forecast ({listed}).")
    lacking = (counts == 0).any(axis=1) & ~empty
    if lacking.any() and len(rows.names) > 1:
        which = ", ".join(
            repr(numeric[number]) for number in np.flatnonzero((counts[lacking] == 0).any(axis=0))
        )
        listed = some_names(np.asarray(rows.names, object)[lacking])
        notes.append(f"Left out {count(int(lacking.sum()), 'series')} without a value of {which} ({listed}).")
    kept = np.flatnonzero(~empty & ~lacking)
    if not len(kept):
        raise DataError(
            ", ".join(numeric), "values in every column up to the last target", "none", "Use fewer columns."
        )
    if len(kept) == len(rows.names):
        return rows, kept
    left = rows.take(np.isin(rows.series, kept))
    names = tuple(rows.names[number] for number in kept)
    return Rows(np.searchsorted(kept, left.series), left.times, left.values, names), kept
