"""The table that everything else works on: one row a time step, checked once."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled.data.frequency import Frequency, infer_frequency
from unrolled.data.reading import Columns, codes_of, labels_of, numbers, read_columns, times
from unrolled.errors import DataError, OptionError

__all__ = ["Table", "read_table"]

logger = logging.getLogger("unrolled")

TIME_NAMES = (
    "ds",
    "time",
    "date",
    "datetime",
    "timestamp",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "period",
)

DATE = (
    r"\d[-/.]\d+[-/.]\d|^\d{4}-\d\d$|^\d{4}-?Q[1-4]$|[A-Za-z]{3}.*\d{4}"  # what a column of times looks like
)


@dataclass(frozen=True)
class Table:
    """Rows in the order of time, one calendar step apart, without holes.

    Attributes:
        times: (rows,), datetime64[us], or int64 where the data has row numbers instead of times.
        values: (rows, columns), float64, finite, in the units of the data.
        observed: (rows, columns), bool, False where a gap was filled.
        columns: the names of the columns of `values`: the target, then `past`, then the numeric `known` ones.
        frequency: the calendar of the rows.
        time: the name of the time column, "" where there is none.
        series: the name of the series, "" where the data has no such column.
        kind: "pandas" or "polars", what the caller works with.
        notes: what was done to the data, a sentence each.
        past: the columns that are known up to the origin only.
        known: the columns that are known ahead, numeric or not.
        labels: of each known column that is not numeric, (rows,) str.
        ahead: the rows after the last value of the target that have known columns, None where there are none.
    """

    times: NDArray[Any]
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    columns: tuple[str, ...]
    frequency: Frequency
    time: str = ""
    series: str = ""
    kind: Literal["pandas", "polars"] = "pandas"
    notes: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    ahead: "Table | None" = None

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, rows: slice) -> "Table":
        """Return the table of some consecutive rows; a view."""
        return dataclasses.replace(
            self,
            times=self.times[rows],
            values=self.values[rows],
            observed=self.observed[rows],
            labels={name: column[rows] for name, column in self.labels.items()},
        )

    def to_frame(self) -> Any:
        """Return the rows as a frame: the times, the columns, and `observed`, False where a gap was filled."""
        import narwhals as nw

        columns = {self.time or "row": self.times, **{name: self.column(name) for name in self.columns}}
        columns |= {name: column.tolist() for name, column in self.labels.items()}
        return nw.from_dict(columns | {"observed": self.observed[:, 0]}, backend=self.kind).to_native()

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the values of one column, (rows,)."""
        return self.values[:, self.columns.index(name)]

    def followed_by(self, newer: "Table") -> "Table":
        """Return this table with the rows of `newer` put in the place of those at the same time, and after.

        Raises:
            DataError: rows lack between the two.
        """
        keep = int(np.searchsorted(self.times, newer.times[0]))
        if keep == len(self) and len(self):
            follows = self.frequency.after(self.times[-1], 1)[0]
            if newer.times[0] > follows and not self.frequency.slots:
                raise DataError(
                    "newer rows",
                    f"rows from {show_time(follows)} on, where the known data end",
                    f"rows from {show_time(newer.times[0])} on",
                    "Give the rows between as well.",
                )
        return dataclasses.replace(
            newer,
            times=np.concatenate([self.times[:keep], newer.times]),
            values=np.concatenate([self.values[:keep], newer.values]),
            observed=np.concatenate([self.observed[:keep], newer.observed]),
            labels={
                name: np.concatenate([self.labels[name][:keep], newer.labels[name]]) for name in self.labels
            },
        )


