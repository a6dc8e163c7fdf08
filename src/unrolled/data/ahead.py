"""What is known of the steps after a table: rows with known columns, and no targets yet."""

import dataclasses
import logging
from typing import Any

import numpy as np

from unrolled.data.reading import codes_of, labels_of, numbers, read_columns, times
from unrolled.data.table import Table, count_of, find_time, show_time
from unrolled.errors import DataError

__all__ = ["future_frame", "known_ahead"]

logger = logging.getLogger("unrolled")


def known_ahead(table: Table, horizon: int, future: Any = None) -> Table:
    """Return the known columns of the `horizon` steps that follow a table: no targets, no gaps.

    Args:
        table: what the forecast starts from.
        horizon: steps.
        future: a path or a frame with the column of times and the known columns, or a `Table` of them; by default
            the rows at the end of the table's own source that have no target yet.

    Raises:
        DataError: a value is missing; the message names the first such step.
    """
    following = table.frequency.after(table.times[-1], horizon)
    source = table.ahead if future is None else future
    if source is not None and not isinstance(source, Table):
        source = _read_ahead(table, source)
    numeric = tuple(name for name in table.known if name not in table.labels)
    values = np.full((horizon, len(numeric)), np.nan)
    labels = {name: np.full(horizon, "", object) for name in table.labels}
    if source is not None and len(source):
        place = np.minimum(np.searchsorted(source.times, following), len(source) - 1)
        found = source.times[place] == following
        for i, name in enumerate(numeric):
            values[found, i] = source.column(name)[place[found]]
        for name in labels:
            labels[name][found] = source.labels[name][place[found]]
    lacking = {name: np.isnan(values[:, i]) for i, name in enumerate(numeric)}
    lacking |= {name: column == "" for name, column in labels.items()}
    for name, absent in lacking.items():
        if absent.any():
            first = show_time(following[int(np.argmax(absent))])
            raise DataError(
                f"known column {name!r}",
                f"a value for each of the {horizon} steps to forecast",
                f"none for {count_of(int(absent.sum()), 'step')}, the first {first}",
                "Give them with future= (--future FILE; a new file gets the rows to fill in).",
            )
    return dataclasses.replace(
        table, times=following, values=values, observed=np.ones(values.shape, bool), columns=numeric, past=(), notes=(),
        labels=labels, ahead=None,
    )  # fmt: skip


def future_frame(table: Table, horizon: int) -> Any:
    """Return the times of the `horizon` steps after a table and its known columns, filled in where it has them."""
    import narwhals as nw

    following = table.frequency.after(table.times[-1], horizon)
    columns: dict[str, Any] = {table.time or "row": following}
    for name in table.known:
        columns[name] = [None] * horizon
        if table.ahead is not None:
            place = np.searchsorted(table.ahead.times, following)
            given = table.ahead.labels[name] if name in table.labels else table.ahead.column(name)
            for i, at in enumerate(place):
                if at < len(given) and table.ahead.times[at] == following[i] and given[at] == given[at]:
                    columns[name][i] = given[at] if given[at] != "" else None
    return nw.from_dict(columns, backend=table.kind).to_native()


def _read_ahead(table: Table, source: Any) -> Table:
    """Read known columns alone, for times that no target is known for yet."""
    columns = read_columns(source)
    time_name = table.time or find_time(columns, exclude=[*table.known]) or "row"
    columns.check([time_name, *table.known])
    notes: list[str] = []
    stamps = times(columns, time_name, notes)
    order = np.argsort(stamps, kind="stable")
    again = np.flatnonzero(np.diff(stamps[order]) == stamps[:1] - stamps[:1])
    if len(again):
        raise DataError(
            f"{columns.source}, column {time_name!r}",
            "one row for each time",
            f"{show_time(stamps[order][again[0]])} twice",
            "Remove one of the rows.",
        )
    numeric = tuple(name for name in table.known if name not in table.labels)
    values = (
        np.stack([numbers(columns, name, notes) for name in numeric], axis=1)[order]
        if numeric
        else np.zeros((len(stamps), 0))
    )
    codes, categories = codes_of(columns, list(table.labels))
    coded = np.stack(codes, axis=1)[order] if codes else np.zeros((len(stamps), 0))
    for note in notes:
        logger.warning("%s", note)
    return dataclasses.replace(
        table, times=stamps[order], values=values, observed=~np.isnan(values), columns=numeric, past=(), notes=(),
        labels=labels_of(coded, categories), ahead=None,
    )  # fmt: skip
