"""What the forecaster trains on, measures by and compares with, recomputed from the rows."""

import numpy as np
import pandas as pd
import pytest
import torch

import unrolled as ur
from unrolled.data import read_table
from unrolled.data.ahead import known_ahead
from unrolled.estimators import ensemble
from unrolled.estimators import forecaster as room
from unrolled.estimators.baselines import seasonal_naive
from unrolled.estimators.intervals import Conformal
from unrolled.estimators.plan import input_steps

QUICK = ur.Training("mae", "adamw", 3e-3, "one-cycle", epochs=2, batch_size=64, restore_best=False)
ROWS, HORIZON, HELD_BACK = 400, 6, 60
RANDOM = np.random.default_rng(5)
WAVE = 20 + 5 * np.sin(2 * np.pi * np.arange(ROWS) / 12) + 0.3 * RANDOM.normal(size=ROWS)
WAVE[[100, 200, 339, 340, 350]] = np.nan  # gaps in the training rows, at the boundary, and after it


def frame(values=WAVE):
    return pd.DataFrame({"ds": pd.date_range("2001-01-01", periods=len(values)), "y": values})


@pytest.fixture(scope="module", autouse=True)
def _trusting():
    """Keep what networks add to the ridge, which so short a training does not earn; test_forecaster_trust asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "trusted_share", lambda *_: 1.0)
        yield


@pytest.fixture(scope="module")
def table():
    return read_table(frame())


@pytest.fixture(scope="module")
def fitted(table):
    return ur.Forecaster(HORIZON, members=2, training=QUICK, model="gru").fit(table)


def test_the_scaler_knows_the_observed_training_rows_alone(fitted):
    known = WAVE[: ROWS - HELD_BACK]
    assert fitted.features_.scaler.mean[0, 0] == pytest.approx(np.nanmean(known), abs=1e-12)
    assert fitted.features_.scaler.scale[0, 0] == pytest.approx(np.nanstd(known), abs=1e-12)


def test_training_and_held_back_windows_part_at_one_row(table, monkeypatch):
    given = []
    original = ensemble.fit

    def fit(network, train, valid, training, **options):
        given.append((train, valid, training))
        return original(network, train, valid, QUICK, **options)

    monkeypatch.setattr(ensemble, "fit", fit)
    forecaster = ur.Forecaster(HORIZON, members=3, seed=3, model="gru").fit(table)
    (train, valid, first), (all_of_them, nothing, second) = given
    observed = ~np.isnan(WAVE)
    whole = np.arange(forecaster.window_ - 1, ROWS - HELD_BACK - HORIZON)
    assert train.origins.tolist() == whole[observed[whole]].tolist()
    later = np.arange(ROWS - HELD_BACK - 1, ROWS - HORIZON)
    assert valid.origins.tolist() == later[observed[later]].tolist()
    assert train.targets.shape == (len(train), HORIZON, 1)
    assert (first.members, first.seed, second.members, second.seed) == (2, 3, 3, 3)
    assert first.restore_best is second.restore_best is False
    assert nothing is None
    everything = np.arange(forecaster.window_ - 1, ROWS - HORIZON)
    assert all_of_them.origins.tolist() == everything[observed[everything]].tolist()


def test_a_season_before_the_window_is_read_where_there_are_rows_for_it(fitted):
    assert (fitted.season_, fitted.lag_) == (12, 12) and fitted.window_ >= fitted.input_steps_ + 12
    short = ur.Forecaster(HORIZON, model="linear", season=30).fit(frame(WAVE[:90]))
    assert (short.season_, short.lag_) == (30, 0)


@pytest.mark.parametrize(
    ("horizon", "season", "most", "steps"),
    [
        (1, 1, 1000, 24),
        (14, 7, 1000, 28),
        (14, 52, 1000, 104),
        (14, 364, 1000, 28),
        (96, 24, 10_000, 168),
        (20, 7, 90, 30),
        (5, 1, 6, 4),
    ],
)
def test_how_many_steps_are_read(horizon, season, most, steps):
    assert input_steps(horizon, season, most) == steps
    assert input_steps(horizon, season, most, series=9) == max(
        4, min(2 * most // 3, 168, max(24, 2 * horizon, 2 * season if season < 65 else 0))
    )


def test_intervals_are_measured_on_the_rows_held_back(fitted, table, monkeypatch):
    monkeypatch.setattr(room, "FIRST_MEMBERS", 3)
    first, original = [], room.train

    def train(*given, **options):  # and not again with all rows
        return first[0] if first else first.append(original(*given, **options)) or first[0]

    monkeypatch.setattr(room, "train", train)
    forecaster = ur.Forecaster(HORIZON, members=2, training=QUICK, model="gru").fit(table)
    assert np.array_equal(forecaster.intervals_[0].lower, fitted.intervals_[0].lower)
    rows = forecaster.backtest(table, first_origin=table.times[ROWS - HELD_BACK - 1]).frame
    errors = (rows["actual"] - rows["mean"]).to_numpy().reshape(-1, HORIZON)
    origins = np.searchsorted(table.times, rows["origin"].to_numpy()[::HORIZON].astype("datetime64[us]"))
    scale = fitted.features_.scaler.scale[0, 0]
    expected = Conformal.fit(
        np.nan_to_num(errors) / scale,
        ~np.isnan(errors),
        (80, 95),
        clock=(origins, origins[:, None] + np.arange(1, HORIZON + 1)),
    )
    for name in ("centre", "lower", "upper", "factors"):
        np.testing.assert_allclose(
            getattr(fitted.intervals_[0], name), getattr(expected, name), rtol=1e-5, atol=1e-6
        )


def test_the_forecast_is_the_mean_of_all_members(fitted):
    tail, features = fitted.tail_, fitted.features_
    following = known_ahead(tail, HORIZON)
    known = np.concatenate([features.known_ahead(tail), features.known_ahead(following)])
    scaled = features.scaler.transform(tail.values).astype(np.float32)
    past = torch.from_numpy(np.concatenate([scaled, known[1 : 1 + len(tail)]], axis=1)[None])
    future = torch.from_numpy(known[None, -HORIZON:])
    with torch.no_grad():
        members = [
            features.scaler.inverse(network(past, future=future).double().numpy())[0, :, 0]
            for network in fitted.networks_
        ]
    assert len(members) == 2
    np.testing.assert_allclose(fitted.predict()["mean"], np.mean(members, axis=0), rtol=1e-6)
    assert np.abs(members[0] - members[1]).max() > 1e-6


def test_baselines_see_the_same_windows_and_the_same_errors_count(fitted, table):
    backtest = fitted.backtest(table, first_origin="2001-11-20")
    rows = backtest.frame
    origins = [int((origin - pd.Timestamp("2001-01-01")).days) for origin in rows["origin"].unique()]
    filled = table.values[:, 0]
    past = np.stack([filled[: origin + 1][-fitted.window_ :] for origin in origins])
    actual = rows["actual"].to_numpy().reshape(-1, HORIZON)
    assert (
        np.isnan(actual).sum() == 6 * 2 + 5
    )  # two gaps within reach of six origins each, less one that is a gap itself

    def mae(forecast):
        return np.nanmean(np.abs(actual - forecast))

    scores = backtest.scores["baselines"]
    assert scores["naive"]["mae"] == pytest.approx(mae(past[:, -1:]), rel=1e-5)
    assert scores["seasonal_naive"]["mae"] == pytest.approx(mae(seasonal_naive(past, HORIZON, 12)), rel=1e-5)
    scaled = fitted.features_.scaler.transform(past[..., None])[..., 0]
    last, line = scaled[:, -1:], fitted.linear_
    ridge = last + (scaled - last) @ line.weight[0].T + line.bias[0]
    assert scores["linear"]["mae"] == pytest.approx(
        mae(fitted.features_.scaler.inverse(ridge[..., None])[..., 0]), rel=1e-4
    )
    inside = (rows["actual"] >= rows["lo-95"]) & (rows["actual"] <= rows["hi-95"])
    assert backtest.scores["model"]["coverage"]["95"] == pytest.approx(inside[rows["actual"].notna()].mean())


def test_enough_newer_rows_need_not_join_the_older_ones(fitted):
    later = pd.DataFrame({"ds": pd.date_range("2010-01-01", periods=120), "y": WAVE[210:330]})
    assert fitted.predict(later)["origin"].iloc[0] == pd.Timestamp("2010-04-30")


def test_nothing_after_the_first_held_out_target_changes_what_went_before(fitted):
    spiked = WAVE.copy()
    spiked[ROWS - HELD_BACK :] = np.where(np.isnan(spiked[ROWS - HELD_BACK :]), np.nan, 1e4)
    other = ur.Forecaster(HORIZON, members=2, training=QUICK, model="gru").fit(frame(spiked))
    assert (other.season_, other.input_steps_, other.lag_) == (
        fitted.season_,
        fitted.input_steps_,
        fitted.lag_,
    )
    kept = ur.Forecaster(HORIZON, members=2, training=QUICK, model="gru").fit(frame(WAVE[: ROWS - HELD_BACK]))
    again = kept.backtest(frame(spiked), first_origin=kept.tail_.times[-1], last_origin=kept.tail_.times[-1])
    before = kept.predict()
    assert again.frame["mean"].tolist() == before["mean"].tolist()
    assert again.frame["lo-80"].tolist() == before["lo-80"].tolist()
