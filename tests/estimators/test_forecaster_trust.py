"""How much of what networks add to the ridge is kept: as much as rows bear out that they have not seen."""

import numpy as np
import pandas as pd
import pytest
import torch

import unrolled as ur
from unrolled.estimators import ensemble

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
