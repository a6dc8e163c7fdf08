"""The rows of a backtest as arrays, and what the plots of the errors draw from them.

An error is actual minus forecast: above zero, the forecast was too low. A channel is one target of one series.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unrolled.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = [
    "Autocorrelation",
    "Course",
    "Rows",
    "Window",
    "autocorrelation",
    "course",
    "coverage",
    "read_backtest",
    "worst_windows",
]

_COLUMNS = ("series", "target", "origin", "step", "time", "actual", "mean")
_LEVEL = re.compile(r"lo-(\d+(?:\.\d+)?)")
_BINS = 150


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a backtest, each array of shape (rows,).

    Attributes:
        channel: the number of the row's channel, in the order of their first rows.
        names: (series, target) of each channel.
        origin, time: datetime64 or integers.
        step: from 1.
        actual, mean, error: NaN where not to be counted.
        bounds: level in percent → (low, high), the levels ascending.
    """

    channel: np.ndarray
    names: list[tuple[str, str]]
    origin: np.ndarray
    time: np.ndarray
    step: np.ndarray
    actual: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    bounds: dict[str, tuple[np.ndarray, np.ndarray]]


def read_backtest(backtest: pd.DataFrame, where: str = "report") -> Rows:
    """Read the frame of a backtest.

    Args:
        backtest: a row for each channel, origin and step: series, target, origin, step, time, actual (NaN where
            not to be counted), mean, and lo-L and hi-L for each level L.
        where: the function to name in an error.

    Raises:
        DataError: a column is missing, or no row has both an actual value and a forecast.

    >>> import pandas as pd
    >>> row = {"series": "", "target": "y", "origin": 5, "step": 1, "time": 6, "actual": 2.0, "mean": 1.5}
    >>> read_backtest(pd.DataFrame([row])).error.tolist()
    [0.5]
    """
    import numpy as np

    missing = [name for name in _COLUMNS if name not in backtest.columns]
    if missing:
        raise DataError(
            where,
            expected=f"a backtest with the columns {', '.join(_COLUMNS)}",
            got=f"no column {missing[0]}",
            cure="Pass the frame that Forecaster.backtest() returns.",
        )
    codes: dict[tuple[Any, Any], int] = {}
    pairs = zip(backtest["series"].to_numpy().tolist(), backtest["target"].to_numpy().tolist(), strict=True)
    channel = np.array([codes.setdefault(pair, len(codes)) for pair in pairs], int)
    actual = backtest["actual"].to_numpy().astype(float)
    mean = backtest["mean"].to_numpy().astype(float)
    error = np.where(np.isfinite(actual) & np.isfinite(mean), actual - mean, np.nan)
    if not np.isfinite(error).any():
        raise DataError(
            where,
            expected="at least one row with an actual value and a forecast",
            got=f"none in {len(error):,} rows",
            cure="Backtest over a time whose values were observed.",
        )
    levels = sorted(
        (
            match[1]
            for name in backtest.columns
            if (match := _LEVEL.fullmatch(str(name))) and f"hi-{match[1]}" in backtest.columns
        ),
        key=float,
    )
    return Rows(
        channel=channel,
        names=[(str(series), str(target)) for series, target in codes],
        origin=backtest["origin"].to_numpy(),
        time=backtest["time"].to_numpy(),
        step=backtest["step"].to_numpy().astype(int),
        actual=actual,
        mean=mean,
        error=error,
        bounds={
            level: (
                backtest[f"lo-{level}"].to_numpy().astype(float),
                backtest[f"hi-{level}"].to_numpy().astype(float),
            )
            for level in levels
        },
    )


@dataclass(frozen=True, eq=False)
class Course:
    """The errors of a backtest over time.

    Attributes:
        times: shape (bins,), the middle of each stretch of time.
        low, high: shape (bins,), between which the middle 80 % of the errors at any step lie.
        steps: the first and the last step, once if they are the same.
        points: for each of the steps, the times and the errors that count, by time.
        means: for each of the steps, the times and the running mean.
        width: over how many times the running mean goes.
    """

    times: np.ndarray
    low: np.ndarray
    high: np.ndarray
    steps: tuple[int, ...]
    points: list[tuple[np.ndarray, np.ndarray]]
    means: list[tuple[np.ndarray, np.ndarray]]
    width: int


