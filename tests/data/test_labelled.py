"""Tables with labels: texts, a sequence in each row, a row for each step; and what is refused."""

import datetime

import numpy as np
import pandas as pd
import pytest

from unrolled.data.labelled import read_labelled
from unrolled.errors import DataError, OptionError

LONG = {
    "who": ["b", "a", "b", "a"],
    "t": [2, 1, 1, 2],
    "u": [1.0, 2.0, 3.0, 4.0],
    "v": [5, 6, 7, 8],
    "k": ["x", "y", "x", "y"],
}


def changed(**columns):
    return LONG | columns


def test_long_tables(to_frame):
    read = read_labelled(to_frame(LONG), label="k", sequence=["u", "v"], id="who", time="t")
    assert [part.tolist() for part in read.inputs] == [[[3, 7], [1, 5]], [[2, 6], [4, 8]]]
    assert read.names.tolist() == ["b", "a"]
    assert read.labels.tolist() == ["x", "y"]


@pytest.mark.parametrize("t", [[0.5, 0.0, 0.25, 10.0], [2.0, 1.0, 1.0, 3.0], ["2.50", "-1e3", "0.0", "9.75"]])
def test_decimals_order_steps_as_well(to_frame, t):
    who, u = ["b", "b", "a", "a"], [1, 2, 3, 4]
    table = to_frame({"who": who, "t": t, "u": u, "k": ["x", "x", "y", "y"]})
    read = read_labelled(table, label="k", sequence=["u"], id="who", time="t")
    assert [part.ravel().tolist() for part in read.inputs] == [[2, 1], [3, 4]]
    for wrong, said in (("soon", "a date or time"), ("inf", "a date or time"), (t[1], "each time once")):
        with pytest.raises(DataError, match=said):
            read_labelled(
                to_frame({"who": who, "t": [str(wrong), *map(str, t[1:])], "u": u, "k": ["x"] * 4}),
                label="k", sequence=["u"], id="who", time="t",
            )  # fmt: skip


def test_times_of_a_frame_are_no_decimals(to_frame):
    days = [datetime.datetime(2020, 1, day) for day in (2, 1, 3, 4)]
    table = {"who": ["b", "b", "a", "a"], "t": days, "u": [1, 2, 3, 4], "k": ["x", "x", "y", "y"]}
    read = read_labelled(to_frame(table), label="k", sequence=["u"], id="who", time="t")
    assert [part.ravel().tolist() for part in read.inputs] == [[2, 1], [3, 4]]
    with pytest.raises(DataError, match="a time, got an empty cell"):
        read_labelled(
            to_frame(table | {"t": [None, *days[1:]]}), label="k", sequence=["u"], id="who", time="t"
        )


def test_without_times_rows_are_taken_as_they_stand(to_frame):
    read = read_labelled(to_frame(LONG), label="k", sequence=["u"], id="who")
    assert [part.ravel().tolist() for part in read.inputs] == [[1, 3], [2, 4]]


def test_a_sequence_in_each_row_ends_with_its_last_number(to_frame):
    table = to_frame({"a": [1.0, 2.0], "b": [3.0, None], "c": [4.0, None], "k": ["x", "y"]})
    read = read_labelled(table, label="k", sequence=["a", "b", "c"])
    assert [part.ravel().tolist() for part in read.inputs] == [[1, 3, 4], [2]]


