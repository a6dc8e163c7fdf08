"""The table that everything else works on: series by series, one row a time step, checked once."""

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.data.calendar_rows import Rows, count, in_order, on_calendar, rows_between, with_values
from unrolled.data.frequency import Frequency, infer_frequency, show_time
from unrolled.data.gaps import carried, describe_gaps, ends_of, straight
from unrolled.data.reading import read_columns, times
from unrolled.data.roles import find_roles, series_numbers, static_values, values_of
from unrolled.errors import DataError, OptionError

__all__ = ["Table", "read_table", "show_time"]

logger = logging.getLogger("unrolled")


@dataclass(frozen=True)
class Table:
    """Rows by series, in each in the order of time, one calendar step apart, without holes.

    Attributes:
        times: (rows,), datetime64[us], or int64 where the data has row numbers instead of times.
        values: (rows, columns), float64, finite, in the units of the data.
        observed: (rows, columns), bool, False where a gap was filled.
        columns: the names of the columns of `values`: targets, then `past`, then the numeric ones of `known`.
        frequency: the calendar of the rows, one for all series.
        time: the name of the time column, "" where there is none.
        kind: "pandas" or "polars", what the caller works with.
        notes: what was done to the data, a sentence each.
        series: the name of the column that names the series, "" where there is none.
        names: of the series, in the order of their rows; ("",) where no column names them.
        starts: (series + 1,), int64, the row where each series begins, and the number of rows.
        targets: the names of the columns to forecast; by default all.
        known: the names of the columns whose future is known, in the order asked for.
        past: the names of the columns of which only the past is known.
        labels: the columns of `known` that are no numbers, each (rows,), text, "" where missing.
        blank: those of `labels` that are mostly empty, where "" says that there is nothing (no holiday).
        static: what is known of each series, each (series,), float64 or text.
        zone: the time zone to show the times in, which are UTC then; "" for times as they stand.
        ahead: the rows after each series' last, as far as `known` is given for them: `values` has the
            numeric known columns only, NaN where not given, and `observed` is False there. None
            where `known` is empty.
    """

    times: NDArray[Any]
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    columns: tuple[str, ...]
    frequency: Frequency
    time: str = ""
    kind: Literal["pandas", "polars"] = "pandas"
    notes: tuple[str, ...] = ()
    series: str = ""
    names: tuple[str, ...] = ("",)
    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    targets: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    labels: dict[str, NDArray[Any]] = field(default_factory=dict)
    blank: tuple[str, ...] = ()
    static: dict[str, NDArray[Any]] = field(default_factory=dict)
    zone: str = ""
    ahead: "Table | None" = None

    def __post_init__(self) -> None:
        if not len(self.starts):
            object.__setattr__(self, "starts", np.array([0, len(self.times)], np.int64))
        if not (self.targets or self.known or self.past):
            object.__setattr__(self, "targets", self.columns)

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, rows: slice) -> "Table":
        """Return the table of some consecutive rows of a single series; what `known` says of those after them stays."""
        assert len(self.names) == 1, "a slice of several series is of(), until() or last()"
        start, stop, step = rows.indices(len(self))
        assert step == 1
        return self._cut(np.array([start]), np.array([max(start, stop)]))

    @property
    def owner(self) -> NDArray[np.int64]:
        """The number of each row's series, (rows,)."""
        return np.repeat(np.arange(len(self.names)), np.diff(self.starts))

    def of(self, numbers: ArrayLike) -> "Table":
        """Return the table of some series, by their numbers, in that order.

        >>> import pandas as pd
        >>> frame = pd.DataFrame({"unique_id": list("aaabbb"), "ds": [1, 2, 3, 2, 3, 4], "y": [1.0, 2, 3, 7, 8, 9]})
        >>> table = read_table(frame)
        >>> table.of([1]).names, table.of([1]).column("y").tolist()
        (('b',), [7.0, 8.0, 9.0])
        """
        picked = np.asarray(numbers, np.int64)
        part = self._rows(rows_between(self.starts[picked], self.starts[picked + 1]))
        return dataclasses.replace(
            part,
            names=tuple(self.names[number] for number in picked),
            starts=_starts(np.diff(self.starts)[picked]),
            static={name: values[picked] for name, values in self.static.items()},
            ahead=None if self.ahead is None else self.ahead.of(picked),
        )

    def nonempty(self) -> "Table":
        """Return the table of the series that have rows: `until` may leave some without any."""
        return self.of(np.flatnonzero(np.diff(self.starts)))

    def until(self, last_rows: ArrayLike) -> "Table":
        """Return the rows of each series up to a row of this table, that one excluded.

        What `known` says of the rows cut off goes to `ahead`.

        Args:
            last_rows: (series,), row numbers between those where the series begins and ends.
        """
        return self._cut(self.starts[:-1], np.clip(last_rows, self.starts[:-1], self.starts[1:]))

    def complete(self) -> "Table":
        """Return the table itself; raise where a column of a series has no value at all to go on with."""
        lacking = np.isnan(self.values)
        if lacking.any():
            column = self.columns[int(np.argmax(lacking.any(axis=0)))]
            series = self.names[int(self.owner[np.argmax(lacking.any(axis=1))])]
            got = "empty cells only" + (f" in series {series!r}" if series else "")
            raise DataError(f"column {column!r}", "values", got, "Give rows that have some.")
        return self

    def last(self, n: int) -> "Table":
        """Return the last `n` rows of each series, or all of one that has fewer."""
        return self._cut(np.maximum(self.starts[:-1], self.starts[1:] - n), self.starts[1:])

    def local(self, times: NDArray[Any]) -> Any:
        """Return times of this table as its user's frame shows them: with the time zone, where there is one.

        Args:
            times: (n,), in UTC where the table has a zone.

        Returns:
            A pandas DatetimeIndex in the zone; `times` itself where the table has none.
        """
        if not self.zone:
            return times
        import pandas as pd

        return pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(self.zone)

    def to_frame(self) -> Any:
        """Return the rows as a frame, with `observed`, False where a gap was filled.

        The columns: the series (where a column names them), the times, `columns`, `labels`, `observed`.
        """
        columns: dict[str, Any] = {name: self.column(name) for name in self.columns} | self.labels
        return self.frame_of(self.owner, self.times, columns | {"observed": self.observed.all(axis=1)})

    def frame_of(self, owner: NDArray[np.int64], times: NDArray[Any], columns: dict[str, Any]) -> Any:
        """Return a frame of this table's kind with its series' and its time column before other columns.

        Args:
            owner: (n,), the number of each row's series.
            times: (n,).
            columns: by name, each (n,).
        """
        import narwhals as nw

        named: dict[str, Any] = {}
        if self.series:
            named[self.series] = np.array(self.names, dtype=object)[owner]
        named[self.time or "row"] = self.local(times)
        data = {
            name: values.tolist() if self.kind == "polars" and values.dtype == object else values
            for name, values in (named | columns).items()
        }
        return nw.from_dict(data, backend=self.kind).to_native()

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the values of one column, (rows,)."""
        return self.values[:, self.columns.index(name)]

    def followed_by(self, newer: "Table") -> "Table":
        """Return this table with the rows of `newer` put in the place of those at the same time, and after.

        Series are matched by name, and new ones are added. A `newer` that does not name its series
        goes on with the only one of this table.

        Raises:
            DataError: rows lack between the two, or only one of them has a time zone.
        """
        if len(self.names) == len(newer.names) == 1 and not newer.series:
            newer = newer._renamed(self.series, self.names)
        if bool(self.zone) != bool(newer.zone):
            got, wanted = (f"times {'with' if table.zone else 'without'} one" for table in (newer, self))
            raise DataError("newer rows", f"{wanted}, a time zone", got, "Write all times in one way.")
        names = tuple(dict.fromkeys([*self.names, *newer.names]))
        number = {name: index for index, name in enumerate(names)}
        mine, theirs = (np.array([number[name] for name in table.names]) for table in (self, newer))
        first = np.full(len(names), np.iinfo(np.int64).max)
        filled = np.diff(newer.starts) > 0
        first[theirs[filled]] = newer.times[newer.starts[:-1][filled]].astype(np.int64)
        keep = self.times.astype(np.int64) < first[mine[self.owner]]
        self._check_follows(newer, theirs[filled], newer.starts[:-1][filled])
        owner = np.concatenate([mine[self.owner][keep], theirs[newer.owner]])
        order = np.argsort(owner, kind="stable")

        def joined(old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([old[keep], new])[order]

        ahead = None
        if self.ahead is not None and newer.ahead is not None:
            others = np.flatnonzero(~np.isin(mine, theirs))
            both = newer.ahead._rows(np.arange(len(newer.ahead)))
            both = self.ahead.of(others)._with_more_series(both) if len(others) else both
            place = {name: index for index, name in enumerate(both.names)}
            ahead = both.of([place[name] for name in names])
        starts = _starts(np.bincount(owner, minlength=len(names)))
        values, observed = joined(self.values, newer.values), joined(self.observed, newer.observed)
        for column in np.flatnonzero(
            np.isnan(values).any(axis=0)
        ):  # of which the newer rows have no value at all
            values[:, column] = carried(values[:, column], ~np.isnan(values[:, column]), starts)
        return dataclasses.replace(
            newer,
            series=newer.series or self.series,
            names=names,
            starts=starts,
            times=joined(self.times, newer.times),
            values=values,
            observed=observed,
            labels={name: joined(self.labels[name], newer.labels[name]) for name in newer.labels},
            blank=self.blank,
            static={
                name: _placed(len(names), (mine, self.static[name]), (theirs, values))
                for name, values in newer.static.items()
            },
            zone=self.zone,
            ahead=ahead,
        )

    def _check_follows(self, newer: "Table", series: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Raise where rows lack before one of the first `rows` of `newer`; `series` are their numbers in this table."""
        known = series < len(self.names)
        series, rows = series[known], rows[known]
        known = np.diff(self.starts)[series] > 0
        series, rows = series[known], rows[known]
        if self.frequency.slots or not len(series):
            return
        follows = self.frequency.after(self.times[self.starts[series + 1] - 1], 1)[:, 0]
        late = np.flatnonzero(newer.times[rows] > follows)
        if len(late):
            one = int(late[0])
            of_series = f" of series {self.names[series[one]]!r}" if len(self.names) > 1 else ""
            raise DataError(
                f"newer rows{of_series}",
                f"rows from {show_time(follows[one])} on, where the known data end",
                f"rows from {show_time(newer.times[rows[one]])} on",
                "Give the rows between as well; if they are empty, from the last one with a value on.",
            )

    def _renamed(self, series: str, names: tuple[str, ...]) -> "Table":
        ahead = None if self.ahead is None else self.ahead._renamed(series, names)
        return dataclasses.replace(self, series=series, names=names, ahead=ahead)

    def _with_more_series(self, other: "Table") -> "Table":
        """Return this table with the series of another one after its own."""
        return dataclasses.replace(
            self,
            times=np.concatenate([self.times, other.times]),
            values=np.concatenate([self.values, other.values]),
            observed=np.concatenate([self.observed, other.observed]),
            labels={name: np.concatenate([self.labels[name], other.labels[name]]) for name in self.labels},
            names=self.names + other.names,
            starts=np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
        )

    def _rows(self, rows: Any) -> "Table":
        """Return some rows, without regard to what series they are of."""
        return dataclasses.replace(
            self,
            times=self.times[rows],
            values=self.values[rows],
            observed=self.observed[rows],
            labels={name: values[rows] for name, values in self.labels.items()},
        )

    def _cut(self, first: NDArray[np.int64], stop: NDArray[np.int64]) -> "Table":
        """Return the rows `first` to `stop` (excluded) of each series; their known future goes to `ahead`."""
        one = len(self.names) == 1
        part = self._rows(slice(first[0], stop[0]) if one else rows_between(first, stop))
        ahead = self.ahead
        if ahead is not None and (stop < self.starts[1:]).any():
            cut = self._known_part(rows_between(stop, self.starts[1:]), self.starts[1:] - stop)
            owner = np.concatenate([cut.owner, ahead.owner])
            both = cut._with_more_series(ahead)._rows(np.argsort(owner, kind="stable"))
            starts = _starts(np.bincount(owner, minlength=len(self.names)))
            ahead = dataclasses.replace(both, names=self.names, starts=starts)
        return dataclasses.replace(part, starts=_starts(stop - first), ahead=ahead)

    def _known_part(self, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> "Table":
        """Return what the known columns say in some rows, as `ahead` holds it."""
        numeric = [number for number, name in enumerate(self.columns) if name in self.known]
        observed = self.observed[rows][:, numeric]
        return dataclasses.replace(
            self._rows(rows),
            values=np.where(observed, self.values[rows][:, numeric], np.nan),
            observed=observed,
            columns=tuple(self.columns[number] for number in numeric),
            notes=(),
            starts=_starts(lengths),
            targets=(),
            past=(),
            static={},
            ahead=None,
        )


def _starts(lengths: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _placed(length: int, *parts: tuple[NDArray[np.int64], NDArray[Any]]) -> NDArray[Any]:
    """Return (length,) with each part's values at its places; later parts win."""
    whole = np.empty(length, parts[0][1].dtype)
    for places, values in parts:
        whole[places] = values
    return whole


def read_table(
    source: Any,
    *,
    target: str | Sequence[str] | None = None,
    time: str | None = None,
    series: str | None = None,
    known: str | Iterable[str] = (),
    observed: str | Iterable[str] = (),
    static: str | Iterable[str] = (),
    gaps: str = "fill",
    like: Table | None = None,
) -> Table:
    """Read and check the table that a forecast starts from.

    Rows are sorted by series and time, and rows that say the same twice are removed. Missing rows and
    empty cells are gaps, marked in `observed`: those of targets are filled by straight lines between
    their neighbours, those of other columns by the last value. Rows at either end without a target are
    cut off, but what is known of those after the last goes to `ahead`. Each of these is logged and noted.

    Args:
        source: a path to a CSV or Parquet file, a pandas DataFrame or Series, a polars DataFrame.
        target: the numeric column or columns to forecast. By default "y", or the only numeric column.
        time: the column of times. By default "ds", "date" and such names, or the first column that
            holds dates; a table without one is taken in its order.
        series: the column that names the series. By default "unique_id" where there is one and no target is named.
        known: columns whose future is known, numeric or categorical (text, bool, a pandas category).
        observed: numeric columns of which only the past is known.
        static: columns that say one thing of each series, numeric or categorical.
        gaps: "fill", or "refuse" to raise an error instead.
        like: an earlier table, in place of all names: columns, kinds of values, calendar and zone are as there, and
            a known or observed column may be empty, which is NaN then.

    Raises:
        DataError: a column is missing, not numeric or in two roles, times are irregular, one time of
            a series has two values, or a static column changes.
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
    if like is None:
        roles = find_roles(columns, target, time, series, known, observed, static)
    else:
        roles = find_roles(
            columns,
            like.targets,
            like.time or None,
            like.series or None,
            like.known,
            like.past,
            [*like.static],
        )
    notes: list[str] = []
    owner, names = series_numbers(columns, roles.series)
    kinds = None if like is None else ([*like.labels], like.blank)
    values, numeric, found, blank = values_of(columns, roles, notes, kinds)
    if roles.time:
        stamps, zone = times(columns, roles.time, notes, owner, None if like is None else like.zone)
    else:
        stamps, zone = _row_numbers(owner), ""
    fixed = {name: static_values(columns, name, owner, names, notes) for name in roles.static}
    where = f"{columns.source}, column {roles.time or 'row'!r}"
    rows = in_order(Rows(owner, stamps, values, names), where, roles.time or "row", [*found.values()], notes)
    needed = numeric if like is None else like.targets
    rows, kept = with_values(rows, needed, len(roles.targets), notes)
    where = f"column {roles.time!r}" if roles.time else columns.source
    calendar = like.frequency if like else infer_frequency(rows.times, where, rows.series, rows.names)
    rows = on_calendar(rows, calendar, notes)
    whole = Table(
        rows.times, rows.values, ~np.isnan(rows.values), (*numeric, *found), calendar, roles.time, columns.kind,
        series=roles.series, names=rows.names, starts=rows.starts, targets=roles.targets, known=roles.known,
        past=roles.observed, blank=blank,
        static={name: values[kept] for name, values in fixed.items()}, zone=zone,
    )  # fmt: skip
    table = _without_gaps(whole, found, gaps, notes)
    for note in notes:
        logger.warning("%s", note)
    return dataclasses.replace(table, notes=tuple(notes))


def _row_numbers(owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each row within its series."""
    order = np.argsort(owner, kind="stable")
    lengths = np.bincount(owner)
    position = np.empty(len(owner), np.int64)
    position[order] = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return position


def _without_gaps(table: Table, found: dict[str, NDArray[Any]], gaps: str, notes: list[str]) -> Table:
    """Cut off the ends, take the known future from them, and fill what is missing inside.

    Args:
        table: with NaN for gaps, and the labels as numbers in the last columns.
        found: the categories of these columns.
        gaps: "fill" or "refuse".
        notes: is added to.
    """
    numeric = len(table.columns) - len(found)
    targets = len(table.targets)
    first, stop = ends_of(np.any(table.observed[:, :targets], axis=1), table.starts)
    told = np.any(table.observed[:, [name in table.known for name in table.columns]], axis=1)
    reach = np.maximum.reduceat(np.where(told, np.arange(len(told)) + 1, 0), table.starts[:-1])
    reach = np.maximum(reach, stop)  # the row after the last one of which something is known
    cut = len(table) - int(np.sum(reach - first))
    if cut:
        notes.append(f"Cut off {count(cut, 'row')} without a value at the ends.")
    values = table.values.copy()
    inside = np.zeros(len(table), bool)
    inside[rows_between(first, stop)] = True
    for number in range(targets, numeric):  # before the cut, so that a value before the first target counts
        filled = carried(values[:, number], table.observed[:, number], table.starts)
        values[inside, number] = filled[inside]
    labels = {
        name: np.where(
            table.observed[:, number], kinds[np.nan_to_num(values[:, number]).astype(np.int64)], ""
        )
        for number, (name, kinds) in enumerate(found.items(), numeric)
    }
    whole = dataclasses.replace(
        table,
        values=values[:, :numeric],
        observed=table.observed[:, :numeric],
        columns=table.columns[:numeric],
        labels={name: text.astype(object) for name, text in labels.items()},
        ahead=None,
    )
    ahead = whole._known_part(rows_between(stop, reach), reach - stop) if table.known else None
    part = dataclasses.replace(whole._cut(first, stop), ahead=ahead)
    _say_gaps(part, table.observed[inside], [*found], gaps, notes)
    for number in range(targets):
        part.values[:, number] = straight(part.values[:, number], part.observed[:, number], part.starts)
    return part


def _say_gaps(
    table: Table, present: NDArray[np.bool_], labelled: list[str], gaps: str, notes: list[str]
) -> None:
    """Note the gaps, or raise where they are refused; `present` is (rows, columns and labels)."""
    targets = len(table.targets)
    missing = np.any(~present[:, :targets], axis=1)
    if missing.any():
        got = describe_gaps(missing, table.times, table.starts, table.names)
        if gaps == "refuse":
            raise DataError(
                ", ".join(table.targets),
                "no gaps (gaps='refuse')",
                got,
                "Fill them first, or allow gaps='fill'.",
            )
        notes.append(f"Filled {got} by straight lines; scores leave them out.")
    for number, name in enumerate((*table.columns, *labelled)):
        empty = int(np.count_nonzero(~present[:, number]))
        if number < targets or not empty:
            continue
        if gaps == "refuse":
            raise DataError(
                f"column {name!r}",
                "no gaps (gaps='refuse')",
                count(empty, "missing value"),
                "Fill them first.",
            )
        done = "left empty" if name in labelled else "the last value goes on"
        notes.append(f"Column {name!r}: {count(empty, 'missing value')}, {done}.")
