"""`unrolled train transcriber` and `unrolled transcribe`, as a user calls them."""

import io
import json
import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import unrolled as ur
from unrolled.cli import _run
from unrolled.commands.transcribe import _write_line
from unrolled.data.pairs import Pairs, read_pairs
from unrolled.estimators import transcriber as room
from unrolled.estimators.transcriber import Transcription
from unrolled.estimators.transcript_scores import score_transcripts
from unrolled.report.run_transcripts import _part

FILES = {
    "config.json", "model.safetensors", "history.jsonl", "timing.jsonl", "metrics.json", "predictions.csv", "report.html",
}  # fmt: skip
OPTIONS = {"--model": "gru", "--units": "16", "--members": "1", "--epochs": "25"}


@pytest.fixture(autouse=True)
def _logger():
    logger = logging.getLogger("unrolled")
    before = logger.handlers, logger.propagate
    yield
    logger.handlers, logger.propagate = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    words = sorted({"".join(random.choice(list("abcd"), random.integers(2, 5))) for _ in range(300)})
    table = {"number": range(len(words)), "plain": words, "secret": [f"<{w[::-1]}>" for w in words]}
    pd.DataFrame(table).to_csv(place / "pairs.csv", index=False)
    return place


@pytest.fixture(scope="module")
def run(folder):
    out = folder / "run"
    assert train(folder / "pairs.csv", "--source", "plain", "--target", "secret", out=out) == 0
    return out


def test_what_is_asked_for_stays_asked_for(folder, tmp_path, capsys, monkeypatch):
    """A second --units would win unsaid; a run is resumed by the same options alone."""
    words = ["train", "transcriber", str(folder / "pairs.csv"), "--out", str(tmp_path / "new")]
    assert _run([*words, "--units", "8", "--units", "16"]) == 2
    assert "--units: expected one, got 2. Give it once." in capsys.readouterr().err

    def killed(*args, **options):
        (tmp_path / "new.partial" / "stage-1").mkdir()
        (tmp_path / "new.partial" / "stage-1" / "checkpoint-000001.safetensors").write_bytes(b"")
        raise KeyboardInterrupt

    monkeypatch.setattr(room.Transcriber, "fit", killed)
    pairs = ["--source", "plain", "--target", "secret"]
    assert _run([*words, *pairs, "--units", "8"]) == 130
    assert _run([*words, *pairs, "--units", "16", "--resume"]) == 2
    assert "one with another units. Start anew without --resume" in capsys.readouterr().err


def train(path, *words, out):
    usual = [word for pair in OPTIONS.items() if pair[0] not in words for word in pair]
    return _run(["train", "transcriber", str(path), *words, *usual, "--out", str(out), "--json"])


def transcribe(monkeypatch, run, text, *words):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return _run(["transcribe", str(run), *words])


def test_pairs_to_a_run_folder(folder, tmp_path, capsys):
    words = ["--source", "plain", "--target", "secret"]
    assert train(folder / "pairs.csv", *words, out=tmp_path / "run") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["model"]["exact_match"] > 0.8
    assert found["baselines"]["copy"]["exact_match"] == 0
    assert (
        found["model"]["symbol_error_rate"] < 0.2 < found["baselines"]["most_frequent"]["symbol_error_rate"]
    )
    assert "exactly right" in shown.err
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    told = pd.read_csv(tmp_path / "run/predictions.csv")
    assert (told["answer"] == told["target"]).mean() == pytest.approx(found["model"]["exact_match"])
    pairs = pd.read_csv(folder / "pairs.csv")
    assert (pairs["plain"][told["line"] - 2].to_numpy() == told["source"].to_numpy()).all()
    page = (tmp_path / "run/report.html").read_text()
    assert "What it looks at" in page
    assert "attention by dot scores" in page
    assert "&lt;" in page and "<script" not in page
    assert json.loads((tmp_path / "run/metrics.json").read_text())["model"] == found["model"]


def test_lines_in_lines_out(run, monkeypatch, capsys):
    assert transcribe(monkeypatch, run, "abc\nbd\r\ndca") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["<cba>", "<db>", "<acd>"]
    assert shown.err == ""
    assert transcribe(monkeypatch, run, "abc\n", "--beam", "3", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["source"], row["answer"], row["ended"]) == ("abc", "<cba>", True)
    assert 0.5 < row["probability"] <= 1


def test_a_line_without_an_end_is_told(run, monkeypatch, capsys):
    assert transcribe(monkeypatch, run, "ab\nabcd\n", "--max-length", "4") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["<ba>", "<dcb"]
    assert shown.err == "line 2: no end within 4 symbols, cut there (--max-length)\n"


