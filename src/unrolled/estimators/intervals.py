"""Prediction intervals from the errors on windows that training did not see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "Conformal", "Widened", "bounds_of_quantiles", "conformal_widths", "quantiles_of"]

RATE = 0.02  # by which the logarithm of a side's factor moves in a row that brings only misses
FURTHEST = 10.0  # of the logarithm of a factor

Bounds = dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]]
Clock = tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class Conformal:
    """Intervals from quantiles of signed errors, step by step, that widen and narrow as misses come in.

    An interval reaches from mean + c + (lower − c)·exp(f) to mean + c + (upper − c)·exp(g), where c is the
    median error of the step. With each time at which values come, f and g grow by 0.02 times the share of its
    forecasts that their side missed, less what it may miss: half of what lies outside the level. So
    intervals hold on average also where errors grow or shrink after the calibration.

    Attributes:
        levels: in percent.
        centre: (horizon,), the median error.
        lower: (levels, horizon), of the error, at most `centre`.
        upper: (levels, horizon), at least `centre`.
        factors: (levels, 2), f and g at the end of what was seen.

    Source: Romano, Patterson and Candès (2019) for quantiles of signed errors; Gibbs and Candès (2021) and
    Angelopoulos, Candès and Tibshirani (2023) for following what is missed.

    >>> errors = np.tile([-1.0, 0.5, 3.0, 1.0, 0.0], 20)[:, None]
    >>> intervals = Conformal.fit(errors, np.ones((100, 1), bool), [60])
    >>> lo, hi = intervals.bounds(np.array([[10.0]]))[60]
    >>> lo.round(1), hi.round(1)
    (array([[9.]]), array([[13.]]))
    """

    levels: tuple[float, ...]
    centre: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    factors: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        errors: NDArray[np.float64],
        counted: NDArray[np.bool_],
        levels: Sequence[float],
        *,
        clock: Clock | None = None,
        spread: NDArray[np.float64] | None = None,
    ) -> "Conformal":
        """Calibrate on windows that training did not see, and follow their misses to the end.

        A step with too few errors for a level's quantiles has a symmetric interval (`conformal_widths`).

        Args:
            errors: (windows, horizon), actual less mean; anything where not counted.
            counted: (windows, horizon), which errors to use.
            levels: in percent, between 0 and 100.
            clock: when each window's last value is known, (windows,), and when each of its errors, (windows, horizon),
                as numbers that grow with time; by default windows end one row after the other.
            spread: (windows,) or (windows, horizon), above 0, in the units of the errors: how wide a window's
                intervals are beside others (the scale of its series; how far members differ). What
                `fit` was given, `bounds`, `rolling` and `update` need too.
        """
        scaled = errors / _by_window(spread)
        horizon = errors.shape[1]
        centre = np.zeros(horizon)
        lower, upper = np.full((2, len(levels), horizon), np.nan)
        half = conformal_widths(scaled, counted, levels)
        for step in range(horizon):
            known = np.sort(scaled[counted[:, step], step])
            centre[step] = np.median(known) if len(known) else 0.0
            for row, level in enumerate(levels):
                rank = int(np.ceil((len(known) + 1) * (0.5 + level / 200)))
                enough = rank <= len(known)
                lower[row, step] = known[-rank] if enough else -half[row, step]
                upper[row, step] = known[rank - 1] if enough else half[row, step]
        fitted = cls(
            tuple(levels),
            centre,
            np.minimum(lower, centre),
            np.maximum(upper, centre),
            np.zeros((len(levels), 2)),
        )
        return fitted.update(errors, counted, clock=clock, spread=spread)

    def bounds(self, mean: NDArray[np.float64], spread: NDArray[np.float64] | None = None) -> Bounds:
        """Return level → lo and hi, (windows, horizon) each, with the factors as they are.

        Args:
            mean: (windows, horizon).
            spread: as for `fit`.
        """
        return self._around(mean, np.repeat(self.factors[None], len(mean), axis=0), spread)

    def rolling(
        self,
        mean: NDArray[np.float64],
        errors: NDArray[np.float64],
        counted: NDArray[np.bool_],
        *,
        clock: Clock | None = None,
        spread: NDArray[np.float64] | None = None,
    ) -> Bounds:
        """Return the bounds of a backtest: those of a window have seen the errors known at its origin, no later one.

        Args:
            mean: (windows, horizon).
            errors: (windows, horizon), actual less mean.
            counted: (windows, horizon).
            clock: as for `fit`.
            spread: as for `fit`.
        """
        factors, _ = self._follow(errors, counted, clock, spread)
        return self._around(mean, factors, spread)

    def update(
        self,
        errors: NDArray[np.float64],
        counted: NDArray[np.bool_],
        *,
        clock: Clock | None = None,
        spread: NDArray[np.float64] | None = None,
    ) -> "Conformal":
        """Return the intervals with the factors after these errors, which were not seen before; as for `rolling`."""
        return replace(self, factors=self._follow(errors, counted, clock, spread)[1])

    def _follow(
        self,
        errors: NDArray[np.float64],
        counted: NDArray[np.bool_],
        clock: Clock | None,
        spread: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the factors at each window's origin (windows, levels, 2), and after the last error (levels, 2)."""
        number = np.arange(len(errors))
        rows, known = clock or (number, number[:, None] + np.arange(1, errors.shape[1] + 1))
        scaled = errors / _by_window(spread)
        windows, steps = np.nonzero(counted)
        due = known[windows, steps]
        order = np.argsort(due, kind="stable")
        windows, steps, due = windows[order], steps[order], due[order]
        times = np.unique(np.concatenate([rows, due]))
        until = np.searchsorted(due, times, side="right")
        at_origin = np.searchsorted(times, rows)  # a window's place among the times
        allowed = (1 - np.asarray(self.levels) / 100) / 2
        path = np.empty((len(times), *self.factors.shape))
        factors, begin = self.factors, 0
        for place, end in enumerate(until):
            if end > begin:
                window, step = windows[begin:end], steps[begin:end]
                lo, hi = self._sides(path[at_origin[window]], step)
                error = scaled[window, step]
                missed = np.stack([(error < lo).mean(axis=1), (error > hi).mean(axis=1)], axis=1)
                factors = np.clip(factors + RATE * (missed - allowed[:, None]), -FURTHEST, FURTHEST)
            path[place], begin = factors, end
        return path[at_origin], factors

    def _around(
        self, mean: NDArray[np.float64], factors: NDArray[np.float64], spread: NDArray[np.float64] | None
    ) -> Bounds:
        horizon = mean.shape[1]
        lo, hi = self._sides(np.repeat(factors, horizon, axis=0), np.tile(np.arange(horizon), len(mean)))
        scale = _by_window(spread)
        return {
            level: (mean + low.reshape(mean.shape) * scale, mean + high.reshape(mean.shape) * scale)
            for level, low, high in zip(self.levels, lo, hi, strict=True)
        }

    def _sides(
        self, factors: NDArray[np.float64], steps: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the bounds of the errors, (levels, cells) each, from factors (cells, levels, 2).

        A level that was missed more often than a higher one may have outgrown it: the higher one then follows.
        """
        centre, stretch = self.centre[steps], np.exp(np.moveaxis(factors, 0, -1))
        below = (centre - self.lower[:, steps]) * stretch[:, 0]
        above = (self.upper[:, steps] - centre) * stretch[:, 1]
        order = np.argsort(self.levels, kind="stable")
        below[order] = np.maximum.accumulate(below[order], axis=0)
        above[order] = np.maximum.accumulate(above[order], axis=0)
        return centre - below, centre + above


def _by_window(spread: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return what divides errors (windows, horizon)."""
    if spread is None:
        return np.ones((1, 1))
    return spread[:, None] if spread.ndim == 1 else spread


def conformal_widths(
    errors: NDArray[np.float64], counted: NDArray[np.bool_], levels: Sequence[float]
) -> NDArray[np.float64]:
    """Return half the width of each interval, step by step, by split conformal prediction.

    For n errors and level p it is the ⌈(n+1)·p/100⌉-th smallest absolute error; the largest, where
    there are too few for that.

    Args:
        errors: (windows, horizon), actual less forecast, in the units of the data.
        counted: (windows, horizon), which errors to use.
        levels: in percent, between 0 and 100.

    Returns:
        (levels, horizon), in the units of the data; a step without any error takes the others' widest.

    Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), as split
    conformal prediction in Lei et al. (2018).

    >>> conformal_widths(np.array([[1.0], [-2.0], [3.0], [-4.0]]), np.ones((4, 1), bool), [60])
    array([[3.]])
    """
    return _conformal(np.repeat(np.abs(errors)[None], len(levels), axis=0), counted, levels)


def _conformal(
    sizes: NDArray[np.float64], counted: NDArray[np.bool_], levels: Sequence[float]
) -> NDArray[np.float64]:
    """Return the ⌈(n+1)·p/100⌉-th smallest of the sizes (levels, windows, horizon) of each level and step."""
    widths = np.full((len(levels), counted.shape[1]), np.nan)
    for step in range(counted.shape[1]):
        for row, level in enumerate(levels):
            known = np.sort(sizes[row, counted[:, step], step])
            if len(known):
                rank = int(np.ceil((len(known) + 1) * level / 100))
                widths[row, step] = known[min(rank, len(known)) - 1]
    found = ~np.isnan(widths)
    widest = np.max(widths, axis=1, where=found, initial=-np.inf, keepdims=True)
    return np.where(found, widths, np.where(np.isfinite(widest), widest, 0.0))


@dataclass(frozen=True)
class Widened:
    """Intervals between a network's quantiles, moved outwards (or inwards) by as much as held-back errors ask.

    Attributes:
        levels: in percent.
        by: (levels, horizon), what both ends are moved by.

    Source: conformalised quantile regression (Romano, Patterson and Candès 2019).

    >>> raw = {80: (np.zeros((9, 1)), np.ones((9, 1)))}
    >>> Widened.fit(raw, np.arange(9.0)[:, None], np.ones((9, 1), bool)).by
    array([[6.]])
    """

    levels: tuple[float, ...]
    by: NDArray[np.float64]

    @classmethod
    def fit(cls, raw: Bounds, actual: NDArray[np.float64], counted: NDArray[np.bool_]) -> "Widened":
        """Calibrate on windows that training did not see.

        Args:
            raw: the network's bounds.
            actual: (windows, horizon); anything where not counted.
            counted: (windows, horizon).
        """
        outside = np.stack([np.maximum(lo - actual, actual - hi) for lo, hi in raw.values()])
        return cls(tuple(raw), _conformal(outside, counted, tuple(raw)))

    def bounds(self, mean: NDArray[np.float64], raw: Bounds) -> Bounds:
        """Return level → lo and hi, (windows, horizon) each, around `mean`, a lower level within a higher one."""
        found: Bounds = {}
        low = high = mean
        for row in np.argsort(self.levels, kind="stable"):
            lo, hi = raw[self.levels[row]]
            low, high = np.minimum(low, lo - self.by[row]), np.maximum(high, hi + self.by[row])
            found[self.levels[row]] = low, high
        return {level: found[level] for level in self.levels}


def quantiles_of(levels: Sequence[float]) -> tuple[float, ...]:
    """Return the quantiles that make intervals: the median, and both ends of each level.

    >>> quantiles_of([80])
    (0.5, 0.1, 0.9)
    """
    return (0.5, *(round(0.5 + side * level / 200, 10) for level in levels for side in (-1, 1)))


def bounds_of_quantiles(made: NDArray[np.float64], levels: Sequence[float]) -> list[Bounds]:
    """Return the bounds of each target from a network's `quantiles_of` the levels, put in order where they cross.

    Args:
        made: (windows, horizon, targets, quantiles).
        levels: in percent.
    """
    place = np.argsort(np.argsort(quantiles_of(levels), kind="stable"), kind="stable")
    ordered = np.sort(made, axis=-1)
    return [
        {
            level: (ordered[:, :, target, place[1 + 2 * row]], ordered[:, :, target, place[2 + 2 * row]])
            for row, level in enumerate(levels)
        }
        for target in range(made.shape[2])
    ]
