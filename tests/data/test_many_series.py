"""Many series in one table: each is what it would be alone, on one calendar."""

import time as clock

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unrolled.data import read_table
from unrolled.data import table as table_module
from unrolled.data.calendar_rows import Rows, on_calendar
from unrolled.data.frequency import Frequency, infer_frequency
from unrolled.errors import DataError

DAYS = pd.date_range("2020-01-25", periods=40)
FREQUENCIES = ["D", "h", "W-WED", "MS", "ME", "QE", "B"]


def long(series, freq="D", **columns):
    """Return a long frame: `series` is {name: (first step, values)}."""
    steps = pd.date_range("2018-01-01", periods=500, freq=freq)
    parts = [
        pd.DataFrame({"id": name, "ds": steps[first : first + len(values)], "y": values})
        for name, (first, values) in series.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(**columns)


def read(frame, **options):
    return read_table(frame, target="y", series="id", time="ds", **options)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), min_size=1, max_size=5),
    st.sampled_from(FREQUENCIES),
    st.integers(0, 2**31),
)
def test_many_series_are_the_tables_read_one_by_one(monkeypatch, spans, freq, seed):
    random = np.random.default_rng(seed)
    frame = long({f"s{n}": (first, random.random(length)) for n, (first, length) in enumerate(spans)}, freq)
    frame["x"] = random.random(len(frame))
    frame.loc[random.random(len(frame)) < 0.1, "y"] = np.nan
    frame.loc[random.random(len(frame)) < 0.1, "x"] = np.nan
    frame = frame[random.random(len(frame)) < 0.9].sample(frac=1, random_state=seed % 1000)
    calendar = infer_frequency(
        pd.date_range("2018-01-01", periods=500, freq=freq).to_numpy().astype("datetime64[us]")
    )
    monkeypatch.setattr(table_module, "infer_frequency", lambda *_: calendar)  # which few rows do not tell
    alone = {}
    for name in frame["id"].unique():
        own = frame[frame["id"] == name].sort_values("ds")
        to_last = own[: np.flatnonzero(own["y"].notna())[-1] + 1] if own["y"].notna().any() else own[:0]
        if to_last["x"].notna().any():  # else it is left out
            alone[name] = read(own, observed=["x"])
    if not alone:
        return
    table = read(frame, observed=["x"])
    assert table.names == tuple(alone)
    assert table.starts.tolist() == np.cumsum([0, *map(len, alone.values())]).tolist()
    for field in ("times", "values", "observed"):
        parts = [getattr(one, field) for one in alone.values()]
        np.testing.assert_array_equal(getattr(table, field), np.concatenate(parts))
    for number, one in enumerate(alone.values()):
        np.testing.assert_array_equal(table.of([number]).values, one.values)
    assert np.isfinite(table.values).all()


def test_series_keep_the_order_of_first_appearance(to_frame):
    frame = {
        "id": ["b", "a", "b", "a", "b", "a"],
        "ds": [DAYS[n].to_pydatetime() for n in (0, 2, 1, 3, 2, 4)],
        "y": [1.0, 7, 2, 8, 3, 9],
    }
    table = read(to_frame(frame))
    assert table.names == ("b", "a")
    assert (table.series, table.starts.tolist(), table.owner.tolist()) == (
        "id",
        [0, 3, 6],
        [0, 0, 0, 1, 1, 1],
    )
    assert table.column("y").tolist() == [1, 2, 3, 7, 8, 9]
    assert table.notes == ()  # by time across the series is no disorder
    assert list(table.to_frame().columns) == ["id", "ds", "y", "observed"]
    assert list(table.to_frame()["id"]) == ["b"] * 3 + ["a"] * 3
    turned = table.of([1, 0])
    assert (turned.names, turned.column("y").tolist()) == (("a", "b"), [7, 8, 9, 1, 2, 3])
    assert table.last(2).column("y").tolist() == [2, 3, 8, 9]
    assert table.until([1, 6]).column("y").tolist() == [1, 7, 8, 9]


def test_series_may_be_stamped_on_their_own_weekday():
    frame = pd.concat(
        [
            pd.DataFrame(
                {"id": day, "ds": pd.date_range("2020-01-01", periods=30, freq=f"W-{day}"), "y": 1.0}
            )
            for day in ("MON", "FRI")
        ]
    )
    table = read(frame.drop(index=7))
    assert table.frequency.label == "weekly"
    assert (len(table), np.count_nonzero(~table.observed)) == (60, 2)
    assert table.notes == (
        "Filled 2 gaps, 2 steps of 60 (the longest 1 step, from 2020-02-24 to 2020-02-24 in series 'MON') "
        "by straight lines; scores leave them out.",
    )