def read_table(
    source: Any,
    *,
    target: str | Sequence[str] | None = None,
    time: str | None = None,
    series: str | None = None,
    known: Sequence[str] = (),
    observed: Sequence[str] = (),
    gaps: str = "fill",
    frequency: Frequency | None = None,
) -> Table:
    """Read and check the table that a forecast starts from.

    Rows are sorted by time, and rows that say the same twice are removed. Missing rows and empty
    cells are gaps: they are filled by straight lines between their neighbours and marked in
    `observed`. Empty cells at either end are cut off. Each of these is logged and noted.

    Args:
        source: a path to a CSV or Parquet file, a pandas DataFrame or Series, a polars DataFrame.
        target: the numeric column or columns to keep. By default "y", or the only numeric column.
        time: the column of times. By default "ds", "date" and such names, or the first column that
            holds dates; a table without one is taken in its order.
        series: the column that names the series. By default "unique_id" where there is one.
        known: columns whose values are known ahead, as prices or holidays are: numbers, or labels. Where
            rows after the target's last value have them, they are kept for a forecast (`Table.ahead`).
        observed: numeric columns that are known up to the origin only. Their gaps, and those of `known`, repeat
            the value before: a straight line would tell what comes.
        gaps: "fill", or "refuse" to raise an error instead.
        frequency: the calendar, where it is known already.

    Raises:
        DataError: a column is missing or not numeric, times are irregular, or one time has two values.
        OptionError: `gaps` is neither "fill" nor "refuse".

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"day": ["2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05"], "sold": [1, 2, 4, 5]})
    >>> table = read_table(frame, target="sold")
    >>> table.frequency.label, table.values[:, 0].tolist(), table.observed[:, 0].tolist()
    ('daily', [1.0, 2.0, 3.0, 4.0, 5.0], [True, True, False, True, True])
    """
    if gaps not in ("fill", "refuse"):
        raise OptionError("gaps", "'fill' or 'refuse'", repr(gaps))
    columns = read_columns(source)
    wanted = [target] if isinstance(target, str) else list(target or ())
    beside = [*observed, *known]
    columns.check([*wanted, *(name for name in (time, series) if name), *beside])
    series_name = series or ("unique_id" if "unique_id" in columns.frame.columns and not wanted else None)
    label = _only_series(columns, series_name)
    time_name = time or find_time(columns, exclude=[*wanted, series_name])
    names = wanted or [_find_target(columns, exclude=[time_name, series_name, *beside])]
    _check_roles(columns, [*names, *(name for name in (time_name, series_name) if name), *beside])
    notes: list[str] = []
    labelled = [name for name in known if not _is_numeric(columns, name)]
    numeric = [*observed, *(name for name in known if name not in labelled)]
    codes, categories = codes_of(columns, labelled)
    values = np.stack([numbers(columns, name, notes) for name in (*names, *numeric)] + codes, axis=1)
    for name, column in zip((*names, *numeric, *labelled), values.T, strict=True):
        if np.isnan(column).all():
            raise DataError(f"column {name!r}", "numbers", "empty cells only", "Name another column.")
    stamps = times(columns, time_name, notes) if time_name else np.arange(len(values))
    stamps, values = _in_order(stamps, values, columns, time_name or "row", notes)
    calendar = frequency or infer_frequency(stamps, f"column {time_name!r}" if time_name else columns.source)
    stamps, values = _on_calendar(stamps, values, calendar, notes)
    last = _last_row(values[:, : len(names)])
    after, told = stamps[last:], values[last:, len(names) :]
    has_ahead = bool(known) and not np.isnan(told[:, len(observed) :]).all()
    if has_ahead:
        stamps, values = stamps[:last], values[:last]
    stamps, values, present = _without_gaps(stamps, values, names, gaps, notes)
    for note in notes:
        logger.warning("%s", note)
    wide = len(names) + len(numeric)
    table = Table(
        stamps, values[:, :wide], present[:, :wide], (*names, *numeric), calendar, time_name or "", label, columns.kind,
        tuple(notes), tuple(observed), tuple(known), labels_of(values[:, wide:], categories),
    )  # fmt: skip
    if not has_ahead:
        return table
    skip, wide = len(observed), len(numeric)
    ahead = dataclasses.replace(
        table, times=after, values=told[:, skip:wide], observed=~np.isnan(told[:, skip:wide]),
        columns=tuple(numeric[skip:]), past=(), notes=(), labels=labels_of(told[:, wide:], categories),
    )  # fmt: skip
    return dataclasses.replace(table, ahead=ahead)


def _check_roles(columns: Columns, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            columns.source,
            "each column in one role",
            f"{twice!r} in two",
            "A target is observed anyway; a column is either observed or known ahead.",
        )


def _last_row(targets: NDArray[np.float64]) -> int:
    """The row after the last one in which every target has a value."""
    whole = np.flatnonzero(~np.isnan(targets).any(axis=1))
    return int(whole[-1]) + 1 if len(whole) else len(targets)


