"""scikit-learn's own checks of estimators, through an adapter by which a row of a table is a sequence."""

import numpy as np
import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

import unrolled as ur

QUICK = ur.Training(optimizer="adam", learning_rate=1e-2, schedule="one-cycle", epochs=40, batch_size=16)


class Classifier(ur.SequenceClassifier):
    """A row is a sequence of one feature: scikit-learn's checks know tables only."""

    def __init__(self, units=16, seed=0):
        super().__init__("gru", units=units, members=1, seed=seed, training=QUICK)

    def fit(self, X, y):
        X, y = validate_data(self, X, y)
        return super().fit(X, y, progress=False)

    def predict(self, X):
        return super().predict(self._table(X))

    def predict_proba(self, X):
        return super().predict_proba(self._table(X))

    def score(self, X, y, sample_weight=None):
        return super().score(self._table(X), y, sample_weight)

    def _table(self, X):
        self._check_fitted()
        return validate_data(self, X, reset=False)


class Regressor(ur.SequenceRegressor):
    """The same for numbers."""

    def __init__(self, units=16, seed=0):
        super().__init__("gru", units=units, members=1, seed=seed, training=QUICK)

    def fit(self, X, y):
        X, y = validate_data(self, X, y, y_numeric=True)
        return super().fit(X, y, progress=False)

    def predict(self, X):
        self._check_fitted()
        return super().predict(validate_data(self, X, reset=False))

    def score(self, X, y, sample_weight=None):
        return super().score(validate_data(self, X, reset=False), y, sample_weight)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([Classifier(), Regressor()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_the_adapter_is_what_it_says():
    X = np.random.default_rng(0).normal(size=(40, 5))
    y = (X[:, 0] > 0).astype(int)
    assert Classifier().fit(X, y).score(X, y) > 0.9


class WeighedClassifier(Classifier):
    """The same with weights, which an adapter whose `fit` takes none is not asked for."""

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y)
        return ur.SequenceClassifier.fit(self, X, y, sample_weight, progress=False)


class WeighedRegressor(Regressor):
    """The same for numbers."""

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y, y_numeric=True)
        return ur.SequenceRegressor.fit(self, X, y, sample_weight, progress=False)


# But for that of equivalence: batches are drawn from sequences, so that a weight of 2 is not one that stands there twice.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["pandas_series", "not_an_array", "list", "shape", "not_overwritten"])
@pytest.mark.parametrize(
    "estimator", [WeighedClassifier(), WeighedRegressor()], ids=lambda e: type(e).__name__
)
def test_scikit_learn_checks_of_weights(estimator, kind):
    getattr(estimator_checks, f"check_sample_weights_{kind}")(type(estimator).__name__, estimator)
