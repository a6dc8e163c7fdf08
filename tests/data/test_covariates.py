"""What is known beside the targets: of the past, of the future, of each series."""

import numpy as np
import pandas as pd
import pytest

from unrolled.data import future_frame, known_ahead, read_table
from unrolled.errors import DataError

DAYS = pd.date_range("2020-01-01", periods=10)
NAN = None


def columns(**more):
    return {"ds": DAYS.to_pydatetime().tolist(), "y": [float(n) for n in range(10)], **more}


def two_series(**more):
    both = {name: values + values for name, values in columns().items()} | {"id": ["a"] * 10 + ["b"] * 10}
    return both | more


def test_columns_come_in_the_order_of_their_roles(to_frame):
    frame = to_frame(columns(z=[1.0] * 10, open=[1] * 10, kind=list("AABBAABBAA"), x=[2.0] * 10))
    table = read_table(frame, target=["y", "z"], known=["kind", "open"], observed="x", time="ds")
    assert (table.columns, table.targets) == (("y", "z", "x", "open"), ("y", "z"))
    assert (table.known, table.past) == (("kind", "open"), ("x",))
    assert table.labels["kind"].tolist() == list("AABBAABBAA")
    assert list(table.to_frame().columns) == ["ds", "y", "z", "x", "open", "kind", "observed"]


@pytest.mark.parametrize(
    ("values", "categorical"),
    [
        ([1, 2] * 5, False),
        (["1", "2"] * 5, False),
        ([True, False] * 5, True),
        (["W", "A"] * 5, True),
        (["12", "12b"] * 5, True),
    ],
)
def test_what_is_a_category(to_frame, values, categorical):
    table = read_table(to_frame(columns(k=values)), target="y", known="k")
    assert ("k" in table.labels) == categorical
    if categorical:
        assert table.labels["k"].tolist() == [str(value) for value in values]
    codes = pd.DataFrame(columns(k=pd.Categorical([1, 2] * 5)))
    assert read_table(codes, target="y", known="k").labels["k"].tolist() == ["1", "2"] * 5


