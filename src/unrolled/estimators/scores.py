"""How good forecasts were, in the units of the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Backtest", "label", "score", "verdict"]

TIE = 0.995  # a model must lie below this share of the best baseline's error to be called better
NAMES = {"naive": "naive (last value)", "seasonal_naive": "seasonal naive", "linear": "linear (ridge)"}


@dataclass(frozen=True)
class Backtest:
    """Forecasts beside what came.

    Attributes:
        frame: a row for each origin and step: series, target, origin, step, time, actual (missing
            where a gap was filled), mean, and lo-80, hi-80 … for each level.
        scores: "model", "baselines" (naive, seasonal_naive, linear; seasonal_naive_7 where the calendar's
            own season is another than the one found) and "held_out", as `metrics.json` holds them.
    """

    frame: Any
    scores: dict[str, Any]


def score(
    actual: NDArray[np.float64], forecast: NDArray[np.float64], counted: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the errors of forecasts over the values that are `counted`.

    Args:
        actual: (windows, horizon).
        forecast: (windows, horizon).
        counted: (windows, horizon).

    Returns:
        mae, rmse, and mae_by_step (horizon numbers; None for a step that never counts).

    >>> score(np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]]), np.ones((1, 2), bool))
    {'mae': 1.5, 'rmse': 1.5811388300841898, 'mae_by_step': [1.0, 2.0]}
    """
    errors = np.where(counted, actual - forecast, 0.0)
    times = counted.sum(axis=0)
    by_step = np.abs(errors).sum(axis=0) / np.maximum(times, 1)
    total = max(int(times.sum()), 1)
    return {
        "mae": float(np.abs(errors).sum() / total),
        "rmse": float(np.sqrt((errors**2).sum() / total)),
        "mae_by_step": [float(value) if n else None for value, n in zip(by_step, times, strict=True)],
    }


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
    errors = {label(name): values["mae"] for name, values in scores["baselines"].items()}
    best = min(errors, key=lambda name: errors[name])
    lost = [name for name, error in errors.items() if error < mae]
    if lost:
        more = f"{mae / errors[best] - 1:.0%}".replace("%", " %") if errors[best] else "infinitely"
        return False, (
            f"The model LOSES to {' and '.join(lost)}: its mean absolute error lies {more} above that of {best}. "
            f"Forecast with {best} instead, or give the model more data."
        )
    if mae >= TIE * errors[best]:
        return True, f"The model is as good as {best}, the best baseline, and no better."
    less = f"{1 - mae / errors[best]:.0%}".replace("%", " %")
    return True, (
        f"The model beats every baseline: its mean absolute error lies {less} below that of {best}, the best of them."
    )