def course(rows: Rows) -> Course:
    """Put the errors of all channels in the order of time.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": [1, 2, 3], "step": 1, "time": [2, 3, 4],
    ...     "actual": [1.0, 2.0, 4.0], "mean": [0.0, 2.0, 2.0]})
    >>> course(read_backtest(frame)).means[0][1].tolist()
    [1.0, 0.0, 2.0]
    """
    import numpy as np

    counted = np.isfinite(rows.error)
    time, step, error = rows.time[counted], rows.step[counted], rows.error[counted]
    unique = np.unique(time)
    edges = unique[:: max(-(-len(unique) // _BINS), 1)]
    place = np.searchsorted(edges, time, side="right") - 1
    by_bin = [error[members] for members in _groups(place, len(edges))]
    starts = np.searchsorted(unique, edges)
    middle = unique[(starts + np.append(starts[1:], len(unique)) - 1) // 2]
    steps = tuple(dict.fromkeys((int(step.min()), int(step.max()))))
    points, means, width = [], [], 1
    for wanted in steps:
        own = np.flatnonzero(step == wanted)
        own = own[np.argsort(time[own], kind="stable")]
        points.append((time[own], error[own]))
        when, place = np.unique(time[own], return_inverse=True)
        sums = np.bincount(place, error[own], len(when))
        counts = np.bincount(place, minlength=len(when)).astype(float)
        width = max(len(when) // 15, 1)
        means.append((when, _running(sums, width) / _running(counts, width)))
    return Course(
        times=middle,
        low=np.array([np.quantile(errors, 0.1) for errors in by_bin]),
        high=np.array([np.quantile(errors, 0.9) for errors in by_bin]),
        steps=steps,
        points=points,
        means=means,
        width=width,
    )


def _running(values: np.ndarray, width: int) -> np.ndarray:
    """The sum over the `width` entries around each; fewer at the ends."""
    import numpy as np

    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    return total[np.minimum(at + (width + 1) // 2, len(values))] - total[np.maximum(at - width // 2, 0)]


def _groups(codes: np.ndarray, count: int) -> list[np.ndarray]:
    """Where each code from 0 up to `count` stands."""
    import numpy as np

    order = np.argsort(codes, kind="stable")
    return np.split(order, np.searchsorted(codes[order], np.arange(1, count)))


@dataclass(frozen=True, eq=False)
class Autocorrelation:
    """How alike the errors of one step are, from origin to origin.

    Attributes:
        values: shape (lags,), from lag 1.
        bound: within ± this, 95 of 100 values lie if the errors have nothing to do with one another.
        count: how many errors a channel has, on average.
    """

    values: np.ndarray
    bound: float
    count: float


def autocorrelation(rows: Rows, step: int, where: str = "report") -> Autocorrelation:
    """Correlate the errors of one step with those of the origins before, within each channel.

    The channels are averaged by their numbers of errors; the bound, 1.96 / √n, is that of one channel, since
    channels tend to err together. Origins count as evenly spaced.

    Raises:
        DataError: no channel has three errors of this step that differ.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": range(6), "step": 1, "time": range(1, 7),
    ...     "actual": [1.0, -1.0, 1.0, -1.0, 1.0, -1.0], "mean": 0.0})
    >>> autocorrelation(read_backtest(frame), step=1).values.round(2).tolist()
    [-0.83, 0.67, -0.5]
    """
    import numpy as np

    parts = []
    for number in range(len(rows.names)):
        own = np.flatnonzero((rows.channel == number) & (rows.step == step))
        errors = rows.error[own[np.argsort(rows.origin[own], kind="stable")]]
        count = int(np.isfinite(errors).sum())
        # rounding makes constant errors differ in their last bits
        if count >= 3 and np.nanstd(errors) > 1e-9 * np.nanmax(np.abs(errors)):
            parts.append((errors, count))
    if not parts:
        raise DataError(
            where,
            expected=f"at least three errors of step {step} in one channel that differ",
            got="fewer",
            cure="Backtest over more origins, or ask for another step.",
        )
    counts = np.array([count for _, count in parts], float)
    lags = _lags(float(counts.mean()), max(len(errors) for errors, _ in parts))
    values = np.zeros(lags)
    for errors, count in parts:
        away = np.nan_to_num(errors - np.nanmean(errors))
        spread = float(away @ away)
        for lag in range(1, min(lags, len(away) - 1) + 1):
            values[lag - 1] += count * float(away[lag:] @ away[:-lag]) / spread
    return Autocorrelation(values / counts.sum(), float(1.96 / np.sqrt(counts.mean())), float(counts.mean()))


def _lags(count: float, longest: int) -> int:
    """How many lags: the usual 10 log₁₀ n, and at most half of what there is."""
    import math

    return max(min(math.ceil(10 * math.log10(count)), longest // 2), 1)


def coverage(rows: Rows) -> dict[str, tuple[float, dict[int, float]]]:
    """Return for each level the share of actual values inside its interval, in all and by step.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": 1, "step": [1, 2], "time": [2, 3],
    ...     "actual": [1.0, 9.0], "mean": 0.0, "lo-80": -2.0, "hi-80": 2.0})
    >>> coverage(read_backtest(frame))
    {'80': (0.5, {1: 1.0, 2: 0.0})}
    """
    import numpy as np

    shares = {}
    for level, (low, high) in rows.bounds.items():
        counted = np.isfinite(rows.actual) & np.isfinite(low) & np.isfinite(high)
        if not counted.any():
            continue
        inside = ((rows.actual >= low) & (rows.actual <= high))[counted]
        steps, place = np.unique(rows.step[counted], return_inverse=True)
        by_step = np.bincount(place, inside) / np.bincount(place)
        shares[level] = (
            float(inside.mean()),
            {int(step): float(share) for step, share in zip(steps, by_step, strict=True)},
        )
    return shares


@dataclass(frozen=True, eq=False)
class Window:
    """One forecast of a backtest, beside what came.

    Attributes:
        name: (series, target).
        origin: the last time that the forecast had seen.
        mae: its mean absolute error.
        times, actual, mean: shape (steps,).
        bounds: the widest interval (low, high), or None.
        before: times and actual values just before, as far as other windows hold them.
    """

    name: tuple[str, str]
    origin: Any
    mae: float
    times: np.ndarray
    actual: np.ndarray
    mean: np.ndarray
    bounds: tuple[np.ndarray, np.ndarray] | None
    before: tuple[np.ndarray, np.ndarray]


def worst_windows(rows: Rows, count: int) -> list[Window]:
    """Return the forecasts with the largest mean absolute errors, the worst first.

    Those of one channel do not overlap: neighbouring origins miss the same day, and would show it three times.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": [1, 2, 3], "step": 1, "time": [2, 3, 4],
    ...     "actual": [1.0, 2.0, 4.0], "mean": 1.0})
    >>> [(int(window.origin), window.mae) for window in worst_windows(read_backtest(frame), 2)]
    [(3, 3.0), (2, 1.0)]
    """
    import numpy as np

    origins, origin = np.unique(rows.origin, return_inverse=True)
    _, window = np.unique(rows.channel * len(origins) + origin, return_inverse=True)
    counted = np.isfinite(rows.error)
    sums = np.bincount(window, np.where(counted, np.abs(rows.error), 0.0))
    times = np.bincount(window, counted)
    errors = np.divide(sums, times, out=np.full(len(sums), -1.0), where=times > 0)
    members = _groups(window, len(errors))
    chosen: list[Window] = []
    taken: dict[int, list[tuple[Any, Any]]] = {}
    for number in np.argsort(-errors, kind="stable"):
        if len(chosen) == count or errors[number] < 0:
            break
        own = members[number][np.argsort(rows.step[members[number]], kind="stable")]
        channel, ahead = int(rows.channel[own[0]]), rows.time[own]
        if any(ahead[0] <= last and first <= ahead[-1] for first, last in taken.get(channel, [])):
            continue
        taken.setdefault(channel, []).append((ahead[0], ahead[-1]))
        bounds = list(rows.bounds.values())
        chosen.append(
            Window(
                name=rows.names[channel],
                origin=rows.origin[own[0]],
                mae=float(errors[number]),
                times=ahead,
                actual=rows.actual[own],
                mean=rows.mean[own],
                bounds=(bounds[-1][0][own], bounds[-1][1][own]) if bounds else None,
                before=_before(rows, channel, rows.origin[own[0]], ahead),
            )
        )
    return chosen


def _before(rows: Rows, channel: int, origin: Any, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As many values up to the origin as the window has steps, without a gap."""
    import numpy as np

    own = (rows.channel == channel) & (rows.time <= origin)
    times, first = np.unique(rows.time[own], return_index=True)
    actual = rows.actual[own][first]
    times, actual = times[-len(ahead) :], actual[-len(ahead) :]
    if not len(times) or times[-1] != origin:
        return times[:0], actual[:0]
    longest = 2 * np.diff(np.append(origin, ahead)).max()
    gaps = np.flatnonzero(np.diff(times) > longest)
    start = int(gaps[-1]) + 1 if len(gaps) else 0
    return times[start:], actual[start:]
