"""The classifier of sequences: skill, conventions, labels, saving, and what it refuses."""

import json
import logging

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score

import unrolled as ur
from unrolled.data import load_digits_rows
from unrolled.errors import DataError, OptionError, RunFolderError, ShapeError
from unrolled.estimators.class_baselines import logistic_probabilities, majority_probabilities

QUICK = ur.Training(optimizer="adam", learning_rate=0.02, schedule="one-cycle", epochs=15, batch_size=16)
RANDOM = np.random.default_rng(0)
RISING = [np.sort(RANDOM.normal(size=k)) for k in RANDOM.integers(3, 9, 40)]
CURVES, WAYS = RISING + [x[::-1] for x in RISING], ["rises"] * 40 + ["falls"] * 40
GOOD, BAD = (
    ["a fine , moving film", "great fun", "fine acting and great songs"],
    ["dull and slow", "a slow bore", "dull acting"],
)
TEXTS, OPINIONS = GOOD * 5 + BAD * 5, [True] * 15 + [False] * 15


def quick(model="gru", **options):
    options = {"units": 8, "members": 1, "training": QUICK} | options
    return ur.SequenceClassifier(model, **options)


@pytest.fixture(scope="module")
def fitted():
    return quick(members=2).fit(CURVES, WAYS, progress=False)


def test_digits_rows_are_told():
    images, digits = load_digits_rows()
    split = next(StratifiedKFold(5, shuffle=True, random_state=0).split(images, digits))
    train, test = (index[:: 1 if part else 2] for part, index in enumerate(split))
    training = ur.Training(
        optimizer="adamw", learning_rate=5e-3, schedule="one-cycle", epochs=20, batch_size=32
    )
    classifier = ur.SequenceClassifier(members=1, training=training).fit(
        images[train], digits[train], progress=False
    )
    assert classifier.score(images[test], digits[test]) > 0.93


def first_step_tells(n, low, high, seed):
    """The class is the sign of the first step; all others are noise."""
    random = np.random.default_rng(seed)
    X = [random.normal(0, 0.2, (k, 1)) for k in random.integers(low, high + 1, n)]
    y = random.integers(2, size=n)
    for x, sign in zip(X, y, strict=True):
        x[0] = 2 * sign - 1
    return X, y


def test_what_is_remembered_over_200_steps():
    train, test = first_step_tells(600, 100, 200, 0), first_step_tells(300, 200, 200, 1)
    training = ur.Training(
        optimizer="adam", learning_rate=0.01, schedule="one-cycle", epochs=10, batch_size=32
    )
    scores = {
        model: ur.SequenceClassifier(model, units=32, members=1, training=training)
        .fit(*train, progress=False)
        .score(*test)
        for model in ("lstm", "rnn")
    }
    assert scores["lstm"] >= 0.99
    assert scores["rnn"] < 0.75


