"""SARIMA and exponential smoothing over rolling origins, as baselines: fitted by statsmodels, carried on by us.

A model is fitted on the rows up to an origin. Between fits its parameters stay, and one run of its filter
over the rows gives the state at every origin; the forecasts of all origins are then a few array operations.
"""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import OptionError

__all__ = ["Statistical", "statistical"]

logger = logging.getLogger("unrolled")

LONGEST = {"sarima": 60, "ets": 400}  # steps of a season: the state of a SARIMA has as many, squared
ROUNDS = {"sarima": 50, "ets": 100}  # of the optimizer
SHORTEST = 12  # rows of a history
MANY = 500  # rows of a history, where ten seasons are fewer


@dataclass(frozen=True)
class Statistical:
    """Forecasts of a statistical model.

    Attributes:
        forecasts: (origins, horizon), in the units of the data.
        refitted: how often the parameters were fitted anew after the first origin.
        name: with its orders, as "SARIMA(0,1,1)(0,1,1,7)" or "ETS(A,Ad,M,7)".
        seconds: what it took.
    """

    forecasts: NDArray[np.float64]
    refitted: int
    name: str
    seconds: float


def statistical(
    kind: str,
    values: NDArray[np.float64],
    origins: NDArray[np.integer[Any]],
    horizon: int,
    season: int,
    *,
    refits: int = 2,
    seconds: float = 10.0,
) -> Statistical | None:
    """Forecast from each origin with a model whose orders are picked by AICc on the rows up to the first.

    The history of a fit is the last ten seasons, and 500 rows at least. A season longer than 60 steps (of a
    SARIMA; 400 of an ETS), or one that the history does not hold three times (twice), is left out.

    Args:
        kind: "sarima" or "ets".
        values: (rows,), gaps filled, in the units of the data.
        origins: ascending row numbers, the last observed row of each forecast; a forecast sees no row after it.
        horizon: steps to forecast.
        season: steps of a season, 1 for none.
        refits: how often to fit the parameters anew, evenly over the origins.
        seconds: about how long it may take: when they are over, candidates and refits are left out.

    Returns:
        The forecasts; None, with the reason in the log, where no model can be fitted.

    Raises:
        OptionError: `kind` is neither.

    Source: statsmodels' SARIMAX and ETSModel.

    >>> months = 100 + np.arange(72) + 10 * np.sin(np.arange(72) * np.pi / 6)
    >>> found = statistical("ets", months, np.array([59]), 2, 12)
    >>> found.name, found.forecasts.round(), months[60:62].round()
    ('ETS(A,A,A,12)', array([[160., 166.]]), array([160., 166.]))
    """
    if kind not in ("sarima", "ets"):
        raise OptionError("statistical", "kind 'sarima' or 'ets'", repr(kind))
    begun = time.monotonic()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            import statsmodels.tools.sm_exceptions  # noqa: F401  (it sets filters of its own)

            warnings.simplefilter("ignore")
            found = _over_origins(kind, values, origins, horizon, season, refits, begun + seconds)
    except _LeftOutError as reason:
        logger.warning("The %s baseline is left out: %s.", kind.upper(), reason)
        return None
    return replace(found, seconds=time.monotonic() - begun)


class _LeftOutError(Exception):
    """Why there are no forecasts."""


class _Model(Protocol):
    """A model with its orders, and, after `fit`, its parameters."""

    @property
    def name(self) -> str: ...

    @property
    def aicc(self) -> float: ...

    def fit(self, values: NDArray[np.float64], deadline: float) -> Self:
        """Return the model fitted to a history, from the parameters that it has, if any."""

    def forecasts(
        self, values: NDArray[np.float64], origins: NDArray[np.integer[Any]], horizon: int
    ) -> NDArray[np.float64]:
        """Return (origins, horizon); `values` begin where the history of the fit began."""


