"""`unrolled train generator` and `unrolled generate`, as a user calls them."""

import itertools
import json
import logging
import re

import numpy as np
import pandas as pd
import pytest

import unrolled as ur
from unrolled.cli import _run
from unrolled.commands.terminal import write_whole
from unrolled.data.piece_files import PieceFile, write_midi
from unrolled.errors import DataError, RunFolderError
from unrolled.estimators.ngrams import NGrams
from unrolled.report.piece_page import PiecePage, render_pieces
from unrolled.report.run_pieces import _baselines, _part

BARS = [[60, 48], [60, 48], [62, 50], [0, 50]]


@pytest.fixture(autouse=True)
def _own_logger():
    logger = logging.getLogger("unrolled")
    before = logger.handlers, logger.propagate
    yield
    logger.handlers, logger.propagate = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    (place / "song.txt").write_text("la la lu <b> " * 60, "utf-8")
    t = np.arange(400)
    wave = pd.DataFrame({"t": t, "one": np.sin(t / 4).round(5), "two": np.cos(t / 6).round(5) * 50 + 7})
    wave.sample(frac=1, random_state=0).to_csv(place / "wave.csv", index=False)
    notes = [[piece, *row] for piece in range(6) for row in BARS * (6 + piece)]
    pd.DataFrame(notes, columns=["piece", "high", "low"]).to_csv(place / "notes.csv", index=False)
    sentences = itertools.product(["the", "a"], ["cat", "dog"], ["sits", "runs"], ["home", "there"])
    words = [[number, word] for number, sentence in enumerate(sentences) for word in sentence]
    pd.DataFrame(words, columns=["sentence", "word"]).to_csv(place / "words.csv", index=False)
    return place


def train(folder, name, *words, out):
    usual = {"--units": "16", "--steps": "16", "--cell": "gru", "--length": "30"}
    sizes = [word for pair in usual.items() if pair[0] not in words for word in pair]
    return _run(["train", "generator", str(folder / name), *sizes, *words, "--out", str(out), "--json"])


