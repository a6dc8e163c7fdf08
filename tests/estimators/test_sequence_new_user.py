"""What a new user of the estimators of sequences met: tensors, tables, one-hot labels, options without effect."""

import dataclasses

import numpy as np
import pytest
import torch

import unrolled as ur
from unrolled.errors import DataError, OptionError, RunFolderError, ShapeError

SHORT = ur.Training(epochs=1, batch_size=16)
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 5, 2)).astype(np.float32)
Y = np.arange(40) % 3


def classifier(**options):
    return ur.SequenceClassifier(**{"model": "gru", "units": 4, "members": 1, "training": SHORT} | options)


def regressor(**options):
    return ur.SequenceRegressor(**{"model": "gru", "units": 4, "members": 1, "training": SHORT} | options)


@pytest.mark.parametrize(
    "y", [torch.tensor(Y), list(torch.tensor(Y)), list(map(np.array, Y))], ids=["tensor", "list", "arrays"]
)
def test_labels_in_tensors_are_labels(y):
    ours = classifier().fit(torch.tensor(X), y, progress=False)
    plain = classifier().fit(X, Y, progress=False)
    assert ours.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(ours.predict_proba(X), plain.predict_proba(X))
    assert ours.score(torch.tensor(X), y) == plain.score(X, Y)


def test_steps_and_numbers_in_tensors():
    steps = torch.tensor(X[:, :, 0] > 0)
    tagger = classifier(per_step=True).fit(X, steps, progress=False)
    assert tagger.classes_.tolist() == [False, True]
    assert tagger.score(X, list(steps)) == tagger.score(X, steps.numpy())
    numbers = torch.tensor(X[:, 0, 0], requires_grad=True)
    given = regressor().fit(X, numbers, progress=False).predict(X)
    np.testing.assert_array_equal(given, regressor().fit(X, X[:, 0, 0], progress=False).predict(X))


@pytest.mark.parametrize(
    ("y", "per_step", "said"),
    [
        (np.eye(3)[Y], False, r"y\[0\]: .* one-hot table\. Pass numbers of classes: y.argmax"),
        (np.eye(3)[np.tile(Y[:, None], 5)], True, r"y: .* one-hot table\. Pass numbers of classes: y.argmax"),
        (Y[:, None], False, r"got a row of one\. .*ravel"),
        ([[1, 2, 3]] * 40, False, "got a list. Pass per_step=True"),
    ],
)  # fmt: skip
def test_tables_of_labels_get_their_cure(y, per_step, said):
    with pytest.raises(DataError, match=said):
        classifier(per_step=per_step).fit(X, y, progress=False)


def test_one_text_is_no_list_of_texts():
    critic = ur.SequenceClassifier(members=1, training=SHORT).fit(
        ["good film", "bad film"] * 9, [1, 0] * 9, progress=False
    )
    for ask in (
        critic.predict,
        critic.predict_proba,
        lambda X: critic.score(X, [1] * 4),
        lambda X: critic.fit(X, [1] * 4),
    ):
        with pytest.raises(ShapeError, match="got a str. Put it into a list"):
            ask("good")


@pytest.mark.parametrize(
    ("training", "said"),
    [
        (ur.Training(patience=3), r"a validation part with patience=3, got none\. Hold one back"),
        (
            ur.Training(metrics=["accuracy"], monitor="valid_accuracy"),
            "with monitor='valid_accuracy', got none",
        ),
    ],
)
def test_what_needs_a_validation_part_is_refused_without(training, said):
    with pytest.raises(OptionError, match=said):
        classifier(training=training).fit(X, Y, progress=False)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(10, 3))
    with pytest.raises(OptionError, match=said):
        ur.fit(network, (X, Y), training=dataclasses.replace(training, loss="cross-entropy"))


def test_a_classifier_sets_the_loss_that_accuracy_needs():
    training = ur.Training(metrics=["accuracy"], monitor="valid_accuracy", epochs=4, patience=9)
    model = classifier(training=training, valid_size=0.25).fit(X, Y, progress=False)
    rows = model.run_.history
    best = [row["valid_accuracy"] for row in rows if row["best"]]
    assert best[-1] == max(row["valid_accuracy"] for row in rows)
    with pytest.raises(OptionError, match="the metric 'accuracy' with a cross-entropy, got the loss 'huber'"):
        regressor(training=training, valid_size=0.25).fit(X, X[:, 0, 0], progress=False)


