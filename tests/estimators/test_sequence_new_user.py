"""What a new user of the estimators of sequences met: tensors, tables, one-hot labels, options without effect."""

import numpy as np
import pytest
import torch

import unrolled as ur
from unrolled.errors import DataError, ShapeError

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