@pytest.fixture(scope="module")
def singer(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "song"
    assert train(folder, "song.txt", "--epochs", "12", out=out) == 0
    return out


@pytest.fixture(scope="module")
def player(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "notes"
    words = ("--id", "piece", "--in-turn", "--epochs", "20", "--test-size", "0.2")
    assert train(folder, "notes.csv", *words, out=out) == 0
    return out


def test_a_text_to_a_run_folder(folder, tmp_path, capsys):
    assert train(folder, "song.txt", "--epochs", "12", "--valid-size", "0.1", out=tmp_path / "run") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["kind"] == "symbols"
    assert found["model"]["perplexity"] < found["baselines"]["trigram"]["perplexity"]
    assert "Read one piece: 780 characters." in shown.err
    assert "trigrams" in shown.err and "perplexity" in shown.err
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {
        "config.json", "model.safetensors", "history.jsonl", "timing.jsonl", "metrics.json", "report.html",
        "continuation.txt",
    }  # fmt: skip
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert "Generation report" in page and "<script" not in page
    assert (tmp_path / "run/continuation.txt").read_text("utf-8")[:1]


def test_a_text_goes_on(singer, tmp_path, capsys):
    assert _run(["generate", str(singer), "--prompt", "la la lu ", "--length", "8", "--top-k", "1"]) == 0
    assert capsys.readouterr().out == "<b> la l\n"
    (tmp_path / "seed.txt").write_text("la la", "utf-8")
    words = [
        "generate",
        str(singer),
        "--seed-file",
        str(tmp_path / "seed.txt"),
        "--length",
        "5",
        "--top-p",
        "0.5",
    ]
    assert _run([*words, "--with-seed", "--out", str(tmp_path / "made.txt"), "--json"]) == 0
    assert (tmp_path / "made.txt").read_text("utf-8") == "la la lu <"
    assert json.loads(capsys.readouterr().out) == {"made": "la la lu <", "ended": False}
    assert _run([*words, "--out", str(tmp_path / "made.txt")]) == 2
    assert "one that exists" in capsys.readouterr().err
    made = []
    for seed in ("1", "1", "2"):
        assert _run(["generate", str(singer), "--prompt", "l", "--temperature", "3", "--seed", seed]) == 0
        made.append(capsys.readouterr().out)
    assert made[0] == made[1] != made[2]


def test_values_to_a_run_folder_and_on(folder, tmp_path, capsys):
    assert train(folder, "wave.csv", "--time", "t", "--epochs", "40", out=tmp_path / "run") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "values"
    assert found["model"]["mse"] < min(scores["mse"] for scores in found["baselines"].values())
    assert list(pd.read_csv(tmp_path / "run/continuation.csv")) == ["one", "two"]
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert page.count('class="plot') >= 3
    words = ["--seed-file", str(folder / "wave.csv"), "--length", "20", "--out", str(tmp_path / "made.csv")]
    assert _run(["generate", str(tmp_path / "run"), *words]) == 0
    made = pd.read_csv(tmp_path / "made.csv")
    assert made.shape == (20, 2)
    t = np.arange(400, 405)  # the rows of the file stand in disorder: time puts them right
    assert np.abs(made["one"][:5] - np.sin(t / 4)).max() < 0.4
    assert _run(["generate", str(tmp_path / "run")]) == 2
    assert "a seed: --seed-file or --prompt" in capsys.readouterr().err
    assert _run(["predict", str(tmp_path / "run")]) == 2
    assert "Use unrolled generate RUN" in capsys.readouterr().err


def test_notes_to_csv_and_midi_and_back(player, tmp_path, capsys):
    mido = pytest.importorskip("mido")
    words = ["generate", str(player), "--length", "12", "--top-k", "1"]
    assert _run([*words, "--out", str(tmp_path / "made.csv")]) == 0
    made = pd.read_csv(tmp_path / "made.csv").to_numpy()
    assert made.tolist() == (BARS * 3)[: len(made)]
    assert _run([*words, "--out", str(tmp_path / "made.mid")]) == 0
    file = mido.MidiFile(tmp_path / "made.mid")
    assert len(file.tracks) == 2
    played = np.zeros((len(made), 2), int)
    for voice, track in enumerate(file.tracks):
        at, on = 0, None
        for message in track:
            before, at = at, at + message.time
            if on is not None:
                played[before // 120 : at // 120, voice] = on
            on = message.note if message.type == "note_on" else None if message.type == "note_off" else on
    assert played.tolist() == made.tolist()
    assert file.tracks[0][1].note == 60
    assert next(m.time for m in file.tracks[0] if m.type == "note_off") == 240  # held over two steps


def test_words_begin_and_end(folder, tmp_path, capsys):
    words = ("--id", "sentence", "--epochs", "150", "--test-size", "0.2")
    assert train(folder, "words.csv", *words, out=tmp_path / "run") == 0
    capsys.readouterr()
    assert _run(["generate", str(tmp_path / "run"), "--json", "--top-p", "0.8"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ended"] is True
    made = " ".join(row["word"] for row in found["made"])
    assert re.fullmatch("(the|a) (cat|dog) (sits|runs) (home|there)", made)
    assert _run(["generate", str(tmp_path / "run"), "--length", "2"]) == 0
    assert "No end within 2 steps: cut there." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt", "xyz"], "seed, step 0: expected one of the 7 symbols seen in training"),
        (["--prompt", ""], "a seed of at least one step, got an empty one"),
        (["--prompt", "la", "--temperature", "0"], "a temperature above 0, got 0"),
        (["--prompt", "la", "--top-k", "0"], "top_k of at least 1"),
        (["--prompt", "la", "--top-p", "1.5"], r"top_p in (0, 1]"),
        (["--prompt", "la", "--length", "0"], "n of at least 1"),
        (["--prompt", "la", "--out", "made.mid"], "--out: expected a file ending in .txt"),
        (["--prompt", "la", "--seed-file", "x.txt"], "--seed-file or --prompt, got both"),
        (["--seed-file", "missing.txt"], "no such file"),
    ],
)
def test_what_generate_refuses(singer, words, message, capsys):
    assert _run(["generate", str(singer), *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("missing.txt", [], "no such file"),
        ("missing.csv", [], "no such file"),
        ("song.txt", ["--column", "a"], "a table for --column, --id and --time, got a text"),
        ("notes.csv", ["--column", "hight"], "Did you mean 'high'?"),
        ("notes.csv", ["--kind", "words"], "--kind: expected auto, values or symbols"),
        ("words.csv", ["--column", "word", "--kind", "values"], "columns of numbers as values"),
        ("song.txt", ["--test-size", "0"], "--test-size"),
        ("song.txt", ["--length", "0"], "--length"),
        ("song.txt", ["--cell", "tcn"], "cell one of rnn, lstm, gru"),
        ("hole.csv", [], "hole.csv, line 3, column 'v': expected a value or symbol, got an empty cell"),
        ("bytes.txt", [], "a text in UTF-8"),
        ("empty.txt", [], "an empty file"),
    ],
)
def test_what_train_refuses(folder, tmp_path, name, words, message, capsys):
    (folder / "hole.csv").write_text("v,w\n1.5,2\n,3\n2.5,4\n", "utf-8")
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\x00abc")
    (folder / "empty.txt").write_text("\n", "utf-8")
    assert train(folder, name, *words, out=tmp_path / "run") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_symbols_that_only_the_held_out_part_has_are_left_out(tmp_path, capsys):
    (tmp_path / "x.txt").write_text("ab" * 100 + "abzab", "utf-8")
    assert train(tmp_path, "x.txt", "--epochs", "1", out=tmp_path / "run") == 0
    note = "1 held-out steps have a symbol that comes nowhere else: they are left out."
    assert note in (tmp_path / "run/report.html").read_text("utf-8")


def test_a_column_of_letters_is_one_piece(folder, tmp_path, capsys):
    pd.DataFrame({"s": list("abcab" * 30), "t": list("xyxyx" * 30)}).to_csv(tmp_path / "s.csv", index=False)
    assert train(tmp_path, "s.csv", "--column", "s", "--epochs", "3", out=tmp_path / "one") == 0
    assert train(tmp_path, "s.csv", "--epochs", "3", out=tmp_path / "both") == 0
    capsys.readouterr()
    seed = ["--seed-file", str(tmp_path / "s.csv"), "--length", "4", "--json"]
    assert _run(["generate", str(tmp_path / "both"), *seed]) == 0
    assert {*json.loads(capsys.readouterr().out)["made"][0]} == {"s", "t"}


def test_symbols_are_read_as_in_training(tmp_path, capsys):
    """A seed of whole numbers goes on where texts stood among the symbols."""
    pd.DataFrame({"n": ["60", "rest", "62", "60"] * 30}).to_csv(tmp_path / "s.csv", index=False)
    (tmp_path / "seed.csv").write_text("n\n60\n62\n", "utf-8")
    assert train(tmp_path, "s.csv", "--epochs", "2", out=tmp_path / "run") == 0
    assert _run(["generate", str(tmp_path / "run"), "--seed-file", str(tmp_path / "seed.csv")]) == 0


def test_large_whole_numbers_are_told_apart(tmp_path):
    (tmp_path / "s.csv").write_text("n\n" + "9007199254740992\n9007199254740993\n" * 40, "utf-8")
    assert train(tmp_path, "s.csv", "--kind", "symbols", "--epochs", "2", out=tmp_path / "run") == 0
    alphabets = json.loads((tmp_path / "run/config.json").read_text("utf-8"))["alphabets"]
    assert alphabets == [["9007199254740992", "9007199254740993"]]


def test_a_flat_end_is_scored(tmp_path, capsys):
    values = [*np.sin(np.arange(200) / 4), *[0.5] * 40]
    pd.DataFrame({"v": values}).to_csv(tmp_path / "flat.csv", index=False)
    assert train(tmp_path, "flat.csv", "--epochs", "2", out=tmp_path / "run") == 0
    assert json.loads(capsys.readouterr().out)["model"]["r2"] == 0.0


def test_pieces_that_are_the_same_are_held_out_together():
    pieces = ["ab", "ba", "ab", "aab", "ab", "ba"] * 3
    learn, held, _ = _part(PieceFile("text", pieces, (), [""] * 18), 0.34, 0)
    assert len(held) and not {*learn} & {*held}
    with pytest.raises(DataError, match="different pieces .* got 2 pieces, 1 of them different"):
        _part(PieceFile("text", ["ab", "ab"], (), ["", ""]), 0.5, 0)


def test_an_end_is_counted_once_for_all_streams(monkeypatch):
    counted = []

    class Counting(NGrams):
        def score(self, sequences, skip=0):
            counted.append(sum(map(len, sequences)))
            return super().score(sequences, skip)

    monkeypatch.setattr("unrolled.report.run_pieces.NGrams", Counting)
    pieces = [[("a", "x"), ("b", "y"), ("a", "x")], [("b", "x"), ("a", "y")]]
    quick = ur.Training(epochs=1)
    generator = ur.SequenceGenerator("gru", units=4, steps=4, training=quick).fit(pieces, progress=False)
    _baselines(generator, pieces, pieces, 0)
    assert counted == [7, 5]
    rights, _ = generator._symbols_told(pieces, None, 0)
    assert len(rights) == 12


def test_a_seed_of_several_pieces_is_refused(player, folder, tmp_path, capsys):
    assert _run(["generate", str(player), "--seed-file", str(folder / "notes.csv")]) == 2
    assert "one piece to go on from, got 6 by its column 'piece'" in capsys.readouterr().err
    table = pd.read_csv(folder / "notes.csv")[["high", "low"]][:8]
    table.to_csv(tmp_path / "seed.csv", index=False)
    assert _run(["generate", str(player), "--seed-file", str(tmp_path / "seed.csv"), "--json"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--column", "high", "--column", "high"], "each column once, got 'high' twice"),
        (["--length", "1000000000000"], "--length of at most 10,000,000"),
        (["--seed", "-1"], "a seed of at least 0"),
    ],
)
def test_more_that_train_refuses(folder, tmp_path, words, message, capsys):
    assert train(folder, "notes.csv", *words, out=tmp_path / "run") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_voices_have_channels_of_their_own(tmp_path):
    mido = pytest.importorskip("mido")
    write_midi(tmp_path / "m.mid", np.full((2, 11), 60))
    channels = [
        {m.channel for m in t if m.type[:4] == "note"} for t in mido.MidiFile(tmp_path / "m.mid").tracks
    ]
    assert channels == [{n} for n in (*range(9), 10, 11)]
    write_midi(tmp_path / "none.mid", np.zeros((0, 2), np.int64))


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    def fail(partial):
        partial.write_text("half")
        raise OSError(27, "File too large")

    with pytest.raises(RunFolderError, match="file too large"):
        write_whole(tmp_path / "out.txt", fail)
    assert not list(tmp_path.iterdir())


def test_an_end_at_once_has_a_page():
    metrics = {
        "kind": "symbols",
        "model": {"perplexity": 2.0, "accuracy": 0.5},
        "baselines": {},
        "seconds": {},
    }
    metrics |= {"held_out": {"steps": 3, "pieces": 1}}
    metrics["baselines"] = {"trigram": {"perplexity": 1.5, "accuracy": 0.5}}
    page = PiecePage(
        title="T", metrics=metrics, verdict="V.", columns=("note",), seed=np.array([[60], [62]]),
        actual=np.array([[60]]), made=np.zeros((0, 1), int),
    )  # fmt: skip
    assert "the end came at once" in render_pieces(page)


def test_what_is_printed_can_be_read_by_machines(singer, player, tmp_path, capsys):
    assert _run(["generate", str(singer), "--prompt", "la", "--length", "4", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["made"]) == 4
    assert _run(["generate", str(player), "--length", "3"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == "high,low" and "Made" not in shown.err


def test_a_model_that_loses_is_said_to_lose(folder, tmp_path, capsys):
    assert train(folder, "song.txt", "--epochs", "1", out=tmp_path / "run") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"].endswith("The model loses to trigrams.") and found["interrupted"] is False


def test_help_is_of_the_command(capsys):
    assert _run(["train", "generator", "x.txt", "--unit", "3"]) == 2
    assert "See unrolled train generator --help." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (200, 1.0, None, None, 0)),
        (["--length", "7", "--temperature", "0.25"], (7, 0.25, None, None, 0)),
        (["--temperature", "3", "--top-k", "2", "--top-p", "0.75", "--seed", "5"], (200, 3.0, 2, 0.75, 5)),
    ],
)
def test_what_is_asked_for_is_drawn(singer, monkeypatch, capsys, words, expected):
    asked = []

    def listen(self, seed_sequence, n, **given):
        asked.append((seed_sequence, n, given))
        return "lu", False

    monkeypatch.setattr(ur.SequenceGenerator, "generate", listen)
    assert _run(["generate", str(singer), "--prompt", "la la ", *words]) == 0
    assert capsys.readouterr().out == "lu\n"
    ((seed, n, given),) = asked
    found = (n, *(given[name] for name in ("temperature", "top_k", "top_p", "seed")))
    assert (seed, found, given["return_ended"]) == ("la la ", expected, True)


def followers(events, history):
    """What came after some events, by looking at each place."""
    found = []
    for piece in events:
        for at in range(len(history), len(piece)):
            if piece[at - len(history) : at] == history:
                found.append(piece[at])
    return found


def chance(events, history, event, count):
    """Witten and Bell's: what came after the history, mixed with what came after a shorter one."""
    shorter = chance(events, history[1:], event, count) if history else 1 / count
    after = followers(events, history)
    return (
        (after.count(event) + len(set(after)) * shorter) / (len(after) + len(set(after)))
        if after
        else shorter
    )


def likeliest(events, history):
    after = followers(events, history)
    return min(set(after), key=lambda e: (-after.count(e), e)) if after else likeliest(events, history[1:])


def trigrams(events, told, count, skip=0):
    """The perplexity and the accuracy of trigrams that were counted in `events`."""
    places = [(piece[max(at - 2, 0) : at], piece[at]) for piece in told for at in range(skip, len(piece))]
    logs = [np.log(chance(events, history, event, count)) for history, event in places]
    rights = [likeliest(events, history) == event for history, event in places]
    return {"perplexity": np.exp(-np.mean(logs)), "accuracy": np.mean(rights)}


def metrics_of(folder, name, *words):
    small = ("--units", "4", "--epochs", "1", "--length", "3", *words)
    assert train(folder, name, *small, out=folder / "run") == 0
    return json.loads((folder / "run/metrics.json").read_text("utf-8"))


def test_trigrams_of_a_text_are_counted_in_its_first_part(tmp_path):
    text = "abcacbabbcabcbacabbcaabcbcacb" + "ccacccbcccacc"  # the part held out is of another kind
    (tmp_path / "x.txt").write_text(text, "utf-8")
    found = metrics_of(tmp_path, "x.txt", "--test-size", "0.3")
    cut = round(0.7 * len(text))
    assert cut == 29 and found["held_out"] == {"steps": 13, "pieces": 1}
    by_hand = trigrams([text[1:cut]], [text[1:]], 3 + 1, skip=cut - 1)  # the first symbol is never told
    assert found["baselines"]["trigram"] == pytest.approx(by_hand, rel=1e-9)
    assert 0 < by_hand["accuracy"] < 1
    accuracy, perplexity = ur.load(tmp_path / "run").judge(text, skip=cut - 1)
    assert found["model"] == pytest.approx({"perplexity": perplexity, "accuracy": accuracy}, rel=1e-6)


def test_trigrams_of_pieces_are_counted_in_those_learned_from_and_tell_ends(tmp_path):
    pieces = ["abcab", "abccaab", "cabbcabca", "bca", "acbcbabcabc"]
    rows = [[number, symbol] for number, piece in enumerate(pieces) for symbol in piece]
    pd.DataFrame(rows, columns=["piece", "symbol"]).to_csv(tmp_path / "x.csv", index=False)
    found = metrics_of(tmp_path, "x.csv", "--id", "piece", "--test-size", "0.2")
    assert found["held_out"]["pieces"] == 1
    (held,) = (piece for piece in pieces if len(piece) == found["held_out"]["steps"])
    events = [["abc".index(symbol) + 1 for symbol in piece] + [0] for piece in pieces if piece != held]
    told = [["abc".index(symbol) + 1 for symbol in held] + [0]]
    by_hand = trigrams(events, told, 3 + 1)
    assert found["baselines"]["trigram"] == pytest.approx(by_hand, rel=1e-9)
    accuracy, perplexity = ur.load(tmp_path / "run").judge([list(held)])
    assert found["model"] == pytest.approx({"perplexity": perplexity, "accuracy": accuracy}, rel=1e-6)


def errors(actual, told):
    off = (actual - told) ** 2
    return {"mse": off.mean(), "r2": 1 - off.sum() / ((actual - actual.mean(0)) ** 2).sum()}


def test_the_last_value_and_the_last_change_of_one_series(tmp_path):
    values = np.round(np.sin(np.arange(30) / 2) + np.arange(30) ** 2 / 50, 2)
    pd.DataFrame({"v": values}).to_csv(tmp_path / "x.csv", index=False)
    found = metrics_of(tmp_path, "x.csv", "--test-size", "0.3")
    actual, last, before = values[21:], values[20:-1], values[19:-2]
    for name, told in (("last_value", last), ("last_change", last + (last - before))):
        assert found["baselines"][name] == pytest.approx(errors(actual, told), rel=1e-5)
    generator = ur.load(tmp_path / "run")
    assert found["model"]["mse"] == pytest.approx(generator.mse(values, skip=20), rel=1e-5)
    assert found["model"]["r2"] == pytest.approx(generator.score(values, skip=20), rel=1e-5)


def test_the_last_change_of_a_piece_begins_with_none(tmp_path):
    random = np.random.default_rng(0)
    pieces = [np.round(random.normal(size=steps).cumsum(), 2) + 0.005 for steps in (5, 7, 9, 6)]
    rows = [[number, value] for number, piece in enumerate(pieces) for value in piece]
    pd.DataFrame(rows, columns=["piece", "v"]).to_csv(tmp_path / "x.csv", index=False)
    found = metrics_of(tmp_path, "x.csv", "--id", "piece", "--test-size", "0.25", "--column", "v")
    (held,) = (piece for piece in pieces if len(piece) == found["held_out"]["steps"])
    last, change = held[:-1], np.concatenate([[0.0], np.diff(held)[:-1]])
    for name, told in (("last_value", last), ("last_change", last + change)):
        assert found["baselines"][name] == pytest.approx(errors(held[1:], told), rel=1e-5)