def test_empty_series_are_left_out_and_said():
    frame = long({"a": (0, [1.0, 2, 3, 4]), "b": (0, [np.nan] * 3), "c": (1, [5.0, 6]), "d": (0, [np.nan])})
    table = read(frame)
    assert (table.names, table.column("y").tolist()) == (("a", "c"), [1, 2, 3, 4, 5, 6])
    assert table.notes == ("Left out 2 series without a value to forecast (b, d).",)
    sized = frame.assign(size=frame["id"].map({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}))
    assert read(sized, static="size").static["size"].tolist() == [1.0, 3.0]
    frame["x"] = np.where(frame["id"] == "c", np.nan, 1.0)
    assert read(frame, observed="x").names == ("a",)
    assert "Left out 1 series without a value of 'x' (c)." in read(frame, observed="x").notes


def test_one_time_of_a_series_with_two_values_is_refused():
    frame = long({"a": (0, [1.0, 2, 3]), "b": (0, [4.0, 5, 6])})
    again = pd.concat([frame, frame[4:5], frame[1:2]])
    table = read(again)
    assert table.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert "Removed 2 exact duplicate rows" in table.notes[1]
    with pytest.raises(DataError, match=r"got 2018-01-02 in series 'b' with different values \(5 and 8\)"):
        read(pd.concat([frame, frame[4:5].assign(y=8.0)]))
    kinds = pd.concat([frame.assign(kind="sun"), frame[4:5].assign(kind="rain")])
    with pytest.raises(DataError, match=r"in series 'b' with different values \('sun' and 'rain'\)"):
        read(kinds, known="kind")
    with pytest.raises(DataError, match="row 1, column 'id': expected the name of a series, got an empty"):
        read(frame.assign(id=["a", None, "a", "b", "b", "b"]))


def test_a_series_with_a_frequency_of_its_own_is_named():
    frame = long({"a": (0, np.arange(60.0)), "b": (5, np.arange(50.0))})
    weekly = pd.DataFrame({"id": "slow", "ds": pd.date_range("2018-01-01", periods=9, freq="7D"), "y": 1.0})
    with pytest.raises(
        DataError, match=r"series 'slow': expected the calendar that the series share \(daily\), got weekly"
    ):
        read(pd.concat([frame, weekly]))
    hourly = pd.DataFrame({"id": "fast", "ds": pd.date_range("2018-01-01", periods=90, freq="h"), "y": 1.0})
    with pytest.raises(DataError, match=r"series 'fast': .* \(daily\), got hourly"):
        read(pd.concat([frame, hourly]))


CHANGES = [
    ("D", 100, "W-MON", 20, "daily up to .*, weekly from there on"),
    ("W-MON", 20, "D", 150, "weekly up to .*, daily from there on"),
    ("W-MON", 80, "D", 90, "weekly up to .*, daily from there on"),
    ("W-MON", 100, "D", 60, "weekly up to .*, daily from there on"),
    ("h", 300, "D", 30, "hourly up to .*, daily from there on"),
    ("D", 200, "MS", 24, r"daily up to .*, monthly \(start\) from there on"),
    ("MS", 60, "QS", 12, r"monthly \(start\) up to .*, quarterly \(start\) from there on"),
    ("YS", 30, "MS", 40, r"yearly \(start\) up to .*, monthly \(start\) from there on"),
]  # fmt: skip


@pytest.mark.parametrize(("early", "rows", "late", "more", "message"), CHANGES)
def test_a_frequency_that_changes_is_told_with_its_place(early, rows, late, more, message):
    first = pd.date_range("2001-01-01", periods=rows, freq=early)
    second = pd.date_range(first[-1] + pd.Timedelta("1D"), periods=more, freq=late)
    frame = pd.DataFrame({"id": "b", "ds": first.append(second), "y": 1.0})
    with pytest.raises(
        DataError, match=f"one calendar from the first row to the last, got {message}"
    ) as caught:
        read(frame)
    told = pd.Timestamp(str(caught.value).split("up to ")[1].split(",")[0])
    assert abs(told - first[-1]) <= max(np.diff(second.to_numpy()).max(), np.diff(first.to_numpy()).max())
    if rows > 80:  # one of several series
        other = pd.DataFrame(
            {"id": "a", "ds": pd.date_range("2001-01-01", periods=400, freq=early), "y": 1.0}
        )
        with pytest.raises(DataError, match="series 'b': expected one calendar"):
            read(pd.concat([other, frame]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.4))
