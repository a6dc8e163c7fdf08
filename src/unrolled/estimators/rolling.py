"""Backtests: forecasts from each origin of a period that lies behind us, beside the baselines on the same windows."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from unrolled.data.table import Table, show_time
from unrolled.data.windows import Windows, make_windows
from unrolled.errors import DataError, OptionError
from unrolled.estimators.baselines import drift, naive, seasonal_naive
from unrolled.estimators.frames import forecast_frame
from unrolled.estimators.intervals import Bounds, Conformal
from unrolled.estimators.plan import check_time, row_after
from unrolled.estimators.scores import Backtest, score, seasonal_scale
from unrolled.estimators.statistical import LONGEST, statistical
from unrolled.training.loop import repeatable

if TYPE_CHECKING:
    from unrolled.estimators.forecaster import Forecaster

__all__ = ["check_rolling", "origin_rows", "roll"]

STATISTICAL_SECONDS = 5.0  # for each of SARIMA and ETS


def check_rolling(stride: int, refit: str | int) -> int:
    """Return the number of origins between trainings, 0 for never.

    Raises:
        OptionError: `stride` or `refit` is out of its range.
    """
    if stride < 1:
        raise OptionError("backtest", "a stride of at least 1", str(stride))
    every = {"never": 0, "always": 1}.get(refit) if isinstance(refit, str) else refit
    if every is None or every < 0 or (every == 0 and refit != "never"):
        raise OptionError("backtest", "refit 'never', 'always' or a number of origins", repr(refit))
    return every


def origin_rows(
    forecaster: "Forecaster", table: Table, first_origin: Any, last_origin: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each series the first row that is forecast, and the row after the last; (series,), of the table."""
    first, stop = table.starts[:-1] + _length(forecaster), table.starts[1:]
    if first_origin is not None:
        first = row_after(table, check_time(table, first_origin), "left") + 1
    if last_origin is not None:
        ends = row_after(table, check_time(table, last_origin), "right") + forecaster.horizon
        stop = np.minimum(stop, ends)
    return first, stop


