"""Prediction intervals from the errors on windows that training did not see."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["conformal_widths"]


def conformal_widths(
    errors: NDArray[np.float64], counted: NDArray[np.bool_], levels: Sequence[int]
) -> NDArray[np.float64]:
    """Return half the width of each interval, step by step, by split conformal prediction.

    For n errors and level p it is the ⌈(n+1)·p/100⌉-th smallest absolute error; the largest, where
    there are too few for that.

    Args:
        errors: (windows, horizon), actual less forecast, in the units of the data.
        counted: (windows, horizon), which errors to use.
        levels: in percent, between 0 and 100.

    Returns:
        (levels, horizon), in the units of the data; a step without any error takes the others' widest.

    Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), as split
    conformal prediction in Lei et al. (2018).

    >>> conformal_widths(np.array([[1.0], [-2.0], [3.0], [-4.0]]), np.ones((4, 1), bool), [60])
    array([[3.]])
    """
    widths = np.full((len(levels), errors.shape[1]), np.nan)
    for step in range(errors.shape[1]):
        sizes = np.sort(np.abs(errors[counted[:, step], step]))
        for row, level in enumerate(levels):
            if len(sizes):
                rank = int(np.ceil((len(sizes) + 1) * level / 100))
                widths[row, step] = sizes[min(rank, len(sizes)) - 1]
    widest = np.max(widths, axis=1, where=~np.isnan(widths), initial=0.0, keepdims=True)
    return np.where(np.isnan(widths), widest, widths)
