"""The frame that `predict` and `backtest` promise."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.table import Table
from unrolled.data.windows import Windows
from unrolled.estimators.intervals import Bounds

__all__ = ["forecast_frame"]


def forecast_frame(
    table: Table,
    windows: Windows,
    mean: NDArray[np.float64],
    bounds: list[Bounds],
    actual: NDArray[np.float64] | None = None,
) -> Any:
    """Return a row for each window, target and step, in the kind of frame that the table came from.

    Args:
        table: what the windows are cut from.
        windows: those that are forecast.
        mean: (windows, horizon, targets), in scaled units.
        bounds: of each target, likewise.
        actual: as `mean`, in the units of the data; None leaves the column out.

    Returns:
        series, target, origin, step, time, actual, mean, and lo-80, hi-80 … for each level, in the units of the data.
    """
    import narwhals as nw

    count, horizon, targets = mean.shape
    each = horizon * targets
    columns: dict[str, Any] = {
        "series": np.repeat(np.array(table.names, dtype=object)[windows.series], each),
        "target": np.tile(np.repeat(np.array(table.targets, dtype=object), horizon), count),
        "origin": table.local(np.repeat(windows.times[windows.origins], each)),
        "step": np.tile(np.arange(1, horizon + 1), count * targets),
        "time": table.local(np.repeat(windows.ahead_times[:, None], targets, axis=1).ravel()),
    }
    if actual is not None:
        columns["actual"] = _rows(actual)
    columns["mean"] = _rows(windows.in_units(mean))
    for level in bounds[0]:
        for side, name in enumerate(("lo", "hi")):
            scaled = np.stack([target[level][side] for target in bounds], axis=-1)
            columns[f"{name}-{level:g}"] = _rows(windows.in_units(scaled))
    if table.kind == "polars":
        columns |= {name: columns[name].tolist() for name in ("series", "target")}
    return nw.from_dict(columns, backend=table.kind).to_native()


def _rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (windows, horizon, targets) as one column, the steps of a target one below the other."""
    return values.transpose(0, 2, 1).ravel()