def test_texts_and_files(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text('text,kind\n"fine, it is",good\n"<b>bad</b>", bad \n')
    read = read_labelled(path, label="kind", text="text")
    assert read.inputs == ["fine, it is", "<b>bad</b>"]
    assert read.labels.tolist() == ["good", "bad"]
    assert read.names.tolist() == [1, 2]  # records, not the lines of the file
    assert read_labelled(path, label=None, text="text").labels is None


@pytest.mark.parametrize(
    ("columns", "given", "words"),
    [
        (
            changed(k=["x", None, "x", None]),
            {},
            r"row 1, column 'k': expected a label, got an empty cell. 2 of 4",
        ),
        (
            changed(k=["x", "y", "x", "x"]),
            {},
            r"column 'k': expected one label in all rows of 'a', got 'y' and 'x'",
        ),
        (changed(u=[1.0, None, 3.0, 4.0]), {}, "row 1, column 'u': expected a number inside"),
        (changed(t=[1, 1, 1, 2]), {}, "each time once in the sequence 'b'"),
        (changed(who=["b", None, "b", "a"]), {}, "row 1, column 'who': expected an id"),
        (LONG, {"sequence": ["w"]}, "a column 'w'"),
        (LONG, {"label": "K"}, "Did you mean 'k'?"),
    ],
)
def test_what_is_refused(to_frame, columns, given, words):
    options = {"label": "k", "sequence": ["u"], "id": "who", "time": "t"} | given
    with pytest.raises(DataError, match=words):
        read_labelled(to_frame(columns), **options)


def test_rows_with_holes_and_empty_texts_are_refused(to_frame):
    with pytest.raises(DataError, match=r"row 0, column 'a': expected a number inside"):
        read_labelled(
            to_frame({"a": [None, 1.0], "b": [1.0, 2.0], "k": ["x", "y"]}), label="k", sequence=["a", "b"]
        )
    with pytest.raises(DataError, match="an empty row"):
        read_labelled(
            to_frame({"a": [1.0, np.nan], "b": [1.0, np.nan], "k": ["x", "y"]}),
            label="k",
            sequence=["a", "b"],
        )
    with pytest.raises(DataError, match=r"row 1, column 't': expected a text"):
        read_labelled(to_frame({"t": ["a", " "], "k": ["x", "y"]}), label="k", text="t")
    rows = to_frame({"a": [1.0, 2.0], "b": [1.0, 2.0], "k": ["x", None]})
    with pytest.raises(DataError, match="are missing: .*name the column that tells which by --id"):
        read_labelled(rows, label="k", sequence=["a"])
    with pytest.raises(DataError, match="or remove their rows.$"):
        read_labelled(rows, label="k", sequence=["a", "b"])


@pytest.mark.parametrize(
    "options",
    [{}, {"text": "u", "sequence": ["u"]}, {"text": "u", "id": "who"}, {"sequence": ["u"], "time": "t"}],
)
def test_options_that_do_not_go_together(to_frame, options):
    with pytest.raises(OptionError, match="options: expected"):
        read_labelled(to_frame(LONG), label="k", **options)


def test_a_label_may_stand_once_in_a_sequence():
    table = pd.DataFrame({"id": [1, 1, 2, 2, 2], "v": range(5), "kind": ["x", None, None, "y", None]})
    read = read_labelled(table, label="kind", sequence=["v"], id="id")
    assert read.labels.tolist() == ["x", "y"]
    assert read.notes == ("Column 'kind': 3 empty cells take the label of their sequence.",)
    table["kind"] = [1.5, None, None, 2.5, None]
    read = read_labelled(table, label="kind", sequence=["v"], id="id", numeric=True)
    assert read.labels.tolist() == [1.5, 2.5]
    table["kind"] = ["x", None, None, None, None]
    with pytest.raises(DataError, match="3 of 5 are missing"):
        read_labelled(table, label="kind", sequence=["v"], id="id")
    with pytest.raises(DataError, match="4 of 5 are missing"):
        read_labelled(table, label="kind", sequence=["v"], id="id", per_step=True)


def test_texts_in_the_wrong_place_get_their_cure():
    table = pd.DataFrame(
        {"id": [1, 2], "my text": ["a film", "b"], "kind": ["x", "y"], "t": ["14s", "15s"], "v": [1, 2]}
    )
    with pytest.raises(DataError, match="no number at all: name a column of texts by --text 'my text'"):
        read_labelled(table, label="kind", sequence=["my text"])
    with pytest.raises(OptionError, match="--text without --id.*pass --per-step"):
        read_labelled(table, label="kind", text="my text", id="id")
    with pytest.raises(DataError, match="or a whole number, got '14s'"):
        read_labelled(table, label="kind", sequence=["v"], id="id", time="t")


def test_groups_of_sequences():
    table = pd.DataFrame({"id": [1, 1, 2], "v": range(3), "kind": list("xxy"), "who": list("ppq")})
    read = read_labelled(table, label="kind", sequence=["v"], id="id", group="who")
    assert read.groups.tolist() == ["p", "q"]
    with pytest.raises(
        DataError, match="column 'who': expected one group in all rows of a sequence, got 'p' and 'q'"
    ):
        read_labelled(table.assign(who=list("pqq")), label="kind", sequence=["v"], id="id", group="who")
