"""Changes of clocks: no hour is invented in spring, and none has two values in autumn."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from unrolled.data import future_frame, known_ahead, read_table
from unrolled.errors import DataError

CHANGES = {"spring": "2020-03-28", "autumn": "2020-10-24"}


def hours(start, periods=72, freq="h", zone="Europe/Paris"):
    return pd.date_range(start, periods=periods, freq=freq, tz=zone)


def text(index):
    return [stamp.isoformat() for stamp in index]


@pytest.mark.parametrize("start", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("form", ["pandas", "polars", "text", "csv"])
@pytest.mark.parametrize("freq", ["h", "15min"])
def test_hours_across_a_change_of_clocks(start, form, freq, tmp_path):
    index = hours(start, 300, freq)
    values = np.arange(300.0)
    source = {
        "pandas": lambda: pd.DataFrame({"ds": index, "y": values}),
        "polars": lambda: pl.DataFrame({"ds": pl.Series(index), "y": values}),
        "text": lambda: pd.DataFrame({"ds": text(index), "y": values}),
        "csv": lambda: pd.DataFrame({"ds": index, "y": values}).to_csv(tmp_path / "t.csv", index=False),
    }[form]()
    table = read_table(tmp_path / "t.csv" if form == "csv" else source)
    assert table.zone == ("Europe/Paris" if form in ("pandas", "polars") else "UTC")
    assert (len(table), table.observed.all()) == (300, True)
    assert table.column("y").tolist() == values.tolist()
    assert (table.times == index.tz_convert(None).to_numpy().astype("datetime64[us]")).all()
    shown = table.local(table.times)
    assert (shown == index).all()
    assert str(shown.tz) == table.zone
    frame = table.to_frame()
    assert type(frame).__module__.startswith("polars" if form == "polars" else "pandas")
    assert [stamp.timestamp() for stamp in frame["ds"]] == [stamp.timestamp() for stamp in index]


@pytest.mark.parametrize("start", CHANGES.values(), ids=CHANGES)
def test_days_keep_their_clock(start):
    index = hours(start, 30, "D")
    for stamps in (index, text(index)):
        table = read_table(pd.DataFrame({"ds": stamps, "y": np.arange(30.0)}))
        assert (table.zone, table.frequency.label, len(table)) == ("", "daily", 30)
        assert (table.times == index.tz_localize(None).to_numpy()).all()
        assert table.local(table.times) is table.times


def test_shifts_that_follow_the_clock_on_the_wall_keep_it():
    wall = pd.date_range("2020-03-01", periods=200, freq="6h")
    frame = pd.DataFrame({"ds": wall.tz_localize("Europe/Paris"), "y": np.arange(200.0)})
    table = read_table(frame)
    assert (table.zone, len(table)) == ("", 200)
    assert (table.times == wall.to_numpy()).all()


def test_a_zone_whose_clocks_will_change_is_kept():
    """Else the forecast of hours across the change, and newer rows, would not follow."""
    old = read_table(pd.DataFrame({"ds": hours("2020-03-20", 48), "y": np.arange(48.0)}))
    assert old.zone == "Europe/Paris"
    newer = read_table(pd.DataFrame({"ds": text(hours("2020-03-22", 240)), "y": 1.0}), like=old)
    joined = old.followed_by(newer)
    assert (len(joined), joined.zone) == (288, "Europe/Paris")
    naive = pd.DataFrame({"ds": pd.date_range("2020-03-22", periods=40, freq="h"), "y": 1.0})
    with pytest.raises(
        DataError, match=r"times with a zone or an offset, as before \(Europe/Paris\), got times without"
    ):
        read_table(naive, like=old)
    with pytest.raises(DataError, match="newer rows: expected times with one"):
        old.followed_by(read_table(naive))
    fixed = pd.DataFrame({"ds": hours("2020-03-22", 48, zone="UTC"), "y": 1.0})
    assert read_table(fixed).zone == ""
    assert read_table(pd.DataFrame({"ds": text(hours("2020-05-22", 48)), "y": 1.0})).zone == ""


def test_many_series_share_the_change():
    index = hours("2020-10-24", 60)
    frame = pd.DataFrame({"id": np.repeat(["a", "b"], 60), "ds": [*index, *index], "y": np.arange(120.0)})
    table = read_table(frame.sample(frac=1, random_state=0), target="y", series="id")
    assert (table.zone, set(table.names), len(table)) == ("Europe/Paris", {"a", "b"}, 120)
    assert table.observed.all()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_the_future_is_filled_in_across_the_change(kind, tmp_path):
    index = hours("2020-10-23", 50)
    frame = pd.DataFrame({"ds": index, "y": np.arange(50.0), "open": 1.0})
    table = read_table(frame if kind == "pandas" else pl.from_pandas(frame), target="y", known="open")
    template = future_frame(table, 4)
    filled = (
        template.assign(open=range(4))
        if kind == "pandas"
        else template.with_columns(open=pl.Series(range(4)))
    )
    assert [stamp.hour for stamp in filled["ds"]] == [2, 2, 3, 4]
    assert known_ahead(table, 4, filled).column("open").tolist() == [0, 1, 2, 3]
    if kind == "pandas":
        filled.to_csv(tmp_path / "future.csv", index=False)
        assert known_ahead(table, 4, tmp_path / "future.csv").column("open").tolist() == [0, 1, 2, 3]