def show_time(time: Any) -> str:
    """Return a time as people write it: the day, and the clock where it is not midnight.

    >>> show_time(np.datetime64("2020-01-31T00:00")), show_time(np.datetime64("2020-01-31T13:30")), show_time(7)
    ('2020-01-31', '2020-01-31 13:30', '7')
    """
    if not isinstance(time, np.datetime64):
        return str(time)
    text = str(time.astype("datetime64[us]")).replace("T", " ").removesuffix(".000000").removesuffix(":00")
    return text.removesuffix(" 00:00")


def _only_series(columns: Columns, name: str | None) -> str:
    if name is None:
        return ""
    found = columns.frame[name].astype("string").unique()
    if len(found) > 1:
        listed = ", ".join(str(value) for value in found[:3]) + (", …" if len(found) > 3 else "")
        raise DataError(
            f"{columns.source}, column {name!r}",
            "one series",
            f"{len(found):,} ({listed})",
            "Select the rows of one series first; many series at once are not supported yet.",
        )
    return str(found[0])


def find_time(columns: Columns, exclude: Sequence[str | None]) -> str | None:
    import pandas as pd

    names = [name for name in columns.frame.columns if name not in exclude]
    by_name = sorted((TIME_NAMES.index(name.lower()), name) for name in names if name.lower() in TIME_NAMES)
    if by_name:
        return str(by_name[0][1])
    typed = [name for name in names if pd.api.types.is_datetime64_any_dtype(columns.frame[name])]
    worded = [name for name in names if name.lower().endswith(("date", "time", "_at", "_day", "_month"))]
    for name in (*typed, *worded, *names):
        column = columns.frame[name]
        if name in typed:
            return str(name)
        if not pd.api.types.is_numeric_dtype(column) and column.astype("string").str.contains(DATE).all():
            return str(name)
    return None


def _find_target(columns: Columns, exclude: Sequence[str | None]) -> str:
    names = [str(name) for name in columns.frame.columns if name not in exclude]
    if "y" in names:
        return "y"
    numeric = [name for name in names if _is_numeric(columns, name)]
    if len(numeric) == 1:
        return numeric[0]
    listed = ", ".join(map(repr, numeric[:12])) if numeric else "no numeric column"
    raise DataError(columns.source, "one column to forecast", listed, "Name it with target= (--target).")


def _is_numeric(columns: Columns, name: str) -> bool:
    try:
        return not np.isnan(numbers(columns, name, [])).all()
    except DataError:
        return False


def _in_order(
    stamps: NDArray[Any], values: NDArray[np.float64], columns: Columns, time: str, notes: list[str]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Sort by time and remove rows that repeat another."""
    order = np.argsort(stamps, kind="stable")
    if (np.diff(stamps) < stamps[:1] - stamps[:1]).any():
        notes.append(f"The rows were not in the order of time ({time!r}): sorted.")
    stamps, values = stamps[order], values[order]
    again = np.flatnonzero(np.append(False, stamps[1:] == stamps[:-1]))
    if not len(again):
        return stamps, values
    same = np.all(
        (values[again] == values[again - 1]) | (np.isnan(values[again]) & np.isnan(values[again - 1])), axis=1
    )
    if not same.all():
        at = int(again[np.argmin(same)])
        raise DataError(
            f"{columns.source}, column {time!r}",
            "one row for each time",
            f"{show_time(stamps[at])} with different values ({_pair(values[at - 1], values[at])})",
            "Aggregate the rows first; for several series, name their column with series= (--series).",
        )
    runs = np.split(stamps[again], np.flatnonzero(np.diff(again) > 40) + 1)
    spans = ", ".join(f"{show_time(run[0])} to {show_time(run[-1])}" for run in runs[:4])
    more = f" and {len(runs) - 4:,} more places" if len(runs) > 4 else ""
    notes.append(f"Removed {count_of(len(again), 'exact duplicate row')} ({spans}{more}).")
    keep = np.ones(len(stamps), bool)
    keep[again] = False
    return stamps[keep], values[keep]


def _pair(left: NDArray[np.float64], right: NDArray[np.float64]) -> str:
    at = int(np.argmax(~(left == right)))
    return f"{left[at]:g} and {right[at]:g}"


def _on_calendar(
    stamps: NDArray[Any], values: NDArray[np.float64], calendar: Frequency, notes: list[str]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Put every row on its step of the calendar; missing steps become rows of NaN.

    A calendar that leaves out parts of the week closes on holidays too: up to a week without rows is
    taken for that, and nothing is put there; nor are rows outside the calendar (an extra session) moved.
    """
    first = _snap(stamps[:1], calendar)[0]
    grid = calendar.between(first, _snap(stamps[-1:], calendar)[0])
    if calendar.slots:
        absent = ~np.isin(grid, stamps)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], absent.view(np.int8), [0]])))
        runs = list(zip(edges[::2], edges[1::2], strict=True))
        closed = sum(int(stop - start) for start, stop in runs if stop - start <= len(calendar.slots))
        if closed:
            notes.append(
                f"Left out {count_of(closed, 'closed step')} of the calendar ({calendar.label}), such as holidays."
            )
        lost = [grid[start:stop] for start, stop in runs if stop - start > len(calendar.slots)]
        grid = np.union1d(stamps, np.concatenate(lost)) if lost else stamps
    place = np.searchsorted(grid, stamps)
    if len(grid) and not (np.take(grid, place, mode="clip") == stamps).all():
        snapped = _snap(stamps, calendar)
        moved = int(np.count_nonzero(snapped != stamps))
        if len(np.unique(snapped)) < len(snapped):
            at = int(np.argmax(snapped[1:] == snapped[:-1]))
            raise DataError(
                "times",
                f"one row for each step of the calendar ({calendar.label})",
                f"both {show_time(stamps[at])} and {show_time(stamps[at + 1])}",
                "Aggregate the rows to a regular step first.",
            )
        notes.append(
            f"Moved {count_of(moved, 'row')} to the nearest step of the calendar ({calendar.label})."
        )
        place = np.searchsorted(grid, snapped)
    full = np.full((len(grid), values.shape[1]), np.nan)
    full[place] = values
    return grid, full


