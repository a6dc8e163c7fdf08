"""Many series and several targets by one model; strategies, transforms, quantiles and trainings anew."""

import numpy as np
import pandas as pd
import pytest

import unrolled as ur
from unrolled.data import read_table
from unrolled.data.windows import Windows
from unrolled.errors import DataError, OptionError
from unrolled.estimators.plan import stops

QUICK = ur.Training("mae", "adamw", 3e-3, "one-cycle", epochs=4, batch_size=32, restore_best=False)
HORIZON = 4
FIRST = pd.Timestamp("2021-01-01")


def one(name, rows, level=10.0, slope=0.05, start=FIRST, seed=0):
    """A week's pattern on a trend."""
    times = pd.date_range(start, periods=rows)
    noise = 0.02 * level * np.random.default_rng(seed).normal(size=rows)
    wave = level * (1 + 0.3 * np.sin(2 * np.pi * np.arange(rows) / 7)) + slope * np.arange(rows) + noise
    return pd.DataFrame({"unique_id": name, "ds": times, "y": wave, "half": 0.5 * wave + 3, "kind": name[0]})


def several():
    return pd.concat(
        [
            one("a1", 120, 10),
            one("a2", 100, 1000, seed=1),
            one("b1", 60, 5, start=pd.Timestamp("2021-02-15"), seed=2),
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def fitted():
    return ur.Forecaster(HORIZON, members=2, model="gru", training=QUICK).fit(
        several(), target="y", series="unique_id", static=["kind"]
    )


def test_one_model_forecasts_all_series(fitted):
    frame = fitted.predict()
    assert frame["series"].tolist() == ["a1"] * 4 + ["a2"] * 4 + ["b1"] * 4
    assert frame["step"].tolist() == [1, 2, 3, 4] * 3
    ends = several().groupby("unique_id")["ds"].max()
    for name, rows in frame.groupby("series"):
        assert (rows["origin"] == ends[name]).all()
        assert rows["time"].tolist() == [ends[name] + pd.Timedelta(days=step) for step in range(1, 5)]
    assert len(fitted.networks_) == 2


def test_each_series_comes_near_what_follows_in_its_own_units(fitted):
    frame = fitted.predict().groupby("series")["mean"].mean()
    for name, level in (("a1", 16.0), ("a2", 1005.0), ("b1", 8.0)):
        assert frame[name] == pytest.approx(level, rel=0.25)


def test_some_series_are_forecast_as_among_all(fitted):
    whole = fitted.predict()
    some = fitted.predict(series=["b1", "a2"])
    for name in ("b1", "a2"):
        np.testing.assert_allclose(
            some[some["series"] == name]["mean"], whole[whole["series"] == name]["mean"], rtol=1e-6
        )
    assert some["series"].unique().tolist() == ["b1", "a2"]
    with pytest.raises(DataError, match="expected names of series, got c9"):
        fitted.predict(series=["c9"])


def test_series_that_training_did_not_see(fitted, caplog):
    new = one("c1", 80, level=300.0, seed=5)
    frame = fitted.predict(new)
    assert frame["series"].unique().tolist() == ["c1"]
    assert frame["mean"].mean() == pytest.approx(300, rel=0.3)
    assert "'kind' has labels that training did not see: c" in caplog.text


def test_a_series_shorter_than_the_window_is_padded(fitted):
    short = several()[lambda rows: rows["unique_id"] == "a1"].tail(fitted.window_ - 3).assign(unique_id="c2")
    frame = fitted.predict(pd.concat([short, one("c3", 90, seed=9)]))
    assert np.isfinite(frame["mean"]).all() and len(frame) == 8
    assert frame["mean"][:4].mean() == pytest.approx(16, rel=0.3)


def test_newer_rows_of_one_series_leave_the_others(fitted):
    import copy

    forecaster = copy.copy(fitted)
    newer = one("a2", 103, 1000, seed=1).tail(5)
    before, after = forecaster.predict(), forecaster.update(newer).predict()
    same = before["series"] != "a2"
    assert after[same]["mean"].tolist() == before[same]["mean"].tolist()
    assert (after[~same]["origin"] == FIRST + pd.Timedelta(days=102)).all()


def test_series_too_short_to_learn_from_are_named_and_forecast(caplog):
    rows = pd.concat([several(), one("tiny", 6)])
    forecaster = ur.Forecaster(HORIZON, members=1, model="gru", training=QUICK).fit(
        rows, target="y", series="unique_id"
    )
    assert any(
        note.startswith("1 series (tiny) with fewer than 8 rows before those held back")
        for note in forecaster.notes_
    )
    assert np.isfinite(forecaster.predict(series=["tiny"])["mean"]).all()


def test_all_series_too_short_is_an_error():
    rows = pd.concat([one("x", 9), one("y", 9)])
    with pytest.raises(DataError, match="at least 12 rows for a window of 4 steps and a horizon of 4, got 9"):
        ur.Forecaster(HORIZON).fit(rows, target="y", series="unique_id")


def test_windows_stay_within_their_series(fitted):
    table = read_table(several(), target="y", series="unique_id", static=["kind"])
    windows = Windows.of(table, fitted.features_, fitted.window_, HORIZON, shortest=4)
    padded = windows.length - 4
    for number in range(len(windows)):
        batch = windows.batch(np.array([number]))
        series, origin = windows.series[number], windows.origins[number]
        begin = table.starts[series]
        rows = slice(max(origin - windows.length + 1, 0), origin + HORIZON + 1)
        assert (windows.owner[rows] == series).all()
        mean, scale = fitted.features_.of(table).mean[series, 0], fitted.features_.of(table).scale[series, 0]
        own = (table.values[begin : table.starts[series + 1], 0] - mean) / scale
        front = padded if windows.mask is not None and not windows.mask[windows.owner == series].all() else 0
        at = origin - np.flatnonzero(windows.owner == series)[0] - front
        np.testing.assert_allclose(
            batch.target[0, :, 0], own[at + 1 : at + 1 + HORIZON], rtol=1e-5, atol=1e-6
        )
        real = (
            batch.past[0, :, 0].numpy() if batch.mask is None else batch.past[0, :, 0][batch.mask[0]].numpy()
        )
        np.testing.assert_allclose(real, own[max(at + 1 - len(real), 0) : at + 1], rtol=1e-5, atol=1e-6)


def test_a_backtest_of_many_series_is_that_of_each(fitted):
    backtest = fitted.backtest(several(), first_origin="2021-03-25", stride=3)
    frame = backtest.frame
    assert set(frame["series"]) == {"a1", "a2", "b1"}
    alone = fitted.backtest(
        several()[lambda rows: rows["unique_id"] == "a2"], first_origin="2021-03-25", stride=3
    )
    mine = frame[frame["series"] == "a2"]
    np.testing.assert_allclose(mine["mean"], alone.frame["mean"], rtol=1e-5)
    assert mine["origin"].tolist() == alone.frame["origin"].tolist()
    assert backtest.scores["model"]["mae"] == pytest.approx((frame["actual"] - frame["mean"]).abs().mean())
    origins = mine["origin"].unique()
    assert {int(gap / np.timedelta64(1, "D")) for gap in np.diff(origins)} == {3}
    assert backtest.scores["held_out"]["series"] == 3


@pytest.fixture(scope="module")
def two():
    forecaster = ur.Forecaster(HORIZON, members=2, model="gru", training=QUICK)
    return forecaster.fit(one("a1", 150), target=["y", "half"])


def test_several_targets_at_once(two):
    frame = two.predict()
    assert frame["target"].tolist() == ["y"] * 4 + ["half"] * 4
    y, half = (frame[frame["target"] == name]["mean"].to_numpy() for name in ("y", "half"))
    np.testing.assert_allclose(half, 0.5 * y + 3, rtol=0.1)
    assert frame["lo-80"].lt(frame["mean"]).all() and frame["mean"].lt(frame["hi-80"]).all()
    scores = two.backtest(one("a1", 150), first_origin="2021-05-01").scores
    assert list(scores["targets"]) == ["y", "half"]
    both = [scores["targets"][name]["model"]["mae"] for name in ("y", "half")]
    assert scores["model"]["mae"] == pytest.approx(np.mean(both))
    assert "constant_velocity" in scores["baselines"]


OPTIONS = {
    "recursive": {"strategy": "recursive"},
    "sequence": {"strategy": "sequence"},
    "conv-gru": {"model": "conv-gru"},
    "wavenet": {"model": "wavenet"},
    "deep": {"model": "lstm", "depth": 2, "bidirectional": True, "layer_norm": True},
    "normalised": {"normalise": True},
    "log": {"transform": "log"},
    "box-cox": {"transform": "box-cox"},
    "quantile": {"intervals": "quantile"},
    "last": {"base": "last"},
    "season": {"base": "season"},
    "auto": {"model": "auto"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_way_beats_the_last_value_and_comes_back_from_a_folder(name, tmp_path):
    rows = one("a1", 150, seed=3)
    training = ur.Training("mae", "adamw", 3e-3, "one-cycle", epochs=15, batch_size=16, restore_best=False)
    options = {"model": "gru", "members": 1, "training": training, "units": 16} | OPTIONS[name]
    forecaster = ur.Forecaster(HORIZON, **options).fit(rows[:130], target="y")
    scores = forecaster.backtest(rows, first_origin=rows["ds"][129]).scores
    assert scores["model"]["mae"] < 0.8 * scores["baselines"]["naive"]["mae"]
    frame = forecaster.predict()
    assert (frame["lo-95"] <= frame["lo-80"]).all() and (frame["lo-80"] <= frame["mean"]).all()
    assert (frame["mean"] <= frame["hi-80"]).all() and (frame["hi-80"] <= frame["hi-95"]).all()
    forecaster.save(tmp_path / "run")
    pd.testing.assert_frame_equal(ur.load(tmp_path / "run").predict(), frame)


def test_a_recursive_forecast_is_one_step_fed_back():
    rows = one("a1", 120)
    options = {"members": 1, "model": "gru", "training": QUICK, "calendar": False}
    far = ur.Forecaster(3, strategy="recursive", **options).fit(rows, target="y", series="unique_id")
    seen = rows.copy()
    for mean in far.predict()["mean"]:
        near = seen.copy()
        following = pd.DataFrame(
            {"unique_id": "a1", "ds": [seen["ds"].max() + pd.Timedelta(days=1)], "y": [mean]}
        )
        first = far.predict(near[["unique_id", "ds", "y"]])["mean"].iloc[0]
        assert first == pytest.approx(mean, rel=1e-5)
        seen = pd.concat([seen, following], ignore_index=True)


def test_a_log_forecast_is_above_zero():
    rows = one("a1", 120, level=1.0, slope=0.0).assign(y=lambda f: np.exp(-0.05 * np.arange(120)) * f["y"])
    frame = ur.Forecaster(20, model="linear", transform="log").fit(rows, target="y").predict()
    assert (frame["lo-95"] > 0).all()


@pytest.mark.parametrize(("every", "transform"), [(1, None), (2, "log")])
def test_a_refitted_backtest_is_that_of_models_trained_then(every, transform):
    rows = one("a1", 90)
    options = {"members": 1, "model": "gru", "training": QUICK, "transform": transform}
    forecaster = ur.Forecaster(HORIZON, **options).fit(rows[:60], target="y")
    origins = rows["ds"][[70, 75, 80]].tolist()
    refit = "always" if every == 1 else every
    frame = forecaster.backtest(rows, origins[0], origins[-1], stride=5, refit=refit).frame
    assert frame["origin"].unique().tolist() == origins
    for number, origin in enumerate(origins):
        then = origins[number - number % every]
        fresh = ur.Forecaster(HORIZON, **options).fit(rows[rows["ds"] <= then], target="y")
        columns = (
            ["mean", "lo-80", "hi-95"] if then == origin else ["mean"]
        )  # later the intervals follow the misses
        found, expected = frame[frame["origin"] == origin], fresh.predict(rows[rows["ds"] <= origin])
        np.testing.assert_allclose(found[columns], expected[columns], rtol=1e-5)


def test_a_refitted_backtest_scales_a_new_series_by_its_rows_until_then():
    rows = pd.concat([one("a1", 90), one("b1", 40, level=50.0, start=FIRST + pd.Timedelta(days=50), seed=1)])
    forecaster = ur.Forecaster(HORIZON, model="linear", input_steps=7, calendar=False, season=1)
    forecaster.fit(rows[rows["ds"] <= FIRST + pd.Timedelta(days=55)], target="y", series="unique_id")
    origin = FIRST + pd.Timedelta(
        days=57
    )  # b1 has eight rows by then: enough to forecast, too few to learn from
    frames = []
    for factor in (1.0, 30.0):
        later = rows.assign(y=np.where(rows["ds"] > origin, factor * rows["y"], rows["y"]))
        frame = forecaster.backtest(later, origin, origin, refit="always").frame
        assert frame["series"].unique().tolist() == ["a1", "b1"]
        frames.append(frame["mean"].tolist())
    assert frames[0] == frames[1]


def test_mase_divides_by_the_changes_before_the_first_origin():
    rows = one("a1", 120)
    rows.loc[95:, "y"] *= 3  # what comes after it must not count
    forecaster = ur.Forecaster(HORIZON, model="linear").fit(rows[:90], target="y")
    scores = forecaster.backtest(rows, rows["ds"][90]).scores["model"]
    before = rows["y"][:91].to_numpy()
    assert scores["mase"] == pytest.approx(scores["mae"] / np.abs(before[7:] - before[:-7]).mean())


def test_what_is_held_back_begins_at_the_same_time_in_all_series():
    table = read_table(several(), target="y", series="unique_id")
    begin = stops(table, 30)  # of a1, which ends last
    assert (begin - table.starts[:-1]).tolist() == [90, 90, 45]
    assert len({table.times[row] for row in begin}) == 1
    numbered = read_table(several()[["unique_id", "y"]], target="y", series="unique_id")
    assert (stops(numbered, 30) - numbered.starts[:-1]).tolist() == [90, 70, 30]


def test_a_change_of_clocks():
    times = pd.date_range("2021-03-01", "2021-03-31", freq="h", tz="Europe/Berlin")
    level = 10 + np.sin(2 * np.pi * times.hour / 24)
    rows = pd.DataFrame({"ds": times, "y": level})
    before = rows[rows["ds"] <= "2021-03-27 23:00"]  # the night that lacks an hour follows
    forecaster = ur.Forecaster(24, model="linear").fit(before, target="y")
    frame = forecaster.predict()
    assert frame["time"].tolist() == times[len(before) : len(before) + 24].tolist()
    assert str(frame["time"].iloc[2]) == "2021-03-28 03:00:00+02:00"
    backtest = forecaster.backtest(rows, first_origin="2021-03-27 23:00", last_origin="2021-03-27 23:00")
    assert backtest.frame["time"].tolist() == frame["time"].tolist()
    assert backtest.frame["actual"].tolist() == rows["y"][len(before) : len(before) + 24].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "both"}, "strategy one of vector, sequence, recursive, got 'both'"),
        ({"base": "none"}, "base one of ridge, last, season"),
        ({"transform": "root"}, "transform one of None, log, box-cox"),
        ({"intervals": "none"}, "intervals one of conformal, quantile"),
        ({"budget": 0}, "a budget of more than 0 seconds, got 0"),
        ({"units": 0}, "units of at least 1"),
        (
            {"model": "wavenet", "depth": 2},
            "for a wavenet, none of the options of recurrent layers, got depth=2",
        ),
        ({"strategy": "sequence", "normalise": True}, "strategy='sequence' by itself"),
        ({"strategy": "sequence", "model": "wavenet"}, "rnn, lstm or gru for strategy='sequence'"),
        ({"intervals": "quantile", "model": "linear"}, "a network for intervals='quantile'"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(OptionError, match=message):
        ur.Forecaster(2, **options).fit(one("a1", 50), target="y")


def test_what_would_have_to_be_forecast_itself():
    with pytest.raises(OptionError, match="no observed columns with strategy='recursive'.*got half"):
        ur.Forecaster(2, strategy="recursive").fit(one("a1", 50), target="y", observed=["half"])


def test_a_budget_cuts_the_training_and_says_so(caplog):
    forecaster = ur.Forecaster(HORIZON, members=1, model="gru", budget=1.0).fit(one("a1", 150), target="y")
    assert "The budget of 1 s leaves" in caplog.text
    assert sum(row["steps"] for row in forecaster.run_.timing) < 1200


def test_a_series_that_begins_within_the_held_back_rows_does_not_harm_the_others():
    old = pd.concat([one(f"a{number}", 200, 100 * (number + 1), seed=number) for number in range(4)])
    late = one("z1", 12, 5000, start=FIRST + pd.Timedelta(days=185), seed=9)
    options = {"members": 1, "model": "linear"}
    alone = ur.Forecaster(HORIZON, **options).fit(old, target="y", series="unique_id")
    among = ur.Forecaster(HORIZON, **options).fit(pd.concat([old, late]), target="y", series="unique_id")
    mine = among.predict()[lambda rows: rows["series"] != "z1"]
    np.testing.assert_allclose(mine["mean"], alone.predict()["mean"], rtol=1e-6)
    np.testing.assert_allclose(mine["hi-80"], alone.predict()["hi-80"], rtol=1e-6)
    new = among.predict(series=["z1"])
    assert (new["hi-80"] - new["lo-80"]).min() > 50  # its scale is no accident of twelve rows


def test_baselines_are_in_the_units_of_the_data_whatever_the_transform():
    rows = one("a1", 150, seed=3)
    scores = {}
    for transform in (None, "log"):
        forecaster = ur.Forecaster(HORIZON, model="linear", transform=transform).fit(rows[:130], target="y")
        scores[transform] = forecaster.backtest(rows, first_origin=rows["ds"][129], statistical=True).scores[
            "baselines"
        ]
    for name in ("naive", "seasonal_naive", "drift", "sarima", "ets"):
        assert scores["log"][name]["mae"] == pytest.approx(scores[None][name]["mae"], rel=1e-6)


def test_missing_targets_leave_lines_to_fit():
    rows = one("a1", 600, slope=0.0, seed=4)
    rows.loc[np.random.default_rng(0).random(600) < 0.25, "y"] = np.nan
    forecaster = ur.Forecaster(14, model="linear").fit(rows[:500], target="y")
    scores = forecaster.backtest(rows, first_origin=rows["ds"][499]).scores
    assert scores["model"]["mae"] < scores["baselines"]["seasonal_naive"]["mae"]


def test_a_forecast_that_is_no_number_is_an_error(fitted):
    rows = several()
    rows.loc[rows.index[-1], "y"] = 1e45
    with np.errstate(all="ignore"), pytest.raises(DataError, match="a forecast that is no number"):
        fitted.predict(rows)


def test_a_new_series_in_a_backtest_is_scaled_by_its_first_window(fitted):
    new = one("c1", 120, 300.0, seed=5)
    spiked = new.assign(y=np.where(np.arange(120) > 80, 1e4, new["y"]))
    first = new["ds"][fitted.window_ - 1]
    one_origin = {"first_origin": first, "last_origin": first}
    before, after = (fitted.backtest(rows, **one_origin).frame for rows in (new, spiked))
    assert before["mean"].tolist() == after["mean"].tolist()
    assert before["hi-80"].tolist() == after["hi-80"].tolist()


def test_strides_and_distances_of_many_series(fitted, two):
    rows = several()
    frame = fitted.backtest(rows, first_origin="2021-03-01", stride=7).frame
    for _, part in frame.groupby("series"):
        gaps = np.diff(part["origin"].unique()) / np.timedelta64(1, "D")
        assert set(gaps) <= {7.0}
    points = one("a1", 150)
    backtest = two.backtest(points, first_origin="2021-05-01")
    wide = backtest.frame.pivot(index=["origin", "step"], columns="target", values=["actual", "mean"])
    away = wide["actual"] - wide["mean"]
    assert backtest.scores["model"]["distance"] == pytest.approx(np.sqrt((away**2).sum(axis=1)).mean())
    known = points.set_index("ds")[["y", "half"]]
    velocity = known - known.shift(1)
    straight = [
        np.linalg.norm(
            known.loc[origin + pd.Timedelta(days=step)] - known.loc[origin] - step * velocity.loc[origin]
        )
        for origin, step in wide.index
    ]
    assert backtest.scores["baselines"]["constant_velocity"]["distance"] == pytest.approx(np.mean(straight))