def test_scikit_learn_conventions(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "classes_")
    assert quick(layers=2).set_params(units=5).units == 5
    probabilities = fitted.predict_proba(CURVES)
    assert probabilities.shape == (80, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert fitted.classes_.tolist() == ["falls", "rises"]
    np.testing.assert_array_equal(fitted.predict(CURVES), fitted.classes_[probabilities.argmax(1)])
    assert fitted.score(CURVES, WAYS) > 0.95


def test_works_in_cross_validation_and_grid_search():
    images, digits = load_digits_rows()
    few = digits < 2
    training = ur.Training(optimizer="adam", learning_rate=0.02, epochs=10)
    scores = cross_val_score(quick(training=training), images[few][:120], digits[few][:120], cv=3)
    assert scores.min() > 0.9
    search = GridSearchCV(quick(training=training), {"units": [2, 8]}, cv=2).fit(
        images[few][:60], digits[few][:60]
    )
    assert set(search.best_params_) == {"units"}


def test_the_same_seed_gives_the_same_bits(fitted):
    again = quick(members=2).fit(CURVES, WAYS, progress=False)
    np.testing.assert_array_equal(again.predict_proba(CURVES), fitted.predict_proba(CURVES))
    alone = quick(members=1, seed=1).fit(CURVES, WAYS, progress=False)
    for name, weight in alone.networks_[0].state_dict().items():
        assert torch.equal(weight, fitted.networks_[1].state_dict()[name])


def test_probabilities_are_the_mean_of_the_members(fitted):
    each = []
    for network in fitted.networks_:
        one = clone(fitted)
        one.__dict__.update(fitted.__dict__ | {"networks_": [network]})
        each.append(one.predict_proba(CURVES))
    np.testing.assert_allclose(fitted.predict_proba(CURVES), np.mean(each, axis=0))


@pytest.mark.parametrize("model", ["rnn", "lstm", "bag", "conv", "conv-gru"])
@pytest.mark.parametrize(
    "options", [{}, {"layers": 2, "bidirectional": True, "pooling": "max", "hidden": 5, "dropout": 0.1}]
)
def test_every_model_learns_ragged_sequences(model, options):
    bag = model == "bag"  # to which rising and falling are the same
    X = (
        [np.abs(x) * (1 if way == "rises" else -1) for x, way in zip(CURVES, WAYS, strict=True)]
        if bag
        else CURVES
    )
    assert quick(model, filters=8, **options).fit(X, WAYS, progress=False).score(X, WAYS) > 0.8


def test_a_network_of_ones_own(tmp_path):
    class Leaky(torch.nn.Module):
        """A cell of ten lines: it forgets half at each step."""

        def __init__(self, size):
            super().__init__()
            self.state_size, self.weight = size, torch.nn.Parameter(torch.ones(size))

        def forward(self, x_t, state):
            state = 0.5 * state + self.weight * x_t
            return state, state

    def network(a):
        return torch.nn.Sequential(ur.nn.RNN(Leaky(a.input_size)), ur.nn.Dense(a.input_size, a.outputs))

    classifier = quick(network, members=2).fit(CURVES, WAYS, progress=False)
    assert classifier.score(CURVES, WAYS) > 0.9
    assert clone(classifier).model is network
    with pytest.raises(OptionError, match="save: expected a model of unrolled"):
        classifier.save(tmp_path / "model")


@pytest.mark.parametrize(
    "labels",
    [
        ("a", "b"),
        (3, 7),
        (True, False),
        (np.float64(1), np.float64(2)),
        ((1, "x"), (2, "y")),
        ("a", 5),
        (frozenset("a"), None.__class__),
    ],
    ids=str,
)
def test_labels_of_any_hashable_kind(labels):
    y = [labels[way == "rises"] for way in WAYS]
    classifier = quick().fit(CURVES, y, progress=False)
    found = classifier.predict(CURVES[:1] + CURVES[-1:])
    assert list(found) == [labels[1], labels[0]]
    assert classifier.score(CURVES, y) > 0.95


def test_a_table_of_labels_keeps_its_type():
    classes = (
        quick().fit(CURVES, np.array([way == "rises" for way in WAYS], np.int8), progress=False).classes_
    )
    assert classes.dtype == np.int8


def test_frames_and_columns_of_them(to_frame):
    X = np.stack([x[:3] for x in CURVES])
    table = to_frame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "way": WAYS})
    training = ur.Training(epochs=2)
    classifier = quick(training=training).fit(table[["a", "b", "c"]], table["way"], progress=False)
    same = quick(training=training).fit(X, WAYS, progress=False)
    np.testing.assert_array_equal(classifier.predict_proba(table[["a", "b", "c"]]), same.predict_proba(X))
    texts = to_frame({"text": TEXTS, "good": OPINIONS})
    assert (
        quick("bag", training=training).fit(texts["text"], texts["good"], progress=False).reading_.kind
        == "words"
    )
    holes = to_frame({"text": [None, *TEXTS[1:]], "good": OPINIONS})
    with pytest.raises(DataError, match=r"X\[0\]: expected a text, got a missing value"):
        quick("bag").fit(holes["text"], holes["good"], progress=False)


