"""Forecasts with columns beside the target, and with the calendar."""

import numpy as np
import pandas as pd
import pytest
import torch

import unrolled as ur
from unrolled.errors import DataError

QUICK = ur.Training("mae", "adamw", 5e-3, "one-cycle", epochs=25, batch_size=32, restore_best=False)
RANDOM = np.random.default_rng(3)
ROWS = 500
KIND = np.where(RANDOM.random(ROWS) < 0.3, "sale", "plain")
PRICE = RANDOM.normal(size=ROWS)
TABLE = pd.DataFrame(
    {
        "ds": pd.date_range("2021-01-01", periods=ROWS),
        "y": 10 + 5 * (KIND == "sale") - 2 * PRICE + 0.1 * RANDOM.normal(size=ROWS),
        "kind": KIND,
        "price": PRICE,
        "rain": RANDOM.normal(size=ROWS),
    }
)
HORIZON = 3


@pytest.fixture(scope="module")
def fitted():
    forecaster = ur.Forecaster(HORIZON, members=2, training=QUICK)
    return forecaster.fit(TABLE[:400], target="y", known=["kind", "price"], observed=["rain"])


def test_a_series_driven_by_what_is_known_ahead(fitted):
    """No baseline reads the price and the kind of the day; without them the error is their spread, 2 to 3."""
    scores = fitted.backtest(TABLE, first_origin="2022-02-05").scores
    assert scores["model"]["mae"] < 0.5
    assert min(values["mae"] for values in scores["baselines"].values()) > 1.5


def test_predict_takes_the_future_and_equals_the_backtest(fitted):
    backtest = fitted.backtest(TABLE, first_origin="2022-03-01", last_origin="2022-03-01").frame
    seen = TABLE[TABLE.ds <= "2022-03-01"]
    future = TABLE[TABLE.ds > "2022-03-01"][["ds", "kind", "price"]]
    forecast = fitted.predict(seen, future)
    np.testing.assert_allclose(forecast["mean"], backtest["mean"], rtol=1e-6)
    beside = TABLE.copy()
    beside.loc[beside.ds > "2022-03-01", ["y", "rain"]] = np.nan  # the same rows in one table
    np.testing.assert_allclose(fitted.predict(beside)["mean"], forecast["mean"], rtol=1e-6)
    other = future.assign(price=future.price + 1)
    assert (fitted.predict(seen, other)["mean"].to_numpy() < forecast["mean"].to_numpy() - 1).all()


def test_nothing_observed_after_the_origin_is_read(fitted):
    changed = TABLE.copy()
    changed.loc[changed.ds > "2022-03-01", ["y", "rain"]] += 1e3
    origin = {"first_origin": "2022-03-01", "last_origin": "2022-03-01"}
    one, other = (fitted.backtest(table, **origin).frame for table in (TABLE, changed))
    assert one["mean"].tolist() == other["mean"].tolist()
    assert one["actual"].tolist() != other["actual"].tolist()


def test_what_lacks_ahead_is_an_error(fitted):
    with pytest.raises(
        DataError,
        match="known column 'kind': expected a value for each step to forecast in the data, got none for 2022-02-05",
    ):
        fitted.predict()
    rows = fitted.make_future_frame()
    assert list(rows) == ["ds", "kind", "price"] and len(rows) == HORIZON
    assert rows["ds"].iloc[0] == TABLE.ds[400]
    assert np.isfinite(fitted.predict(future=rows.assign(kind="sale", price=0.0))["mean"]).all()


def test_a_column_that_newer_rows_leave_empty_goes_on_with_its_last_value(fitted):
    future = TABLE[405:408][["ds", "kind", "price"]]
    newer, last = TABLE[400:405], TABLE["rain"][399]
    wanted = fitted.predict(newer.assign(rain=last), future)["mean"]
    assert fitted.predict(newer.assign(rain=np.nan), future)["mean"].tolist() == wanted.tolist()
    with pytest.raises(DataError, match="column 'rain': expected values, got empty cells only"):
        fitted.predict(TABLE[:400].assign(rain=np.nan), future)
    with pytest.raises(DataError, match="column 'rain': expected values, got empty cells only"):
        fitted.backtest(TABLE.assign(rain=np.nan))
    with pytest.raises(DataError, match="from the last one with a value on"):  # the first of them has none
        fitted.predict(newer.assign(y=[np.nan, 1, 2, 3, 4]), future)
    whole = TABLE[399:405].assign(y=[TABLE["y"][399], np.nan, 1, 2, 3, 4])
    assert np.isfinite(fitted.predict(whole, future)["mean"]).all()


def test_labels_stay_labels_in_newer_rows_where_they_look_like_numbers():
    shift = np.where(np.arange(300) % 7 < 5, "1", "night")  # a Monday to Friday of numbers alone
    table = TABLE[:300].assign(kind=shift)[["ds", "y", "kind"]]
    forecaster = ur.Forecaster(1, model="linear").fit(table[:-20], known=["kind"])
    newer, future = table[280:285].assign(kind=1), table[285:286].assign(kind=1)
    texts = newer.assign(kind="1"), future.assign(kind="1")
    assert forecaster.predict(newer, future)["mean"].tolist() == forecaster.predict(*texts)["mean"].tolist()


def test_a_label_that_training_did_not_see_is_said(fitted, caplog):
    rows = fitted.make_future_frame().assign(kind="festival", price=0.0)
    assert np.isfinite(fitted.predict(future=rows)["mean"]).all()
    assert "Column 'kind' has labels that training did not see: festival." in caplog.text


def test_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    loaded = ur.load(tmp_path / "run")
    future = TABLE[400:][["ds", "kind", "price"]]
    assert loaded.predict(future=future).equals(fitted.predict(future=future))
    assert loaded.features_.categories == fitted.features_.categories
    for one, other in zip(loaded.networks_, fitted.networks_, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_calendar_is_read_unless_told_not_to():
    """Sundays at random heights a month apart: a line cannot tell them, the day of the week can."""
    days = pd.date_range("2018-01-01", periods=600)
    table = pd.DataFrame(
        {"ds": days, "y": 5.0 * (days.day_name() == "Sunday") + 0.1 * np.sin(days.day_of_year)}
    )
    errors = {}
    for calendar in (True, False):
        forecaster = ur.Forecaster(
            1, members=1, training=QUICK, calendar=calendar, input_steps=3, season=1, model="gru"
        ).fit(table[:500])
        errors[calendar] = forecaster.backtest(table, first_origin=days[499]).scores["model"]["mae"]
        assert bool(forecaster.features_.names) is calendar
    assert errors[True] < 0.2 < errors[False]
