"""`unrolled regress`, and `--per-step` of it and of `unrolled classify`, as a user calls them."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest

from unrolled.cli import _run
from unrolled.estimators import sequences

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _fewer_steps(monkeypatch):
    monkeypatch.setattr(sequences, "STEPS", 150)
    monkeypatch.setattr(sequences, "TEXT_STEPS", 150)
    logger = logging.getLogger("unrolled")
    before = logger.handlers, logger.propagate
    yield
    logger.handlers, logger.propagate = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(120):
        v = RANDOM.normal(size=RANDOM.integers(3, 7))
        rows += [
            {"who": f"s{number}", "t": t, "v": x, "sum": v.sum(), "so_far": v[: t + 1].sum(), "up": "+" if x > 0 else "-"}
            for t, x in enumerate(v)
        ]  # fmt: skip
    pd.DataFrame(rows).sample(frac=1, random_state=0).round(4).to_csv(place / "long.csv", index=False)
    texts = [" ".join(RANDOM.choice(["good", "bad", "film", "<i>"], 6)) for _ in range(100)]
    stars = [1000 + 10 * (text.count("good") - text.count("bad")) for text in texts]
    pd.DataFrame({"text": texts, "stars": stars}).to_csv(place / "texts.csv", index=False)
    names, plain = ["anna", "boris", "clara"], ["met", "saw", "the", "<b>", "again"]
    words = []
    for number in range(60):
        for _ in range(RANDOM.integers(2, 6)):
            name = RANDOM.random() < 0.4
            word = RANDOM.choice(names if name else plain)
            words.append({"sentence": number, "word": word, "tag": "name" if name else "other"})
    pd.DataFrame(words).to_csv(place / "words.csv", index=False)
    return place


LONG = ["--sequence", "v", "--id", "who", "--time", "t", "--model", "gru"]


def report(place):
    return (place / "report.html").read_text()


def examples(page):
    return page[page.index('id="examples"') : page.index("</section>", page.index('id="examples"'))]


def run(command, *words, out):
    return _run([command, *map(str, words), "--out", str(out), "--members", "1", "--json"])


def test_a_number_of_each_sequence(folder, tmp_path, capsys):
    assert run("regress", folder / "long.csv", "--target", "sum", *LONG, out=tmp_path / "run") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["model"]["r2"] > 0.7
    assert found["model"]["mae"] < 0.6 * found["baselines"]["mean"]["mae"]
    assert found["held_out"] == {"sequences": 24, "trained_on": 96}
    assert "R²" in shown.err
    told = pd.read_csv(tmp_path / "run/predictions.csv")
    assert list(told.columns) == ["sequence", "actual", "told"]
    assert (told["actual"] - told["told"]).abs().mean() == pytest.approx(found["model"]["mae"])
    whole = pd.read_csv(folder / "long.csv").groupby("who")["sum"].first()
    np.testing.assert_allclose(told["actual"], whole[told["sequence"]])
    train = whole.drop(told["sequence"])  # the mean is that of the training part
    off = (told["actual"] - train.mean()).abs().mean()
    assert found["baselines"]["mean"]["mae"] == pytest.approx(off)

    new = pd.read_csv(folder / "long.csv").drop(columns="sum")
    new.to_csv(tmp_path / "new.csv", index=False)
    assert (
        _run(
            ["predict", str(tmp_path / "run"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "told.csv")]
        )
        == 0
    )
    again = pd.read_csv(tmp_path / "told.csv").set_index("sequence").loc[told["sequence"]]
    np.testing.assert_allclose(again["told"], told["told"], atol=1e-4)
    assert _run(["predict", str(tmp_path / "run"), str(folder / "long.csv"), "--future", "x.csv"]) == 2
    assert "--future: expected a run of unrolled forecast" in capsys.readouterr().err


def test_a_number_of_each_text(folder, tmp_path, capsys):
    assert (
        run("regress", folder / "texts.csv", "--target", "stars", "--text", "text", out=tmp_path / "run") == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["mae"] < 0.5 * found["baselines"]["mean"]["mae"]
    page = (tmp_path / "run/report.html").read_text()
    assert "Regression report" in page
    assert "<i>" not in page.replace('<i style="width', "")
    assert "Farthest off" in page
    assert _run(["predict", str(tmp_path / "run"), str(folder / "texts.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["numbers"]
    assert len(told) == 100
    assert 900 < told[0]["told"] < 1100


def test_a_number_of_each_step(folder, tmp_path, capsys):
    words = ["--target", "so_far", *LONG, "--per-step"]
    assert run("regress", folder / "long.csv", *words, out=tmp_path / "run") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["mae"] < found["baselines"]["ridge"]["mae"]  # which sees one step alone
    told = pd.read_csv(tmp_path / "run/predictions.csv")
    assert list(told.columns) == ["sequence", "step", "actual", "told"]
    assert len(told) == found["held_out"]["steps"]
    first = told[told["sequence"] == told["sequence"][0]]
    assert first["step"].tolist() == list(range(1, len(first) + 1))
    shown = re.findall(
        r"step (\d+)\).*?(\d) steps, the line at step (\d+)<", report(tmp_path / "run"), re.DOTALL
    )
    assert len(shown) == 12
    assert all(named == line <= steps for named, steps, line in shown)
    assert "legend" not in examples(report(tmp_path / "run"))


def test_curves_of_several_columns_have_their_names(folder, tmp_path):
    words = ["--target", "so_far", "--sequence", "sum", *LONG]
    assert run("regress", folder / "long.csv", *words, "--per-step", out=tmp_path / "steps") == 0
    shown = examples(report(tmp_path / "steps"))
    assert re.findall(r"</svg>(\w+)</li>", shown) == ["sum", "v"]
    assert shown.count("stroke-dasharray: none") == shown.count("stroke-dasharray: 4.5 2.25") == 13


def test_a_class_of_each_word(folder, tmp_path, capsys):
    words = ["--label", "tag", "--text", "word", "--id", "sentence", "--per-step"]
    assert run("classify", folder / "words.csv", *words, out=tmp_path / "run") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["model"]["accuracy"] > 0.95 > found["baselines"]["majority"]["accuracy"]
    assert found["baselines"]["logistic"]["accuracy"] > 0.9  # a word's class hangs on the word alone here
    assert 0.8 < found["whole"] <= found["model"]["accuracy"] + 1e-9
    assert f"{found['held_out']['steps']:,} steps of 12 held-out sequences" in shown.err
    told = pd.read_csv(tmp_path / "run/predictions.csv")
    assert list(told.columns) == ["sequence", "step", "text", "actual", "class", "p-name", "p-other"]
    table = pd.read_csv(folder / "words.csv")
    for number in told["sequence"].unique():
        wanted = table[table["sentence"] == number]["tag"].tolist()
        assert told[told["sequence"] == number]["actual"].tolist() == wanted
    page = (tmp_path / "run/report.html").read_text()
    assert "an answer at each step" in page
    assert "Told rightly as a whole" in page
    table.drop(columns="tag").to_csv(tmp_path / "new.csv", index=False)
    assert _run(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["classes"][0]) == {
        "sequence",
        "step",
        "text",
        "class",
        "p-name",
        "p-other",
    }


def test_a_class_of_each_step_of_numbers_and_a_wrong_one_is_shown(folder, tmp_path, capsys):
    words = ["--label", "up", *LONG, "--per-step", "--test-size", "0.4"]
    assert run("classify", folder / "long.csv", *words, out=tmp_path / "run") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["accuracy"] > 0.8
    told = pd.read_csv(tmp_path / "run/predictions.csv")
    assert (told["actual"] == told["class"]).mean() == pytest.approx(found["model"]["accuracy"])
    wrong = told[told["actual"] != told["class"]]
    page = (tmp_path / "run/report.html").read_text()
    for row in wrong.head(1).itertuples():
        assert f"{row.sequence}, step {row.step}" in page


def test_the_same_seed_gives_the_same_files(folder, tmp_path, capsys):
    for name in ("one", "two"):
        run("regress", folder / "texts.csv", "--target", "stars", "--text", "text", out=tmp_path / name)
    for file in ("config.json", "model.safetensors", "history.jsonl", "predictions.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("command", "file", "words", "said"),
    [
        ("regress", "texts.csv", ["--target", "text", "--text", "text"], "each column once, got 'text' twice"),
        ("regress", "long.csv", ["--target", "up", *LONG], "line 2, column 'up': expected a number, got"),
        ("regress", "long.csv", ["--target", "so_far", *LONG], "one label in all rows of"),
        ("regress", "long.csv", ["--target", "sum", "--sequence", "v", "--per-step"], "--id with --per-step"),
        ("regress", "texts.csv", ["--text", "text"], "Missing option '--target'"),
        ("classify", "long.csv", ["--label", "up", *LONG], "pass --per-step where each row has a label"),
        ("classify", "long.csv", ["--label", "v", *LONG], "each column once, got 'v' twice"),
        ("classify", "words.csv", ["--label", "tag", "--text", "word", "--id", "sentence"], "expected --text without --id"),
        ("classify", "long.csv", ["--label", "up", *LONG, "--per-step", "--max-steps", "2"], "max_steps=None with per_step"),
        ("classify", "long.csv", ["--label", "up", *LONG, "--seed", "-1"], "a seed of at least 0"),
        ("classify", "texts.csv", ["--label", "stars", "--text", "text", "--valid-size", "0.999"], "a valid_size that leaves"),
    ],
)  # fmt: skip
def test_one_line_for_what_is_wrong(folder, tmp_path, capsys, command, file, words, said):
    assert run(command, folder / file, *words, out=tmp_path / "run") == 2
    last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert said in last[0]
    assert not list(tmp_path.iterdir())


def test_what_the_held_out_part_cannot_tell_is_said(tmp_path, capsys):
    rows = (
        [f"word{k} {'ab'[k % 2]},{'ab'[k % 2]}" for k in range(30)]
        + ["same text,a", "same text,a"] * 4
        + ["rare,c"]
    )
    (tmp_path / "texts.csv").write_text("\n".join(["text,kind", *rows]) + "\n")
    assert (
        run("classify", tmp_path / "texts.csv", "--label", "kind", "--text", "text", out=tmp_path / "run")
        == 0
    )
    page = (tmp_path / "run/report.html").read_text()
    assert "held-out sequences stand in the training part as well" in page
    assert "No held-out sequence is of the class c" in page
    many = "\n".join(["text,kind", *(f"w,c{k % 1001}" for k in range(5005))])
    (tmp_path / "many.csv").write_text(many + "\n")
    assert (
        run("classify", tmp_path / "many.csv", "--label", "kind", "--text", "text", out=tmp_path / "many")
        == 2
    )
    assert "at most 1,000 classes, whose every pair the report counts, got 1,001" in capsys.readouterr().err
    few = "\n".join(["text,kind", *(f"w{k},{k * 1.37}" for k in range(20))])
    (tmp_path / "few.csv").write_text(few + "\n")
    assert (
        run("classify", tmp_path / "few.csv", "--label", "kind", "--text", "text", out=tmp_path / "few") == 2
    )
    assert "for numbers, see unrolled regress" in capsys.readouterr().err


def test_a_tag_that_only_the_held_out_part_has_is_trained_on(tmp_path, capsys):
    words = [f"{k},w{k % 3},{'t' if k % 2 else 'u'}\n{k},z,{'rare' if k == 3 else 'u'}" for k in range(8)]
    (tmp_path / "words.csv").write_text("\n".join(["s,w,tag", *words]) + "\n")
    for seed in range(3):
        given = [
            "--label",
            "tag",
            "--text",
            "w",
            "--id",
            "s",
            "--per-step",
            "--test-size",
            "0.6",
            "--seed",
            seed,
        ]
        assert run("classify", tmp_path / "words.csv", *given, out=tmp_path / f"run{seed}") == 0
        assert 3 not in pd.read_csv(tmp_path / f"run{seed}/predictions.csv")["sequence"].tolist()
