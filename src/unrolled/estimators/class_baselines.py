"""What costs nothing: the most frequent class, and logistic or ridge regression on a bag of words or on all numbers."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.sequences import Sequences
from unrolled.data.text import Vocabulary

__all__ = ["logistic_probabilities", "majority_probabilities", "ridge_numbers"]

MOST_NUMBERS = 5_000  # of a sequence laid side by side; the steps beyond are left out


def majority_probabilities(actual: NDArray[np.int64], classes: int, count: int) -> NDArray[np.float64]:
    """The shares of the classes in the training part, for each of `count` sequences: (count, classes).

    >>> majority_probabilities(np.array([0, 1, 1, 1]), 2, 1).tolist()
    [[0.25, 0.75]]
    """
    shares = np.bincount(actual, minlength=classes) / len(actual)
    return np.tile(shares, (count, 1))


def logistic_probabilities(
    train: Sequences, actual: NDArray[np.int64], test: Sequences, words: int = 0
) -> NDArray[np.float64]:
    """Logistic regression (scikit-learn's, C = 1): (n, classes).

    Args:
        train: what to learn from: numbers of words (of a `Vocabulary`), or steps of numbers.
        actual: its classes, all of those that there are.
        test: what to answer for.
        words: how many numbers of words there are: the features are how often each comes. 0 for steps of numbers:
            the features are all numbers side by side, zeros where a sequence is shorter, scaled.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    inputs = _features(train, test, words)
    two = actual.max() < 2
    model = LogisticRegression(max_iter=300, solver="liblinear" if two else "lbfgs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 rounds will do for a baseline
        found: NDArray[np.float64] = model.fit(inputs[0], actual).predict_proba(inputs[1])
    return found


def ridge_numbers(
    train: Sequences, actual: NDArray[np.float64], test: Sequences, words: int = 0
) -> NDArray[np.float64]:
    """Ridge regression (scikit-learn's, penalty 1) on what `logistic_probabilities` reads: (n,)."""
    from sklearn.linear_model import Ridge

    inputs = _features(train, test, words)
    found: NDArray[np.float64] = Ridge(1.0).fit(inputs[0], actual).predict(inputs[1])
    return found


def _features(train: Sequences, test: Sequences, words: int) -> list[Any]:
    """Counts of words, or all numbers side by side, scaled by those of the training part."""
    if words:
        return [_counts(part, words) for part in (train, test)]
    length = min(train.longest, max(1, MOST_NUMBERS // int(np.prod(train.values.shape[1:]))))
    inputs = [
        part.cut(length).padded(np.arange(len(part)), length)[0].reshape(len(part), -1)
        for part in (train, test)
    ]
    mean, spread = inputs[0].mean(0), inputs[0].std(0)
    return [(part - mean) / np.where(spread > 0, spread, 1) for part in inputs]


def _counts(sequences: Sequences, words: int) -> Any:
    """How often each word comes in each text, a sparse matrix without the columns of padding and unknown words."""
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    ones = np.ones(len(rows), np.float64)
    counts = csr_matrix((ones, (rows, sequences.values)), shape=(len(sequences), words))
    return counts[:, len(Vocabulary(())) :]
