"""A page to change: 300 days of an invented series with a filled gap, 14 days ahead, two members."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from unrolled.report import ForecastPage


def forecast_frame(times: np.ndarray, horizon: int = 14) -> pd.DataFrame:
    steps = np.arange(1, horizon + 1)
    mean = 650_000 + 30_000 * np.sin(2 * np.pi * (299 + steps) / 7)
    frame = pd.DataFrame({"series": "", "target": "rail", "origin": times[-1], "step": steps})
    frame["time"] = times[-1] + steps * (times[-1] - times[-2])
    frame["mean"] = mean
    for level, width in ((80, 12_000.0), (95, 20_000.0)):
        frame[f"lo-{level}"] = mean - width * np.sqrt(steps)
        frame[f"hi-{level}"] = mean + width * np.sqrt(steps)
    return frame


def scores(model: float = 9_000.0, horizon: int = 14) -> dict[str, Any]:
    def entry(mae: float, growth: float) -> dict[str, Any]:
        by_step = mae * np.linspace(1 - growth, 1 + growth, horizon)
        return {
            "mae": mae,
            "rmse": 1.3 * mae,
            "mae_by_step": by_step.tolist(),
            "coverage": {"80": 0.812, "95": 0.941},
        }

    return {
        "model": entry(model, 0.2),
        "baselines": {
            "naive": entry(31_000.0, 0.5),
            "seasonal_naive": entry(12_500.0, 0.1),
            "linear": entry(10_000.0, 0.3),
        },
        "held_out": {"windows": 1037, "first_origin": "2019-10-01", "last_origin": "2019-10-20"},
    }


def backtest_frame(
    origins: int = 60,
    horizon: int = 14,
    series: str = "",
    target: str = "rail",
    levels: tuple[int, ...] = (80, 95),
) -> pd.DataFrame:
    random = np.random.default_rng(7)
    values = 650_000 + 30_000 * np.sin(2 * np.pi * np.arange(origins + horizon) / 7)
    values += random.normal(0, 8_000, len(values))
    start = np.datetime64("2019-08-01", "ns")
    origin = np.repeat(np.arange(origins), horizon)
    step = np.tile(np.arange(1, horizon + 1), origins)
    day = np.timedelta64(1, "D")
    mean = values[origin + step - 1] + random.normal(0, 9_000, len(step))
    frame = pd.DataFrame(
        {"series": series, "target": target, "origin": start + (origin - 1) * day, "step": step}
    )
    frame["time"] = start + (origin + step - 1) * day
    frame["actual"] = values[origin + step - 1]
    frame["mean"] = mean
    for level in levels:
        frame[f"lo-{level}"] = mean - 150.0 * level
        frame[f"hi-{level}"] = mean + 150.0 * level
    return frame


@pytest.fixture
def make_forecast() -> Callable[..., pd.DataFrame]:
    """`make_forecast(times, horizon=14)`: a forecast that follows these times."""
    return forecast_frame


@pytest.fixture
def make_backtest() -> Callable[..., pd.DataFrame]:
    """`make_backtest(origins=60, horizon=14, series="", target="rail", levels=(80, 95))`, an origin a day."""
    return backtest_frame


@pytest.fixture
def make_full(make_page: Callable[..., ForecastPage]) -> Callable[..., ForecastPage]:
    """The page with everything there is to show: backtest, members, seconds, every figure of eight baselines."""
    names = [
        "naive",
        "seasonal_naive",
        "seasonal_naive_7",
        "drift",
        "linear",
        "sarima",
        "ets",
        "constant_velocity",
    ]

    def entry(mae: float) -> dict[str, Any]:
        found = scores(mae)["model"]
        more = {
            "mase": mae / 30_000,
            "smape": 100 * mae / 650_000,
            "pinball": mae / 3,
            "interval_score": {"80": 4 * mae},
        }
        return found | more

    every = {
        "model": entry(9_000.0),
        "baselines": {name: entry(10_000.0 + 2_000 * rank) for rank, name in enumerate(names)},
    }
    every["baselines"]["constant_velocity"] = entry(90_000.0)
    every["baselines"]["ets"]["mase"] = None

    def make(**changes: Any) -> ForecastPage:
        page = make_page()
        mean = page.forecast["mean"].to_numpy()
        full: dict[str, Any] = {
            "backtest": backtest_frame(),
            "members": np.stack([mean - 3_000, mean + 5_000]),
            "seconds": {"read": 0.25, "train": 40.0},
            "scores": every,
        }
        return make_page(**full | changes)

    return make


@pytest.fixture
def make_scores() -> Callable[..., dict[str, Any]]:
    """`make_scores(model=9_000.0, horizon=14)`; the best baseline, linear, has 10,000."""
    return scores


@pytest.fixture
def make_page() -> Callable[..., ForecastPage]:
    """The page, with the given fields changed."""
    times = np.datetime64("2019-01-01", "ns") + np.arange(300) * np.timedelta64(1, "D")
    noise = np.random.default_rng(0).normal(0, 8_000, 300)
    observed = np.ones(300, bool)
    observed[280:283] = False
    page = ForecastPage(
        title="Rail boardings, 14 days ahead",
        target="rail",
        unit_note="boardings",
        times=times,
        values=650_000 + 30_000 * np.sin(2 * np.pi * np.arange(300) / 7) + noise,
        observed=observed,
        forecast=forecast_frame(times),
        levels=(80, 95),
        scores=scores(),
        training=[
            {
                "member": member,
                "epoch": epoch,
                "loss": 0.9**epoch,
                "valid_loss": 0.9**epoch + 0.01,
                "best": epoch == 20 + member,
            }
            for member in range(2)
            for epoch in range(1, 26)
        ],
        settings={"Model": "GRU, 32 units", "Seed": "0"},
        notes=["3 gaps were filled."],
        verdict="The model beats all baselines.",
        command="unrolled forecast rail.csv --target rail",
    )

    def make(**changes: Any) -> ForecastPage:
        return replace(page, **changes)

    return make