def test_lines_that_cannot_be_read_keep_their_places(run, monkeypatch, capsys):
    assert transcribe(monkeypatch, run, "abc\n\nabß\ndac\n") == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["<cba>", "", "", "<cad>"]
    said = shown.err.splitlines()
    assert said[0].startswith("error: line 2: expected at least one symbol")
    assert said[1].startswith("error: line 3, step 2: expected one of the 4 symbols seen in training")
    assert said[2].startswith("error: standard input: expected lines that can be transcribed, got 2 of 4")
    assert transcribe(monkeypatch, run, "ß\n", "--json") == 2
    assert "'ß'" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--beam", "0"], "beam of at least 1, got 0"),
        (["--max-length", "0"], "max_length of at least 1, got 0"),
    ],
)
def test_options_of_transcribe(run, monkeypatch, capsys, words, said):
    assert transcribe(monkeypatch, run, "", *words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_each_line_is_answered_before_the_next_is_read(run):
    with subprocess.Popen(
        [sys.executable, "-m", "unrolled", "transcribe", str(run)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        for line, answer in (("abc\n", "<cba>\n"), ("dac\n", "<cad>\n")):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == answer
        process.stdout.close()  # the reader has enough
        process.stdin.write("ab\nab\n")
        process.stdin.close()
        assert process.wait() == 0
        assert process.stderr.read() == ""


def test_bytes_that_are_no_text_spoil_their_own_line_alone(run):
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", "transcribe", str(run)],
        input=b"abc\nab\xff\ndac\n",
        capture_output=True,
    )
    assert done.stdout.decode().splitlines() == ["<cba>", "", "<cad>"]
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_what_is_saved_is_loaded(run):
    transcriber = ur.load(run)
    assert transcriber.columns_ == ("plain", "secret")
    assert transcriber.predict(["abc"]) == ["<cba>"]
    assert _run(["predict", str(run)]) == 2


def test_runs_of_another_kind(run, tmp_path, capsys):
    classifier = ur.SequenceClassifier(units=4, members=1, training=ur.Training(epochs=1))
    classifier.fit([[0.0, 1.0], [1.0, 2.0]], ["a", "b"], progress=False).save(tmp_path / "classes")
    assert _run(["transcribe", str(tmp_path / "classes")]) == 2
    assert "a run of unrolled train transcriber, got one of a SequenceClassifier" in capsys.readouterr().err
    numbers = ur.Transcriber(units=4, members=1, training=ur.Training(epochs=1))
    numbers.fit([[0.0, 1.0], [1.0]], ["a", "b"], progress=False).save(tmp_path / "numbers")
    assert _run(["transcribe", str(tmp_path / "numbers")]) == 2
    assert "a transcriber of texts, got one of numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("a,b\nx,y\nu,\nv,\n", "line 3, column 'b': expected a text on either side of the pair, got an empty cell. 2 of 3"),
        ("a,b\n,y\n", "line 2, column 'a': expected a text on either side"),
        ("a\nx\n", "expected two columns, of sources and of targets, got one, 'a'"),
        ("a,b\nx,y\n", "enough different sources"),
        ("a,b\nx,y\nx,z\n", "2 pairs of 1 sources"),
        ("a,b\n", "a header and no row"),
    ],
)  # fmt: skip
def test_bad_tables(tmp_path, capsys, table, said):
    (tmp_path / "bad.csv").write_text(table)
    assert train(tmp_path / "bad.csv", out=tmp_path / "run") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "palin"], "expected a column 'palin'"),
        (["--source", "plain", "--target", "plain"], "two different columns, got 'plain' twice"),
        (["--attention", "hard"], "attention one of None, additive, dot, got 'hard'"),
        (["--test-size", "1"], "--test-size: expected a share between 0 and 1"),
    ],
)
def test_one_line_for_what_is_wrong(folder, tmp_path, capsys, words, said):
    assert train(folder / "pairs.csv", *words, out=tmp_path / "run") == 2
    last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert said in last[0]


def test_texts_that_look_like_nothing_are_texts(tmp_path):
    from unrolled.data.pairs import read_pairs

    (tmp_path / "pairs.csv").write_text("a,b\nNA,null\nNone,nan\n")
    pairs = read_pairs(tmp_path / "pairs.csv")
    assert (pairs.sources, pairs.targets) == (["NA", "None"], ["null", "nan"])


def test_sources_of_one_kind_stay_together(tmp_path, capsys):
    words = [f"{a}{b}" for a in "abcd" for b in "abcd"]
    pd.DataFrame({"s": words * 3 + ["ßß"], "t": words * 3 + ["a"]}).to_csv(tmp_path / "p.csv", index=False)
    assert train(tmp_path / "p.csv", "--test-size", "0.9", "--epochs", "1", out=tmp_path / "run") == 0
    told = pd.read_csv(tmp_path / "run/predictions.csv")
    assert (told["source"].value_counts() == 3).all()
    assert "ßß" not in set(told["source"])