def test_training_goes_on_where_it_was(tmp_path, fitted):
    from unrolled.training import loop

    class KilledError(Exception):
        pass

    def kill(epoch):
        if epoch.number == 5:
            raise KilledError

    again = quick(members=2)
    whole = loop.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "unrolled.estimators.sequences.fit",
            lambda *given, **options: whole(*given, **options, callbacks=[kill], checkpoint_seconds=0),
        )
        with pytest.raises(KilledError):
            again.fit(CURVES, WAYS, progress=False, folder=tmp_path)
    assert list(tmp_path.rglob("checkpoint-*"))
    again.fit(CURVES, WAYS, progress=False, folder=tmp_path, resume=True)
    assert again.run_.history == fitted.run_.history
    np.testing.assert_array_equal(again.predict_proba(CURVES), fitted.predict_proba(CURVES))


def test_class_weights_raise_the_rare_class():
    X = RANDOM.normal(size=(150, 4, 1))
    y = np.repeat([0, 1], [135, 15])  # nothing to learn but how frequent they are
    told = {
        weight: (
            quick(class_weight=weight, training=ur.Training(epochs=3)).fit(X, y, progress=False).predict(X)
            == 1
        ).mean()
        for weight in (None, "balanced")
    }
    assert told[None] < 0.15
    assert told["balanced"] > 0.25
    given = quick(class_weight={1: 30.0}, training=ur.Training(epochs=3)).fit(X, y, progress=False)
    assert (given.predict(X) == 1).mean() > 0.5


def test_texts_are_told_by_their_words(caplog):
    classifier = ur.SequenceClassifier(members=1, training=QUICK).fit(TEXTS, OPINIONS, progress=False)
    assert classifier.score(TEXTS, OPINIONS) == 1.0
    assert classifier.predict(["a great film", "slow"]).tolist() == [True, False]
    with caplog.at_level(logging.WARNING, "unrolled"):
        assert classifier.predict_proba(["zzz qqq"]).shape == (1, 2)
    assert "1 of 1 texts have no word that is known" in caplog.text


def test_long_texts_are_cut_and_it_is_said(caplog):
    long = [f"{text} {'and ' * 500}" for text in TEXTS]
    training = ur.Training(epochs=1)
    with caplog.at_level(logging.WARNING, "unrolled"):
        quick("bag", training=training).fit(long, OPINIONS, progress=False)
    assert "only their first 400 are read" in caplog.text
    cut = quick("bag", max_steps=3, training=training).fit(TEXTS, OPINIONS, progress=False)
    np.testing.assert_array_equal(
        cut.predict_proba(["a slow bore"]), cut.predict_proba(["a slow bore and fine"])
    )


@pytest.mark.parametrize("unknown", ["vector", "drop"])
def test_pretrained_vectors_tell_words_that_training_seldom_saw(tmp_path, unknown, caplog):
    path = tmp_path / "vectors.txt"
    kind = {"fine": 1, "great": 1, "fun": 1, "moving": 1, "dull": -1, "slow": -1, "bore": -1}
    path.write_text("".join(f"{word} {sign} {sign} 0.1\n" for word, sign in kind.items()))
    options = {"vectors": path, "unknown": unknown, "training": QUICK, "members": 1}
    with caplog.at_level(logging.WARNING, "unrolled"):
        classifier = ur.SequenceClassifier(**options).fit(TEXTS, OPINIONS, progress=False)
    assert "have no vector in" in caplog.text
    assert "left out" in caplog.text if unknown == "drop" else "random vector" in caplog.text
    assert classifier.score(TEXTS, OPINIONS) == 1.0
    weight = classifier.networks_[0].embedding.weight
    row = classifier.reading_.vocabulary.number_of["fine"]
    np.testing.assert_allclose(weight[row].numpy(), [1, 1, 0.1], rtol=1e-6)
    assert ("film" in classifier.reading_.vocabulary.words) == (unknown == "vector")
    with pytest.raises(DataError, match="vectors of 8 numbers|expected a word and 8 numbers"):
        ur.SequenceClassifier(embedding_size=8, **options).fit(TEXTS, OPINIONS, progress=False)


