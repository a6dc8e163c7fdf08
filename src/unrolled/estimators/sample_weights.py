"""What each sequence counts: the `sample_weight` of scikit-learn's `fit` and `score`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError, ShapeError

__all__ = ["take_weights"]


def take_weights(given: Any, count: int) -> NDArray[np.float64] | None:
    """Take a weight for each of `count` sequences; None where all are the same, as where none are given.

    Raises:
        ShapeError: they are not of shape (count,), or no numbers.
        DataError: one is negative or no finite number, or all are 0.

    >>> take_weights([1, 0, 2], 3).tolist(), take_weights([2, 2], 2)
    ([1.0, 0.0, 2.0], None)
    """
    if given is None:
        return None
    try:
        weights = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            "sample_weight", f"{count:,} numbers", f"a {type(given).__name__} of others", "Convert them."
        ) from error
    if weights.shape != (count,):
        raise ShapeError(
            "sample_weight", f"shape ({count},), a weight for each sequence", str(weights.shape), "Check it."
        )
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise DataError(
            f"sample_weight[{wrong[0]}]",
            "a finite number of at least 0",
            f"{weights[wrong[0]]:g}",
            "Correct it.",
        )
    if not weights.any():
        raise DataError("sample_weight", "a weight above 0", "zeros alone", "Give weights, or None.")
    return None if (weights == weights[0]).all() else weights
