"""Columns beside the target: what is known ahead, what is observed, and the calendar."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from unrolled.data import read_table
from unrolled.data.ahead import future_frame, known_ahead
from unrolled.data.features import Features, calendar_features
from unrolled.data.frequency import DAY, HOUR, WEEK, Frequency
from unrolled.errors import DataError

DAYS = pd.date_range("2020-01-01", periods=20)


def frame(ahead=3):
    """Twenty days, of the last `ahead` of which the target is not known yet."""
    table = pd.DataFrame(
        {
            "day": DAYS,
            "sold": np.arange(20.0),
            "price": np.arange(20.0) / 10,
            "kind": ["work", "work", "free", "work"] * 5,
            "rain": np.arange(20.0) ** 2,
        }
    )
    table.loc[20 - ahead :, ["sold", "rain"]] = np.nan
    return table


def read(table, **roles):
    return read_table(table, target="sold", known=["price", "kind"], observed=["rain"], **roles)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.from_pandas])
def test_columns_in_their_roles(kind):
    table = read(kind(frame()))
    assert table.columns == ("sold", "rain", "price")
    assert (table.past, table.known, list(table.labels)) == (("rain",), ("price", "kind"), ["kind"])
    assert len(table) == 17
    assert table.values[:, 2].tolist() == (np.arange(17) / 10).tolist()
    assert table.labels["kind"].tolist() == frame()["kind"][:17].tolist()
    assert table.ahead.columns == ("price",)
    assert table.ahead.values[:, 0].tolist() == [1.7, 1.8, 1.9]
    assert table.ahead.labels["kind"].tolist() == ["work", "free", "work"]
    assert table.ahead.times.tolist() == DAYS[17:].to_numpy().astype("datetime64[us]").tolist()


def test_a_gap_beside_the_target_repeats_the_value_before():
    """A straight line through it would tell what comes after."""
    holed = frame(0)
    holed.loc[[0, 5, 6], "rain"] = np.nan
    holed.loc[[3, 4], "price"] = np.nan
    holed.loc[7, "kind"] = None
    table = read(holed)
    assert table.column("rain")[[0, 1, 4, 5, 6, 7]].tolist() == [1, 1, 16, 16, 16, 49]
    assert table.column("price")[2:6].tolist() == [0.2, 0.2, 0.2, 0.5]
    assert table.labels["kind"][6:8].tolist() == ["free", "free"]
    assert table.observed[:, 0].all() and table.observed[5].tolist() == [True, False, True]


def test_what_is_known_ahead_comes_from_the_table_or_from_a_frame():
    table = read(frame())
    ahead = known_ahead(table, 3)
    assert ahead.column("price").tolist() == [1.7, 1.8, 1.9]
    other = pd.DataFrame({"day": DAYS[::-1], "price": np.arange(20.0)[::-1], "kind": "free"})
    ahead = known_ahead(table, 2, other)
    assert ahead.column("price").tolist() == [17, 18]
    assert ahead.labels["kind"].tolist() == ["free", "free"]


def test_what_lacks_ahead_is_an_error_and_a_template():
    table = read(frame())
    with pytest.raises(
        DataError, match="known column 'price'.*each of the 5 steps.*none for 2 steps, the first 2020-01-21"
    ):
        known_ahead(table, 5)
    other = pd.DataFrame({"day": DAYS[17:], "price": 1.0, "kind": ["work", None, "free"]})
    with pytest.raises(DataError, match="'kind'.*none for 1 step, the first 2020-01-19.*--future"):
        known_ahead(table, 3, other)
    with pytest.raises(DataError, match="2020-01-18 twice"):
        known_ahead(table, 3, pd.concat([other, other]))
    with pytest.raises(DataError, match="'kind'"):
        known_ahead(table, 3, other.drop(columns="kind"))
    rows = future_frame(table, 4)
    assert list(rows) == ["day", "price", "kind"]
    assert rows["price"].tolist()[:3] == [1.7, 1.8, 1.9] and pd.isna(rows["price"][3])
    assert rows["kind"].tolist()[:3] == ["work", "free", "work"] and pd.isna(rows["kind"][3])


def test_a_column_has_one_role():
    with pytest.raises(DataError, match="each column in one role, got 'rain' in two"):
        read_table(frame(), target="sold", known=["rain"], observed=["rain"])
    with pytest.raises(DataError, match="Did you mean 'rain'"):
        read_table(frame(), target="sold", observed=["rian"])
    with pytest.raises(DataError, match="'sold'.*in two|one role"):
        read_table(frame(), target="sold", known=["sold"])


def test_features_know_the_training_part_alone():
    table = read(frame(0))
    features = Features.fit(table[:2], calendar=False)  # two working days
    assert features.categories == {"kind": ("work",)}
    known = features.known(table)
    assert known.shape == (20, 1 + 2)
    assert known[:, 1].tolist() == [kind == "work" for kind in table.labels["kind"]]
    assert known[:, 2].tolist() == [kind != "work" for kind in table.labels["kind"]]  # not seen in training
    assert known[:2, 0].tolist() == pytest.approx([-1, 1])
    assert features.past(table)[:2].tolist() == [[-1, -1], [1, 1]]


@pytest.mark.parametrize(
    ("frequency", "days", "expected"),
    [
        (Frequency(microseconds=HOUR), 1, set()),
        (Frequency(microseconds=HOUR), 100, {"day", "Mon"}),
        (Frequency(microseconds=DAY), 100, {"Mon"}),
        (Frequency(microseconds=DAY), 1000, {"Mon", "year", "new"}),
        (Frequency(microseconds=WEEK), 1000, {"year"}),
        (Frequency(months=1, anchor="start"), 1000, {"month"}),
        (Frequency(months=1, anchor="start"), 400, set()),
        (Frequency(months=12, anchor="start"), 9000, set()),
        (Frequency(microseconds=1000), 9000, {"day", "Mon", "year", "new"}),
    ],
)
def test_the_calendar_tells_what_was_seen_twice(frequency, days, expected):
    found = calendar_features(DAYS.to_numpy(), frequency, days)
    assert {name.split()[0] for name in found} - {"Tue", "Wed", "Thu", "Fri", "Sat", "Sun"} == expected
    assert all(column.shape == (20,) and np.abs(column).max() <= 1 for column in found.values())


def test_days_around_new_year():
    times = np.array(["2020-12-24", "2020-12-31", "2021-01-01", "2021-01-03"], "datetime64[us]")
    found = calendar_features(times, Frequency(microseconds=DAY), 1000)
    assert [name for name in found if name.startswith("new") and found[name][0]] == ["new year -8"]
    assert found["new year -1"].tolist() == [0, 1, 0, 0]
    assert found["new year +0"].tolist() == [0, 0, 1, 0]
    assert found["new year +2"].tolist() == [0, 0, 0, 1]
    assert found["Thu"].tolist() == [1, 1, 0, 0]