def test_each_word_has_a_label():
    names = {"anna", "boris", "clara", "david"}
    plain = ["met", "saw", "the", "old", "again"]
    texts = [[str(RANDOM.choice(plain)) for _ in range(RANDOM.integers(2, 7))] for _ in range(60)]
    for number, text in enumerate(texts):
        text[number % len(text)] = sorted(names)[number % 4]
    y = [["name" if word in names else "other" for word in text] for text in texts]
    classifier = quick("auto", per_step=True).fit(texts, y, progress=False)
    found = classifier.predict([["anna", "saw", "clara"], ["again"]])
    assert [part.tolist() for part in found] == [["name", "other", "name"], ["other"]]
    assert classifier.predict_proba([["anna", "met"]]).shape == (1, 2, 2)
    assert classifier.score(texts, y) > 0.98


def moving_digits(n, seed):
    """A digit of scikit-learn's that wanders through a field of 14 by 14, to the left or to the right."""
    random = np.random.default_rng(seed)
    images, _ = load_digits_rows()
    X, y = np.zeros((n, 6, 14, 14), np.float32), random.integers(2, size=n)
    for x, right in zip(X, y, strict=True):
        digit, top = images[random.integers(len(images))], random.integers(6)
        for step in range(6):
            place = step if right else 6 - step
            x[step, top : top + 8, place : place + 8] = digit
    return X, y


def test_images_that_move_are_told():
    training = ur.Training(
        optimizer="adam", learning_rate=5e-3, schedule="one-cycle", epochs=6, batch_size=16
    )
    classifier = quick("gru", units=16, training=training).fit(*moving_digits(200, 0), progress=False)
    assert classifier.reading_.kind == "images"
    assert classifier.score(*moving_digits(80, 1)) > 0.95


def test_a_part_held_back_stops_training():
    training = ur.Training(optimizer="adam", learning_rate=0.05, epochs=80, batch_size=8, patience=1)
    nothing = np.random.default_rng(0).permutation(WAYS)  # to learn but by heart
    classifier = quick(valid_size=0.25, training=training).fit(CURVES, nothing, progress=False)
    history = classifier.run_.history
    assert len(history) < 80
    assert all(row["valid_loss"] is not None and 0 <= row["valid_accuracy"] <= 1 for row in history)


@pytest.mark.parametrize("kind", ["curves", "texts", "images", "per step", "booleans"])
def test_saved_and_loaded_bits_are_the_same(tmp_path, kind):
    training = ur.Training(epochs=1)
    X, y, options = {
        "curves": (CURVES, WAYS, {"class_weight": {"rises": 2.0}}),
        "texts": (TEXTS, OPINIONS, {"model": "conv", "filters": 4}),
        "images": (*moving_digits(8, 0), {}),
        "per step": ([["a", "b"], ["b"]], [["x", "y"], ["y"]], {"per_step": True}),
        "booleans": (CURVES, [way == "rises" for way in WAYS], {"bidirectional": True, "layers": 2}),
    }[kind]
    classifier = quick(training=training, members=2, **{"model": "lstm"} | options).fit(X, y, progress=False)
    classifier.save(tmp_path / "model")
    loaded = ur.load(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".jsonl", ".safetensors"}
    for one, other in zip(loaded.predict_proba(X), classifier.predict_proba(X), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.classes_.dtype == classifier.classes_.dtype
    assert loaded.run_.history == classifier.run_.history
    mine = {name: value for name, value in classifier.get_params().items() if name != "training"}
    assert {name: loaded.get_params()[name] for name in mine} == mine
    with pytest.raises(RunFolderError, match="already holds a run"):
        classifier.save(tmp_path / "model")


def test_damaged_folders_are_refused(tmp_path, fitted):
    fitted.save(tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    for change in (
        {"classes": {"labels": ["a"], "dtype": "<U1"}},
        {"format_version": 99},
        {"reading": {}},
        {"architecture": None},
    ):
        (tmp_path / "model/config.json").write_text(json.dumps(config | change))
        with pytest.raises(RunFolderError):
            ur.load(tmp_path / "model")
    del config["vocabulary"]
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(RunFolderError, match="damaged"):
        ur.load(tmp_path / "model")


def test_labels_that_json_does_not_hold_are_not_saved(tmp_path):
    y = [(way, 1) for way in WAYS]
    classifier = quick(training=ur.Training(epochs=1)).fit(CURVES, y, progress=False)
    with pytest.raises(OptionError, match="save: expected classes that are texts"):
        classifier.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("X", "y", "error", "words"),
    [
        (CURVES, ["rises"] * 80, DataError, "at least two classes, got one class, 'rises'"),
        (
            CURVES,
            [*WAYS[:-1], None],
            DataError,
            r"y\[79\]: expected a class, got a missing value. .* 1 of 80",
        ),
        (CURVES, [*[1.0] * 79, np.nan], DataError, r"y\[79\]"),
        (CURVES, [0.5] * 40 + [1.0] * 40, DataError, "Unknown label type"),
        (CURVES, WAYS[:-1], ShapeError, "80 answers, one for each sequence, got 79"),
        (CURVES, [["a"]] * 80, DataError, "hashable"),
        ([*CURVES[:-1], []], WAYS, DataError, r"X\[79\]: expected a sequence of at least one step"),
        (
            [*CURVES[:-1], [1.0, np.nan]],
            WAYS,
            DataError,
            r"X\[79\], step 1: expected a finite number, got NaN",
        ),
        (["fine", ""], [0, 1], DataError, r"X\[1\]: expected a text with at least one word"),
        (np.ones((4, 2, 3, 3)), [0, 1, 0, 1], ShapeError, "images of at least 4 by 4"),
        (np.full((4, 2, 1), 1e38), [0, 1, 0, 1], DataError, "numbers that can be squared"),
    ],
)
def test_what_fit_refuses(X, y, error, words):
    with pytest.raises(error, match=words):
        quick().fit(X, y, progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "GRU"}, {"pooling": "sum"}, {"units": 0}, {"members": 0}, {"dropout": 1.0}, {"valid_size": -0.1},
        {"hidden": -1}, {"unknown": "guess"}, {"device": "tpu"}, {"class_weight": "even"}, {"class_weight": {"sinks": 2.0}},
        {"training": 7}, {"per_step": True, "max_steps": 5}, {"model": "conv", "pooling": "last"}, {"min_count": 0},
        {"class_weight": {"rises": 0.0}},
    ],
    ids=str,
)  # fmt: skip
def test_options_out_of_range(options):
    with pytest.raises(OptionError):
        quick(**{"model": "gru"} | options).fit(CURVES, WAYS, progress=False)