@repeatable()
def roll(
    forecaster: "Forecaster",
    table: Table,
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    *,
    stride: int = 1,
    every: int = 0,
    with_statistical: bool = False,
) -> Backtest:
    """Return what `Forecaster.backtest` promises, of the rows that `origin_rows` returns."""
    windows = _origins(forecaster, table, first, stop, stride)
    origins = windows.origins
    if every:
        mean, bounds = _refitted(forecaster, table, windows, every)
    else:
        mean, bounds = _followed(forecaster, windows)
    ahead = origins[:, None] + np.arange(1, windows.horizon + 1)
    actual, counted = table.values[ahead][..., : len(table.targets)], windows.counted
    if not counted.any():
        raise DataError(
            "backtest",
            "at least one observed value after an origin",
            f"filled gaps only, {len(windows):,} origins",
            "Give data with fewer gaps, or another period.",
        )
    others, notes = _baselines(forecaster, table, windows, with_statistical)
    forecasts = {"": windows.in_units(mean)} | others
    intervals = [
        {level: tuple(_one(windows, side, number) for side in pair) for level, pair in target.items()}
        for number, target in enumerate(bounds)
    ]
    scales = _scales(forecaster, table, windows)

    def scored(targets: list[int]) -> dict[str, Any]:
        """Return the scores of some targets, their windows one below the other."""

        def stacked(values: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([values[..., number] for number in targets])

        limits: Any = {
            level: tuple(
                np.concatenate([intervals[number][level][side] for number in targets]) for side in (0, 1)
            )
            for level in forecaster.levels
        }
        scale = np.concatenate([scales[:, number] for number in targets])
        rows = {
            name: score(
                stacked(actual),
                stacked(forecast),
                stacked(counted),
                scale=scale,
                intervals=None if name else limits,
            )
            for name, forecast in forecasts.items()
        }
        return {"model": rows.pop(""), "baselines": rows}

    scores = scored([*range(len(table.targets))])
    if len(table.targets) > 1:
        scores["targets"] = {name: scored([number]) for number, name in enumerate(table.targets)}
        whole = counted.all(axis=-1)
        for name, forecast in forecasts.items():
            entry = scores["baselines"][name] if name else scores["model"]
            entry["distance"] = (
                float(np.sqrt(((actual - forecast) ** 2).sum(axis=-1))[whole].mean()) if whole.any() else None
            )
    scores["held_out"] = {
        "windows": len(windows),
        "series": len(np.unique(windows.series)),
        "first_origin": show_time(table.times[origins].min()),
        "last_origin": show_time(table.times[origins].max()),
    }
    if notes:
        scores["notes"] = notes
    return Backtest(forecast_frame(table, windows, mean, bounds, np.where(counted, actual, np.nan)), scores)


def _one(windows: Windows, scaled: NDArray[np.float64], target: int) -> NDArray[np.float64]:
    """Return one target's numbers, (windows, horizon), in the units of the data."""
    return windows.in_units(np.repeat(scaled[..., None], windows.observed.shape[1], axis=-1))[..., target]


def _length(forecaster: "Forecaster") -> int:
    """Return the rows that a window needs: the seasons of the baselines may be longer than the model's."""
    return max(forecaster.window_, forecaster.season_)


def _origins(
    forecaster: "Forecaster", table: Table, first: NDArray[np.int64], stop: NDArray[np.int64], stride: int
) -> Windows:
    length, horizon, begin = _length(forecaster), forecaster.horizon, table.starts[:-1]
    scaler = forecaster.features_.of(
        table, np.maximum(first - begin, length)
    )  # rows that the first window has
    windows = Windows.of(
        table, forecaster.features_, length, horizon, first - begin, stop - begin, scaler=scaler
    )
    if not len(windows):
        raise DataError(
            "backtest",
            f"an origin with {length:,} rows up to it and {horizon} after it",
            f"none among {len(table):,} rows",
            "Give more rows, or another period.",
        )
    # Of each series, every stride-th of its rows, from its first origin on.
    since = windows.origins - windows.origins[np.searchsorted(windows.series, windows.series)]
    return windows.take(since % stride == 0)


def _followed(forecaster: "Forecaster", windows: Windows) -> tuple[NDArray[np.float64], list[Bounds]]:
    """Return the forecasts of a model that stays as it is, and intervals that follow what they missed before."""
    mean, bounds = forecaster.forecast(replace(windows, length=forecaster.window_))
    if forecaster.architecture_.quantiles:
        return mean, bounds
    errors, counted = windows.targets.astype(np.float64) - mean, windows.counted
    return mean, [
        intervals.rolling(mean[..., n], errors[..., n], counted[..., n], clock=windows.clock)
        for n, intervals in enumerate(forecaster.intervals_)
        if isinstance(intervals, Conformal)
    ]


def _refitted(
    forecaster: "Forecaster", table: Table, windows: Windows, every: int
) -> tuple[NDArray[np.float64], list[Bounds]]:
    """Return forecasts of models that are trained anew, each on the rows up to the first origin that it forecasts."""
    times = windows.times[windows.origins]
    clock = np.unique(times)
    # What the model as it is makes stays where a new window is longer than a series is by then.
    mean, limits = _followed(forecaster, windows)
    mean, bounds = mean.copy(), [{level: list(pair) for level, pair in target.items()} for target in limits]
    for group in range(0, len(clock), every):
        part = np.flatnonzero(np.isin(times, clock[group : group + every]))
        until = row_after(table, clock[group], "right")
        seen = table.until(until)
        fresh = clone(forecaster).fit(seen.nonempty(), progress=False)
        scaler = fresh.features_.of(table, until - table.starts[:-1])
        own = Windows.of(table, fresh.features_, fresh.window_, fresh.horizon, scaler=scaler)
        own = own.take(np.isin(own.origins, windows.origins[part]))
        part = part[np.isin(windows.origins[part], own.origins)]
        if not len(part):
            continue
        mine = windows.take(part)
        made, found = _followed(fresh, own)
        mean[part] = mine.scaled(own.in_units(made))
        for level in forecaster.levels:
            for side in (0, 1):
                both = np.stack([target[level][side] for target in found], axis=-1)
                moved = mine.scaled(own.in_units(both))
                for number, target in enumerate(bounds):
                    target[level][side][part] = moved[..., number]
    return mean, [{level: (pair[0], pair[1]) for level, pair in target.items()} for target in bounds]


def _baselines(
    forecaster: "Forecaster", table: Table, windows: Windows, with_statistical: bool
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Return what the model has to beat, (windows, horizon, targets) in the data's units, and what to say of it."""
    horizon, season, read = forecaster.horizon, forecaster.season_, forecaster.window_
    usual = next(iter(forecaster.frequency_.seasons), season)
    found: dict[str, list[NDArray[Any]]] = {}
    notes: list[str] = []
    targets = len(table.targets)
    pasts = make_windows(table.values[:, :targets], windows.length)[windows.origins - (windows.length - 1)]
    for number in range(targets):
        past = pasts[..., number]
        ours: dict[str, NDArray[Any]] = {
            "naive": naive(past, horizon),
            "seasonal_naive": seasonal_naive(past, horizon, season),
            "drift": drift(past[:, -read:], horizon),
        }
        if usual != season and usual <= windows.length:  # the calendar's own beside the one that was found
            ours[f"seasonal_naive_{usual}"] = seasonal_naive(past, horizon, usual)
        if targets > 1:  # a point that moves
            ours["constant_velocity"] = drift(past[:, -2:], horizon)
        for name, forecast in ours.items():
            found.setdefault(name, []).append(forecast)
    if with_statistical and len(table.names) == targets == 1:
        for kind in ("sarima", "ets"):
            fits = 1 < season <= LONGEST[kind]  # else the calendar's own season is better than none
            made = statistical(
                kind, table.values[:, 0], windows.origins, horizon, season if fits else usual,
                seconds=STATISTICAL_SECONDS,
            )  # fmt: skip
            if made is not None:
                found[kind] = [made.forecasts]
                notes.append(
                    f"{made.name}: fitted on rows up to the first origin, and anew {_times(made.refitted)} after it."
                )
    stacked = {name: np.stack(forecasts, axis=-1) for name, forecasts in found.items()}
    return stacked | {"linear": windows.in_units(forecaster.linear_.predict(windows.pasts))}, notes


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _scales(forecaster: "Forecaster", table: Table, windows: Windows) -> NDArray[np.float64]:
    """Return what mase divides by: the mean change over a season before a series' first origin, (windows, targets)."""
    usual = next(iter(forecaster.frequency_.seasons), forecaster.season_)
    series, first = np.unique(windows.series, return_index=True)
    found = np.zeros((len(table.names), len(table.targets)))
    for number, row in zip(series, windows.origins[first] + 1, strict=True):
        rows = slice(int(table.starts[number]), int(row))
        lag = max(min(usual, rows.stop - rows.start - 1), 1)
        for target in range(len(table.targets)):
            scale = seasonal_scale(table.values[rows, target], table.observed[rows, target], lag)
            found[number, target] = scale or 0.0
    return found[windows.series]
