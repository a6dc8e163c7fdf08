"""Scaling fitted on the training part only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scaler"]


@dataclass(frozen=True)
class Scaler:
    """Each column less its mean, divided by its standard deviation.

    Attributes:
        mean: (columns,), in the units of the data.
        scale: (columns,), in the units of the data; 1 for a constant column.

    >>> scaler = Scaler.fit(np.array([[1.0], [3.0]]))
    >>> scaler.transform(np.array([[5.0]])), scaler.inverse(np.array([[3.0]]))
    (array([[3.]]), array([[5.]]))
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.float64], observed: NDArray[np.bool_] | None = None) -> "Scaler":
        """Return the scaler of `values` (rows, columns), from the `observed` ones where given."""
        kept = values if observed is None else np.where(observed, values, np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # a scale that is not finite says so
            mean, scale = np.nanmean(kept, axis=0), np.nanstd(kept, axis=0)
        constant = scale <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        return cls(mean, np.where(constant, 1.0, scale))

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scaled values, (…, columns)."""
        return (values - self.mean) / self.scale

    def inverse(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `transform`'s argument from its result, (…, columns)."""
        return values * self.scale + self.mean
