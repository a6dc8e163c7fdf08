"""What is known of the steps to forecast: from the table's own last rows, or from a file that the user fills in."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.calendar_rows import Rows, count, in_order
from unrolled.data.frequency import show_time
from unrolled.data.reading import Columns, categories, numbers, read_columns, times
from unrolled.data.table import Table
from unrolled.errors import DataError

__all__ = ["future_frame", "known_ahead"]

CURE = "Give them with future= (--future FILE); make_future_frame() returns the rows to fill in."


def known_ahead(table: Table, horizon: int, future: Any = None) -> Table:
    """Return the known columns of the `horizon` rows after each series' last one.

    Args:
        table: with the columns `table.known`.
        horizon: rows of each series.
        future: a path or a frame with the time column, the series column (if any) and the known
            columns, or what this function returned; rows that are not needed are left alone. By default
            what the table's own last rows say, `table.ahead`.

    Returns:
        `horizon` rows for each series, like `table.ahead`, all values given.

    Raises:
        DataError: a value is missing; the message names the first times, the series and the column.

    >>> import pandas as pd
    >>> from unrolled.data import read_table
    >>> days = pd.date_range("2020-01-01", periods=6)
    >>> frame = pd.DataFrame({"day": days, "sold": [3.0, 1, 4, 1, None, None], "open": [1, 1, 0, 1, 0, 1]})
    >>> table = read_table(frame, target="sold", known=["open"])
    >>> len(table), known_ahead(table, 2).column("open").tolist()
    (4, [0.0, 1.0])
    """
    wanted = _empty(table, horizon)
    if not table.known:
        return wanted
    if future is None:
        assert table.ahead is not None
        ahead, source = table.ahead, "the data"
    elif isinstance(future, Table):
        ahead, source = future, "the rows ahead"
    else:
        ahead, source = _read_future(table, future)
    found = _looked_up(wanted, ahead)
    filled = _placed(wanted, ahead, found)
    _check_all_there(filled, found, table, source)
    return filled


def future_frame(table: Table, horizon: int) -> Any:
    """Return the rows that a forecast needs the known columns of, as a frame to fill in.

    Args:
        table: with the columns `table.known`.
        horizon: rows of each series after its last one.

    Returns:
        A frame of the table's kind: the series column (if any), the time column and the known
        columns, filled in as far as the table's own last rows tell, else missing.
    """
    wanted = _empty(table, horizon)
    columns: dict[str, Any] = {}
    if table.ahead is not None:
        found = _looked_up(wanted, table.ahead)
        filled = _placed(wanted, table.ahead, found)
        for name in table.known:
            if name in filled.labels:
                given = (filled.labels[name] != "") | ((found >= 0) & (name in table.blank))
                columns[name] = filled.labels[name].copy()
                columns[name][~given] = None
            else:
                columns[name] = filled.column(name)
    return table.frame_of(wanted.owner, wanted.times, columns)


def _empty(table: Table, horizon: int) -> Table:
    """Return the rows after each series' last one, with nothing in the known columns."""
    after = table.frequency.after(table.times[table.starts[1:] - 1], horizon)
    numeric = tuple(name for name in table.columns if name in table.known)
    rows = after.size
    return dataclasses.replace(
        table,
        times=after.reshape(-1),
        values=np.full((rows, len(numeric)), np.nan),
        observed=np.zeros((rows, len(numeric)), bool),
        columns=numeric,
        notes=(),
        starts=np.arange(len(table.names) + 1) * horizon,
        targets=(),
        past=(),
        labels={name: np.full(rows, "", dtype=object) for name in table.labels},
        static={},
        ahead=None,
    )


def _looked_up(wanted: Table, ahead: Table) -> NDArray[np.int64]:
    """Return the row of `ahead` for each row of `wanted`, -1 where it has none; the series are the same."""
    import pandas as pd

    if not len(ahead):
        return np.full(len(wanted), -1)
    index, rows = (pd.MultiIndex.from_arrays([table.owner, table.times]) for table in (ahead, wanted))
    return np.asarray(index.get_indexer(rows), np.int64)


