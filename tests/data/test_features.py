"""What a network reads beside the target: scaled by the training part alone, and by series."""

import numpy as np
import pandas as pd
import pytest

from unrolled.data import Frequency, read_table
from unrolled.data.features import Features, calendar_features, holiday_features
from unrolled.data.frequency import DAY, HOUR, WEEK
from unrolled.data.scaling import Power, Scaler
from unrolled.errors import DataError, OptionError

DAYS = pd.date_range("2020-01-01", periods=20)
KINDS = ["work", "work", "free"] * 6 + ["work", "free"]


def frame():
    return pd.DataFrame(
        {
            "day": DAYS,
            "sold": np.arange(20.0),
            "rain": np.arange(20) % 4.0,
            "price": 0.1 * np.arange(20),
            "kind": KINDS,
        }
    )


def read(source, **roles):
    return read_table(source, target="sold", **({"observed": ["rain"], "known": ["price", "kind"]} | roles))


def many(**columns):
    rows = {"unique_id": list("aaabbb"), "day": [*DAYS[:3], *DAYS[:3]], "sold": [1.0, 2, 3, 10, 20, 30]}
    return pd.DataFrame(rows | columns)


def test_features_know_the_training_part_alone():
    table = read(frame())
    features = Features.fit(table[:2], calendar=False)  # two working days
    assert features.categories == {"kind": ("work",)}
    known = features.known_ahead(table)
    assert known.shape == (20, 1 + 2) and features.width == 3
    assert known[:, 1].tolist() == [kind == "work" for kind in KINDS]
    assert known[:, 2].tolist() == [kind != "work" for kind in KINDS]  # not seen in training
    assert known[:2, 0].tolist() == pytest.approx([-1, 1])
    assert features.past(table, features.of(table))[:2].tolist() == [[-1, -1], [1, 1]]
    assert features.unseen(table) == ["Column 'kind' has labels that training did not see: free."]


def test_each_series_has_its_own_scale():
    table = read_table(many(), target="sold", series="unique_id")
    features = Features.fit(table, calendar=False)
    scaler = features.of(table)
    assert scaler.mean[:, 0].tolist() == [2.0, 20.0]
    past = features.past(table, scaler)
    np.testing.assert_allclose(past[:3], past[3:])
    other = read_table(many(unique_id=list("bbbccc")), target="sold", series="unique_id")
    known, new = features.of(other).mean[:, 0], features.of(other, np.array([1, 2])).mean[:, 0]
    assert known.tolist() == [20.0, 20.0]  # b as in training, c by all of its rows
    assert new.tolist() == [20.0, 15.0]  # c by its first two


def test_what_is_told_of_series():
    frame = many(size=[1.0] * 3 + [3.0] * 3, kind=["x"] * 3 + ["y"] * 3)
    table = read_table(frame, target="sold", series="unique_id", static=["size", "kind"])
    features = Features.fit(table.of([0, 1]), calendar=False)
    assert features.statics(table).tolist() == [[-1, 1, 0, 0], [1, 0, 1, 0]]
    assert features.static_width == 4
    strange = read_table(frame.assign(kind="z"), target="sold", series="unique_id", static=["size", "kind"])
    assert features.statics(strange)[:, 1:].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert features.unseen(strange) == ["Column 'kind' has labels that training did not see: z."]


@pytest.mark.parametrize("kind", ["log", "box-cox"])
def test_powers_and_back(kind):
    values = np.exp(np.random.default_rng(0).normal(size=200))
    table = read_table(
        pd.DataFrame({"day": pd.date_range("2020", periods=200), "sold": values}), target="sold"
    )
    power = Power.fit(table, kind)
    assert power.exponents[0] == pytest.approx(0.0, abs=0 if kind == "log" else 0.15)
    np.testing.assert_allclose(power.inverse(power.transform(table.values)), table.values, rtol=1e-9)
    assert (power.inverse(np.array([[-1e9], [-50.0]])) >= 0).all()


def test_powers_are_for_values_above_zero():
    table = read(frame())
    with pytest.raises(DataError, match="column 'sold': expected values above 0 for transform='log', got 0"):
        Features.fit(table, transform="log")
    with pytest.raises(OptionError, match="log, box-cox, got 'root'"):
        Features.fit(table, transform="root")


def test_a_scale_of_each_series_is_that_of_its_rows():
    values = np.random.default_rng(1).normal(size=(30, 2))
    observed = np.random.default_rng(2).random((30, 2)) > 0.3
    starts = np.array([0, 4, 30])
    observed[:4, 1] = False  # nothing observed: what was filled in counts
    scaler = Scaler.fit(values, observed, starts)
    for number, rows in enumerate((slice(0, 4), slice(4, 30))):
        for column in range(2):
            counted = observed[rows, column]
            kept = values[rows, column][counted if counted.any() else slice(None)]
            assert scaler.mean[number, column] == pytest.approx(kept.mean())
            assert scaler.scale[number, column] == pytest.approx(kept.std())


def test_days_go_by_the_zone():
    times = pd.date_range("2020-03-27 22:00", periods=120, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    table = read_table(pd.DataFrame({"day": times, "sold": np.arange(120.0)}), target="sold")
    features = Features.fit(table)
    hour = features.known_ahead(table)[:, features.names.index("day cos 1")]
    wall = np.cos(2 * np.pi * np.array([time.hour for time in times]) / 24)
    np.testing.assert_allclose(hour, wall, atol=1e-6)


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


def test_public_holidays():
    times = np.arange("2021-12-23", "2021-12-28", dtype="datetime64[D]").astype("datetime64[us]")
    found = holiday_features(times, "DE")  # the 25th and the 26th
    assert found["holiday +0"].tolist() == [0, 0, 1, 1, 0]
    assert found["holiday +1"].tolist() == [0, 1, 1, 0, 0]
    assert found["holiday -1"].tolist() == [0, 0, 0, 1, 1]
    assert holiday_features(times, "US-IL")["holiday +0"].tolist() != found["holiday +0"].tolist()
    for strange in ("Atlantis", "US-XX"):
        with pytest.raises(OptionError, match=f"a country such as US or US-IL, got '{strange}'"):
            holiday_features(times, strange)
    table = read(frame())
    features = Features.fit(table, country="US")
    assert features.known_ahead(table)[:2, -3:].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert features.names[-3:] == ("holiday -1", "holiday +0", "holiday +1")
