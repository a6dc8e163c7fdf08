"""What an attacker tried on the estimators of sequences: odd input, weights, what is held back, folders changed by hand."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import unrolled as ur
from unrolled.errors import DataError, OptionError, RunFolderError, ShapeError
from unrolled.estimators.sample_weights import take_weights

SHORT = ur.Training(epochs=1, batch_size=16)
RANDOM = np.random.default_rng(0)
X = [RANDOM.normal(size=k) for k in RANDOM.integers(3, 9, 40)]
Y = ["a", "b"] * 20
TEXTS = ["good film", "bad film"] * 20


def classifier(**options):
    return ur.SequenceClassifier(**{"model": "gru", "units": 4, "members": 1, "training": SHORT} | options)


def regressor(**options):
    return ur.SequenceRegressor(**{"model": "gru", "units": 4, "members": 1, "training": SHORT} | options)


def fitted(given=X, y=Y, weights=None, **options):
    return classifier(**options).fit(given, y, weights, progress=False)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("a text", ShapeError, "X: expected a list of sequences or texts, or an array, got a str"),
        ({"a": [1.0]}, ShapeError, "got a dict"),
        ({1.0, 2.0}, ShapeError, "got a set"),
        ([], DataError, "at least one sequence, got none"),
        ([*X[:-1], [1.0, None]], DataError, r"X\[39\], step 1: expected a finite number, got NaN"),
        ([*X[:-1], [1.0, 1e39]], DataError, r"a finite number \(of at most 3.4e38\), got inf"),
        (np.full((40, 2), 1e39), DataError, "at most 3.4e38"),
        (np.ma.masked_array(np.ones((40, 3)), np.eye(40, 3)), DataError, r"X\[0\], step 0: .* got NaN"),
        ([torch.ones(3, requires_grad=True)] * 40, ShapeError, r"got a Tensor. .*detach"),
        (torch.ones(40, 3, requires_grad=True), ShapeError, r"got a Tensor. .*detach"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_sequences(given, error, words):
    with pytest.raises(error, match=words):
        fitted(given)


@pytest.mark.parametrize(
    "y", ["ab" * 20, dict.fromkeys(range(40)), set(range(40)), 3, None], ids=lambda y: type(y).__name__
)
def test_what_cannot_be_answers(y):
    with pytest.raises(ShapeError, match="y: expected a list of 40 answers, got a"):
        fitted(y=y)


def test_an_iterator_and_an_array_of_objects_are_taken():
    wanted = fitted().predict_proba(X)
    np.testing.assert_array_equal(fitted(iter(X)).predict_proba(iter(X)), wanted)
    numbers = RANDOM.normal(size=(40, 3))
    np.testing.assert_array_equal(
        fitted(numbers.astype(object)).predict_proba(numbers), fitted(numbers).predict_proba(numbers)
    )


def test_nothing_to_predict_is_said():
    with pytest.raises(DataError, match="at least one sequence, got none"):
        fitted(TEXTS, model="bag").predict([])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"valid_size": 0.99}, "a valid_size that leaves sequences to learn from, got 0.99 of 40"),
        ({"valid_size": None}, "a valid_size in"),
        ({"dropout": "x"}, "a dropout in"),
        ({"seed": None}, "a seed of at least 0, got None"),
        ({"seed": -1}, "a seed of at least 0"),
        ({"bidirectional": "no"}, "bidirectional True or False, got 'no'"),
        ({"units": True}, "units of at least 1, got True"),
        ({"vectors": __file__}, "vectors for texts alone"),
        ({"per_step": True, "unknown": "drop"}, "unknown='vector' with per_step"),
        ({"class_weight": 3}, "class_weight of 'balanced', a dict or None, got 3"),
        ({"class_weight": {"a": "x"}}, "class_weight of numbers above 0, got 'x' for 'a'"),
        ({"class_weight": {"a": None}}, "got None for 'a'"),
        ({"class_weight": {"a": -1}}, "got -1 for 'a'"),
        ({"units": 10**9}, r"networks of [\d,]+ weights, about"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be(options, words):
    with pytest.raises(OptionError, match=words):
        fitted(**options)


def test_weights_that_do_not_fit_into_memory_are_said_before_training():
    with pytest.raises(OptionError, match=r"weights, about .* embeddings"):
        fitted(TEXTS, model="bag", embedding_size=10**10)


def test_whole_numbers_of_numpy_are_whole_numbers(tmp_path):
    options = {
        "units": 4,
        "members": 2,
        "seed": 3,
        "layers": 1,
        "max_steps": 5,
        "hidden": 2,
        "kernel_size": 3,
        "filters": 4,
    }
    mine = {name: np.int64(value) for name, value in options.items()}
    found = fitted(model="conv-gru", bidirectional=np.bool_(True), valid_size=np.float64(0.1), **mine)
    wanted = fitted(model="conv-gru", bidirectional=True, valid_size=0.1, **options)
    np.testing.assert_array_equal(found.predict_proba(X), wanted.predict_proba(X))
    found.save(tmp_path / "model")
    np.testing.assert_array_equal(ur.load(tmp_path / "model").predict_proba(X), found.predict_proba(X))


def test_nothing_is_learned_from_what_is_held_back():
    texts = [f"word{k} film" for k in range(40)]
    model = fitted(texts, model="bag", valid_size=0.25)
    assert (
        len(model.reading_.vocabulary.words) == 31
    )  # "film", and a word of each of the 30 that it learns from
    steps = [np.full(2, float(k)) for k in range(40)]
    numbers = np.arange(40.0)
    learn, hold = regressor(valid_size=0.25)._split(np.full(40, 2), numbers, None)
    assert len(hold) == 10
    model = regressor(valid_size=0.25).fit(steps, numbers, progress=False)
    np.testing.assert_allclose(model.reading_.mean, [learn.mean()], rtol=1e-6)
    np.testing.assert_allclose(model.target_mean_, [learn.mean()])
    np.testing.assert_allclose(model.target_scale_, [learn.std()])


def test_what_is_held_back_has_equal_shares_of_the_classes_and_comes_in_order_of_length():
    model = classifier(valid_size=0.5)
    lengths, target = np.array([len(x) for x in X]), np.array([0] * 30 + [1] * 10)
    learn, hold = model._split(lengths, target, None)
    assert np.bincount(target[hold]).tolist() == [15, 5]
    assert (np.diff(lengths[hold]) >= 0).all()
    assert sorted([*learn, *hold]) == list(range(40))


def test_weights_count_by_their_proportions():
    weights = RANDOM.uniform(0.5, 2, 40)
    plain, equal = fitted(), fitted(weights=np.full(40, 7.0))
    np.testing.assert_array_equal(plain.predict_proba(X), equal.predict_proba(X))
    one, twice = fitted(weights=weights), fitted(weights=2 * weights)
    np.testing.assert_allclose(one.predict_proba(X), twice.predict_proba(X), atol=1e-6)
    assert np.abs(one.predict_proba(X) - plain.predict_proba(X)).max() > 1e-4


@pytest.mark.parametrize("model", ["gru", "conv", "bag"])
def test_what_weighs_more_is_told_more_often(model):
    same, y = [np.ones(k % 3 + 2) for k in range(60)], [0, 1] * 30
    training = ur.Training(epochs=30, batch_size=16, learning_rate=0.01)
    found = fitted(same, y, np.tile([1.0, 4.0], 30), model=model, training=training).predict_proba(same)
    np.testing.assert_allclose(found[:, 1], 0.8, atol=0.06)


def test_what_weighs_nothing_is_not_there():
    texts, weights = ["unheard of", *TEXTS[1:]], np.r_[0.0, np.ones(39)]
    model = fitted(texts, weights=weights, model="bag")
    assert "unheard" not in model.reading_.vocabulary.words
    np.testing.assert_array_equal(
        model.predict_proba(TEXTS), fitted(texts[1:], Y[1:], model="bag").predict_proba(TEXTS)
    )


def test_steps_and_numbers_weigh_what_their_sequences_do():
    steps = [np.where(np.arange(len(x)) % 2, "p", "q").tolist() for x in X]
    weights = np.where(np.arange(40) < 20, 1.0, 3.0)
    model = fitted(y=steps, weights=weights, per_step=True)
    right = [np.asarray(found) == step for found, step in zip(model.predict(X), steps, strict=True)]
    each = np.repeat(weights, [len(x) for x in X])
    assert model.score(X, steps, weights) == pytest.approx(np.average(np.concatenate(right), weights=each))
    y = np.where(np.arange(60) % 2, 1.0, 0.0)
    same = [np.ones(2)] * 60
    training = ur.Training("mse", epochs=60, batch_size=20, learning_rate=0.02)
    found = regressor(training=training).fit(same, y, np.where(y > 0, 3.0, 1.0), progress=False).predict(same)
    np.testing.assert_allclose(found, 0.75, atol=0.05)


def test_weights_count_where_gradients_are_cut_off():
    steps = [[0, 1] * 10] * 40
    training = ur.Training(epochs=30, batch_size=20, bptt_steps=5, learning_rate=0.02)
    given = [np.ones(20)] * 40
    steps = [[0] * 20 if k % 2 else [1] * 20 for k in range(40)]
    weights = np.where(np.arange(40) % 2, 1.0, 4.0)
    found = fitted(given, steps, weights, per_step=True, training=training).predict_proba(given)
    np.testing.assert_allclose(found[0, :, 1], 0.8, atol=0.08)


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        (np.ones(39), ShapeError, r"shape \(40,\), a weight for each sequence, got \(39,\)"),
        (np.ones((40, 2)), ShapeError, r"got \(40, 2\)"),
        (["x"] * 40, ShapeError, "sample_weight: expected 40 numbers"),
        (
            [*[1.0] * 39, -1.0],
            DataError,
            r"sample_weight\[39\]: expected a finite number of at least 0, got -1",
        ),
        ([np.nan, *[1.0] * 39], DataError, r"sample_weight\[0\]"),
        (np.zeros(40), DataError, "zeros alone"),
    ],
)
def test_weights_that_cannot_be(weights, error, words):
    model, numbers = fitted(), regressor().fit(X, [x.mean() for x in X], progress=False)
    for attempt in (
        lambda: fitted(weights=weights),
        lambda: model.score(X, Y, sample_weight=weights),
        lambda: numbers.score(X, [x.mean() for x in X], sample_weight=weights),
    ):
        with pytest.raises(error, match=words):
            attempt()


def test_equal_weights_are_none():
    assert take_weights([3, 3], 2) is None
    assert take_weights(None, 2) is None


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        ([1j] * 40, ShapeError, "what is no number"),
        (["1.5"] * 40, ShapeError, "what is no number"),
        (np.array(["2020-01-01"] * 40, "datetime64[D]"), ShapeError, "what is no number"),
        (np.ones((40, 0)), ShapeError, r"got \(40, 0\)"),
        (np.linspace(0, 1e300, 40), DataError, "numbers that can be squared"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_number_to_tell(y, error, words):
    with pytest.raises(error, match=words):
        regressor().fit(X, y, progress=False)


def test_what_a_score_refuses():
    model = regressor().fit(X, [x.mean() for x in X], progress=False)
    with pytest.raises(DataError, match=r"y\[1\]: expected a finite number, got nan"):
        model.score(X[:2], [1.0, np.nan])
    with pytest.raises(ShapeError, match="1 targets, got 2"):
        model.score(X[:2], [[1.0, 2.0]] * 2)
    assert fitted().score(X[:2], [["a"], ["b"]]) == 0.0  # classes that none can be


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("saved") / "model"
    fitted().save(place)
    return place


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("architecture", {"layers": 999_999}), ("architecture", {"per_step": True}), ("architecture", {"units": 10**12}),
        ("reading", {"most": "zz"}), ("reading", {"kind": "zz"}), ("reading", {"kind": "words"}), ("reading", {"kind": "images"}),
        ("classes", {"labels": ["a", "a"]}), ("classes", {"labels": [["a"], ["b"]]}),
        (None, {"columns": 7}), (None, {"notes": None}), (None, {"training": 7}), (None, {"format_version": 2}),
    ],
    ids=str,
)  # fmt: skip
def test_a_config_that_was_changed_is_refused(run, tmp_path, part, change):
    shutil.copytree(run, tmp_path / "changed")
    config = json.loads((run / "config.json").read_text())
    (config if part is None else config[part]).update(change)
    (tmp_path / "changed/config.json").write_text(json.dumps(config))
    with pytest.raises(RunFolderError, match="damaged"):
        ur.load(tmp_path / "changed")


def test_weights_that_were_changed_are_refused(run, tmp_path):
    shutil.copytree(run, tmp_path / "changed")
    whole = (run / "model.safetensors").read_bytes()
    for size in (0, 10, 500, -10):
        (tmp_path / "changed/model.safetensors").write_bytes(whole[:size])
        with pytest.raises(RunFolderError, match="damaged"):
            ur.load(tmp_path / "changed")
    tensors = load_file(run / "model.safetensors")
    for name, value in (("scale", 0.0), ("mean", np.nan)):
        save_file(tensors | {name: np.full(1, value, np.float32)}, tmp_path / "changed/model.safetensors")
        with pytest.raises(RunFolderError, match="damaged"):
            ur.load(tmp_path / "changed")
    (tmp_path / "changed/config.json").write_text("[" * 100_000)
    with pytest.raises(RunFolderError, match="damaged"):
        ur.load(tmp_path / "changed")


def test_notes_and_vectors_live_through_a_folder(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("good 1 0 0.5\nbad 0 1 0.5\n")
    model = fitted(TEXTS, model="bag", vectors=path, tune_vectors=True)
    assert not model.architecture_.frozen
    assert (
        model.networks_[0].embedding.weight[:2].abs().max() < 0.01
    )  # padding and unknown words begin at zero
    assert fitted(TEXTS, model="bag", vectors=path).architecture_.frozen
    model.save(tmp_path / "model")
    loaded = ur.load(tmp_path / "model")
    assert loaded.notes_ == model.notes_
    assert "random vector" in loaded.notes_[0]


def test_texts_have_dropout_and_tagging_reads_both_ways():
    assert fitted(TEXTS, model="bag").architecture_.dropout == 0.5
    assert fitted().architecture_.dropout == 0.0
    tagged = fitted([text.split() for text in TEXTS], [["x", "y"]] * 40, per_step=True)
    assert tagged.architecture_.bidirectional
    assert not fitted().architecture_.bidirectional
    long = [["word"] * 450, ["other"] * 3]
    tagged = fitted(long, [["x"] * 450, ["y"] * 3], per_step=True)
    assert [len(part) for part in tagged.predict(long)] == [450, 3]


def test_steps_that_are_held_back_keep_their_own_answers():
    model = regressor(per_step=True, valid_size=0.5)
    answers = [np.cumsum(np.abs(x)) for x in X]
    lengths = np.array([len(x) for x in X])
    given = ur.data.Sequences.of([x[:, None] for x in X])
    _, hold = model._split(lengths, np.concatenate(answers)[:, None], None)
    held = model._samples(given, np.concatenate(answers)[:, None], hold, None)
    np.testing.assert_array_equal(held.target[:, 0], np.concatenate([answers[number] for number in hold]))
    np.testing.assert_array_equal(held.sequences.values[:, 0], np.concatenate([X[number] for number in hold]))


def test_a_score_of_numbers_is_weighed():
    from sklearn.metrics import r2_score

    y, weights = np.array([x.mean() for x in X]), RANDOM.uniform(size=40)
    model = regressor().fit(X, y, progress=False)
    assert model.score(X, y, weights) == pytest.approx(r2_score(y, model.predict(X), sample_weight=weights))


def test_pieces_of_a_sequence_need_less_memory(monkeypatch):
    monkeypatch.setattr("unrolled.estimators.memory.free_memory", lambda device: 1e6)
    long = np.zeros((20, 5000, 1), np.float32)
    with pytest.raises(OptionError, match="up to 5,000 steps"):
        fitted(long, [0, 1] * 10)
    steps = np.zeros((20, 400, 1), np.float32) + np.arange(20)[:, None, None]
    with pytest.raises(OptionError, match="up to 400 steps"):
        fitted(steps, [0, 1] * 10)
    pieces = ur.Training(epochs=1, batch_size=16, bptt_steps=10)
    assert fitted(steps, [0, 1] * 10, training=pieces).run_.history