def test_gaps_of_covariates_never_tell_the_future(to_frame):
    x = [NAN, 1.0, NAN, NAN, 9.0, NAN, 5.0, 5.0, 5.0, 5.0]
    kind = ["A", NAN, "B"] + ["A"] * 7
    y = [0.0, 1.0, NAN, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    frame = columns(x=x, k=x, kind=kind) | {"y": y}
    kept = {name: [values[n] for n in range(10) if n != 7] for name, values in frame.items()}
    table = read_table(to_frame(kept), target="y", observed="x", known=["k", "kind"], time="ds")
    assert table.column("x").tolist() == [1, 1, 1, 1, 9, 9, 5, 5, 5, 5]
    assert table.column("k").tolist() == table.column("x").tolist()
    assert np.flatnonzero(~table.observed[:, 1]).tolist() == [0, 2, 3, 5, 7]
    assert table.column("y").tolist() == list(range(10))
    assert np.flatnonzero(~table.observed[:, 0]).tolist() == [2, 7]
    assert table.labels["kind"].tolist() == ["A", "", "B", "A", "A", "A", "A", "", "A", "A"]
    with pytest.raises(DataError, match="'x': expected no gaps .*, got 1 missing value"):
        read_table(pd.DataFrame(columns(x=[1.0, NAN, *range(8)])), target="y", observed="x", gaps="refuse")


def test_the_rows_before_the_first_target_still_tell_the_past():
    frame = pd.DataFrame(columns(x=[7.0] + [np.nan] * 4 + [1.0] * 5)).assign(y=[np.nan, np.nan, *range(8)])
    assert read_table(frame, target="y", observed="x").column("x").tolist() == [7, 7, 7, 1, 1, 1, 1, 1]
    late = frame.assign(x=[np.nan] * 9 + [3.0], y=[*range(8), np.nan, np.nan])
    with pytest.raises(DataError, match="up to the last target"):
        read_table(late, target="y", observed="x")


def test_a_target_may_lack_single_values_at_the_ends():
    frame = pd.DataFrame(columns(z=[np.nan, 3.0, np.nan, 5.0, *[5.0] * 5, np.nan]))
    table = read_table(frame, target=["y", "z"])
    assert len(table) == 10
    assert table.column("z").tolist() == [3, 3, 4, 5, 5, 5, 5, 5, 5, 5]
    assert np.flatnonzero(~table.observed[:, 1]).tolist() == [0, 2, 9]
    assert table.observed[:, 0].all()


def test_lines_do_not_overflow():
    frame = pd.DataFrame(columns()).assign(y=[-1.7e308, np.nan, 1.7e308, *[0.0] * 7])
    assert read_table(frame).values[:3, 0].tolist() == [-1.7e308, 0.0, 1.7e308]


def test_statics(to_frame):
    frame = two_series(size=[3.0] * 10 + [NAN] * 3 + [5.0] * 7, city=["Rome"] * 10 + ["Oslo"] * 10)
    table = read_table(to_frame(frame), target="y", series="id", static=["size", "city"])
    assert table.static["size"].tolist() == [3.0, 5.0]
    assert table.static["city"].tolist() == ["Rome", "Oslo"]
    assert table.of([1]).static["city"].tolist() == ["Oslo"]
    frame["city"][13] = "Bern"
    with pytest.raises(
        DataError, match=r"one value for each series \(static\), got 'Oslo' and 'Bern' in series 'b'"
    ):
        read_table(to_frame(frame), target="y", series="id", static="city")
    frame["size"] = [3.0] * 10 + [NAN] * 10
    table = read_table(to_frame(frame), target="y", series="id", static="size")
    assert table.static["size"].tolist() == [3.0, 3.0]
    assert "1 series without a value (b) got the mean" in table.notes[0]


ROLES = [
    ({"known": "x", "observed": "x"}, "each column in one role, got 'x' as known and observed"),
    ({"known": ["x", "x"]}, "got 'x' twice as known"),
    ({"observed": "y"}, "got 'y' as target and observed"),
    ({"static": "id", "series": "id"}, "got 'id' as series and static"),
    ({"known": "ds", "time": "ds"}, "got 'ds' as time and known"),
    ({"known": "oepn"}, "Did you mean 'open'?"),
    ({"observed": "empty"}, "column 'empty': expected numbers, got empty cells only"),
    ({"known": "empty"}, "column 'empty': expected numbers, got empty cells only"),
    ({"observed": "kind"}, "column 'kind': expected a number"),
    ({"observed": "inf"}, "column 'inf': expected a finite number"),
    ({"known": "inf"}, "column 'inf': expected a finite number"),
]


@pytest.mark.parametrize(("options", "message"), ROLES)
def test_roles_are_checked(options, message):
    frame = pd.DataFrame(columns(x=1.0, id="a", open=1, empty=np.nan, kind="K", inf=[np.inf, *range(9)]))
    with pytest.raises(DataError) as caught:
        read_table(frame, target="y", **options)
    assert message in str(caught.value)


def ahead_frame(to_frame, **more):
    y = [float(n) for n in range(6)] + [NAN] * 4
    return to_frame(columns() | {"y": y, "open": [1.0, 0.0] * 5, "kind": list("AABBAABBAC")} | more)


def test_rows_after_the_last_target_are_known_ahead(to_frame):
    table = read_table(ahead_frame(to_frame), target="y", known=["kind", "open"])
    assert (len(table), len(table.ahead), table.notes) == (6, 4, ())
    assert table.ahead.columns == ("open",)
    ahead = known_ahead(table, 3)
    assert ahead.times.tolist() == DAYS.to_numpy().astype("datetime64[us]")[6:9].tolist()
    assert ahead.column("open").tolist() == [1, 0, 1]
    assert ahead.labels["kind"].tolist() == list("BBA")
    with pytest.raises(
        DataError,
        match=r"known column 'kind': expected a value for each step to forecast in the data, got none for "
        r"2020-01-11, 2020-01-12 \(so for 'open'\)\. Give them with future= \(--future FILE\); make_future_frame",
    ):
        known_ahead(table, 6)
    template = future_frame(table, 6)
    assert type(template) is type(ahead_frame(to_frame))
    assert list(template.columns) == ["ds", "kind", "open"]
    assert [value if isinstance(value, str) else None for value in template["kind"]] == [*"BBAC", None, None]
    assert len(known_ahead(read_table(to_frame(columns())), 4)) == 4


def test_what_is_cut_off_is_known_ahead(to_frame):
    table = read_table(ahead_frame(to_frame), target="y", known=["kind", "open"])
    for part in (table[:3], table.until([3])):
        assert (len(part), len(part.ahead)) == (3, 7)
        assert known_ahead(part, 5).labels["kind"].tolist() == list("BAABB")
        assert known_ahead(part, 5).column("open").tolist() == [0, 1, 0, 1, 0]
    assert known_ahead(table[-2:], 2).column("open").tolist() == [1, 0]
    both = two_series(open=list(range(10)) + list(range(20, 30)))
    many = read_table(to_frame(both), target="y", series="id", known="open")
    cut = many.until([7, 18])
    assert known_ahead(cut, 2).column("open").tolist() == [7, 8, 28, 29]
    assert known_ahead(cut.of([1, 0]), 2).column("open").tolist() == [28, 29, 7, 8]
    assert known_ahead(cut.last(1), 2).column("open").tolist() == [7, 8, 28, 29]
    again = cut.of([1]).followed_by(many.of([0]).until([4]))
    assert again.names == ("b", "a")
    assert known_ahead(again, 2).column("open").tolist() == [28, 29, 4, 5]


def test_a_gap_in_what_was_known_is_not_known_ahead():
    frame = pd.DataFrame(columns(open=[1.0] * 7 + [np.nan] + [1.0] * 2))
    table = read_table(frame, target="y", known="open")
    with pytest.raises(DataError, match="got none for 2020-01-08"):
        known_ahead(table[:6], 3)


def test_the_future_comes_from_a_file_or_a_frame(to_frame, tmp_path):
    both = two_series(open=[1.0] * 20, kind=["A", "B"] * 10)
    table = read_table(to_frame(both), target="y", series="id", known=["open", "kind"])
    template = pd.DataFrame(
        {name: list(future_frame(table, 3)[name]) for name in ("id", "ds", "open", "kind")}
    )
    assert template["id"].tolist() == ["a"] * 3 + ["b"] * 3
    assert template["ds"].astype(str).tolist() == ["2020-01-11", "2020-01-12", "2020-01-13"] * 2
    filled = template.assign(open=np.arange(6.0), kind=list("ABABAB"))
    more = pd.concat([filled.assign(id="other"), filled, filled[:2]]).sample(frac=1, random_state=1)
    filled.to_csv(tmp_path / "future.csv", index=False)
    for future in (to_frame(filled.to_dict("list")), more, tmp_path / "future.csv"):
        ahead = known_ahead(table, 3, future)
        assert ahead.column("open").tolist() == list(range(6))
        assert ahead.labels["kind"].tolist() == list("ABABAB")
        assert ahead.starts.tolist() == [0, 3, 6]
    template.to_csv(tmp_path / "unfilled.csv", index=False)
    with pytest.raises(
        DataError,
        match=r"in unfilled\.csv, got none for 2020-01-11, 2020-01-12, 2020-01-13 of series 'a', and 1 other series",
    ):
        known_ahead(table, 3, tmp_path / "unfilled.csv")
    with pytest.raises(DataError, match="a column 'kind'"):
        known_ahead(table, 3, filled.drop(columns="kind"))
    with pytest.raises(DataError, match="different values"):
        known_ahead(table, 3, pd.concat([filled, filled[:1].assign(open=9)]))


def test_a_column_that_is_mostly_empty_says_that_there_is_nothing():
    frame = pd.DataFrame(columns(event=[None] * 4 + ["feast"] + [None] * 5))
    table = read_table(frame, target="y", known="event")
    assert (table.blank, table.notes) == (("event",), ())
    future = pd.DataFrame({"ds": pd.date_range("2020-01-11", periods=3), "event": [None, "feast", None]})
    assert known_ahead(table, 3, future).labels["event"].tolist() == ["", "feast", ""]
    with pytest.raises(DataError, match="2020-01-14"):
        known_ahead(table, 4, future)
    assert future_frame(table[:8], 2)["event"].tolist() == ["", ""]


def test_numbered_rows_have_a_future_too():
    frame = pd.DataFrame({"y": np.arange(5.0), "open": [1, 0, 1, 0, 1]})
    table = read_table(frame, target="y", known="open")
    assert known_ahead(table, 2, pd.DataFrame({"open": [3, 4]})).column("open").tolist() == [3, 4]
    assert list(future_frame(table, 2).columns) == ["row", "open"]
    assert known_ahead(table, 2, future_frame(table, 2).assign(open=[5, 6])).column("open").tolist() == [5, 6]
