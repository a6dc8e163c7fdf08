"""The forecasts that a model has to beat."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["drift", "find_season", "naive", "seasonal_naive"]


def naive(past: NDArray[Any], horizon: int) -> NDArray[Any]:
    """Repeat the last value.

    Args:
        past: (windows, steps).
        horizon: steps to forecast.

    Returns:
        (windows, horizon).

    >>> naive(np.array([[1.0, 2.0]]), 3)
    array([[2., 2., 2.]])
    """
    return np.repeat(past[:, -1:], horizon, axis=1)


def seasonal_naive(past: NDArray[Any], horizon: int, season: int) -> NDArray[Any]:
    """Repeat the last `season` values, over and over.

    Args:
        past: (windows, steps), with at least `season` steps.
        horizon: steps to forecast.
        season: steps of a season.

    Returns:
        (windows, horizon).

    >>> seasonal_naive(np.array([[0.0, 1.0, 2.0]]), 5, 2)
    array([[1., 2., 1., 2., 1.]])
    """
    return past[:, past.shape[1] - season + np.arange(horizon) % season]


def drift(past: NDArray[Any], horizon: int) -> NDArray[Any]:
    """Go on along the line through the first and the last value of the window.

    Args:
        past: (windows, steps); of a single step, its value is repeated.
        horizon: steps to forecast.

    Returns:
        (windows, horizon).

    Source: Hyndman and Athanasopoulos, "Forecasting: Principles and Practice" (3rd ed.), 5.2.

    >>> drift(np.array([[1.0, 9.0, 3.0]]), 2)
    array([[4., 5.]])
    """
    slope = (past[:, -1:] - past[:, :1]) / max(past.shape[1] - 1, 1)
    return past[:, -1:] + slope * np.arange(1, horizon + 1, dtype=slope.dtype)


def find_season(values: NDArray[np.float64], usual: Sequence[int], horizon: int) -> int:
    """Return the period that repeats best: among the `usual` ones, and the peaks of the autocorrelation.

    What is compared is the mean absolute change over whole periods, as far ahead as the horizon
    reaches. Where no period beats the last value, the first of the `usual` ones is returned, or 1.

    Args:
        values: (rows,), the training part only.
        usual: periods that the calendar suggests, in steps.
        horizon: steps to forecast.

    >>> find_season(np.sin(np.arange(200) * 2 * np.pi / 12), [], 6)
    12
    """
    candidates = [period for period in (*usual, *_peaks(values)) if 1 < period <= len(values) // 3]

    def change(period: int) -> float:
        steps = np.arange(1, horizon + 1)
        lags = np.unique(-(-steps // period) * period)
        lags = lags[lags <= len(values) // 2]
        return (
            float(np.mean([np.mean(np.abs(values[lag:] - values[:-lag])) for lag in lags]))
            if len(lags)
            else np.inf
        )

    if not candidates:
        return 1
    steps = np.arange(1, min(horizon, len(values) // 2) + 1)
    last_value = float(np.mean([np.mean(np.abs(values[lag:] - values[:-lag])) for lag in steps]))
    changes = {period: change(period) for period in candidates}
    least = min(changes.values())
    if least >= last_value:
        return next((period for period in usual if period in changes), 1)
    return next(period for period in sorted(changes) if changes[period] <= 1.05 * least + 1e-6 * last_value)


def _peaks(values: NDArray[np.float64], most: int = 3) -> list[int]:
    """Return the lags of the highest peaks of the autocorrelation of the changes."""
    changes = np.diff(values)
    changes = changes - changes.mean()
    if len(changes) < 8 or not changes.any():
        return []
    spectrum = np.abs(np.fft.rfft(changes, 2 * len(changes))) ** 2
    correlation = np.fft.irfft(spectrum)[: len(changes) // 3 + 1]
    correlation = correlation / correlation[0]
    inner = np.arange(2, len(correlation) - 1)
    high = inner[
        (correlation[inner] >= correlation[inner - 1])
        & (correlation[inner] > correlation[inner + 1])
        & (correlation[inner] > 0.2)
    ]
    return [int(lag) for lag in high[np.argsort(-correlation[high], kind="stable")][:most]]
