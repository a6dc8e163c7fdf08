"""How good forecasts were, in the units of the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Backtest", "label", "score", "seasonal_scale", "verdict"]

TIE = 0.995  # an error must lie below this share of another to be called better
NAMES = {
    "naive": "naive (last value)",
    "seasonal_naive": "seasonal naive",
    "drift": "drift (straight line)",
    "linear": "linear (ridge)",
    "sarima": "SARIMA",
    "ets": "ETS (exponential smoothing)",
    "constant_velocity": "constant velocity",
}


@dataclass(frozen=True)
class Backtest:
    """Forecasts beside what came.

    Attributes:
        frame: a row for each origin and step: series, target, origin, step, time, actual (missing
            where a gap was filled), mean, and lo-80, hi-80 … for each level.
        scores: "model", "baselines" (naive, seasonal_naive, drift, linear; seasonal_naive_7 where the calendar's
            own season is another than the one found; sarima and ets where they are asked for; constant_velocity
            of several targets) and "held_out", as `metrics.json` holds them. Of several targets, "targets" has the
            same for each, and "distance" is the mean Euclidean one, as of points in a plane.
    """

    frame: Any
    scores: dict[str, Any]


def score(
    actual: NDArray[np.float64],
    forecast: NDArray[np.float64],
    counted: NDArray[np.bool_],
    *,
    scale: float | NDArray[np.float64] | None = None,
    intervals: Mapping[float, tuple[NDArray[np.float64], NDArray[np.float64]]] | None = None,
) -> dict[str, Any]:
    """Return the errors of forecasts over the values that are `counted`, as JSON takes them.

    With error e = actual − forecast: mae, mean |e|; rmse, √mean e²; mape, mean |e| / |actual| in percent,
    zeros left out; smape, mean 2|e| / (|actual| + |forecast|) in percent; mase, mean |e| / scale. For an
    interval of level p = 100·(1−α) % from lo to hi: coverage, the share inside; width, mean hi − lo;
    interval_score, mean (hi−lo) + 2/α·(lo−actual)⁺ + 2/α·(actual−hi)⁺; pinball, mean max(q·e, (q−1)·e) over
    the quantiles q that the levels imply, and the forecast as that of ½.

    Args:
        actual: (windows, horizon), in the units of the data; what does not count may be anything.
        forecast: (windows, horizon).
        counted: (windows, horizon).
        scale: for mase, `seasonal_scale` of the training part; or (windows,), where windows are of several
            series. A window whose scale is 0 is left out.
        intervals: level in percent → lo and hi, each (windows, horizon).

    Returns:
        mae, rmse, mape, smape, mase, and mae_by_step (horizon numbers); with `intervals` also pinball, and
        by level ("80"): coverage and width, coverage_by_step, interval_score. None stands for what nothing
        counts for, or what is no finite number.

    Source: Hyndman and Koehler (2006) for mase; Gneiting and Raftery (2007) for the interval score.

    >>> found = score(np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]]), np.ones((1, 2), bool), scale=3.0)
    >>> found["mae"], found["mae_by_step"], found["mape"], found["mase"]
    (1.5, [1.0, 2.0], 100.0, 0.5)
    """
    with np.errstate(all="ignore"):  # what is no number becomes None
        sizes = np.abs(actual - forecast)
        both = np.abs(actual) + np.abs(forecast)
        shares = np.divide(2 * sizes, both, out=np.zeros_like(sizes), where=both > 0)
        scales = np.broadcast_to(np.reshape(0.0 if scale is None else scale, (-1, 1)), sizes.shape)
        scores: dict[str, Any] = {
            "mae": _mean(sizes, counted),
            "rmse": _root(_mean(sizes**2, counted)),
            "mape": _mean(100 * sizes / np.abs(actual), counted & (actual != 0)),
            "smape": _mean(100 * shares, counted),
            "mase": _mean(sizes / scales, counted & (scales > 0)),
            "mae_by_step": _by_step(sizes, counted),
        }
        if intervals is not None:
            scores |= _interval_scores(actual, forecast, counted, intervals)
    return scores


def seasonal_scale(
    values: NDArray[np.float64], observed: NDArray[np.bool_], season: int, starts: Sequence[int] | None = None
) -> float | None:
    """Return the mean absolute change over a season, which mase divides by; None where there is none.

    Args:
        values: (rows,), the training part, in the units of the data.
        observed: (rows,), False where a gap was filled.
        season: steps of a season, at least 1.
        starts: the rows that begin a series, where several stand one after the other.

    >>> seasonal_scale(np.array([1.0, 5.0, 2.0, 9.0]), np.array([True, True, True, False]), 2)
    1.0
    """
    series = np.zeros(len(values), np.intp)
    series[[row for row in starts or () if row < len(values)]] = 1
    series = np.cumsum(series)
    counted = observed[season:] & observed[:-season] & (series[season:] == series[:-season])
    return _mean(np.abs(values[season:] - values[:-season]), counted)


def _interval_scores(
    actual: NDArray[np.float64],
    forecast: NDArray[np.float64],
    counted: NDArray[np.bool_],
    intervals: Mapping[float, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> dict[str, Any]:
    by_level: dict[str, dict[str, Any]] = {
        name: {} for name in ("coverage", "coverage_by_step", "width", "interval_score")
    }
    pinballs = [_pinball(actual - forecast, 0.5)]
    for level, (lo, hi) in intervals.items():
        key, outside = f"{level:g}", 1 - level / 100
        inside = ((actual >= lo) & (actual <= hi)).astype(np.float64)
        missed = np.maximum(lo - actual, 0.0) + np.maximum(actual - hi, 0.0)
        by_level["coverage"][key] = _mean(inside, counted)
        by_level["coverage_by_step"][key] = _by_step(inside, counted)
        by_level["width"][key] = _mean(hi - lo, counted)
        by_level["interval_score"][key] = _mean(hi - lo + 2 / outside * missed, counted)
        pinballs += [_pinball(actual - lo, outside / 2), _pinball(actual - hi, 1 - outside / 2)]
    return by_level | {"pinball": _mean(np.mean(pinballs, axis=0), counted)}


def _pinball(errors: NDArray[np.float64], quantile: float) -> NDArray[np.float64]:
    return np.maximum(quantile * errors, (quantile - 1) * errors)


def _mean(values: NDArray[np.float64], counted: NDArray[np.bool_]) -> float | None:
    mean = float(np.mean(values[counted])) if counted.any() else np.inf
    return mean if np.isfinite(mean) else None


def _root(square: float | None) -> float | None:
    return None if square is None else float(np.sqrt(square))


def _by_step(values: NDArray[np.float64], counted: NDArray[np.bool_]) -> list[float | None]:
    return [_mean(values[:, step], counted[:, step]) for step in range(values.shape[1])]


def label(baseline: str) -> str:
    """Return a baseline's name as tables show it.

    >>> label("linear"), label("seasonal_naive_7")
    ('linear (ridge)', 'seasonal naive (7 steps)')
    """
    if baseline.startswith("seasonal_naive_"):
        return f"seasonal naive ({baseline.removeprefix('seasonal_naive_')} steps)"
    return NAMES.get(baseline, baseline)


def verdict(scores: Mapping[str, Any]) -> tuple[bool, str]:
    """Say whether the model beats every baseline, in one sentence.

    >>> verdict({"model": {"mae": 1.0}, "baselines": {"naive": {"mae": 2.0}, "linear": {"mae": 1.6}}})
    (True, 'The model beats every baseline: its mean absolute error lies 38 % below that of linear (ridge), the
    best of them.')
    """
    mae = scores["model"]["mae"]
    errors = {
        label(name): values["mae"]
        for name, values in scores["baselines"].items()
        if values["mae"] is not None
    }
    if mae is None or not errors:
        return False, "There is no error to compare: nothing was observed, or an error is not finite."
    best = min(errors, key=lambda name: errors[name])
    lost = [name for name, error in errors.items() if error < TIE * mae]
    if lost:
        far = f"is {mae:.3g}, and that of {best} 0"
        if errors[best]:
            far = f"lies {mae / errors[best] - 1:.0%} above that of {best}".replace("%", " %")
        return False, (
            f"The model LOSES to {' and '.join(lost)}: its mean absolute error {far}. "
            f"Forecast with {best} instead, or give the model more data."
        )
    if mae >= TIE * errors[best]:
        return True, f"The model is as good as {best}, the best baseline, and no better."
    less = f"{1 - mae / errors[best]:.0%}".replace("%", " %")
    return True, (
        f"The model beats every baseline: its mean absolute error lies {less} below that of {best}, the best of them."
    )