def _placed(wanted: Table, ahead: Table, found: NDArray[np.int64]) -> Table:
    there = found >= 0
    values, observed = wanted.values.copy(), wanted.observed.copy()
    values[there], observed[there] = ahead.values[found[there]], ahead.observed[found[there]]
    labels = {name: column.copy() for name, column in wanted.labels.items()}
    for name, column in labels.items():
        column[there] = ahead.labels[name][found[there]]
    return dataclasses.replace(wanted, values=values, observed=observed, labels=labels)


def _check_all_there(filled: Table, found: NDArray[np.int64], table: Table, source: str) -> None:
    missing = {name: ~filled.observed[:, number] for number, name in enumerate(filled.columns)}
    for name, column in filled.labels.items():
        missing[name] = found < 0 if name in table.blank else column == ""
    lacking = [name for name in table.known if missing[name].any()]
    if not lacking:
        return
    rows = np.flatnonzero(missing[lacking[0]])
    first = int(filled.owner[rows[0]])
    own = rows[filled.owner[rows] == first]
    listed = ", ".join(show_time(time) for time in filled.times[own[:3]]) + (", …" if len(own) > 3 else "")
    of_series = f" of series {table.names[first]!r}" if len(table.names) > 1 else ""
    series = len(np.unique(filled.owner[rows]))
    more = f", and {count(series - 1, 'other series')}" if series > 1 else ""
    also = f" (so for {', '.join(map(repr, lacking[1:]))})" if len(lacking) > 1 else ""
    raise DataError(
        f"known column {lacking[0]!r}",
        f"a value for each step to forecast in {source}",
        f"none for {listed}{of_series}{more}{also}",
        CURE,
    )


def _read_future(table: Table, future: Any) -> tuple[Table, str]:
    """Return a user's file or frame in the form of `table.ahead`, and its name."""
    columns = read_columns(future)
    timed = table.time or ("row" if "row" in columns.frame.columns else "")
    columns.check(name for name in (table.series, timed, *table.known) if name)
    owner = _owner(table, columns)
    notes: list[str] = []
    if timed:
        stamps, _ = times(columns, timed, notes, owner, table.zone)
    else:
        stamps = _numbered(table, owner)
    if stamps.dtype.kind != table.times.dtype.kind:
        raise DataError(
            f"{columns.source}, column {timed!r}",
            f"times like {show_time(table.times[-1])}",
            show_time(stamps[0]),
            "Write the times as in the data.",
        )
    numeric = tuple(name for name in table.columns if name in table.known)
    cells = [numbers(columns, name, notes) for name in numeric]
    texts = {name: categories(columns, name) for name in table.labels}
    kinds = {name: np.unique(text.astype(str), return_inverse=True) for name, text in texts.items()}
    cells += [codes.astype(np.float64) for _, codes in kinds.values()]
    ours = owner >= 0
    rows = Rows(owner[ours], stamps[ours], np.stack(cells, axis=1)[ours], table.names)
    found = [names for names, _ in kinds.values()]
    rows = in_order(rows, f"{columns.source}, column {timed or 'row'!r}", timed or "row", found, notes)
    values = rows.values[:, : len(numeric)]
    labels = {
        name: kinds[name][0][rows.values[:, number].astype(np.int64)].astype(object)
        for number, name in enumerate(kinds, len(numeric))
    }
    read = dataclasses.replace(
        _empty(table, 0), times=rows.times, values=values, observed=~np.isnan(values), labels=labels,
        starts=rows.starts,
    )  # fmt: skip
    return read, columns.source


def _owner(table: Table, columns: Columns) -> NDArray[np.int64]:
    """Return the number of each row's series in the table, -1 for other series."""
    import pandas as pd

    if not table.series:
        return np.zeros(len(columns.frame), np.int64)
    found = pd.Index(table.names).get_indexer(pd.Index(categories(columns, table.series).astype(str)))
    return np.asarray(found, np.int64)


def _numbered(table: Table, owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers that go on where each series' rows end: a table without times is taken in its order."""
    order = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[order], owner[order])
    numbers_ = np.empty(len(owner), np.int64)
    numbers_[order] = np.arange(len(owner)) - first
    last = np.asarray(table.times)[table.starts[1:] - 1]
    return last[owner] + table.frequency.count * (1 + numbers_)
