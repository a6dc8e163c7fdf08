"""Empty cells: what is cut off at the ends of a series, and what is put in the gaps inside."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.calendar_rows import count
from unrolled.data.frequency import show_time

__all__ = ["carried", "describe_gaps", "ends_of", "straight"]


def ends_of(present: NDArray[np.bool_], starts: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first row of each series that is present, and the row after its last one.

    Args:
        present: (rows,).
        starts: (series + 1,), where each series begins. Each has a row that is present.

    >>> ends_of(np.array([0, 1, 1, 0, 1, 0], bool), np.array([0, 4, 6]))
    (array([1, 4]), array([3, 5]))
    """
    rows = np.flatnonzero(present)
    return rows[np.searchsorted(rows, starts[:-1])], rows[np.searchsorted(rows, starts[1:]) - 1] + 1


def straight(
    column: NDArray[np.float64], present: NDArray[np.bool_], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return a column with straight lines over its gaps, and its first and last values out to the series' ends.

    >>> straight(np.array([np.nan, 1.0, np.nan, 2.0, 7.0, np.nan]), ~np.isnan([np.nan, 1, np.nan, 2, 7, np.nan]),
    ...          np.array([0, 4, 6])).tolist()
    [1.0, 1.0, 1.5, 2.0, 7.0, 7.0]
    """
    if present.all():
        return column
    gaps = np.flatnonzero(~present)
    before, after = _neighbours(present, starts)
    before, after = before[gaps], after[gaps]
    lonely_start, lonely_end = before < 0, after < 0
    before, after = np.where(lonely_start, after, before), np.where(lonely_end, before, after)
    left, right = column[before], column[after]
    with np.errstate(over="ignore", invalid="ignore"):
        slope = (right - left) / np.maximum(after - before, 1)
        line = left + slope * (gaps - before)
    share = (gaps - before) / np.maximum(after - before, 1)
    filled = column.copy()
    filled[gaps] = np.where(np.isfinite(line), line, left * (1 - share) + right * share)
    return filled


def carried(
    column: NDArray[np.float64], present: NDArray[np.bool_], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return a column with the last value carried over its gaps, and the first one back to the series' start.

    A series without a value stays NaN.

    >>> carried(np.array([np.nan, 1.0, np.nan, 2.0]), np.array([False, True, False, True]), np.array([0, 4])).tolist()
    [1.0, 1.0, 1.0, 2.0]
    """
    if present.all():
        return column
    before, after = _neighbours(present, starts)
    source = np.where(before < 0, after, before)
    return np.where(source < 0, np.nan, column[source])


def _neighbours(present: NDArray[np.bool_], starts: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return for each row the nearest present row of its series, itself or before, and itself or after; -1 for none."""
    rows = np.arange(len(present))
    lengths = np.diff(starts)
    before = np.maximum.accumulate(np.where(present, rows, -1))
    after = np.minimum.accumulate(np.where(present, rows, len(rows))[::-1])[::-1]
    before = np.where(before >= np.repeat(starts[:-1], lengths), before, -1)
    return before, np.where(after < np.repeat(starts[1:], lengths), after, -1)


def describe_gaps(
    missing: NDArray[np.bool_], times: NDArray[Any], starts: NDArray[np.int64], names: tuple[str, ...]
) -> str:
    """Return how many gaps there are, and where the longest is; `missing` is (rows,), with one True at least."""
    begins = missing & ~np.append(False, missing[:-1])
    begins[starts[:-1]] = missing[starts[:-1]]
    first = np.flatnonzero(begins)
    owner = np.searchsorted(starts, first, side="right") - 1
    lengths = np.add.reduceat(missing.astype(np.int64), first)
    longest = int(np.argmax(lengths))
    start, length = first[longest], int(lengths[longest])
    of_series = f" in series {names[owner[longest]]!r}" if len(names) > 1 else ""
    return (
        f"{count(len(first), 'gap')}, {count(int(missing.sum()), 'step')} of {len(missing):,} "
        f"(the longest {count(length, 'step')}, "
        f"from {show_time(times[start])} to {show_time(times[start + length - 1])}{of_series})"
    )