def test_words(tmp_path, monkeypatch, capsys):
    numbers = {"one": "un", "two": "deux", "big": "grand", "red": "rouge"}
    rows = [
        (f"{a}  {b} {c}", f"{numbers[a]} {numbers[c]} {numbers[b]}")
        for a in numbers
        for b in numbers
        for c in numbers
    ]
    pd.DataFrame(rows, columns=["en", "fr"]).to_csv(tmp_path / "p.csv", index=False)
    assert train(tmp_path / "p.csv", "--level", "words", out=tmp_path / "run") == 0
    capsys.readouterr()
    assert transcribe(monkeypatch, tmp_path / "run", "one red big\n") == 0
    assert capsys.readouterr().out == "un grand rouge\n"


def test_a_killed_run_is_resumed_to_the_same_files(folder, tmp_path, monkeypatch):
    words = ["--source", "plain", "--target", "secret", "--epochs", "4"]

    def kill(epoch):
        if epoch.number == 2:
            raise MemoryError("killed")

    whole = room.fit
    with monkeypatch.context() as patch:
        patch.setattr(room, "fit", lambda *g, **o: whole(*g, **o, callbacks=[kill], checkpoint_seconds=0))
        with pytest.raises(MemoryError):
            train(folder / "pairs.csv", *words, out=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    assert train(folder / "pairs.csv", *words, "--resume", out=tmp_path / "run") == 0
    assert train(folder / "pairs.csv", *words, out=tmp_path / "whole") == 0
    for file in ("model.safetensors", "history.jsonl", "predictions.csv"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_sources_of_the_same_words_stay_together():
    sources = ["a b", "a  b", "b a", "b  a", "a a b", "a  a  b"]
    pairs = Pairs(sources, ["x"] * 6, np.arange(6), ("s", "t"))
    train, test, _ = _part(pairs, [source.split() for source in sources], 0.34, 0)
    words = [{tuple(sources[number].split()) for number in part} for part in (train, test)]
    assert not words[0] & words[1]


def test_a_line_feed_in_an_answer_is_written_as_two_characters(capsys):
    class Writer:
        target_ = None

        def transcribe(self, sources, **options):
            return [Transcription("a\nb", True, 0.0)]

    assert _write_line(Writer(), 1, "x", 1, None, False)
    assert capsys.readouterr().out == "a\\nb\n"


def test_a_table_that_is_no_utf_8_is_said(tmp_path, caplog):
    (tmp_path / "p.csv").write_bytes("a,b\nx,é\n".encode("latin-1"))
    assert read_pairs(tmp_path / "p.csv", None, None).targets == ["é"]
    assert "p.csv is no UTF-8: read as Latin-1." in caplog.text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"beam": 1, "max_length": None}),
        (["--beam", "4", "--max-length", "9"], {"beam": 4, "max_length": 9}),
    ],
)
def test_what_is_asked_for_is_searched(run, monkeypatch, capsys, words, expected):
    asked, whole = [], room.Transcriber.transcribe

    def listen(self, X, **given):
        asked.append((X, given))
        return whole(self, X, **given)

    monkeypatch.setattr(room.Transcriber, "transcribe", listen)
    assert transcribe(monkeypatch, run, "abc\nbd\n", *words) == 0
    assert capsys.readouterr().out == "<cba>\n<db>\n"
    assert asked == [(["abc"], expected), (["bd"], expected)]


def test_the_most_frequent_target_is_that_of_the_pairs_learned_from(tmp_path):
    """A target that is frequent among held-out pairs alone is not known when it would have to be told."""
    table = pd.DataFrame({"s": [a + b for a in "abcd" for b in "abcd"]})
    small = ("--units", "2", "--epochs", "1", "--test-size", "0.5")

    def run_on(targets, name):
        table.assign(t=targets).to_csv(tmp_path / f"{name}.csv", index=False)
        assert train(tmp_path / f"{name}.csv", *small, out=tmp_path / name) == 0
        told = pd.read_csv(tmp_path / name / "predictions.csv")
        return told, json.loads((tmp_path / name / "metrics.json").read_text("utf-8"))["baselines"]

    first, _ = run_on(table["s"], "same")
    held = table["s"].isin(first["source"]).to_numpy()
    assert held.sum() == 8
    targets = np.array([f"x{number}" for number in range(16)], object)
    targets[held] = "yy"
    targets[np.flatnonzero(held)[:2]] = "x"
    targets[np.flatnonzero(~held)[:2]] = "x"  # the only one that comes twice there
    told, baselines = run_on(targets, "pairs")
    assert set(told["source"]) == set(first["source"])
    assert told["target"].tolist().count("yy") == 6
    # "x" is right 2 times of 8; 6 times two symbols have to be mended
    assert baselines["most_frequent"] == {"exact_match": 2 / 8, "symbol_error_rate": 12 / 14}
    sources = table["s"][held].tolist()
    assert baselines["copy"] == pytest.approx(score_transcripts(targets[held].tolist(), sources))
