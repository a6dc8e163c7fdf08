"""The forecasts that a model has to beat."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Linear", "drift", "find_season", "naive", "seasonal_naive"]

CHUNK = 4096  # windows of a ridge that are float64 at a time


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


@dataclass(frozen=True)
class Linear:
    """Ridge regression from a window to all steps of the horizon, both less the window's last value.

    Attributes:
        weight: (horizon, steps).
        bias: (horizon,).
        penalty: on the squared weights (not on the bias), as it was given or chosen.

    >>> past = np.arange(20.0)[:, None] + np.arange(4.0)
    >>> line = Linear.fit(past, past[:, -1:] + [[1.0, 2.0]], penalty=1e-6)
    >>> line.predict(np.array([[100.0, 101.0, 102.0, 103.0]])).round(3)
    array([[104., 105.]])
    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    penalty: float = 1.0

    @classmethod
    def fit(
        cls,
        past: NDArray[Any],
        target: NDArray[Any],
        counted: NDArray[np.bool_] | None = None,
        penalty: float | Sequence[float] = 1.0,
        gap: int = 0,
    ) -> "Linear":
        """Fit the windows that are counted throughout; all of them, where none is.

        Of several penalties the one is taken that has the least squared error on the last fifth of the
        windows after a fit on those before; then all windows are fitted with it. Where that leaves fewer
        than two windows on a side, it is the greatest.

        Args:
            past: (windows, steps), in the order of time; read in chunks, float32 is as good as float64.
            target: (windows, horizon).
            counted: (windows, horizon), which targets are real.
            penalty: at least 0, or several to choose from.
            gap: windows left out before the last fifth, so that their targets are not its inputs: the horizon
                over the stride.
        """
        kept = np.arange(len(past))
        if counted is not None and counted.all(axis=1).any():
            kept = np.flatnonzero(counted.all(axis=1))
        penalties = [float(value) for value in np.atleast_1d(np.asarray(penalty, np.float64))]
        if len(penalties) == 1:
            return cls(
                *_Moments.of(past, target, kept, _means(past, target, kept)).ridge(penalties)[0], penalties[0]
            )
        # The split goes by all windows: those that do not count leave the gap as long as it is.
        cut = len(past) - len(past) // 5
        parts = np.split(kept, np.searchsorted(kept, [cut - gap, cut]))
        means = _means(past, target, kept)
        early, between, late = (_Moments.of(past, target, part, means) for part in parts)
        best = max(penalties)
        if min(early.count, late.count) >= 2:
            errors = [late.squared_error(weight, bias) for weight, bias in early.ridge(penalties)]
            best = penalties[int(np.argmin(errors))]
        return cls(*(early + between + late).ridge([best])[0], best)

    def predict(self, past: NDArray[Any]) -> NDArray[Any]:
        """Return the forecasts (windows, horizon) from `past` (windows, steps)."""
        last = past[:, -1:]
        return last + (past - last) @ self.weight.T + self.bias


Lines = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True)
class _Moments:
    """What a ridge needs to know of windows: sums over them. x and y are both less the window's last value.

    x and y stand less `means`, which need only lie near: sums of squares would lose digits far from zero.
    """

    count: int
    means: tuple[NDArray[np.float64], NDArray[np.float64]]
    x: NDArray[np.float64]  # (steps,)
    y: NDArray[np.float64]  # (horizon,)
    xx: NDArray[np.float64]  # (steps, steps)
    xy: NDArray[np.float64]  # (steps, horizon)
    yy: NDArray[np.float64]  # (horizon,)

    @classmethod
    def of(cls, past: NDArray[Any], target: NDArray[Any], rows: NDArray[np.intp], means: Any) -> "_Moments":
        steps, horizon = past.shape[1], target.shape[1]
        sums = [np.zeros(shape) for shape in (steps, horizon, (steps, steps), (steps, horizon), horizon)]
        for x, y in _chunks(past, target, rows):
            x -= means[0]
            y -= means[1]
            for total, part in zip(sums, (x.sum(0), y.sum(0), x.T @ x, x.T @ y, (y**2).sum(0)), strict=True):
                total += part
        return cls(len(rows), means, *sums)

    def __add__(self, other: "_Moments") -> "_Moments":
        sums = {
            name: getattr(self, name) + getattr(other, name) for name in ("count", "x", "y", "xx", "xy", "yy")
        }
        return replace(self, **sums)

    def ridge(self, penalties: Sequence[float]) -> Lines:
        """Return weight (horizon, steps) and bias (horizon,) for each penalty, from one eigendecomposition."""
        x, y = self.x / self.count, self.y / self.count
        values, vectors = np.linalg.eigh(self.xx - self.count * np.outer(x, x))
        turned = vectors.T @ (self.xy - self.count * np.outer(x, y))
        floor = np.finfo(np.float64).eps * len(values) * max(values[-1], 0.0)
        lines: Lines = []
        for penalty in penalties:
            # Directions in which the windows do not vary get no weight, as of the pseudo-inverse at penalty 0.
            size = np.maximum(values, 0.0) + penalty
            inverse = np.divide(1.0, size, out=np.zeros_like(size), where=size > floor)
            weight = (vectors @ (inverse[:, None] * turned)).T
            bias = y + self.means[1] - weight @ (x + self.means[0])
            lines.append((np.ascontiguousarray(weight), bias))
        return lines

    def squared_error(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> float:
        """Return the sum of the squared errors of a line on these windows."""
        shift = bias + weight @ self.means[0] - self.means[1]  # the bias for x and y less their means
        inner = (weight @ self.xx * weight).sum() + 2 * shift @ (weight @ self.x - self.y)
        return float(self.yy.sum() - 2 * (weight.T * self.xy).sum() + inner + self.count * (shift**2).sum())


def _means(
    past: NDArray[Any], target: NDArray[Any], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.zeros(past.shape[1]), np.zeros(target.shape[1])
    for inputs, targets in _chunks(past, target, rows):
        x += inputs.sum(0)
        y += targets.sum(0)
    return x / max(len(rows), 1), y / max(len(rows), 1)


def _chunks(
    past: NDArray[Any], target: NDArray[Any], rows: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        last = past[part, -1:].astype(np.float64)
        yield past[part] - last, target[part] - last


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
