"""The forecaster: conventions, skill, frames, saving, and what it refuses."""

import json
import logging
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.base import clone

import unrolled as ur
from unrolled.data import read_table
from unrolled.errors import DataError, OptionError, RunFolderError
from unrolled.estimators import ensemble
from unrolled.estimators.plan import rows_needed
from unrolled.estimators.saving import FORMAT_VERSION
from unrolled.training import course

QUICK = ur.Training("mae", "adamw", 3e-3, "one-cycle", epochs=3, batch_size=64, restore_best=False)
T = np.arange(400)
WAVE = 20 + 5 * np.sin(2 * np.pi * T / 12) + 0.02 * T + 0.3 * np.random.default_rng(0).normal(size=400)
COLUMNS = ["series", "target", "origin", "step", "time", "mean", "lo-80", "hi-80", "lo-95", "hi-95"]


def columns(values=WAVE, start="2001-01-01"):
    days = pd.date_range(start, periods=len(values))
    return {"ds": days.to_pydatetime().tolist(), "y": list(values)}


@pytest.fixture(scope="module", autouse=True)
def _trusting():
    """Keep what networks add to the ridge, which so short a training does not earn; test_forecaster_trust asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "trusted_share", lambda *_: 1.0)
        yield


@pytest.fixture(scope="module")
def fitted():
    return ur.Forecaster(6, members=2, training=QUICK, model="gru").fit(pd.DataFrame(columns()))


def test_scikit_learn_conventions():
    forecaster = ur.Forecaster(3, members=2, levels=(50,), training=QUICK, model="gru")
    copy = clone(forecaster)
    assert copy.get_params() == forecaster.get_params()
    assert copy.set_params(horizon=4).horizon == 4
    assert forecaster.fit(pd.DataFrame(columns())) is forecaster
    assert repr(forecaster).startswith("Forecaster(")


def test_predict_gives_the_promised_frame(to_frame):
    forecaster = ur.Forecaster(6, model="linear").fit(to_frame(columns()))
    frame = forecaster.predict()
    assert type(frame) is type(to_frame(columns()))
    assert list(frame.columns) == COLUMNS
    assert list(frame["step"]) == [1, 2, 3, 4, 5, 6]
    assert set(frame["target"]) == {"y"}
    assert pd.Timestamp(frame["origin"][0]) == pd.Timestamp("2002-02-04")
    assert pd.Timestamp(frame["time"][5]) == pd.Timestamp("2002-02-10")
    low, high = (np.asarray(frame[f"{side}-95"]) for side in ("lo", "hi"))
    inner_low, inner_high = (np.asarray(frame[f"{side}-80"]) for side in ("lo", "hi"))
    mean = np.asarray(frame["mean"])
    assert (
        (low <= inner_low).all()
        and (inner_low <= mean).all()
        and (mean <= inner_high).all()
        and (inner_high <= high).all()
    )


def test_any_levels():
    frame = ur.Forecaster(2, model="linear", levels=(50,)).fit(pd.DataFrame(columns())).predict()
    assert list(frame.columns)[-2:] == ["lo-50", "hi-50"]


def test_long_frames_and_integer_times():
    long = pd.DataFrame({"unique_id": "shop", "ds": np.arange(400), "y": WAVE})
    frame = ur.Forecaster(3, model="linear").fit(long).predict()
    assert frame["time"].tolist() == [400, 401, 402]
    assert set(frame["series"]) == {"shop"}


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_skill_on_a_known_signal(model):
    """A noisy logistic map is deterministic for a few steps: a network must beat the line by far, the line the rest."""
    values = [0.3]
    for _ in range(1200):
        values.append(3.8 * values[-1] * (1 - values[-1]))
    table = read_table(pd.DataFrame({"y": values}))
    training = ur.Training("mae", "adamw", 1e-2, "one-cycle", epochs=15, batch_size=64, restore_best=False)
    forecaster = ur.Forecaster(1, model=model, input_steps=4, season=1, members=1, training=training).fit(
        table[:1000]
    )
    scores = forecaster.backtest(table, first_origin=999).scores
    baselines = {name: values["mae"] for name, values in scores["baselines"].items()}
    assert scores["model"]["mae"] < 0.5 * min(baselines.values())
    assert scores["held_out"]["windows"] == 201


def test_a_trend_goes_on():
    frame = ur.Forecaster(5, members=1).fit(pd.DataFrame({"y": np.arange(1.0, 101.0)})).predict()
    assert frame["mean"].tolist() == pytest.approx([101, 102, 103, 104, 105], abs=0.2)


def test_a_constant_series_is_repeated_with_a_warning(caplog):
    frame = ur.Forecaster(3).fit(pd.DataFrame({"y": [7.5] * 60})).predict()
    assert frame["mean"].tolist() == [7.5] * 3
    assert frame["hi-95"].tolist() == [7.5] * 3
    assert "Column 'y' is constant (7.5)" in caplog.text


def test_same_seed_same_bits_whatever_the_threads():
    def means(seed, threads):
        torch.set_num_threads(threads)
        return (
            ur.Forecaster(4, members=2, seed=seed, training=QUICK, model="gru")
            .fit(pd.DataFrame(columns()))
            .predict()["mean"]
            .tolist()
        )

    before = torch.get_num_threads()
    state = torch.random.get_rng_state()
    try:
        assert means(1, 1) == means(1, 2) != means(2, 1)
    finally:
        torch.set_num_threads(before)
    assert (torch.random.get_rng_state() == state).all()


def test_members_are_lone_runs_with_their_seeds(fitted):
    alone = ur.Forecaster(6, members=1, seed=1, training=QUICK, model="gru").fit(pd.DataFrame(columns()))
    for one, other in zip(alone.networks_[0].parameters(), fitted.networks_[1].parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(fitted.networks_[0].head.weight, fitted.networks_[1].head.weight)


def width(forecaster):
    """How far the 80 % interval reaches, step by step."""
    rows = forecaster.predict()
    return (rows["hi-80"] - rows["lo-80"]).tolist()


def test_training_uses_nothing_of_the_held_out_rows(fitted):
    """The season, the scaling and the first networks; the intervals and the last networks know the rows after."""
    values = WAVE.copy()
    values[345:] += 1000.0
    spiked = ur.Forecaster(6, members=2, training=QUICK, model="gru").fit(pd.DataFrame(columns(values)))
    assert (spiked.season_, spiked.input_steps_) == (fitted.season_, fitted.input_steps_)
    assert spiked.features_.scaler.mean.tolist() == fitted.features_.scaler.mean.tolist()
    assert min(width(spiked)) > 100 > max(width(fitted))


def test_backtest_equals_predict_at_each_origin(fitted):
    frame = pd.DataFrame(columns())
    backtest = fitted.backtest(frame, first_origin="2002-01-20", last_origin="2002-01-27", stride=3)
    assert list(backtest.frame.columns) == [*COLUMNS[:5], "actual", *COLUMNS[5:]]
    origins = backtest.frame["origin"].unique()
    assert [str(origin)[:10] for origin in origins] == ["2002-01-20", "2002-01-23", "2002-01-26"]
    for origin in origins:
        alone = fitted.predict(frame[frame.ds <= origin])
        rows = backtest.frame[backtest.frame.origin == origin]
        np.testing.assert_allclose(rows["mean"], alone["mean"], rtol=1e-6)
        assert rows["time"].tolist() == alone["time"].tolist()
        assert rows["actual"].tolist() == frame.set_index("ds").y[rows["time"]].tolist()
    errors = (backtest.frame["actual"] - backtest.frame["mean"]).abs()
    assert backtest.scores["model"]["mae"] == pytest.approx(errors.mean())
    assert backtest.scores["model"]["mae_by_step"] == pytest.approx(
        errors.groupby(backtest.frame["step"]).mean().tolist()
    )
    inside = (backtest.frame["actual"] >= backtest.frame["lo-80"]) & (
        backtest.frame["actual"] <= backtest.frame["hi-80"]
    )
    assert backtest.scores["model"]["coverage"]["80"] == pytest.approx(inside.mean())
    naive = (backtest.frame["actual"] - frame.set_index("ds").y[backtest.frame["origin"]].to_numpy()).abs()
    assert backtest.scores["baselines"]["naive"]["mae"] == pytest.approx(naive.mean(), rel=1e-5)


def test_the_default_backtest_covers_every_window(fitted):
    backtest = fitted.backtest(pd.DataFrame(columns()))
    assert backtest.scores["held_out"]["windows"] == 400 - fitted.window_ - 6 + 1


def test_gaps_are_neither_origins_nor_scored(fitted):
    values = WAVE.copy()
    values[[380, 390]] = np.nan
    backtest = fitted.backtest(pd.DataFrame(columns(values)), first_origin="2002-01-10")
    days = pd.date_range("2001-01-01", periods=400)
    assert not set(days[[380, 390]]) & set(backtest.frame["origin"])
    assert set(backtest.frame["time"][backtest.frame["actual"].isna()]) == set(days[[380, 390]])
    assert np.isfinite(backtest.scores["model"]["mae"])


def test_update_moves_the_origin_without_training(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    forecaster = ur.load(tmp_path / "run")
    newer = pd.DataFrame(columns(np.r_[WAVE, WAVE[:5]]))
    assert forecaster.update(newer[-8:]).predict().equals(fitted.predict(newer))
    assert forecaster.predict()["origin"].iloc[0] == pd.Timestamp("2002-02-09")
    with pytest.raises(DataError, match="rows from 2002-02-10 on"):
        forecaster.update(pd.DataFrame(columns(WAVE[:9], start="2002-03-01")))
    with pytest.raises(DataError, match="regular|calendar"):
        weekly = pd.DataFrame({"ds": pd.date_range("2002-02-05 07:00", periods=90, freq="5h"), "y": 1.0})
        forecaster.update(weekly)


def test_saved_and_loaded_forecasts_are_the_same_bits(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json", "history.jsonl", "model.safetensors", "timing.jsonl"]  # fmt: skip
    loaded = ur.load(tmp_path / "run")
    assert loaded.predict().equals(fitted.predict())
    assert loaded.get_params()["training"] == QUICK
    assert loaded.notes_ == fitted.notes_
    assert loaded.run_.history == fitted.run_.history
    assert loaded.backtest(pd.DataFrame(columns())).scores == fitted.backtest(pd.DataFrame(columns())).scores
    loaded.save(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "history.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    with pytest.raises(RunFolderError, match="already holds a run"):
        fitted.save(tmp_path / "run")
    fitted.save(tmp_path / "run", overwrite=True)


def damage(folder, what):
    config = json.loads((folder / "config.json").read_text())
    if what == "no weights":
        (folder / "model.safetensors").unlink()
    elif what == "cut weights":
        raw = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(raw[: len(raw) // 2])
    elif what == "no JSON":
        (folder / "config.json").write_text("{")
    elif what == "another version":
        (folder / "config.json").write_text(json.dumps(config | {"format_version": FORMAT_VERSION + 1}))
    elif what == "another estimator":
        (folder / "config.json").write_text(json.dumps(config | {"estimator": "os.system"}))
    elif what == "foreign JSON":
        (folder / "config.json").write_text('["a", "list"]')
    elif what == "lacking a key":
        del config["architecture"]["season"]
        (folder / "config.json").write_text(json.dumps(config))
    elif what == "wrong sizes":
        (folder / "config.json").write_text(
            json.dumps(config | {"architecture": config["architecture"] | {"window": 3}})
        )
    elif what == "wrong type":
        (folder / "config.json").write_text(json.dumps(config | {"frequency": 7}))
    elif what == "a huge window":
        (folder / "config.json").write_text(
            json.dumps(config | {"architecture": config["architecture"] | {"window": 10**9}})
        )
    elif what == "no step":
        (folder / "config.json").write_text(
            json.dumps(config | {"frequency": config["frequency"] | {"microseconds": 0}})
        )
    elif what == "NaN in the weights":
        tensors = load_file(folder / "model.safetensors")
        tensors["gru.0.head.bias"] = tensors["gru.0.head.bias"] * np.nan
        save_file(tensors, folder / "model.safetensors")
    elif what == "intervals of another size":
        tensors = load_file(folder / "model.safetensors")
        save_file(tensors | {"intervals.0.lower": np.zeros((1, 1))}, folder / "model.safetensors")
    elif what == "no history":
        (folder / "history.jsonl").unlink()
    elif what == "gone":
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "what",
    ["no weights", "cut weights", "no JSON", "another version", "another estimator", "foreign JSON", "lacking a key",
     "wrong sizes", "wrong type", "no history", "gone", "a huge window", "no step", "NaN in the weights", "intervals of another size"],
)  # fmt: skip
def test_damaged_folders_are_one_clear_line(fitted, tmp_path, what):
    fitted.save(tmp_path / "run")
    damage(tmp_path / "run", what)
    with pytest.raises(RunFolderError) as caught:
        ur.load(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert "run" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon of at least 1, got 0"),
        ({"horizon": 2.5}, "horizon of at least 1, got 2.5"),
        ({"model": "arima"}, "model one of auto, rnn, lstm, gru, conv-gru, wavenet, linear, got 'arima'"),
        ({"members": 0}, "members of at least 1, got 0"),
        ({"levels": (80, 100)}, r"levels between 1 and 100 percent, got \(80, 100\)"),
        ({"input_steps": 1}, "input_steps of at least 2, got 1"),
        ({"season": 0}, "season of at least 1, got 0"),
        ({"season": 390}, "a season of at most 33[0-9] steps"),
        ({"device": "cuda:7"}, "a device of this machine"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(OptionError, match=message):
        ur.Forecaster(**options).fit(pd.DataFrame(columns()))


@pytest.mark.parametrize(("steps", "horizon"), [(None, 14), (None, 1), (30, 5)])
def test_too_few_rows_says_how_many_are_needed(steps, horizon):
    needed = rows_needed(steps or 4, horizon)
    forecaster = ur.Forecaster(horizon, input_steps=steps, model="linear")
    with pytest.raises(
        DataError,
        match=f"at least {needed} rows for a window of {steps or 4} steps and a horizon of {horizon}, got {needed - 1}",
    ):
        forecaster.fit(pd.DataFrame({"y": WAVE[: needed - 1]}))
    assert len(forecaster.fit(pd.DataFrame({"y": WAVE[:needed]})).predict()) == horizon


def test_backtest_refuses(fitted):
    frame = pd.DataFrame(columns())
    for refit in ("sometimes", 0, -1):
        with pytest.raises(OptionError, match="refit 'never', 'always' or a number of origins"):
            fitted.backtest(frame, refit=refit)
    with pytest.raises(OptionError, match="a stride of at least 1"):
        fitted.backtest(frame, stride=0)
    with pytest.raises(OptionError, match="an origin that is a time, got 'soon'"):
        fitted.backtest(frame, first_origin="soon")
    with pytest.raises(DataError, match="none among 400 rows"):
        fitted.backtest(frame, first_origin="2030-01-01")


def test_notes_are_logged_once(caplog):
    caplog.set_level(logging.WARNING, "unrolled")
    values = WAVE.copy()
    values[50] = np.nan
    forecaster = ur.Forecaster(2, model="linear").fit(pd.DataFrame(columns(values)))
    assert caplog.text.count("Filled 1 gap, 1 step of 400") == 1
    assert forecaster.notes_ == [record.getMessage() for record in caplog.records]


def test_values_too_large_to_square_are_refused():
    with pytest.raises(DataError, match="values that can be squared"):
        ur.Forecaster(2, model="linear").fit(pd.DataFrame({"y": WAVE * 1e300}))


def test_a_score_needs_an_observed_value(fitted):
    values = WAVE.copy()
    values[380:399] = np.nan
    with pytest.raises(DataError, match="at least one observed value after an origin|an origin with"):
        fitted.backtest(pd.DataFrame(columns(values)), first_origin="2002-01-15", last_origin="2002-01-15")


def test_an_unfitted_forecaster_says_so():
    for call in (
        lambda f: f.predict(),
        lambda f: f.backtest(None),
        lambda f: f.update(None),
        lambda f: f.save("x"),
    ):
        with pytest.raises(OptionError, match="Call fit first"):
            call(ur.Forecaster(2))


def test_too_few_held_back_windows_are_said():
    forecaster = ur.Forecaster(12, model="linear").fit(pd.DataFrame({"y": WAVE[:120]}))
    assert "Only 7 held-back windows measure the intervals: that of 95 % is" in forecaster.notes_[-1]
    assert not ur.Forecaster(6, model="linear").fit(pd.DataFrame(columns())).notes_


def test_an_interrupted_training_is_said(monkeypatch):
    original, calls = course.Course._one_step, []

    def interrupted(self, order):
        calls.append(self.epoch)
        if len(calls) == stop_after:
            signal.raise_signal(signal.SIGINT)
        return original(self, order)

    monkeypatch.setattr(course.Course, "_one_step", interrupted)
    stop_after = 8
    forecaster = ur.Forecaster(2, members=3, training=QUICK, model="gru").fit(pd.DataFrame(columns()))
    assert calls[-1] == 2
    assert "Interrupted: goes on with what was learned in 1 epoch." in forecaster.notes_[0]
    assert len(forecaster.networks_) == 2  # those that measure the intervals
    stop_after = len(calls) + 1
    with pytest.raises(KeyboardInterrupt):
        ur.Forecaster(2, training=QUICK, model="gru").fit(pd.DataFrame(columns()))
