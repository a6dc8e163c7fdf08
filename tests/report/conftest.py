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


@pytest.fixture
def make_forecast() -> Callable[..., pd.DataFrame]:
    """`make_forecast(times, horizon=14)`: a forecast that follows these times."""
    return forecast_frame


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