def test_chance_gaps_are_no_change_of_frequency(seed, share):
    random = np.random.default_rng(seed)
    frame = long({name: (0, np.arange(120.0)) for name in "abcde"})
    kept = frame[(random.random(len(frame)) >= share) | (frame.index % 120 == 0)]
    assert read(kept).frequency.label == "daily"


def test_a_wrong_year_does_not_fill_the_memory():
    stamps = pd.date_range("2020-01-01", periods=300, freq="s").to_series()
    stamps.iloc[-1] = pd.Timestamp("2200-01-01")
    with pytest.raises(DataError, match=r"at most 50 steps without a row .* to 2200-01-01"):
        read_table(pd.DataFrame({"ds": stamps, "y": 1.0}))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.02, 0.4))
def test_closed_days_and_lost_weeks_of_several_series(seed, share):
    """Against the plain loop: up to a week without rows is closed, more of it is lost."""
    random = np.random.default_rng(seed)
    business = Frequency(microseconds=86_400_000_000, slots=tuple(86_400_000_000 * day for day in range(5)))
    days = pd.bdate_range("2020-01-01", periods=60).to_numpy().astype("datetime64[us]")
    expected, rows = [], []
    for series in range(3):
        kept = random.random(60) >= share
        kept[10:20] &= series != 1
        kept[30] = True
        here = np.flatnonzero(kept)
        rows += [(series, days[n], float(n)) for n in here]
        for n in range(here[0], here[-1] + 1):
            before, after = here[here <= n][-1], here[here >= n][0]
            if kept[n] or after - before - 1 > 5:
                expected.append((series, days[n], float(n) if kept[n] else None))
    series, times, values = (np.array(column) for column in zip(*rows, strict=True))
    found = on_calendar(Rows(series, times, values[:, None], ("a", "b", "c")), business, [])
    assert found.series.tolist() == [row[0] for row in expected]
    assert found.times.tolist() == [row[1].item() for row in expected]
    assert [None if np.isnan(value) else value for value in found.values[:, 0]] == [
        row[2] for row in expected
    ]


def test_newer_rows_follow_by_name():
    old = read(long({"a": (0, [1.0, 2, 3, 4]), "b": (2, [5.0, 6, 7])}))
    newer = read(long({"c": (9, [8.0, 9, 10]), "b": (4, [11.0, 12, 13])}))
    joined = old.followed_by(newer)
    assert joined.names == ("a", "b", "c")
    assert [joined.of([n]).column("y").tolist() for n in range(3)] == [
        [1, 2, 3, 4],
        [5, 6, 11, 12, 13],
        [8, 9, 10],
    ]
    assert [str(joined.of([n]).times[0])[:10] for n in range(3)] == ["2018-01-01", "2018-01-03", "2018-01-10"]
    late = read(long({"b": (7, [1.0, 2, 3])}))
    with pytest.raises(DataError, match="newer rows of series 'b': expected rows from 2018-01-06 on"):
        old.followed_by(late)
    unnamed = read_table(long({"b": (5, [1.0, 2, 3])})[["ds", "y"]])
    assert old.of([1]).followed_by(unnamed).names == ("b",)


def test_rows_without_times_are_numbered_within_their_series():
    frame = pd.DataFrame({"id": list("abaabb"), "y": [1.0, 4, 2, 3, 5, 6]})
    table = read_table(frame, target="y", series="id")
    assert table.times.tolist() == [0, 1, 2, 0, 1, 2]
    assert table.column("y").tolist() == [1, 2, 3, 4, 5, 6]


def test_thousands_of_short_series_are_read_at_once():
    random = np.random.default_rng(0)
    names, first = np.repeat(np.arange(5000), 60), np.repeat(random.integers(0, 300, 5000), 60)
    days = np.datetime64("2020-01-01") + (first + np.tile(np.arange(60), 5000)).astype("timedelta64[D]")
    frame = pd.DataFrame({"id": names, "ds": days, "y": random.random(300_000), "x": random.random(300_000)})
    frame = frame[random.random(300_000) > 0.05]
    start = clock.perf_counter()
    table = read(frame, observed=["x"])
    assert (
        clock.perf_counter() - start < 10
    )  # half a second on an idle machine; a loop over 5,000 groups takes more
    assert (len(table.names), table.names[:2]) == (5000, ("0", "1"))
