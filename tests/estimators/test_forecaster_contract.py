"""What the defaults must do on series whose answer is known."""

import numpy as np
import pandas as pd
import pytest

import unrolled as ur

ROWS, TEST, HORIZON = 700, 100, 10
T = np.arange(ROWS)
NOISE = np.random.default_rng(11).normal(size=ROWS)

SERIES = {
    "sine": 5 * np.sin(2 * np.pi * T / 25) + 0.2 * NOISE,
    "sine and trend": 5 * np.sin(2 * np.pi * T / 25) + 0.05 * T + 0.2 * NOISE,
    "two seasonalities": 5 * np.sin(2 * np.pi * T / 7) + 3 * np.sin(2 * np.pi * T / 30) + 0.2 * NOISE,
}


def run(values, **roles):
    """Train on the first rows with the defaults (two members), and return the scores of the last."""
    rows = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=ROWS), "y": values} | roles)
    forecaster = ur.Forecaster(HORIZON, members=2)
    forecaster.fit(rows[: ROWS - TEST], target="y", known=[*roles])
    return forecaster.backtest(rows, first_origin=rows["ds"][ROWS - TEST - 1]).scores


@pytest.mark.parametrize(
    "name",
    [
        "sine and trend",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("sine", "two seasonalities")),
    ],
)
def test_what_can_be_known_is_forecast(name):
    """Noise of 0.2 leaves a mean error of 0.16."""
    scores = run(SERIES[name])
    assert scores["model"]["mae"] < 0.22
    assert scores["model"]["mae"] < 0.3 * scores["baselines"]["naive"]["mae"]


def test_a_random_walk_has_no_better_forecast_than_its_last_value():
    """A model that beats it sees what it should not; one that loses badly takes noise for signal."""
    scores = run(np.cumsum(NOISE))
    assert 0.9 < scores["model"]["mae"] / scores["baselines"]["naive"]["mae"] < 1.15


def test_a_series_that_only_a_known_column_tells_of():
    driver = np.random.default_rng(3).integers(0, 2, ROWS) * 1.0
    scores = run(10 * driver + 0.2 * NOISE, driver=driver)
    assert scores["model"]["mae"] < 0.4
    assert scores["baselines"]["linear"]["mae"] > 3


def test_a_line_goes_on():
    rows = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=100), "y": np.arange(1.0, 101.0)})
    mean = ur.Forecaster(HORIZON, members=2).fit(rows).predict()["mean"]
    np.testing.assert_allclose(mean, np.arange(101.0, 111.0), atol=0.5)


@pytest.mark.slow
def test_a_pendulum_comes_nearer_than_constant_velocity():
    """Two targets, the angle and its velocity, with friction: error as the distance in the plane."""
    series = []
    random = np.random.default_rng(0)
    for number in range(12):
        angle, velocity = random.uniform(-2, 2), random.uniform(-1, 1)
        points = []
        for _ in range(120):
            velocity += 0.1 * (-np.sin(angle) - 0.05 * velocity)
            angle += 0.1 * velocity
            points.append((angle, velocity))
        x, y = np.array(points).T
        series.append(pd.DataFrame({"id": f"p{number}", "step": np.arange(120), "x": x, "y": y}))
    rows = pd.concat(series)
    forecaster = ur.Forecaster(HORIZON, members=2)
    forecaster.fit(rows[rows["step"] < 90], target=["x", "y"], time="step", series="id")
    scores = forecaster.backtest(rows, first_origin=89).scores
    assert scores["model"]["distance"] < 0.3 * scores["baselines"]["constant_velocity"]["distance"]


@pytest.mark.slow
def test_a_curved_walk_comes_nearer_than_constant_velocity():
    random = np.random.default_rng(1)
    series = []
    for number in range(12):
        turn = random.uniform(-0.25, 0.25)
        heading = random.uniform(0, 6) + turn * np.arange(120) + 0.02 * np.cumsum(random.normal(size=120))
        x, y = np.cumsum(np.cos(heading)), np.cumsum(np.sin(heading))
        series.append(pd.DataFrame({"id": f"w{number}", "step": np.arange(120), "x": x, "y": y}))
    rows = pd.concat(series)
    forecaster = ur.Forecaster(HORIZON, members=2)
    forecaster.fit(rows[rows["step"] < 90], target=["x", "y"], time="step", series="id")
    scores = forecaster.backtest(rows, first_origin=89).scores
    assert scores["model"]["distance"] < 0.5 * scores["baselines"]["constant_velocity"]["distance"]
