"""Calendars: pandas' own date ranges are the oracle."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.frequency import Frequency, infer_frequency
from unrolled.errors import DataError

REGULAR = ["h", "15min", "D", "W-SUN", "W-WED", "MS", "ME", "QS", "QE", "YS", "YE", "BME", "BMS", "14D", "100ms", "2MS",
           "3h", "B", "7min", "45s"]  # fmt: skip


def stamps(index):
    return index.to_numpy().astype("datetime64[us]")


@pytest.mark.parametrize("alias", REGULAR)
def test_calendar_goes_on_as_pandas_does(alias):
    index = pd.date_range("2010-01-01 00:00", periods=230, freq=alias)
    frequency = infer_frequency(stamps(index[:200]))
    assert (frequency.after(stamps(index)[199], 30) == stamps(index)[200:]).all()
    assert (frequency.between(stamps(index)[0], stamps(index)[199]) == stamps(index)[:200]).all()


@pytest.mark.parametrize(
    ("alias", "label", "seasons"),
    [
        ("h", "hourly", (24, 168)),
        ("D", "daily", (7, 365)),
        ("B", "business days (Mon–Fri)", (5,)),
        ("W-SAT", "weekly", (52,)),
        ("MS", "monthly (start)", (12,)),
        ("BME", "monthly (last business day)", (12,)),
        ("QE", "quarterly (end)", (4,)),
        ("YS", "yearly (start)", ()),
        ("30min", "every 30 minutes", (2, 48, 336)),
    ],
)
def test_labels_and_seasons(alias, label, seasons):
    frequency = infer_frequency(stamps(pd.date_range("1961-03-01", periods=220, freq=alias)))
    assert (frequency.label, frequency.seasons) == (label, seasons)


def trading_days():
    from pandas.tseries.holiday import USFederalHolidayCalendar

    days = pd.bdate_range("2015-01-01", "2019-12-31")
    return days.difference(USFederalHolidayCalendar().holidays("2015", "2020"))


def test_a_trading_calendar_with_holidays_is_business_days():
    frequency = infer_frequency(stamps(trading_days()))
    assert frequency.label == "business days (Mon–Fri)"
    friday = np.datetime64("2020-02-28")
    assert pd.DatetimeIndex(frequency.after(friday, 6)).strftime("%a").tolist() == [
        "Mon",
        "Tue",
        "Wed",
        "Thu",
        "Fri",
        "Mon",
    ]


def test_trading_hours():
    index = pd.DatetimeIndex(
        [day + pd.Timedelta(hours=hour) for day in trading_days() for hour in range(10, 17)]
    )
    frequency = infer_frequency(stamps(index))
    assert frequency.seasons == (7, 35)
    after = pd.DatetimeIndex(frequency.after(np.datetime64("2020-02-28T15:00"), 3))
    assert after.strftime("%a %H").tolist() == ["Fri 16", "Mon 10", "Mon 11"]


def test_a_sunday_to_thursday_week():
    days = pd.date_range("2018-01-01", periods=700)
    days = days[~days.day_of_week.isin([4, 5])]
    frequency = infer_frequency(stamps(days))
    assert frequency.label == "Mon, Tue, Wed, Thu, Sun"
    assert pd.DatetimeIndex(frequency.after(np.datetime64("2020-02-27"), 2)).strftime("%a").tolist() == [
        "Sun",
        "Mon",
    ]


def test_month_ends_survive_short_months():
    frequency = infer_frequency(
        stamps(
            pd.DatetimeIndex(
                [f"2021-{m:02}-{d}" for m, d in zip(range(1, 8), (30, 28, 30, 30, 30, 30, 30), strict=True)]
            )
        )
    )
    assert frequency.anchor == "30"
    assert frequency.after(np.datetime64("2023-01-30"), 2).astype("datetime64[D]").tolist() == [
        np.datetime64("2023-02-28").item(), np.datetime64("2023-03-30").item()]  # fmt: skip


@given(st.integers(0, 2**31), st.floats(0.0, 0.25))
def test_missing_stamps_do_not_hide_the_calendar(seed, share):
    random = np.random.default_rng(seed)
    index = stamps(pd.date_range("2019-01-01", periods=400, freq="D"))
    kept = index[(random.random(400) >= share) | (np.arange(400) % 399 == 0)]
    assert infer_frequency(kept).label == "daily"


@pytest.mark.parametrize("scale", [1, 3600, 86_400])
def test_irregular_times_are_refused(scale):
    steps = np.random.default_rng(1).integers(1, 10, 300) * scale
    with pytest.raises(DataError, match=r"regular times .* got \d+ different steps"):
        infer_frequency(np.datetime64("2020-01-01", "us") + np.cumsum(steps).astype("timedelta64[s]"))


def test_a_calendar_must_cover_nine_tenths_of_the_stamps():
    index = stamps(pd.date_range("2020-01-01", periods=200, freq="h"))
    late = np.timedelta64(17, "m")
    some, many = index.copy(), index.copy()
    some[5::20] += late
    many[5::8] += late
    assert infer_frequency(some).label == "hourly"
    with pytest.raises(DataError, match="covers at least 90 %"):
        infer_frequency(many)


def test_numbers():
    assert infer_frequency(np.arange(1950, 2020)).after(2019, 2).tolist() == [2020, 2021]
    assert infer_frequency(np.arange(0, 100, 5)) == Frequency(count=5)
    with pytest.raises(DataError, match="at least 3"):
        infer_frequency(np.arange(2))