def _snap(stamps: NDArray[Any], calendar: Frequency) -> NDArray[Any]:
    """Return the nearest step of the calendar for each stamp."""
    if calendar.slots:
        return stamps
    if calendar.months:
        middle = stamps.astype("datetime64[M]").astype(np.int64)[:, None] + np.array([-1, 0, 1])
        near = calendar._in_months(middle)
        best = np.argmin(np.abs((near - stamps[:, None]).astype(np.int64)), axis=1)
        return near[np.arange(len(stamps)), best]
    step = calendar.count or calendar.microseconds
    numbers_ = stamps.astype(np.int64)
    phase = np.bincount(np.unique(numbers_ % step, return_inverse=True)[1]).argmax()
    offset = np.unique(numbers_ % step)[phase]
    snapped = (numbers_ - offset + step // 2) // step * step + offset
    return snapped.astype(stamps.dtype)


def _without_gaps(
    stamps: NDArray[Any], values: NDArray[np.float64], names: Sequence[str], gaps: str, notes: list[str]
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
    present = ~np.isnan(values)
    wide = len(names)
    whole = np.flatnonzero(present[:, :wide].all(axis=1))
    if not len(whole):
        raise DataError(
            ", ".join(names), "rows in which every column has a value", "none", "Use fewer columns."
        )
    inside = slice(whole[0], whole[-1] + 1)
    cut = len(stamps) - (whole[-1] + 1 - whole[0])
    if cut:
        notes.append(f"Cut off {count_of(cut, 'row')} without a value at the ends.")
    stamps, values, present = stamps[inside], values[inside].copy(), present[inside]
    for column in range(wide, values.shape[1]):  # the value before; at the beginning the first
        have = np.flatnonzero(present[:, column])
        if len(have):
            before = np.searchsorted(have, np.arange(len(values)), side="right") - 1
            values[:, column] = values[have[np.maximum(before, 0)], column]
    missing = ~present[:, :wide].all(axis=1)
    if not missing.any():
        return stamps, values, present
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.view(np.int8), [0]])))
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    start, stop = edges[2 * longest], edges[2 * longest + 1]
    found = (
        f"{count_of(len(edges) // 2, 'gap')}, {count_of(int(missing.sum()), 'step')} of {len(stamps):,} "
        f"(the longest {count_of(int(stop - start), 'step')}, "
        f"from {show_time(stamps[start])} to {show_time(stamps[stop - 1])})"
    )
    if gaps == "refuse":
        raise DataError(
            ", ".join(names), "no gaps (gaps='refuse')", found, "Fill them first, or allow gaps='fill'."
        )
    notes.append(f"Filled {found} by straight lines; scores leave them out.")
    rows = np.arange(len(stamps))
    for column in range(wide):
        have = present[:, column]
        values[~have, column] = np.interp(rows[~have], rows[have], values[have, column])
    return stamps, values, present


def count_of(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
