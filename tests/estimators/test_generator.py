"""The generator: what it learns, how it goes on, saving, and what it refuses."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import torch
from sklearn.base import clone

import unrolled as ur
from unrolled.autoregressive import Autoregression, AutoregressiveNetwork, Stepper
from unrolled.data.pieces import take_pieces
from unrolled.errors import DataError, OptionError, RunFolderError, ShapeError
from unrolled.estimators.drawing import Drawing, mean_chances

QUICK = ur.Training(optimizer="adamw", learning_rate=0.02, schedule="one-cycle", epochs=12, batch_size=16)
SONG = "la la lu " * 20
WAVE = np.sin(np.arange(160) / 3).astype(np.float32)
WORDS = [["a", "bold", "one"], ["two", "thin", "lines", "here"]] * 8
CHORDS = np.array([[60, 40], [62, 41], [64, 43], [65, 40]] * 20)


def quick(cell="gru", **options):
    return ur.SequenceGenerator(cell, **{"units": 16, "steps": 12, "training": QUICK} | options)


@pytest.fixture(scope="module")
def singer():
    return quick(members=2).fit(SONG, progress=False)


@pytest.fixture(scope="module")
def speaker():
    return quick(training=dataclasses.replace(QUICK, batch_size=2)).fit(WORDS, progress=False)


def test_a_song_goes_on(singer):
    assert singer.generate("la lu la ", 18, top_k=1) == "la lu la la lu la "
    assert singer.accuracy(SONG) > 0.95
    assert singer.score(SONG) == singer.accuracy(SONG)
    assert 1 <= singer.perplexity(SONG) < 1.2


def test_the_perplexity_is_that_of_the_mean_of_the_members_probabilities(singer):
    numbers = torch.from_numpy(singer.reading_.alphabets[0].numbers("la lu la"))[None, :, None]
    with torch.no_grad():
        chances = sum(n(numbers[:, :-1]).softmax(-1) for n in singer.networks_) / 2
    right = chances[0, :, 0].gather(-1, numbers[0, 1:] - 2)
    assert singer.perplexity("la lu la") == pytest.approx(float((-right.log().mean()).exp()), rel=1e-5)


def test_the_state_is_carried_over_a_long_seed(singer):
    """One step at a time, after a seed longer than the windows: as if the whole were read at once."""
    seed = SONG[:100]
    made = singer.generate(seed, 30, top_k=1)
    read = seed
    for symbol in made:
        numbers = torch.from_numpy(singer.reading_.alphabets[0].numbers(read))[None, :, None]
        with torch.no_grad():
            chances = mean_chances(torch.stack([n(numbers)[:, -1] for n in singer.networks_]).numpy())
        assert singer.reading_.alphabets[0].decode([int(chances[0, 0, 1:].argmax()) + 3]) == [symbol]
        read += symbol


@pytest.mark.parametrize(
    "options",
    [
        {"numbers": (9,), "filters": (6, 5, 4), "kernel_size": 2},
        {"numbers": (9,), "filters": (6, 5), "kernel_size": 3, "cell": "gru", "layers": 2},
        {"numbers": (9, 6), "filters": (4,), "kernel_size": 1},
        {"numbers": (9,), "voices": 3},
        {"features": 2, "cell": "rnn", "activation": "relu", "filters": (4, 4)},
    ],
)
@pytest.mark.parametrize("context", [0, 3])
def test_steps_are_the_sequence(options, context):
    torch.manual_seed(1)
    a = Autoregression(units=7, context=context, context_hidden=4 if context else 0, **options)
    networks = [AutoregressiveNetwork(a).eval() for _ in range(2)]
    random = np.random.default_rng(0)
    if a.features:
        past = torch.from_numpy(random.normal(size=(3, 20, 2)).astype(np.float32))
    else:
        past = torch.from_numpy(np.stack([random.integers(count, size=(3, 20)) for count in a.columns], -1))
    static = torch.randn(3, context) if context else None
    with torch.no_grad():
        expected = torch.stack([n(past, **({"static": static} if context else {})) for n in networks]).numpy()
    stepper = Stepper(networks)
    np.testing.assert_allclose(stepper.read(past[:, :3], static), expected[:, :, 2], rtol=1e-5, atol=1e-5)
    for t in range(3, 20):
        found = stepper.step(past[:, t].numpy())
        np.testing.assert_allclose(found, expected[:, :, t], rtol=1e-5, atol=1e-5)


def test_the_cost_of_a_step_does_not_grow(singer, monkeypatch):
    """Each step is read once: as many calls as there are symbols to make, less the last, which nothing reads."""
    steps = []
    whole = Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self, x: steps.append(x.shape) or whole(self, x))
    singer.generate("la", 50)
    assert steps == [(1, 1)] * 49


def test_values_go_on_and_are_told():
    generator = quick("lstm", steps=20).fit(WAVE, progress=False)
    assert generator.reading_.change is not None  # a slow wave: its changes are told
    assert generator.score(WAVE) > 0.99
    assert generator.mse(WAVE) < 0.01
    made = generator.generate(WAVE[:100], 40)
    assert made.shape == (40,)
    assert np.mean((made - WAVE[100:140]) ** 2) < 0.25 * np.mean((WAVE[99] - WAVE[100:140]) ** 2)


def test_several_features_in_their_own_units():
    both = np.stack([1000 + 5 * WAVE, -0.01 * WAVE], 1)
    generator = quick(steps=20).fit(both, progress=False)
    made = generator.generate(both[:60].tolist(), 5)
    assert np.shape(made) == (5, 2) and isinstance(made, list)
    assert np.allclose(np.mean(made, 0), [1000, 0], atol=[8, 0.1])
    noise = np.random.default_rng(0).normal(size=60)
    assert quick().fit(noise, progress=False).reading_.change is None  # its changes spread more


def test_pieces_begin_and_end(speaker):
    made, ended = speaker.generate(None, 10, seed=3, top_p=0.9, return_ended=True)
    assert ended and made in (WORDS[0], WORDS[1])
    assert {tuple(speaker.generate(None, 10, seed=s, top_p=0.9)) for s in range(20)} == {
        tuple(w) for w in WORDS[:2]
    }
    assert speaker.generate(["two", "thin"], 10, top_k=1) == ["lines", "here"]


def test_without_an_end_it_is_returned_and_flagged(speaker, caplog):
    with caplog.at_level(logging.INFO, "unrolled"):
        made, ended = speaker.generate(["two"], 2, top_k=1, return_ended=True)
    assert made == ["thin", "lines"]
    assert ended is False
    assert "1 of 1 sequences did not end within 2 steps." in caplog.text


def test_a_context_sets_the_beginning():
    contexts = np.eye(3)
    words = ["red", "green", "blue"]
    generator = quick(steps=8).fit(words * 30, context=np.tile(contexts, (30, 1)), progress=False)
    assert generator.generate(context=contexts, n=9, top_k=1) == words
    assert generator.generate(context=contexts[1], n=9, top_k=1) == "green"
    assert generator.generate("bl", 9, context=contexts[2], top_k=1) == "ue"
    assert generator.accuracy(words, context=contexts) == 1.0
    assert generator.accuracy(words, context=contexts[[1, 2, 0]]) < 0.8
    _, ended = generator.generate(context=contexts, n=3, top_k=1, return_ended=True)
    assert ended.tolist() == [False] * 3
    for given in (None, contexts[:, :2]):
        with pytest.raises(ShapeError, match="context: expected vectors of 3 numbers, as in training"):
            generator.generate(context=given)
    with pytest.raises(DataError, match=r"context\[1\]: expected finite numbers"):
        quick().fit(words, context=np.where(contexts == 1, [[1], [np.nan], [1]], 0), progress=False)
    with pytest.raises(ShapeError, match=r"context: expected shape \(3, size\)"):
        quick().fit(words, context=contexts[:2], progress=False)


@pytest.mark.parametrize("in_turn", [False, True])
def test_streams_of_symbols(in_turn):
    generator = quick(in_turn=in_turn).fit(CHORDS, progress=False)
    assert len(generator.reading_.alphabets) == (1 if in_turn else 2)
    made = generator.generate(CHORDS[:6], 8, top_k=1)
    assert made.tolist() == CHORDS[6:14].tolist()
    assert generator.accuracy(CHORDS) > 0.95
    as_list = generator.generate([tuple(chord) for chord in CHORDS[:6].tolist()], 2, top_k=1)
    assert as_list == [tuple(chord) for chord in CHORDS[6:8].tolist()]


def test_voices_in_turn_know_each_other():
    """The second voice copies the first, which is random: told in turn it is sure, side by side it cannot be."""
    first = np.random.default_rng(0).integers(4, size=600)
    both = np.stack([first, first], 1)
    in_turn, beside = (quick(in_turn=way, stride=3).fit(both[:400], progress=False) for way in (True, False))
    assert in_turn.accuracy(both[400:]) > beside.accuracy(both[400:]) + 0.2
    made = in_turn.generate(both[:5], 20, seed=1)
    assert np.mean(made[:, 0] == made[:, 1]) > 0.9


def test_the_same_seed_gives_the_same_bits(singer):
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    again = quick(members=2).fit(SONG, progress=False)
    for a, b in zip(singer.networks_, again.networks_, strict=True):
        for x, y in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(x, y)
    made = [singer.generate("la", 60, temperature=2.0, seed=s) for s in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("which", ["singer", "speaker"])
def test_saved_and_loaded_it_says_the_same(which, request, tmp_path):
    generator = request.getfixturevalue(which)
    generator.save(tmp_path / "run")
    loaded = ur.load(tmp_path / "run")
    seed = "la" if which == "singer" else ["two"]
    assert loaded.generate(seed, 40, seed=4) == generator.generate(seed, 40, seed=4)
    assert loaded.get_params() | {"filters": ()} == generator.get_params() | {"filters": ()}
    with pytest.raises(RunFolderError):
        generator.save(tmp_path / "run")


def test_values_and_contexts_are_saved(tmp_path):
    pieces, contexts = [WAVE[:40, None], WAVE[20:60, None]], np.array([[1.0, 2], [3, 5]])
    generator = quick(context_hidden=3, filters=[4]).fit(pieces, context=contexts, progress=False)
    generator.save(tmp_path / "run")
    loaded = ur.load(tmp_path / "run")
    for context in contexts:
        a, b = (g.generate(WAVE[:20, None], 6, context=context) for g in (generator, loaded))
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["alphabets"][0].append("q"), "alphabets that are not those of the network"),
        (lambda c: c["alphabets"][0].append("l"), "a symbol twice|one twice"),
        (lambda c: c.pop("reading"), "KeyError"),
        (lambda c: c.update(format_version=7), "format 7"),
        (lambda c: c["architecture"].update(units=3), "weights of member 0 that are not those"),
        (lambda c: c["architecture"].update(units=10**7), "weights of member 0 that are not those"),
        (lambda c: c["architecture"].update(layers=10**7), "10000000 layers"),
        (lambda c: c["reading"].update(form="tree"), "pieces of the form 'tree'"),
        (lambda c: c["reading"].update(flat=False), "a text of several columns"),
        (lambda c: c["reading"].update(width=9), "not those of the network|several columns"),
        (lambda c: c["reading"].update(ends="no"), "flags that are none"),
        (lambda c: c.update(columns=[1]), "columns that are none"),
        (lambda c: c.update(columns={}), "columns that are none"),
        (lambda c: c.update(notes="x"), "notes that are none"),
    ],
)
def test_a_damaged_folder_is_refused(singer, tmp_path, change, message):
    singer.save(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    change(config)
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunFolderError, match=message):
        ur.load(tmp_path / "run")


def test_a_part_held_back_decides():
    generator = quick(valid_size=0.2).fit(SONG, progress=False)
    assert {"valid_loss", "valid_accuracy"} <= set(generator.run_.history[-1])
    assert generator.run_.history[-1]["valid_accuracy"] > 0.8
    generator = quick(valid_size=0.25).fit(WORDS, progress=False)
    assert generator.run_.history[-1]["valid_loss"] is not None


def test_scikit_learn_can_clone_it():
    generator = quick(filters=(3,), in_turn=True)
    assert clone(generator).get_params() == generator.get_params()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.generate("la x"), r"seed, step 3: expected one of the 4 symbols .* got 'x'"),
        (lambda g: g.accuracy("la\n"), r"X, step 2: expected one of the 4 symbols"),
        (lambda g: g.generate(""), "generate: expected a seed of at least one step, got an empty one"),
        (lambda g: g.generate([]), "generate: expected a seed of at least one step, got an empty one"),
        (lambda g: g.generate(), "generate: expected a seed to go on from, got none"),
        (lambda g: g.accuracy("l"), "X: expected at least two steps, got one"),
        (lambda g: g.generate(["l", "lu"]), r"seed, step 1: expected one of the 4 symbols .* got 'lu'"),
        (lambda g: g.generate("la", 0), "expected n of at least 1, got 0"),
        (lambda g: g.generate("la", temperature=0), "a temperature above 0, got 0"),
        (lambda g: g.generate("la", temperature=-1.5), "a temperature above 0, got -1.5"),
        (lambda g: g.generate("la", temperature=float("nan")), "a temperature above 0, got nan"),
        (lambda g: g.generate("la", top_k=0), "top_k of at least 1, or None, got 0"),
        (lambda g: g.generate("la", top_k=2.5), "top_k of at least 1, or None, got 2.5"),
        (lambda g: g.generate("la", top_p=0), r"top_p in \(0, 1\], or None, got 0"),
        (lambda g: g.generate("la", top_p=1.5), r"top_p in \(0, 1\], or None, got 1.5"),
        (lambda g: g.generate("la", context=[1.0]), "context: expected none, as in training"),
        (lambda g: g.mse("la la"), "a generator of values, got one of symbols"),
        (lambda g: g.generate(np.zeros((2, 2), int)), "seed: expected 1 columns, as in training, got 2"),
    ],
)
def test_what_is_refused(singer, call, message):
    with pytest.raises((DataError, OptionError, ShapeError), match=message):
        call(singer)


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        ([], {}, "X: expected at least one piece"),
        (["ab", ""], {}, r"X\[1\]: expected at least one step, got an empty piece"),
        ([1.0, float("nan")], {}, "X.*a finite number, got NaN"),
        ([np.ones((3, 1)), np.array([[1.0], [np.inf]])], {}, r"X\[1\], step 1: expected a finite number"),
        ([np.ones((3, 1)), np.ones((3, 2))], {}, r"X\[1\]"),
        ([["a", None]], {}, "a symbol: a text or a whole number"),
        (["a"], {"ends": False}, "at least two steps"),
        (WAVE, {"ends": True}, "ends and in_turn of symbols, got values"),
        (SONG, {"in_turn": True}, "in_turn with several streams"),
        (SONG, {"differences": True}, "differences of values"),
        (SONG, {"cell": "tcn"}, "cell one of rnn, lstm, gru"),
        (SONG, {"units": 0}, "units of at least 1, got 0"),
        (SONG, {"filters": [0]}, "filters: a list of whole numbers"),
        (SONG, {"valid_size": 1.0}, r"a valid_size in \[0, 1\)"),
        (SONG, {"kind": "values"}, "values: numbers, got texts"),
        (3.0, {}, "a piece"),
    ],
)
def test_what_cannot_be_learned(X, options, message):
    with pytest.raises((DataError, OptionError, ShapeError), match=message):
        quick(**options).fit(X, progress=False)


def test_pieces_of_all_kinds():
    one = take_pieces([[("a", 1), ("b", 2)]], "X")
    assert one.parts == [(["a", "b"], [1, 2])]
    assert take_pieces(np.ones((4, 3, 2)), "X").steps(3) == 3
    assert take_pieces(np.array([3, 1]), "X").parts == [([3, 1],)]
    assert take_pieces(np.array(["ab", "c"]), "X").parts == [(["a", "b"],), (["c"],)]
    with pytest.raises(ShapeError, match="rows of different lengths|shape"):
        take_pieces([[[1.0], [2.0, 3.0]]], "X")


CHANCES = np.array([[0.5, 0.3, 0.15, 0.05]])


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        (Drawing(), [0.5, 0.3, 0.15, 0.05]),
        (Drawing(top_k=1), [1, 0, 0, 0]),
        (Drawing(top_k=2), [0.625, 0.375, 0, 0]),
        (Drawing(top_p=0.6), [0.625, 0.375, 0, 0]),
        (Drawing(top_p=0.5), [1, 0, 0, 0]),
        (Drawing(temperature=0.5), np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365),
        (Drawing(temperature=1e-4), [1, 0, 0, 0]),
        (Drawing(2.0, top_k=2, top_p=1.0), np.sqrt([0.5, 0.3]).tolist() / np.sqrt([0.5, 0.3]).sum()),
    ],
)
def test_shares_of_what_is_drawn(drawing, expected):
    rng = np.random.default_rng(0)
    drawn = drawing.draw(np.repeat(CHANCES, 20_000, 0), rng)
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, np.pad(expected, (0, 4 - len(expected))), atol=0.012)