def _over_origins(
    kind: str,
    values: NDArray[Any],
    origins: NDArray[Any],
    horizon: int,
    season: int,
    refits: int,
    deadline: float,
) -> Statistical:
    first = int(origins[0])
    values = np.asarray(values[: int(origins[-1]) + 1], np.float64)
    season = season if 1 < season <= LONGEST[kind] else 1
    start = max(first + 1 - max(10 * season, MANY), 0)
    history = values[start : first + 1]
    if not np.isfinite(values).all():
        raise _LeftOutError("a value is not finite")
    if len(history) < SHORTEST:
        raise _LeftOutError(f"{len(history)} rows up to the first origin, {SHORTEST} are needed")
    if np.ptp(history) <= 1e-9 * np.abs(history).max():
        raise _LeftOutError("the series is constant up to the first origin")
    if len(history) < (3 if kind == "sarima" else 2) * season + SHORTEST:
        season = 1
    half = time.monotonic() + (deadline - time.monotonic()) / 2
    reasons: list[str] = []
    for model in _fitted(_candidates(kind, season, history), history, half, reasons):
        # A model of ratios breaks where later values reach zero: then the next best takes over.
        found = _carry(model, values, origins, horizon, start, refits, deadline)
        if found is not None:
            return found
        reasons.append(f"{model.name}: a forecast is not finite")
    raise _LeftOutError(reasons[-1] if reasons else "no model fits")


def _fitted(
    candidates: Sequence[_Model], history: NDArray[np.float64], deadline: float, reasons: list[str]
) -> list[_Model]:
    """Return those that can be fitted, the best first; when the time is over, after the first that can."""
    models: list[_Model] = []
    for candidate in candidates:
        if models and time.monotonic() > deadline:
            break
        try:
            model = candidate.fit(history, deadline)
        except Exception as error:  # statsmodels raises what its linear algebra raises
            reasons.append(f"{candidate.name}: {type(error).__name__}: {error}")
            continue
        if np.isfinite(model.aicc):
            models.append(model)
        else:
            reasons.append(f"{candidate.name}: the likelihood is not finite")
    return sorted(models, key=lambda model: model.aicc)


def _carry(
    model: _Model,
    values: NDArray[np.float64],
    origins: NDArray[Any],
    horizon: int,
    start: int,
    refits: int,
    deadline: float,
) -> Statistical | None:
    """Return the forecasts of all origins; None where one is not finite."""
    length, parts, refitted = int(origins[0]) + 1 - start, [], 0
    for number, part in enumerate(np.array_split(origins, min(refits + 1, len(origins)))):
        made = None
        if number and time.monotonic() < deadline:
            newer = int(part[0]) + 1 - length
            history = values[newer : int(part[0]) + 1]
            fresh = _tried(partial(model.fit, history, deadline), model)
            made = fresh and _forecasts(fresh, values, part, newer, horizon)
            if made is not None:
                model, start, refitted = fresh, newer, refitted + 1
        if made is None:  # goes on with the parameters it had
            made = _forecasts(model, values, part, start, horizon)
        if made is None:
            return None
        parts.append(made)
    return Statistical(np.concatenate(parts), refitted, model.name, 0.0)


def _forecasts(
    model: _Model, values: NDArray[np.float64], origins: NDArray[Any], start: int, horizon: int
) -> NDArray[np.float64] | None:
    """Return (origins, horizon); None where one is not finite."""
    made = _tried(
        lambda: model.forecasts(values[start : int(origins[-1]) + 1], origins - start, horizon), model
    )
    return made if made is not None and np.isfinite(made).all() else None


def _tried(make: Callable[[], Any], model: _Model) -> Any:
    try:
        return make()
    except Exception as error:  # statsmodels raises what its linear algebra raises
        logger.info("%s: %s", model.name, error)
        return None


