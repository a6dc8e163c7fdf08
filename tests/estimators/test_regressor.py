"""The regressor of sequences: a number of a curve or a text, several, and one for each step."""

import numpy as np
import pytest

import unrolled as ur
from unrolled.errors import DataError, ShapeError

RANDOM = np.random.default_rng(0)
X = [RANDOM.normal(size=k) for k in RANDOM.integers(3, 9, 150)]
MEANS = np.array([1000 + 50 * x.mean() for x in X])
QUICK = ur.Training(optimizer="adam", learning_rate=0.02, schedule="one-cycle", epochs=40, batch_size=16)


def quick(**options):
    return ur.SequenceRegressor("gru", **{"units": 8, "members": 1, "training": QUICK} | options)


def test_a_number_of_a_curve():
    regressor = quick().fit(X[:120], MEANS[:120], progress=False)
    assert regressor.score(X[120:], MEANS[120:]) > 0.9
    assert regressor.predict(X[:3]).shape == (3,)
    assert abs(regressor.predict(X).mean() - MEANS.mean()) < 10


def test_several_numbers():
    y = np.stack([MEANS, -MEANS], axis=1)
    regressor = quick(training=ur.Training("huber", epochs=2)).fit(X, y, progress=False)
    assert regressor.predict(X[:3]).shape == (3, 2)
    assert regressor.run_.history[0]["loss"] > 0


def test_a_number_for_each_step():
    sums = [np.cumsum(x) for x in X]
    regressor = quick(per_step=True).fit(X, sums, progress=False)
    found = regressor.predict(X[:2])
    assert [len(part) for part in found] == [len(x) for x in X[:2]]
    assert regressor.score(X, sums) > 0.9


def test_a_score_of_a_text():
    texts = ["good", "good good film", "bad", "bad film", "good film", "bad bad"] * 5
    scores = [text.count("good") - text.count("bad") for text in texts]
    regressor = ur.SequenceRegressor(members=1, training=QUICK).fit(texts, scores, progress=False)
    good, bad = regressor.predict(["good", "bad"])
    assert good > 0.5 > -0.5 > bad


def test_saved_and_loaded_bits_are_the_same(tmp_path):
    regressor = quick(training=ur.Training(epochs=1)).fit(X, MEANS, progress=False)
    regressor.save(tmp_path / "model")
    np.testing.assert_array_equal(ur.load(tmp_path / "model").predict(X), regressor.predict(X))


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        ([*MEANS[:-1], np.nan], DataError, r"y\[149\]: expected a finite number, got nan"),
        (["a"] * 150, ShapeError, "Use SequenceClassifier for classes"),
        (MEANS[:-1], ShapeError, "150 answers"),
    ],
)
def test_what_is_refused(y, error, words):
    with pytest.raises(error, match=words):
        quick().fit(X, y, progress=False)


def test_a_number_that_never_changes_is_told():
    same = quick(training=ur.Training(epochs=1)).fit(X, np.full(150, 5.0), progress=False)
    assert same.target_scale_.tolist() == [1.0]
    assert np.abs(same.predict(X) - 5).max() < 2


@pytest.mark.parametrize(("given", "used"), [("huber", "huber"), ("mae", "mae"), ("cross-entropy", "mse")])
def test_the_loss_is_that_of_the_training_where_it_is_one_of_numbers(given, used):
    regressor = quick(training=ur.Training(given, epochs=1))
    regressor.reading_ = None
    assert regressor._training(10).loss == used
