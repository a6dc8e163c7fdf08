"""How much of what networks add to the ridge is kept: as much as rows bear out that they have not seen."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import unrolled as ur
from unrolled.estimators import ensemble
from unrolled.estimators import forecaster as room
from unrolled.estimators.ensemble import Ensemble
from unrolled.report.run import describe_model

QUICK = ur.Training("mae", "adamw", 3e-3, "one-cycle", epochs=8, batch_size=32, restore_best=False)
ROWS, HORIZON = 400, 5


def frame(values):
    return pd.DataFrame({"ds": pd.date_range("2001-01-01", periods=len(values)), "y": values})


def test_noise_leaves_the_ridge_alone():
    noise = np.random.default_rng(0).normal(size=ROWS)
    forecaster = ur.Forecaster(HORIZON, members=2, model="gru", training=QUICK).fit(frame(noise))
    assert forecaster.ensemble_.shares["gru"] < 0.2
    if forecaster.ensemble_.shares["gru"] == 0:
        line = ur.Forecaster(HORIZON, model="linear").fit(frame(noise))
        np.testing.assert_allclose(forecaster.predict()["mean"], line.predict()["mean"], atol=1e-5)


def test_what_only_a_network_can_know_is_kept():
    driver = np.random.default_rng(1).integers(0, 2, ROWS)
    rows = frame(10.0 * driver).assign(driver=driver)
    training = ur.Training("mae", "adamw", 5e-3, "one-cycle", epochs=30, batch_size=32, restore_best=False)
    forecaster = ur.Forecaster(HORIZON, members=2, model="gru", training=training)
    forecaster.fit(rows, target="y", known=["driver"])
    assert forecaster.ensemble_.shares["gru"] > 0.9


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_what_is_added_is_kept(monkeypatch, share):
    values = np.random.default_rng(2).normal(size=ROWS).cumsum()

    def fitted(kept):
        monkeypatch.setattr(ensemble, "trusted_share", lambda *_: kept)
        return ur.Forecaster(HORIZON, members=2, model="gru", training=QUICK).fit(frame(values))

    whole, some = fitted(1.0), fitted(share)
    tail = np.float32(whole.features_.scaler.transform(whole.tail_.values))[None]
    ridge = whole.linear_.predict(tail)[0, :, 0]
    scaled = [
        (f.predict()["mean"] - f.features_.scaler.mean[0, 0]) / f.features_.scaler.scale[0, 0]
        for f in (whole, some)
    ]
    np.testing.assert_allclose(scaled[1], ridge + share * (scaled[0] - ridge), atol=1e-5)
    assert np.abs(scaled[0] - ridge).max() > 1e-3
    assert torch.equal(whole.networks_[0].project.weight, some.networks_[0].project.weight)
    said = {
        0.0: "line is left out: it did not help on rows held back",
        0.25: "line is added at 25 % of its size, as far as it helped on rows held back",
        1.0: "parameters each)",
    }
    assert describe_model(some).endswith(said[share])


def test_the_first_line_sees_no_held_back_row(monkeypatch):
    seen = []
    original = room.fit_lines

    def fit_lines(windows, *others):
        seen.append(int(windows.origins.max()) + windows.horizon)
        return original(windows, *others)

    monkeypatch.setattr(room, "fit_lines", fit_lines)
    ur.Forecaster(HORIZON, model="linear").fit(frame(np.random.default_rng(2).normal(size=ROWS).cumsum()))
    assert seen == [ROWS - 60 - 1, ROWS - 1]  # the last row that each is told of


def test_a_recursive_forecast_reads_what_is_known_of_each_step():
    driver = np.random.default_rng(4).integers(0, 2, ROWS)
    rows = frame(10.0 * driver).assign(driver=driver)
    training = ur.Training("mae", "adamw", 5e-3, "one-cycle", epochs=30, batch_size=32, restore_best=False)
    forecaster = ur.Forecaster(4, members=1, model="gru", strategy="recursive", training=training)
    forecaster.fit(rows[:340], target="y", known=["driver"])
    steps = forecaster.backtest(rows, first_origin=rows["ds"][339]).scores["model"]["mae_by_step"]
    assert max(steps) < 2.5  # guessing gives 5


@pytest.mark.parametrize(
    ("offsets", "chosen"),
    [((0.0, 2.0, 3.0), ("a",)), ((1.0, -1.0, 5.0), ("a", "b")), ((-3.0, 1.0, 2.0), ("a", "b", "c"))],
)
def test_the_models_whose_mean_errs_least_are_averaged(monkeypatch, offsets, chosen):
    """Errors where a value counts alone: elsewhere the forecasts are far off."""
    targets = np.random.default_rng(0).normal(size=(5, 3, 1))
    counted = np.ones((5, 3, 1), bool)
    counted[0, 0] = False
    spoilt = np.where(counted, targets, 1e6)
    monkeypatch.setattr(
        Ensemble,
        "each",
        lambda self, *_: {name: (spoilt + off)[None] for name, off in zip("abc", offsets, strict=True)},
    )
    architecture = SimpleNamespace(quantiles=())
    ensemble = Ensemble(architecture, None, {name: [] for name in "abc"})
    windows = SimpleNamespace(targets=targets, counted=counted)
    assert ensemble.best(windows, torch.device("cpu")) == chosen
    windows.counted = np.zeros_like(counted)
    assert ensemble.best(windows, torch.device("cpu")) == ("a",)
