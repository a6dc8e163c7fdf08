"""SARIMA and ETS over rolling origins, against statsmodels' own forecasts from fresh models."""

import time

import numpy as np
import pytest

from unrolled.errors import OptionError
from unrolled.estimators import statistical as module
from unrolled.estimators.statistical import _Ets, _Sarima, statistical

T = np.arange(420)
RANDOM = np.random.default_rng(0)
SEASONAL = 100 + 0.1 * T + 10 * np.sin(2 * np.pi * T / 12) + np.cumsum(RANDOM.normal(size=420)) * 0.3
NOISY = SEASONAL + RANDOM.normal(size=420)
LATER = time.monotonic() + 1e6


@pytest.mark.parametrize(
    ("trend", "damped", "seasonal", "error"),
    [(None, False, "add", "add"), ("add", True, "mul", "mul"), ("add", False, None, "add"), ("add", True, None, "mul")],
)  # fmt: skip
def test_ets_forecasts_are_those_of_a_fresh_model(trend, damped, seasonal, error):
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    model = _Ets(error, trend, damped, seasonal, 12).fit(NOISY[:200], LATER)
    origins = np.array([199, 205, 399])
    ours = model.forecasts(NOISY[:400], origins, 30)
    for origin, row in zip(origins, ours, strict=True):
        level, slope, seasons = model.begin
        fresh = ETSModel(
            NOISY[: origin + 1] / model.unit, error=error, trend=trend, damped_trend=damped, seasonal=seasonal,
            seasonal_periods=12 if seasonal else None, initialization_method="known", initial_level=level,
            initial_trend=slope, initial_seasonal=seasons,
        )  # fmt: skip
        np.testing.assert_allclose(row, fresh.smooth(model.params).forecast(30) * model.unit, rtol=1e-9)


@pytest.mark.parametrize(
    "model",
    [_Sarima((0, 1, 1), (0, 1, 1), 12), _Sarima((1, 0, 0), (0, 1, 1), 12), _Sarima((2, 1, 2)), _Sarima((1, 0, 0)), _Sarima((1, 0, 1), (1, 0, 0), 12)],
    ids=lambda model: model.name,
)  # fmt: skip
def test_sarima_forecasts_are_those_of_a_fresh_model(model):
    """statsmodels differences within its state; the values before the first difference count a little there."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    model = model.fit(NOISY[:200], LATER)
    origins = np.array([199, 205, 399])
    ours = model.forecasts(NOISY[:400], origins, 30)
    for origin, row in zip(origins, ours, strict=True):
        scaled = (NOISY[: origin + 1] - model.centre) / model.spread
        seasonal_order = (*model.seasonal, model.season if any(model.seasonal) else 0)
        fresh = SARIMAX(scaled, order=model.order, seasonal_order=seasonal_order).smooth(model.params)
        theirs = fresh.forecast(30) * model.spread + model.centre
        np.testing.assert_allclose(row, theirs, atol=1e-3 * model.spread)


@pytest.mark.parametrize("kind", ["sarima", "ets"])
def test_a_forecast_sees_no_later_row(kind):
    origins = np.arange(240, 300, 7)
    before = statistical(kind, NOISY, origins, 5, 4, refits=1, seconds=60)
    spoiled = NOISY.copy()
    spoiled[265:] = -1e4
    after = statistical(kind, spoiled, origins, 5, 4, refits=1, seconds=60)
    seen = origins < 265
    if before.name == after.name:  # a model of ratios cannot go on with such values
        assert (before.forecasts[seen] == after.forecasts[seen]).all()
        assert (before.forecasts[~seen] != after.forecasts[~seen]).any()
    assert before.refitted == 1


@pytest.mark.parametrize("kind", ["sarima", "ets"])
def test_a_season_is_found_and_beats_the_naive_forecasts(kind):
    origins = np.arange(300, 408)
    found = statistical(kind, NOISY, origins, 12, 12)
    actual = NOISY[origins[:, None] + np.arange(1, 13)]
    error = np.abs(actual - found.forecasts).mean()
    assert found.forecasts.shape == (108, 12)
    assert error < 0.85 * np.abs(actual - NOISY[origins[:, None] - 11 + np.arange(12)]).mean()
    assert error < 0.3 * np.abs(actual - NOISY[origins][:, None]).mean()
    assert ",12)" in found.name


@pytest.mark.parametrize("kind", ["sarima", "ets"])
def test_what_the_budget_does_not_hold_is_left_out(kind):
    values = np.tile(NOISY, 8)
    found = statistical(kind, values, np.arange(2000, 3300), 24, 12, refits=50, seconds=2.0)
    assert kind == "ets" or found.refitted < 50


@pytest.mark.parametrize("kind", ["sarima", "ets"])
@pytest.mark.parametrize(
    ("values", "season"),
    [(np.where(T % 5 == 0, 0.0, 3.0 + T % 5), 5), (1.0 * T[:40], 30), (1.0 * T, 1), (1e9 * NOISY, 12), (1e-9 * NOISY, 12), (NOISY - 100, 365), (np.where(T < 150, 5.0 + T % 3, 0.0), 3), (np.where(T < 150, NOISY, -1.0), 12)],
    ids=["zeros", "short", "line", "large", "small", "long season", "all zeros later", "negative later"],
)  # fmt: skip
def test_awkward_series_are_forecast(kind, values, season):
    origins = np.array([30, 35]) if len(values) < 100 else np.arange(120, 400, 40)
    found = statistical(kind, values, origins, 4, season, seconds=1)
    assert np.isfinite(found.forecasts).all()
    assert np.abs(found.forecasts).max() < 3 * np.abs(values).max()


@pytest.mark.parametrize("kind", ["sarima", "ets"])
@pytest.mark.parametrize(
    ("values", "origin", "reason"),
    [(np.full(50, 3.0), 40, "constant"), (np.zeros(50), 40, "constant"), (1.0 * T, 8, "9 rows"), (np.full(50, np.nan), 40, "finite")],
)  # fmt: skip
def test_what_cannot_be_fitted_is_left_out_with_a_reason(kind, values, origin, reason, caplog):
    assert statistical(kind, values, np.array([origin]), 4, 1) is None
    assert f"The {kind.upper()} baseline is left out" in caplog.text
    assert reason in caplog.text


def test_no_model_that_fits_is_a_reason_too(monkeypatch, caplog):
    monkeypatch.setattr(module._Ets, "fit", lambda *_: 1 / 0)
    assert statistical("ets", NOISY, np.array([200]), 4, 12) is None
    assert "division by zero" in caplog.text


def test_an_unknown_kind_is_an_error():
    with pytest.raises(OptionError, match="kind 'sarima' or 'ets', got 'theta'"):
        statistical("theta", NOISY, np.array([200]), 4, 12)
