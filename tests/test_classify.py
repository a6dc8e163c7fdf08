"""`unrolled classify` and `unrolled predict` on its runs, as a user calls them."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

import unrolled
from unrolled.cli import _run
from unrolled.data import load_digits_rows
from unrolled.estimators import sequences

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _fewer_steps(monkeypatch):
    monkeypatch.setattr(sequences, "STEPS", 150)
    logger = logging.getLogger("unrolled")
    before = logger.handlers, logger.propagate
    yield
    logger.handlers, logger.propagate = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    images, digits = load_digits_rows()
    rows = [
        {"image": number, "row": row, "digit": f"d{digits[number]}"}
        | {f"p{k}": int(v) for k, v in enumerate(points)}
        for number in np.flatnonzero(digits < 3)[:150]
        for row, points in enumerate(images[number])
    ]
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(place / "digits.csv", index=False)
    texts = [
        RANDOM.choice(["fine", "great"] if k % 2 else ["dull", "slow"])
        + RANDOM.choice([" film", " <b>", " play"])
        for k in range(80)
    ]
    kinds = ["good" if k % 2 else "bad" for k in range(80)]
    pd.DataFrame({"text": texts, "kind": kinds}).to_csv(place / "texts.csv", index=False)
    wide = pd.DataFrame(RANDOM.normal(size=(120, 4)).round(3), columns=list("abcd"))
    wide["up"] = np.where(wide["d"] > wide["a"], "yes", "no")
    wide.to_csv(place / "wide.csv", index=False)
    return place


POINTS = [word for k in range(8) for word in ("--sequence", f"p{k}")]
DIGITS = ["--label", "digit", *POINTS, "--id", "image", "--time", "row"]


def classify(folder, name, *words, out):
    return _run(["classify", str(folder / name), *words, "--out", str(out), "--members", "1", "--json"])


def test_a_long_table_to_a_run_folder_and_back(folder, tmp_path, capsys):
    assert classify(folder, "digits.csv", *DIGITS, out=tmp_path / "run") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["model"]["accuracy"] > 0.9 > found["baselines"]["majority"]["accuracy"]
    assert "told rightly" in shown.err
    assert found["standing"] == "unknown"  # thirty images are few, and a straight line tells them too
    assert found["gains"]["logistic"]["lo"] <= 0 < found["gains"]["majority"]["lo"]
    assert "Training on 120 sequences; 30 are held out." in shown.err
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {
        "config.json", "model.safetensors", "history.jsonl", "timing.jsonl", "metrics.json", "predictions.csv", "report.html",
    }  # fmt: skip
    assert json.loads((tmp_path / "run/metrics.json").read_text())["classes"] == ["d0", "d1", "d2"]
    told = pd.read_csv(tmp_path / "run/predictions.csv")
    assert list(told.columns) == ["sequence", "actual", "class", "p-d0", "p-d1", "p-d2"]
    assert (told["actual"] == told["class"]).mean() == pytest.approx(found["model"]["accuracy"])

    unlabelled = pd.read_csv(folder / "digits.csv").drop(columns="digit")
    unlabelled.to_csv(tmp_path / "new.csv", index=False)
    assert (
        _run(
            ["predict", str(tmp_path / "run"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "told.csv")]
        )
        == 0
    )
    again = pd.read_csv(tmp_path / "told.csv").set_index("sequence").loc[told["sequence"]]
    np.testing.assert_allclose(again["p-d0"], told["p-d0"], atol=1e-6)


def test_texts(folder, tmp_path, capsys):
    assert classify(folder, "texts.csv", "--label", "kind", "--text", "text", out=tmp_path / "run") == 0
    assert json.loads(capsys.readouterr().out)["model"]["accuracy"] == 1.0
    assert _run(["predict", str(tmp_path / "run"), str(folder / "texts.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["classes"]
    assert len(told) == 80
    assert list(told[0]) == ["sequence", "text", "class", "p-bad", "p-good"]
    table = pd.read_csv(folder / "texts.csv")
    assert [row["sequence"] for row in told] == list(range(1, 81))
    assert [row["text"] for row in told] == table["text"].tolist()
    held = pd.read_csv(tmp_path / "run/predictions.csv")
    assert held["text"].tolist() == table["text"].iloc[held["sequence"] - 1].tolist()


def test_texts_of_many_lines_are_numbered_by_record(folder, tmp_path, capsys):
    classify(folder, "texts.csv", "--label", "kind", "--text", "text", out=tmp_path / "run")
    capsys.readouterr()
    (tmp_path / "new.csv").write_text('text\n"fine\nfilm, and what is more it is a long one"\n\nslow play\n')
    assert _run(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv"), "--json"]) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["classes"]
    assert [(row["sequence"], row["text"].split()[0]) for row in rows] == [(1, "fine"), (2, "slow")]
    assert "fine film, and what is more it is a lon…" in shown.err


def test_a_sequence_in_each_row(folder, tmp_path, capsys):
    columns = [word for name in "abcd" for word in ("--sequence", name)]
    options = ["--model", "gru", "--units", "16", "--bidirectional", "--balanced", "--valid-size", "0.1"]
    assert classify(folder, "wide.csv", "--label", "up", *columns, *options, out=tmp_path / "run") == 0
    assert json.loads(capsys.readouterr().out)["model"]["accuracy"] > 0.7
    page = (tmp_path / "run/report.html").read_text()
    assert "bidirectional gru of 16 units" in page
    assert f"unrolled predict {tmp_path / 'run'} OTHER.csv" in page


def test_the_same_seed_gives_the_same_files(folder, tmp_path, capsys):
    for name in ("one", "two"):
        classify(folder, "texts.csv", "--label", "kind", "--text", "text", out=tmp_path / name)
    for file in ("config.json", "model.safetensors", "history.jsonl", "predictions.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "kind"], "options: expected --text or --sequence, got none."),
        (
            ["--label", "kind", "--text", "txt"],
            "texts.csv: expected a column 'txt', got the columns 'text', 'kind'.",
        ),
        (
            ["--label", "kind", "--text", "text", "--test-size", "2"],
            "--test-size: expected a share between 0 and 1",
        ),
        (["--text", "text"], "Missing option '--label'"),
        (["--label", "kind", "--text", "text", "--model", "bert"], "model one of auto, rnn"),
        (["--label", "kind", "--text", "text", "--vectors", "no.txt"], "no such file"),
        (["--label", "kind", "--text", "kind"], "expected each column once, got 'kind' twice"),
        (["--label", "kind", "--text", "text", "--text=kind"], "--text: expected one, got 2. Give it once."),
        (["--label", "kind", "--sequence", "text"], "expected a number, got"),
    ],
)
def test_one_line_for_what_is_wrong(folder, tmp_path, capsys, words, said):
    assert classify(folder, "texts.csv", *words, out=tmp_path / "run") == 2
    last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert said in last[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            "text,kind\na,x\nb,\n",
            "line 3, column 'kind': expected a label, got an empty cell. 1 of 2 are missing",
        ),
        ("text,kind\na,x\nb,x\n", "expected at least two classes, got one, 'x'"),
        ("text,kind\na,x\n,y\n", "line 3, column 'text': expected a text, got an empty cell"),
        ("text,kind\na,x\nb,y\n", "enough sequences of a class"),
        ("text,kind\n", "a header and no row"),
    ],
)
def test_bad_tables(tmp_path, capsys, table, said):
    (tmp_path / "bad.csv").write_text(table)
    assert classify(tmp_path, "bad.csv", "--label", "kind", "--text", "text", out=tmp_path / "run") == 2
    assert said in capsys.readouterr().err


def test_runs_are_not_overwritten_unasked(folder, tmp_path, capsys):
    words = ["--label", "kind", "--text", "text"]
    assert classify(folder, "texts.csv", *words, out=tmp_path / "run") == 0
    assert classify(folder, "texts.csv", *words, out=tmp_path / "run") == 2
    assert classify(folder, "texts.csv", *words, "--overwrite", out=tmp_path / "run") == 0
    for option in (["--gaps", "fill"], ["--future", "x.csv"]):
        assert _run(["predict", str(tmp_path / "run"), str(folder / "texts.csv"), *option]) == 2
        assert (
            f"{option[0]}: expected a run of unrolled forecast, got one of sequences"
            in capsys.readouterr().err
        )
    assert _run(["predict", str(tmp_path / "run")]) == 2
    assert "Name a file: unrolled predict RUN DATA" in capsys.readouterr().err


def test_a_killed_run_is_resumed_to_the_same_files(folder, tmp_path, capsys):
    words = ["--label", "kind", "--text", "text"]

    def kill(epoch):
        if epoch.number == 7:
            raise MemoryError("killed")

    with pytest.MonkeyPatch.context() as patch:
        whole = sequences.fit
        patch.setattr(
            sequences,
            "fit",
            lambda *given, **options: whole(*given, **options, callbacks=[kill], checkpoint_seconds=0),
        )
        with pytest.raises(MemoryError):
            classify(folder, "texts.csv", *words, out=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    capsys.readouterr()
    assert classify(folder, "texts.csv", *words, "--units", "9", "--resume", out=tmp_path / "run") == 2
    assert "one with another units. Start anew without --resume" in capsys.readouterr().err
    assert classify(folder, "texts.csv", *words, "--resume", out=tmp_path / "run") == 0
    assert classify(folder, "texts.csv", *words, out=tmp_path / "whole") == 0
    for file in ("model.safetensors", "history.jsonl", "predictions.csv"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_options_reach_the_estimator(folder, tmp_path):
    words = ["--label", "kind", "--text", "text", "--balanced", "--valid-size", "0.2", "--max-steps", "3", "--layers", "2",
             "--units", "7", "--bidirectional", "--model", "gru", "--seed", "4"]  # fmt: skip
    assert classify(folder, "texts.csv", *words, out=tmp_path / "run") == 0
    found = json.loads((tmp_path / "run/config.json").read_text())["parameters"]
    wanted = {"class_weight": "balanced", "valid_size": 0.2, "max_steps": 3, "layers": 2, "units": 7}
    wanted |= {"bidirectional": True, "model": "gru", "seed": 4, "members": 1}
    assert {name: found[name] for name in wanted} == wanted


def test_a_note_is_said_once(folder, tmp_path, capsys):
    columns = [word for name in "abcd" for word in ("--sequence", name)]
    assert (
        classify(folder, "wide.csv", "--label", "up", *columns, "--max-steps", "3", out=tmp_path / "run") == 0
    )
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("120 of 120 sequences") + shown.count("96 of 96 sequences") == 1
    assert shown.count("24 of 24 sequences have more than 3 steps") == 1


def test_help_and_version(capsys):
    assert _run(["--version"]) == 0
    assert capsys.readouterr().out == f"unrolled {unrolled.__version__}\n"
    for words in (["--help"], ["predict", "--help"]):
        assert _run(words) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "classes or numbers" in shown
        assert "Forecast" in shown


def test_a_file_to_score_on(folder, tmp_path, capsys):
    table = pd.read_csv(folder / "texts.csv")
    table.iloc[:30].to_csv(tmp_path / "other.csv", index=False)
    words = ["--label", "kind", "--text", "text", "--test", str(tmp_path / "other.csv")]
    assert classify(folder, "texts.csv", *words, out=tmp_path / "run") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["held_out"] == {"sequences": 30, "trained_on": 80}
    assert "are held out.\n• 30 of 30 held-out sequences stand in the training part as well.\n" in shown.err
    held = pd.read_csv(tmp_path / "run/predictions.csv")
    assert held["sequence"].tolist() == list(range(1, 31))
    assert held["text"].tolist() == table["text"].iloc[:30].tolist()
    assert "a file of its own, 30 sequences" in (tmp_path / "run/report.html").read_text()
    table.assign(kind="so-so").to_csv(tmp_path / "other.csv", index=False)
    assert classify(folder, "texts.csv", *words, out=tmp_path / "two") == 2
    assert "the classes that training has, got 1 others, as 'so-so'" in capsys.readouterr().err
    assert classify(folder, "texts.csv", *words, "--group", "kind", out=tmp_path / "two") == 2
    assert "expected --test or --group, got both" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["classify", "regress"])
def test_groups_are_held_out_whole(folder, tmp_path, capsys, command):
    table = pd.read_csv(folder / "wide.csv").assign(who=[f"s{k // 10}" for k in range(120)])
    table.to_csv(tmp_path / "groups.csv", index=False)
    answer = ["--label", "up"] if command == "classify" else ["--target", "a"]
    columns = [word for name in "bcd" for word in ("--sequence", name)]
    words = [command, str(tmp_path / "groups.csv"), *answer, *columns, "--group", "who", "--members", "1"]
    assert _run([*words, "--out", str(tmp_path / "run"), "--json"]) == 0
    assert 20 <= json.loads(capsys.readouterr().out)["held_out"]["sequences"] <= 40
    held = pd.read_csv(tmp_path / "run/predictions.csv")["sequence"] - 1
    assert not set(table["who"].iloc[held]) & set(table["who"].drop(held))
    assert "of 12 groups, whole" in (tmp_path / "run/report.html").read_text()


def test_classes_that_are_numbers_stand_in_their_order(folder, tmp_path, capsys):
    words = ["good film", "bad play", "dull one"]
    table = pd.DataFrame({"text": words * 20, "grade": [10, 9, 1] * 20})
    table.to_csv(tmp_path / "grades.csv", index=False)
    assert classify(tmp_path, "grades.csv", "--label", "grade", "--text", "text", out=tmp_path / "run") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == ["1", "9", "10"]
    assert found["model"]["confusion"] == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert _run(["predict", str(tmp_path / "run"), str(tmp_path / "grades.csv"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["classes"]
    assert list(rows[0]) == ["sequence", "text", "class", "p-1", "p-9", "p-10"]
    assert [int(row["class"]) for row in rows] == table["grade"].tolist()
    assert all(row[f"p-{row['class']}"] > 0.5 for row in rows)
