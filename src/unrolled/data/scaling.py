"""Scaling fitted on the training part only."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError, OptionError

if TYPE_CHECKING:
    from unrolled.data.table import Table

__all__ = ["TRANSFORMS", "Power", "Scaler"]

TRANSFORMS = ("log", "box-cox")


@dataclass(frozen=True)
class Scaler:
    """Each column less its mean, divided by its standard deviation.

    Attributes:
        mean: (columns,) or (series, columns), in the units of the data.
        scale: likewise; 1 for a constant column.

    >>> scaler = Scaler.fit(np.array([[1.0], [3.0]]))
    >>> scaler.transform(np.array([[5.0]])), scaler.inverse(np.array([[3.0]]))
    (array([[3.]]), array([[5.]]))
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        values: NDArray[np.float64],
        observed: NDArray[np.bool_] | None = None,
        starts: NDArray[np.int64] | None = None,
    ) -> "Scaler":
        """Return the scaler of `values` (rows, columns), from the `observed` ones where given.

        Args:
            values: (rows, columns).
            observed: (rows, columns).
            starts: (series + 1,), for a scale of each series: where its rows begin, at least one of them.
                One without an observed value has those that were filled in.
        """
        bounds = np.array([0, len(values)]) if starts is None else starts
        counted = np.ones(values.shape, bool) if observed is None else observed
        none = ~np.logical_or.reduceat(counted, bounds[:-1], axis=0)
        counted = counted | np.repeat(none, np.diff(bounds), axis=0)
        count = np.add.reduceat(counted, bounds[:-1], axis=0, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # a scale that is not finite says so
            kept = np.where(counted, values, 0.0)
            mean = np.add.reduceat(kept, bounds[:-1], axis=0) / count
            away = np.where(counted, values - np.repeat(mean, np.diff(bounds), axis=0), 0.0)
            scale = np.sqrt(np.add.reduceat(away**2, bounds[:-1], axis=0) / count)
        constant = scale <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        scale = np.where(constant, 1.0, scale)
        return cls(mean[0], scale[0]) if starts is None else cls(mean, scale)

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scaled values, (…, columns)."""
        return (values - self.mean) / self.scale

    def inverse(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `transform`'s argument from its result, (…, columns)."""
        return values * self.scale + self.mean


@dataclass(frozen=True)
class Power:
    """y ↦ (yᵖ - 1) / p, or log y for p = 0: what makes values that grow with their level even.

    Attributes:
        exponents: (targets,), p of each target.

    Source: Box and Cox (1964).

    >>> Power(np.array([0.0])).inverse(np.log([[2.0]])).round(6)
    array([[2.]])
    """

    exponents: NDArray[np.float64]

    @classmethod
    def fit(cls, table: "Table", kind: str) -> "Power":
        """Return the exponents of a table's targets: 0 for "log"; of greatest likelihood, in [-1, 2], for "box-cox".

        Each series is divided by its mean before the exponent is looked for.

        Raises:
            DataError: a target has values of 0 or below.
            OptionError: `kind` is neither.
        """
        if kind not in TRANSFORMS:
            raise OptionError("transform", f"None or one of {', '.join(TRANSFORMS)}", repr(kind))
        targets = len(table.targets)
        values = table.values[:, :targets]
        for number, name in enumerate(table.targets):
            if values[:, number].min() <= 0:
                raise DataError(
                    f"column {name!r}",
                    f"values above 0 for transform={kind!r}",
                    f"{values[:, number].min():g}",
                    "Leave the transform out.",
                )
        if kind == "log":
            return cls(np.zeros(targets))
        from scipy.stats import boxcox_normmax

        means = np.add.reduceat(values, table.starts[:-1], axis=0) / np.diff(table.starts)[:, None]
        even = values / means[table.owner]
        found = [
            0.0 if np.ptp(column) < 1e-9 else float(np.clip(boxcox_normmax(column, method="mle"), -1, 2))
            for column in even.T
        ]
        return cls(np.array(found))

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (rows, columns) with the targets, which come first, changed; what is not above 0 counts as 1e-12."""
        changed = values.copy()
        for number, p in enumerate(self.exponents):
            y = np.maximum(values[:, number], 1e-12)
            changed[:, number] = np.log(y) if p == 0 else (y**p - 1) / p
        return changed

    def inverse(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the targets (…, targets) in the units of the data."""
        columns = []
        for number, p in enumerate(self.exponents):
            y = values[..., number]
            # What no value leads to is the end of the range.
            columns.append(np.exp(np.minimum(y, 700)) if p == 0 else np.maximum(p * y + 1, 1e-12) ** (1 / p))
        return np.stack(columns, axis=-1)