def test_what_predict_refuses(fitted):
    with pytest.raises(ShapeError, match="sequences of numbers, got a list of another kind"):
        fitted.predict(["a text"])
    with pytest.raises(ShapeError, match="steps of 1 feature, got 3 features"):
        fitted.predict(np.ones((2, 4, 3)))
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        quick().predict(CURVES)


def test_a_batch_that_does_not_fit_is_said_before_training(monkeypatch):
    monkeypatch.setattr("unrolled.estimators.memory.free_memory", lambda device: 1e6)
    with pytest.raises(OptionError, match=r"a batch of 16 sequences of up to 20,000 steps, about .* GB"):
        quick().fit(np.zeros((20, 20_000, 1), np.float32), [0, 1] * 10, progress=False)


def test_features_of_any_unit_are_scaled():
    X = np.stack(
        [np.concatenate([1e-6 * x[:3, None], np.full((3, 1), 1e9)], 1) for x in map(np.asarray, CURVES)]
    )
    X[:, :, 1] += RANDOM.normal(size=(80, 3))
    assert quick().fit(X, WAYS, progress=False).score(X, WAYS) > 0.9


def test_baselines_know_what_is_there():
    y = np.array([0, 1] * 40)
    X = [np.full((k, 2), 2.0 * label - 1) for k, label in zip(RANDOM.integers(2, 6, 80), y, strict=True)]
    classifier = quick(training=ur.Training(epochs=1)).fit(X, y, progress=False)
    read = classifier.reading_.read(X)
    assert (logistic_probabilities(read, y, read).argmax(1) == y).all()
    texts = ur.SequenceClassifier(members=1, training=ur.Training(epochs=1)).fit(
        TEXTS, OPINIONS, progress=False
    )
    numbers = texts.reading_.read(TEXTS)
    found = logistic_probabilities(numbers, np.array(OPINIONS, int), numbers, texts.reading_.words)
    assert (found.argmax(1) == np.array(OPINIONS)).all()
    assert majority_probabilities(np.array([0, 0, 1]), 3, 2).argmax(1).tolist() == [0, 0]
