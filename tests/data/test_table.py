"""Tables: what people's files look like, what is done to them, and what is said of it."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest

from unrolled.data import load_co2, load_ridership, read_table
from unrolled.errors import DataError, MissingDataError, OptionError

DAYS = pd.date_range("2020-01-25", periods=40)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def lines(dates, values=None, separator=",", header=("day", "sold")):
    values = values if values is not None else [f"{1.5 * n}" for n in range(len(dates))]
    rows = [
        separator.join(header),
        *(f"{date}{separator}{value}" for date, value in zip(dates, values, strict=True)),
    ]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%m/%d/%Y", "%m/%d/%y", "%d.%m.%Y", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%m/%d/%Y %I:%M %p",
     "%Y%m%d", "%d %b %Y", "%Y/%m/%d"],
)  # fmt: skip
def test_separators_and_dates(tmp_path, separator, form):
    table = read_table(
        write(tmp_path / "t.csv", lines(DAYS.strftime(form), separator=separator)), target="sold"
    )
    assert (table.times == DAYS.to_numpy().astype("datetime64[us]")).all()
    assert table.values[:, 0].tolist() == [1.5 * n for n in range(40)]
    assert (table.time, table.frequency.label) == ("day", "daily")


def test_month_first_unless_impossible(tmp_path):
    ambiguous = read_table(write(tmp_path / "a.csv", lines(["01/02/2020", "01/03/2020", "01/04/2020"])))
    assert ambiguous.times[0] == np.datetime64("2020-01-02")
    assert "read dates as month/day/year" in ambiguous.notes[0]
    british = read_table(write(tmp_path / "b.csv", lines(DAYS.strftime("%d/%m/%Y"))))
    assert (british.times == DAYS.to_numpy().astype("datetime64[us]")).all()
    assert "day/month/year" in british.notes[0]


def test_latin_1_and_a_byte_order_mark(tmp_path):
    text = lines(DAYS.strftime("%Y-%m-%d"), header=("Tag", "Verkäufe"))
    for encoding in ("latin-1", "utf-8", "utf-8-sig"):
        assert read_table(write(tmp_path / "t.csv", text, encoding), target="Verkäufe").columns == (
            "Verkäufe",
        )


def test_numbers_as_people_write_them(tmp_path):
    dates = DAYS.strftime("%Y-%m-%d")[:3]
    german = read_table(write(tmp_path / "g.csv", lines(dates, ["1,5", "-2,25", "3"], ";")))
    assert german.values[:, 0].tolist() == [1.5, -2.25, 3.0]
    thousands = read_table(write(tmp_path / "t.csv", lines(dates, ["1.521,75", "980", "-1.000.000"], ";")))
    assert thousands.values[:, 0].tolist() == [1521.75, 980.0, -1_000_000.0]
    american = read_table(write(tmp_path / "a.csv", lines(dates, ['"1,500"', '"2,000,000"', "7"])))
    assert american.values[:, 0].tolist() == [1500.0, 2_000_000.0, 7.0]
    assert "thousands" in american.notes[0]


def test_parquet_gzip_and_frames_agree(tmp_path, to_frame):
    columns = {"day": DAYS.to_pydatetime().tolist(), "sold": np.arange(40.0).tolist()}
    frame = to_frame(columns)
    direct = read_table(frame, target="sold", time="day")
    assert direct.kind == type(frame).__module__.split(".")[0]
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv.gz", index=False)
    for path in (tmp_path / "t.parquet", tmp_path / "t.csv.gz"):
        read = read_table(path, target="sold", time="day")
        assert (read.times == direct.times).all()
        assert (read.values == direct.values).all()


def test_roles_are_found():
    long = pd.DataFrame({"unique_id": "a", "ds": DAYS, "y": np.arange(40), "other": 1.0})
    table = read_table(long)
    assert (table.columns, table.time, table.series, table.names) == (("y",), "ds", "unique_id", ("a",))
    wide = pd.DataFrame({"price": np.arange(40.0), "when": DAYS})
    assert (read_table(wide).columns, read_table(wide).time) == (("price",), "when")
    assert read_table(wide.set_index("when")).time == "when"
    assert read_table(pd.Series(np.arange(40.0), DAYS, name="p")).columns == ("p",)
    assert read_table(pd.DataFrame({"p": np.arange(40.0)})).frequency.label == "by row number"
    assert read_table(pd.DataFrame({"p": np.arange(40.0), "year": 1980 + np.arange(40)})).times[0] == 1980
    named = pd.DataFrame({"ds": 0.0, "stamp": DAYS.astype(str), "y": 1.0, "z": np.arange(40.0)})
    assert read_table(named, target="z", time="stamp").column("z")[-1] == 39
    with pytest.raises(DataError, match="one column to forecast, got 'a', 'b'"):
        read_table(pd.DataFrame({"a": [1.0] * 4, "b": [2.0] * 4}))


def test_order_and_duplicates_are_mended_and_said(caplog):
    frame = pd.DataFrame({"ds": DAYS, "y": np.arange(40.0)})
    mixed = pd.concat([frame, frame[3:6], frame[20:21]]).sample(frac=1, random_state=0)
    table = read_table(mixed)
    assert table.values[:, 0].tolist() == list(range(40))
    assert any("sorted" in note for note in table.notes)
    assert any("Removed 4 exact duplicate rows" in note for note in table.notes)
    assert [record.getMessage() for record in caplog.records] == list(table.notes)
    whole = read_table(frame)
    assert whole.notes == ()


def test_one_time_with_two_values_is_refused():
    frame = pd.DataFrame({"ds": [*DAYS, DAYS[4]], "y": [*range(40), 99]})
    with pytest.raises(
        DataError, match=r"one row for each time, got 2020-01-29 with different values \(4 and 99\)"
    ):
        read_table(frame)


def test_gaps_are_filled_by_lines_and_flagged(to_frame):
    values = [float(n) for n in range(40)]
    values[7] = values[8] = None
    columns = {"ds": DAYS.to_pydatetime().tolist(), "y": values}
    keep = [n for n in range(40) if n not in (20, 21, 22)]
    kept = {name: [column[n] for n in keep] for name, column in columns.items()}
    table = read_table(to_frame(kept))
    assert table.values[:, 0].tolist() == pytest.approx(list(range(40)))
    assert np.flatnonzero(~table.observed[:, 0]).tolist() == [7, 8, 20, 21, 22]
    assert (
        "Filled 2 gaps, 5 steps of 40 (the longest 3 steps, from 2020-02-14 to 2020-02-16)" in table.notes[0]
    )
    assert list(table.to_frame()["observed"]) == table.observed[:, 0].tolist()
    with pytest.raises(DataError, match="no gaps .* got 2 gaps, 5 steps of 40"):
        read_table(to_frame(kept), gaps="refuse")
    with pytest.raises(OptionError, match="'fill' or 'refuse', got 'mend'"):
        read_table(to_frame(columns), gaps="mend")


def test_empty_ends_are_cut_off():
    frame = pd.DataFrame({"ds": DAYS, "y": [np.nan, *range(38), np.nan]})
    table = read_table(frame)
    assert len(table) == 38
    assert table.observed.all()
    assert "Cut off 2 rows" in table.notes[0]


def test_holidays_are_no_gaps_but_a_lost_month_is():
    from pandas.tseries.holiday import USFederalHolidayCalendar

    days = pd.bdate_range("2015-01-01", "2019-12-31")
    days = days.difference(USFederalHolidayCalendar().holidays("2015", "2020"))
    closes = pd.DataFrame({"day": days, "close": np.arange(len(days)) * 1.0})
    table = read_table(closes, gaps="refuse")
    assert len(table) == len(days)
    assert "49 closed steps" in table.notes[0]
    lost = closes[(closes.day < "2017-03-01") | (closes.day >= "2017-04-01")]
    table = read_table(lost)
    assert len(table) == len(days)
    assert np.count_nonzero(~table.observed) == 23


def test_rows_off_the_calendar_are_moved_or_refused():
    index = pd.date_range("2020-01-01", periods=100, freq="h").to_series()
    index.iloc[[7, 50]] += pd.Timedelta("9min")
    table = read_table(pd.DataFrame({"ds": index, "y": np.arange(100.0)}))
    assert "Moved 2 rows to the nearest step of the calendar (hourly)" in table.notes[0]
    assert len(np.unique(np.diff(table.times))) == 1
    index.iloc[8] = index.iloc[7] + pd.Timedelta("1min")
    with pytest.raises(DataError, match="both 2020-01-01 07:09 and 2020-01-01 07:10"):
        read_table(pd.DataFrame({"ds": index, "y": np.arange(100.0)}))


def test_time_zones():
    utc = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=50, tz="UTC"), "y": np.arange(50.0)})
    assert read_table(utc).frequency.label == "daily"
    paris = pd.date_range("2020-10-20", periods=500, freq="h", tz="Europe/Paris")
    table = read_table(pd.DataFrame({"ds": paris, "y": np.arange(500.0)}))
    assert len(np.unique(np.diff(table.times))) == 1
    assert "taken as UTC" in table.notes[0]
    texts = pd.DataFrame({"ds": paris.strftime("%Y-%m-%dT%H:%M:%S%z"), "y": np.arange(500.0)})
    assert (read_table(texts).times == table.times).all()


BAD = [
    ("", "a table with a header, got an empty file"),
    ("day,sold\n", "rows of data, got a header and no row"),
    ("day,slod\n2020-01-01,1\n", "a column 'sold', got the columns 'day', 'slod'. Did you mean 'slod'?"),
    (lines(["2020-01-01", "2020-01-02", "2020-01-03"], ["1", "two", "x"]), "line 3, column 'sold': expected a number, got 'two'"),
    (lines(["2020-01-01", "2020-01-02", "2020-01-03"], ["1", "inf", "3"]), "line 3, column 'sold': expected a finite number, got 'inf'"),
    (lines(["2020-01-01", "soon", "2020-01-03"]), "line 3, column 'day': expected a date or time"),
    (lines(["2020-01-01", "", "2020-01-03"]), "line 3, column 'day': expected a time, got an empty cell"),
    (lines(["2020-01-01", "2020-13-02", "2020-01-03"]), "line 3, column 'day'"),
    (lines(["2020-01-01", "2020-01-01", "2020-01-03"], ["1", "2", "3"]), "different values"),
    (lines(["2020-01-01", "2020-01-09", "2020-01-11", "2020-02-11", "2020-02-16"]), "regular times"),
    (lines(["2020-01-01", "2020-01-02", "2020-01-03"], ["", "", ""]), "column 'sold'"),
    ("day,sold\n2020-01-01,1\n2020-01-02,2,3,4\n", "a CSV or Parquet table"),
    ("day,sold, sold\n2020-01-01,1,2\n", "each column name once, got 'sold' twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_bad_files_are_named_in_one_line(tmp_path, text, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_table(write(tmp_path / "t.csv", text), target="sold", time="day")
    assert "\n" not in str(caught.value)


def test_bad_paths(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="a folder"):
        read_table(tmp_path)
    (tmp_path / "t.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match=r"t\.parquet: expected a CSV or Parquet table"):
        read_table(tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(DataError, match="t\\.csv: expected"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(DataError, match="a pandas or a polars data frame, got list"):
        read_table([1, 2, 3])
    with pytest.raises(DataError, match="each column name once, got 'y' twice"):
        read_table(pd.DataFrame([[1.0, 2.0]], columns=["y", "y"]))
    with pytest.raises(DataError, match="polars"):
        read_table(pl.DataFrame({"y": [1.0]}).lazy())


def test_newer_rows_replace_and_follow():
    old = read_table(pd.DataFrame({"ds": DAYS[:30], "y": np.arange(30.0)}))
    newer = read_table(pd.DataFrame({"ds": DAYS[28:], "y": 100 + np.arange(12.0)}))
    joined = old.followed_by(newer)
    assert joined.values[:, 0].tolist() == [*range(28), *range(100, 112)]
    assert (joined.times == DAYS.to_numpy().astype("datetime64[us]")).all()
    with pytest.raises(
        DataError, match="rows from 2020-02-24 on, where the known data end, got rows from 2020-02-27 on"
    ):
        old.followed_by(newer[5:])


def test_co2_has_its_real_gaps():
    table = read_table(load_co2())
    assert (len(table), table.frequency.label, np.count_nonzero(~table.observed)) == (2284, "weekly", 59)


def test_ridership_is_found_checked_or_missed(tmp_path, monkeypatch, ridership_csv):
    import pooch

    from tests.conftest import SHARED

    monkeypatch.setenv("UNROLLED_DATA", str(SHARED))
    frame = load_ridership()
    assert len(frame) == 7701
    table = read_table(ridership_csv, target="rail_boardings", time="service_date")
    assert len(table) == 7639
    assert any(
        "62 exact duplicate rows (2011-10-01 to 2011-10-31, 2014-07-01 to 2014-07-31)" in note
        for note in table.notes
    )
    monkeypatch.setenv("UNROLLED_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr("unrolled.data.datasets.GERON", "http://localhost:9")
    with pytest.raises(MissingDataError, match="set UNROLLED_DATA to the folder"):
        load_ridership()
    monkeypatch.setattr("unrolled.data.datasets.GERON", SHARED.as_uri())
    (tmp_path / "unrolled").mkdir(exist_ok=True)
    (tmp_path / "unrolled" / "ridership.tgz").write_bytes(b"not what was published")
    with pytest.raises(MissingDataError):  # the hash is wrong, and there is no network to mend it
        load_ridership()