def _candidates(kind: str, season: int, history: NDArray[np.float64]) -> list[_Model]:
    if kind == "sarima":
        seasonal = [
            _Sarima(order, (0, 1, 1), season) for order in ((0, 1, 1), (1, 0, 0), (1, 0, 1), (2, 1, 2))
        ]
        plain = [_Sarima(order) for order in ((0, 1, 1), (1, 0, 0), (1, 1, 1), (2, 1, 2))]
        return [*seasonal[:3], plain[3]] if season > 1 else [*plain]
    kinds = ["add"]
    if history.min() > 0.1 * history.mean():  # ratios to values near zero are of no use
        kinds.append("mul")
    trends = ((None, False), ("add", True), ("add", False))
    return [
        _Ets(error, trend, damped, seasonal, season)
        for error in kinds
        for seasonal in (kinds if season > 1 else [None])
        for trend, damped in trends
        if (error, seasonal) != ("add", "mul")  # known to be unstable
    ]


@dataclass(frozen=True)
class _Sarima:
    """A SARIMA without mean where something is differenced, of values less their mean, over their spread."""

    order: tuple[int, int, int]
    seasonal: tuple[int, int, int] = (0, 0, 0)
    season: int = 1
    params: NDArray[np.float64] | None = None
    centre: float = 0.0
    spread: float = 1.0
    aicc: float = np.inf

    @property
    def name(self) -> str:
        orders = ",".join(map(str, self.order))
        seasonal = ",".join(map(str, (*self.seasonal, self.season)))
        return (
            f"SARIMA({orders})({seasonal})" if self.season > 1 and any(self.seasonal) else f"SARIMA({orders})"
        )

    @property
    def lags(self) -> list[int]:
        """The lags of the differences taken, one after the other."""
        return [1] * self.order[1] + [self.season] * self.seasonal[1]

    def fit(self, values: NDArray[np.float64], deadline: float) -> Self:
        own = replace(self, centre=float(values.mean()), spread=float(values.std()))
        model = own.model(values)

        def stop(found: NDArray[np.float64]) -> None:
            if time.monotonic() > deadline:
                raise _LateError(found)

        try:
            fitted = model.fit(
                self.params,
                disp=0,
                maxiter=ROUNDS["sarima"],
                return_params=True,
                cov_type="none",
                callback=stop,
                warn_convergence=False,
            )
        except _LateError as late:
            fitted = model.transform_params(late.args[0])
        params = np.asarray(fitted, np.float64)
        # A difference has the density of the value itself, so likelihoods compare over the rows that all have.
        count = len(values) - self.season - 1
        likelihood = float(model.loglikeobs(params)[-count:].sum())
        free = len(params) + (not self.lags)
        return replace(own, params=params, aicc=_aicc(likelihood, free, count))

    def model(self, values: NDArray[np.float64]) -> Any:
        """Return statsmodels' model of the differences."""
        from statsmodels.tsa.statespace.sarimax import SARIMAX

        changes = (values - self.centre) / self.spread
        for lag in self.lags:
            changes = changes[lag:] - changes[:-lag]
        (p, _, q), (P, _, Q) = self.order, self.seasonal
        return SARIMAX(changes, order=(p, 0, q), seasonal_order=(P, 0, Q, self.season if P + Q else 0))

    def forecasts(
        self, values: NDArray[np.float64], origins: NDArray[np.integer[Any]], horizon: int
    ) -> NDArray[np.float64]:
        from statsmodels.tsa.statespace.kalman_filter import MEMORY_NO_FORECAST, MEMORY_NO_PREDICTED_COV

        model = self.model(values)
        model.ssm.set_conserve_memory(MEMORY_NO_FORECAST | MEMORY_NO_PREDICTED_COV)
        assert self.params is not None
        model.update(
            np.append(self.params[:-1], 1.0)
        )  # the variance changes no forecast, and may be nearly 0
        lost = sum(self.lags)
        state = model.ssm.filter().predicted_state[:, origins - lost + 1]  # of the step after each origin
        design, transition = model.ssm["design"][0], model.ssm["transition"]
        changes = np.empty((len(origins), horizon))
        for step in range(horizon):
            changes[:, step] = design @ state
            state = transition @ state
        return (
            self.summed_up((values - self.centre) / self.spread, origins, changes) * self.spread + self.centre
        )

    def summed_up(
        self, values: NDArray[np.float64], origins: NDArray[np.integer[Any]], changes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Turn forecasts of the differences into those of `values`."""
        levels = [values]
        for lag in self.lags:
            levels.append(levels[-1][lag:] - levels[-1][:-lag])
        for number in range(len(self.lags) - 1, -1, -1):
            lag, level = self.lags[number], levels[number]
            rows = origins - sum(self.lags[:number])
            known = level[rows[:, None] + np.arange(1 - lag, 1)]
            steps = np.concatenate([known, changes], axis=1)
            for step in range(lag, steps.shape[1]):
                steps[:, step] += steps[:, step - lag]
            changes = steps[:, lag:]
        return changes


class _LateError(Exception):
    """The time of a fit is over; its argument is the optimizer's point."""


@dataclass(frozen=True)
class _Ets:
    """Exponential smoothing with additive ("add") or multiplicative ("mul") errors and seasons."""

    error: str
    trend: str | None
    damped: bool
    seasonal: str | None
    season: int
    params: NDArray[np.float64] | None = None
    begin: tuple[Any, ...] = ()  # level, trend and seasons before the first row
    unit: float = 1.0
    aicc: float = np.inf

    @property
    def name(self) -> str:
        letters = {"add": "A", "mul": "M", None: "N"}
        season = f",{self.season}" if self.seasonal else ""
        trend = letters[self.trend] + "d" * self.damped
        return f"ETS({letters[self.error]},{trend},{letters[self.seasonal]}{season})"

    def fit(self, values: NDArray[np.float64], deadline: float) -> Self:
        own = replace(self, unit=float(np.abs(values).mean()), begin=())
        model = own.model(values)
        # The starting states are statsmodels' heuristic, not fitted: a season has as many as it has steps.
        params = np.asarray(
            model.fit(maxiter=ROUNDS["ets"], disp=False, return_params=True, warn_convergence=False),
            np.float64,
        )
        begin = (model.initial_level, model.initial_trend, model.initial_seasonal)
        free = len(params) + 1 + (self.trend is not None) + (self.season if self.seasonal else 0)
        return replace(
            own, params=params, begin=begin, aicc=_aicc(float(model.loglike(params)), free, len(values))
        )

    def model(self, values: NDArray[np.float64]) -> Any:
        """Return statsmodels' model, with the starting states of the fit where there was one."""
        from statsmodels.tsa.exponential_smoothing.ets import ETSModel

        states: dict[str, Any] = {"initialization_method": "heuristic"}
        if self.begin:
            level, trend, seasonal = self.begin
            states = {"initialization_method": "known", "initial_level": level, "initial_trend": trend}
            states["initial_seasonal"] = seasonal
        return ETSModel(
            values / self.unit, error=self.error, trend=self.trend, damped_trend=self.damped, seasonal=self.seasonal,
            seasonal_periods=self.season if self.seasonal else None, **states,
        )  # fmt: skip

    def forecasts(
        self, values: NDArray[np.float64], origins: NDArray[np.integer[Any]], horizon: int
    ) -> NDArray[np.float64]:
        assert self.params is not None
        model = self.model(values)
        _, states = model.smooth(self.params, return_raw=True)
        steps = np.arange(1, horizon + 1)
        forecasts = np.repeat(states[origins, :1], horizon, axis=1)
        if self.trend is not None:
            damping = self.params[model.param_names.index("damping_trend")] if self.damped else 1.0
            forecasts += states[origins, 1:2] * np.cumsum(damping**steps)
        if self.seasonal is not None:
            rows = origins[:, None] - self.season + 1 + (steps - 1) % self.season
            seasons = states[rows, -1]
            forecasts = forecasts * seasons if self.seasonal == "mul" else forecasts + seasons
        return forecasts * self.unit


def _aicc(likelihood: float, free: int, count: int) -> float:
    if count <= free + 1:
        return np.inf
    return -2 * likelihood + 2 * free + 2 * free * (free + 1) / (count - free - 1)