def test_probabilities_are_normalised_in_double():
    sums = classifier(members=3).fit(X, Y, progress=False).predict_proba(X).sum(1)
    np.testing.assert_allclose(sums, 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("weight", [None, "balanced"])
def test_a_text_without_a_known_word_gets_the_shares_of_the_classes(tmp_path, weight):
    texts, kinds = ["good film", "bad film", "bad one", "bad"] * 6, ["+", "-", "-", "-"] * 6
    critic = ur.SequenceClassifier(members=2, class_weight=weight).fit(texts, kinds, progress=False)
    shares = [0.25, 0.75] if weight is None else [0.5, 0.5]
    found = critic.predict_proba(["good", "xyzzy"])
    assert found[1] == pytest.approx(shares)
    assert found[0, 0] > 0.5
    critic.save(tmp_path / "critic")
    np.testing.assert_array_equal(ur.load(tmp_path / "critic").predict_proba(["good", "xyzzy"]), found)
    scores = ur.SequenceRegressor(members=1).fit(texts, np.array([3.0, 1, 1, 1] * 6), progress=False)
    assert scores.predict(["xyzzy"])[0] == pytest.approx(1.5)


def test_columns_of_a_frame_are_those_of_fit(to_frame, tmp_path):
    table = to_frame({name: X[:, k, 0] for k, name in enumerate("abcde")})
    model = classifier().fit(table, Y, progress=False)
    assert model.feature_names_in_.tolist() == list("abcde")
    assert model.n_features_in_ == 5
    model.save(tmp_path / "model")
    loaded = ur.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(table), model.predict_proba(X[:, :, :1]))
    for columns, said in (
        ("edcba", "'a', 'b', 'c', 'd', 'e', got another order. Pass X"),
        ("abcdf", "got others, as 'f'"),
        ("abcd", "got others, as 'e'"),
    ):
        other = to_frame(dict.fromkeys(columns, X[:, 0, 0]))
        for one in (model, loaded):
            with pytest.raises(ShapeError, match=f"X: expected the columns of fit in their order: .*{said}"):
                one.predict(other)
    assert not hasattr(model.fit(X, Y, progress=False), "feature_names_in_")


def test_a_frame_of_texts_says_how_to_pass_them(to_frame):
    table = to_frame({"text": ["good film", "bad film"] * 9})
    with pytest.raises(ShapeError, match=r"the column 'text' of texts\. Pass X\['text'\]"):
        classifier().fit(table, [1, 0] * 9)
    critic = ur.SequenceClassifier(members=1, training=SHORT).fit(table["text"], [1, 0] * 9, progress=False)
    assert len(critic.predict(table["text"])) == 18


@pytest.mark.parametrize("given", [X[0], X[0, :, 0], X[0, :, 0].tolist()], ids=["steps", "numbers", "list"])
def test_one_sequence_is_no_list_of_sequences(given):
    model = classifier().fit(X if np.ndim(given) == 2 else X[:, :, 0], Y, progress=False)
    with pytest.raises(ShapeError, match=r"got one alone\. Pass X\[None\]"):
        model.predict(given)


def test_saved_again_and_readable_by_others(tmp_path):
    model = classifier().fit(X, Y, progress=False)
    model.save(tmp_path / "model")
    with pytest.raises(RunFolderError, match="already holds a run"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", overwrite=True)
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


@pytest.mark.parametrize("kind", [ur.SequenceClassifier, ur.SequenceRegressor])
def test_a_type_error_names_the_class(kind):
    with pytest.raises(TypeError, match=rf"{kind.__name__}\.__init__\(\) got an unexpected"):
        kind(unit=3)


def test_vectors_that_are_not_there_are_said_first():
    with pytest.raises(DataError, match=r"no\.txt: expected a file of word vectors, got no such file"):
        classifier(vectors="no.txt").fit(X, None)
