"""What is decided from a table before anything is trained: windows, what is held back, season, scales, models."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.calendar_rows import count, some_names
from unrolled.data.features import Features
from unrolled.data.table import Table
from unrolled.errors import DataError, OptionError
from unrolled.estimators.baselines import find_season
from unrolled.estimators.ensemble import Architecture
from unrolled.estimators.intervals import quantiles_of

__all__ = [
    "SHORTEST",
    "check_time",
    "decide",
    "held_back",
    "held_out",
    "input_steps",
    "part",
    "row_after",
    "rows_needed",
    "season_of",
    "stops",
]

VALID_SIZE = 0.15  # share of the rows given to `fit` that are held back at first: they measure the intervals
VALID_ROWS = 500  # and no more of them than this, or ten horizons
SHORTEST = 4  # steps of a window, where its length is left to us
CANDIDATES = ("linear", "gru")  # what "auto" chooses among, or averages; of equals the first
VOTERS = 25  # series that are asked for their season


def decide(
    options: Any, table: Table, learn: NDArray[np.int64], note: Callable[[str], None]
) -> tuple[Features, Architecture, Sequence[str]]:
    """Return the features with their scales, the networks' shape and the models to try.

    All of it by a forecaster's options and the rows before `learn` (series,) alone; what a user should know of it
    is given to `note`.
    """
    rows = learn - table.starts[:-1]
    shortest, horizon = options.input_steps or SHORTEST, options.horizon
    short = rows < horizon + shortest
    if short.all():
        needed = rows_needed(shortest, horizon)
        raise DataError(
            f"column {table.targets[0]!r}",
            f"at least {needed:,} rows for a window of {shortest} steps and a horizon of {horizon}",
            f"{int(np.diff(table.starts).max()):,}",
            "Give more rows, or shorten the horizon.",
        )
    if short.any():
        named = some_names(np.asarray(table.names, object)[short])
        note(
            f"{count(int(short.sum()), 'series')} ({named}) with fewer than {horizon + shortest} rows before those "
            "held back: forecast, but not learned from."
        )
    known = table.until(learn).of(np.flatnonzero(~short))
    features = Features.fit(known, options.calendar, options.transform, options.holidays)
    scaler = features.scaler
    if not np.isfinite(scaler.scale).all():
        column = table.columns[int(np.argmax(~np.isfinite(scaler.scale).all(axis=0)))]
        largest = f"{np.abs(known.column(column)).max():g}"
        raise DataError(f"column {column!r}", "values that can be squared", largest, "Scale them down.")
    most = int(np.median(rows[~short])) - horizon
    season = options.season or season_of(table, learn, horizon)
    if season > int(rows.max()) - horizon:
        raise OptionError(
            "Forecaster",
            f"a season of at most {int(rows.max()) - horizon:,} steps for {len(table):,} rows",
            str(season),
        )
    length = options.input_steps or input_steps(horizon, season, most, len(rows))
    lag = season if season > 1 and length + season <= most // 2 and options.strategy != "sequence" else 0
    if options.base == "season" and length + lag < season:
        raise OptionError(
            "Forecaster",
            f"input_steps of at least a season ({season:,}) for base='season'",
            f"{length:,}",
        )
    constant = [
        name
        for name in table.targets
        if np.ptp(known.column(name)) <= 1e-12 * np.abs(known.column(name)).max()
    ]
    for name in constant:
        value = known.column(name)[0]
        note(f"Column {name!r} is constant ({value:g}): nothing to learn, its value is repeated.")
    architecture = Architecture(
        len(table.targets) + len(table.past) + features.width, features.width,
        features.static_width, len(table.targets), horizon, length, lag, season, length + lag, options.units,
        options.depth, options.bidirectional, options.layer_norm, options.strategy, options.base, options.normalise,
        quantiles_of(options.levels) if options.intervals == "quantile" else (),
    )  # fmt: skip
    if len(constant) == len(table.targets):
        return features, architecture, ("linear",)
    if options.model != "auto":
        return features, architecture, (options.model,)
    models = [model for model in CANDIDATES if not (model == "linear" and architecture.quantiles)]
    return features, architecture, models  # a line has no quantiles


def rows_needed(input_steps: int, horizon: int, test_size: float = 0.0) -> int:
    """Return the least number of rows that `fit` needs; with `test_size`, that a table with such a held-out part needs.

    >>> rows_needed(input_steps=4, horizon=14)
    32
    """
    rows = input_steps + horizon
    while True:
        kept = rows - (part(rows, test_size, horizon) if test_size else 0)
        if kept - held_back(kept, horizon) >= input_steps + horizon:
            return rows
        rows += 1


def held_back(rows: int, horizon: int) -> int:
    """Return how many rows of the longest series `fit` holds back at first."""
    return min(part(rows, VALID_SIZE, horizon), max(VALID_ROWS, 10 * horizon))


def part(rows: int, share: float, horizon: int) -> int:
    """Return how many rows at the end are held out: their share, and no less than one horizon."""
    return max(round(share * rows), horizon)


def held_out(table: Table, share: float, horizon: int) -> int:
    """Return `part` of the series that the length of the others is measured by."""
    return part(int(np.diff(table.starts)[_longest(table)]), share, horizon)


def stops(table: Table, rows: int) -> NDArray[np.int64]:
    """Return for each series the row before which its held-out part begins, (series,).

    It begins at the same time for all: `rows` before the end of the series that ends last. Series of numbered
    rows have no time in common: of each, as many are held out.
    """
    begin, end = table.starts[:-1], table.starts[1:]
    if len(table.names) == 1 or np.issubdtype(table.times.dtype, np.integer):
        return np.maximum(end - rows, begin)
    longest = _longest(table)
    cut = table.times[max(end[longest] - rows, begin[longest])]
    return row_after(table, cut, "left")


def row_after(table: Table, time: Any, side: str) -> NDArray[np.int64]:
    """Return for each series the row where a time stands or would stand, as `numpy.searchsorted` does, (series,)."""
    earlier = table.times < time if side == "left" else table.times <= time
    counts = np.bincount(table.owner[earlier], minlength=len(table.names))
    return table.starts[:-1] + counts


def _longest(table: Table) -> int:
    """Return the number of the series that ends last; of several, the longest."""
    rows = np.diff(table.starts)
    if np.issubdtype(table.times.dtype, np.integer):
        return int(np.argmax(rows))
    filled = np.flatnonzero(rows)
    ends = table.times[table.starts[1:][filled] - 1]
    latest = filled[ends == ends.max()]
    return int(latest[np.argmax(rows[latest])])


def input_steps(horizon: int, season: int, most: int, series: int = 1) -> int:
    """Return the steps to read: two horizons or two short seasons, from 24 to 168.

    They are a third of the rows at most; of several series, which give more windows, two thirds.
    """
    wanted = max(2 * horizon, 2 * season if season <= 64 else 0, 24)
    return max(min(wanted, 168, most // 3 if series == 1 else 2 * most // 3), SHORTEST)


def season_of(table: Table, stop: NDArray[np.int64], horizon: int) -> int:
    """Return the season of most of the longest series and their targets, from rows before `stop` alone."""
    rows = stop - table.starts[:-1]
    found: dict[int, int] = {}
    for number in np.argsort(-rows, kind="stable")[:VOTERS]:
        for target in range(len(table.targets)):
            # A gap that reaches beyond these rows was filled from what comes after them.
            begin = int(table.starts[number])
            real = np.flatnonzero(table.observed[begin : stop[number], target])
            if len(real) < 2:
                continue
            values = table.values[begin : begin + real[-1] + 1, target]
            season = find_season(values, table.frequency.seasons, horizon)
            found[season] = found.get(season, 0) + 1
    return max(sorted(found), key=lambda season: found[season], default=1)


def check_time(table: Table, time: Any) -> Any:
    """Return a user's origin as a time of the table; a `numpy.datetime64` is one already.

    Raises:
        OptionError: it is none.
    """
    if isinstance(time, np.datetime64):
        return time.astype("datetime64[us]")
    if np.issubdtype(table.times.dtype, np.integer):
        return int(time)
    import pandas as pd

    try:
        stamp = pd.Timestamp(time)
        if table.zone:
            stamp = (
                (stamp if stamp.tzinfo else stamp.tz_localize(table.zone)).tz_convert("UTC").tz_localize(None)
            )
        return stamp.to_datetime64().astype("datetime64[us]")
    except (ValueError, TypeError) as error:
        raise OptionError("backtest", "an origin that is a time", repr(time)) from error
