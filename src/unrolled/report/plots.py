"""The plots of every report: the forecast with its history, the error by step ahead, the course of training.

Each draws on Matplotlib axes and returns them. Axes of your own get no legend (their artists carry labels:
`axes.legend()` draws one); without axes, a figure is made, with a legend, which `axes.figure.savefig(path)`
writes. Nothing here touches pyplot, its figures or its back ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unrolled.errors import DataError, ShapeError
from unrolled.report.axes import (
    add_legend,
    dress,
    format_axis,
    format_each,
    new_axes,
    once,
    place_times,
    whole_numbers,
)
from unrolled.report.palette import BASELINES, LIGHT
from unrolled.report.wording import format_values, name_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_error_by_step", "plot_forecast", "plot_training", "recent_steps"]

# how many baselines stand out beside the model
STRONG = 3


def recent_steps(horizon: int) -> int:
    """How many steps of history stand before a forecast: five horizons, from 80 up to 2,000.

    >>> recent_steps(1), recent_steps(96), recent_steps(10_000)
    (80, 480, 2000)
    """
    return min(max(5 * horizon, 80), 2_000)


def plot_forecast(
    times: np.ndarray,
    values: np.ndarray,
    observed: np.ndarray,
    forecast: pd.DataFrame,
    *,
    levels: Sequence[int] = (80, 95),
    axes: Axes | None = None,
) -> Axes:
    """Draw the recent history, the mean forecast, its intervals, and mark where gaps were filled.

    Args:
        times: shape (n,), ascending, datetime64 or integers; only the last `recent_steps(horizon)` are drawn.
        values: shape (n,), float.
        observed: shape (n,), bool; False where a gap was filled.
        forecast: one row a step, in order, with the columns time (of the same kind as `times`), mean, and
            `lo-L` and `hi-L` for each level L.
        levels: the intervals to shade, in percent.
        axes: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ShapeError: `times`, `values` and `observed` differ in length, or are empty.
        DataError: `forecast` has no row, lacks a column, or its times are of another kind.

    >>> import numpy as np, pandas as pd
    >>> frame = pd.DataFrame({"time": [5, 6], "mean": [1.0, 1.5], "lo-80": [0.5, 0.7], "hi-80": [1.5, 2.3]})
    >>> history = np.array([1.0, 2.0, 1.5, 1.0, 0.5])
    >>> axes = plot_forecast(np.arange(5), history, np.array([1, 1, 0, 1, 1], bool), frame, levels=(80,))
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['observed', 'filled gap', '80 % interval', 'forecast (mean)']
    """
    import numpy as np

    check_forecast(times, values, observed, forecast, levels)
    recent = slice(-recent_steps(len(forecast)), None)
    past, history, seen = np.asarray(times)[recent], np.asarray(values, float)[recent], observed[recent]
    ahead = forecast["time"].to_numpy()
    own = axes is None
    axes = new_axes() if axes is None else axes
    dress(axes)
    x = place_times(axes, np.concatenate([past, ahead.astype(past.dtype)]))
    x_past, x_ahead = x[: len(past)], x[len(past) :]

    axes.axvline(x_past[-1], color=LIGHT["muted"], linewidth=0.8, dashes=(2, 2), zorder=1)
    axes.plot(
        x_past, np.where(seen, history, np.nan), color=LIGHT["observed"], linewidth=1.2, label="observed"
    )
    _mark_filled(axes, x_past, history, seen)

    # The fan opens at the last value: there the future is still known.
    start = history[-1:] if np.isfinite(history[-1]) else history[:0]
    x_fan = np.concatenate([x_past[-1:][: len(start)], x_ahead])
    for rank, level in enumerate(sorted(levels, reverse=True)):
        low, high = (forecast[f"{side}-{level}"].to_numpy(float) for side in ("lo", "hi"))
        axes.fill_between(
            x_fan,
            np.concatenate([start, low]),
            np.concatenate([start, high]),
            color=LIGHT["model"],
            alpha=band_opacity(rank),
            linewidth=0,
            zorder=2,
            label=f"{level} % interval",
        )
    mean = forecast["mean"].to_numpy(float)
    axes.plot(x_fan, np.concatenate([start, mean]), color=LIGHT["model"], linewidth=1.8, zorder=4)
    axes.plot(
        x_ahead,
        mean,
        color=LIGHT["model"],
        linewidth=1.8,
        marker="o" if len(mean) <= 31 else "",
        markersize=2.8,
        zorder=5,
        label="forecast (mean)",
    )
    axes.margins(x=0.015)
    format_axis(axes.yaxis, format_values)
    if own:
        add_legend(axes)
    return axes


def check_forecast(
    times: np.ndarray,
    values: np.ndarray,
    observed: np.ndarray,
    forecast: pd.DataFrame,
    levels: Sequence[int],
) -> None:
    """Check that history and forecast fit together (arguments and errors: see `plot_forecast`).

    >>> import numpy as np, pandas as pd
    >>> check_forecast(np.arange(3), np.zeros(3), np.ones(2, bool), pd.DataFrame(), ())
    Traceback (most recent call last):
    ...
    unrolled.errors.ShapeError: report: expected times, values and observed of one length, at least 1, \
got 3, 3 and 2. Pass one entry a step of the history.
    """
    import numpy as np

    lengths = [len(times), len(values), len(observed)]
    if len(set(lengths)) > 1 or not lengths[0]:
        raise ShapeError(
            "report",
            expected="times, values and observed of one length, at least 1",
            got="{}, {} and {}".format(*lengths),
            cure="Pass one entry a step of the history.",
        )
    wanted = ["time", "mean", *(f"{side}-{level}" for level in levels for side in ("lo", "hi"))]
    missing = [name for name in wanted if name not in forecast.columns]
    if missing or not len(forecast):
        raise DataError(
            "report",
            expected=f"a forecast of at least one row with the columns {', '.join(wanted)}",
            got=f"no column {missing[0]}" if missing else "no row",
            cure="Pass the frame that Forecaster.predict() returns, and its levels.",
        )
    past, ahead = np.asarray(times).dtype, forecast["time"].to_numpy().dtype
    if past.kind != ahead.kind or past.kind not in "Mi":
        raise DataError(
            "report",
            expected="times of the history and of the forecast that are both time stamps, or both integers",
            got=f"{past} and {ahead}",
            cure="Pass datetime64 without a time zone, or int64.",
        )


def plot_error_by_step(scores: Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """Draw the mean absolute error by step ahead, of the model and of each baseline.

    The model and the three best baselines stand out, the others are thin. Where the thin ones run far above
    all that stand out, the axis ends before them.

    Args:
        scores: as in metrics.json: `{"model": {"mae_by_step": [h errors]}, "baselines": {name: {same}}}`, in
            the units of the data. A baseline without `mae_by_step` is left out.
        axes: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: the model has no `mae_by_step`.

    >>> scores = {"model": {"mae_by_step": [1.0, 1.5]}, "baselines": {"naive": {"mae_by_step": [1.2, 2.5]}}}
    >>> axes = plot_error_by_step(scores)
    >>> [(line.get_label(), line.get_ydata().tolist()) for line in axes.lines]
    [('naive', [1.2, 2.5]), ('model', [1.0, 1.5])]
    """
    import numpy as np

    curves = error_curves(scores)
    own = axes is None
    axes = new_axes() if axes is None else axes
    dress(axes)
    marker = "o" if len(curves[-1].errors) <= 16 else ""
    for curve in curves:
        axes.plot(
            np.arange(1, len(curve.errors) + 1),
            np.asarray(curve.errors, float),
            color=LIGHT[curve.colour],
            linewidth=2.4 if not curve.dashes else 1.7 if curve.strong else 0.9,
            linestyle=(0, curve.dashes) if curve.dashes else "-",
            marker=marker if curve.strong else "",
            markersize=2.5 if curve.dashes else 3.5,
            zorder=3 if curve.strong else 2,
            label=curve.name,
        )
    axes.set_ylim(bottom=0, top=error_limit(curves))
    axes.margins(x=0.03)
    format_axis(axes.yaxis, format_values)
    whole_numbers(axes.xaxis)
    axes.set_xlim(left=0.5)
    axes.set_xlabel("steps ahead", color=LIGHT["muted"], fontsize=9)
    if own:
        add_legend(axes)
    return axes


@dataclass(frozen=True)
class ErrorCurve:
    """A line of `plot_error_by_step`: its colour's name, its dash (None for the model), whether it stands out."""

    name: str
    errors: list[float]
    colour: str
    dashes: tuple[float, ...] | None
    strong: bool


def error_curves(scores: Mapping[str, Any]) -> list[ErrorCurve]:
    """List what `plot_error_by_step` draws, the model last, on top.

    >>> scores = {"model": {"mae_by_step": [1.0]}, "baselines": {"naive": {"mae_by_step": [2.0]}}}
    >>> [(curve.name, curve.errors, curve.colour, curve.strong) for curve in error_curves(scores)]
    [('naive', [2.0], 'first', True), ('model', [1.0], 'model', True)]
    """
    if not scores.get("model", {}).get("mae_by_step"):
        raise DataError(
            "plot_error_by_step",
            expected="scores with model.mae_by_step",
            got="none",
            cure="Pass the content of a run's metrics.json.",
        )
    drawn = {
        name: (rank, floats(entry["mae_by_step"]))
        for rank, (name, entry) in enumerate((scores.get("baselines") or {}).items())
        if entry.get("mae_by_step")
    }
    best = sorted(drawn, key=lambda name: _mean(drawn[name][1]))[:STRONG]
    curves = []
    for name, (rank, errors) in drawn.items():
        colour, dashes = BASELINES[rank % len(BASELINES)]
        curves.append(ErrorCurve(name_of(name), errors, colour, dashes, name in best))
    return [*curves, ErrorCurve("model", floats(scores["model"]["mae_by_step"]), "model", None, True)]


def error_limit(curves: Sequence[ErrorCurve]) -> float | None:
    """Where the axis of errors ends if a thin curve rises far above the others, else None.

    >>> strong, thin = ErrorCurve("a", [1.0], "first", None, True), ErrorCurve("b", [9.0], "second", None, False)
    >>> error_limit([strong, thin]), error_limit([strong])
    (1.5, None)
    """
    highest = {
        strong: max(
            (e for c in curves if c.strong is strong for e in c.errors if math.isfinite(e)), default=0.0
        )
        for strong in (True, False)
    }
    return 1.5 * highest[True] if highest[False] > 2.5 * highest[True] > 0 else None


def _mean(errors: Sequence[float]) -> float:
    finite = [error for error in errors if math.isfinite(error)]
    return sum(finite) / len(finite) if finite else math.inf


def plot_training(training: Sequence[Mapping[str, Any]], *, axes: Axes | None = None) -> Axes:
    """Draw the training loss and the validation value by epoch, for each member, its best epoch marked.

    The scale is logarithmic where the values span more than a factor of 20.

    Args:
        training: the rows of history.jsonl: `{"member": 0, "epoch": 1, "loss": …, "valid_loss": …, "best":
            False}`, in the order of the epochs; `valid_loss` may be None.
        axes: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: there are no rows.

    >>> rows = [
    ...     {"member": 0, "epoch": epoch, "loss": 1 / epoch, "valid_loss": 2 / epoch, "best": epoch == 3}
    ...     for epoch in (1, 2, 3)
    ... ]
    >>> axes = plot_training(rows)
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['training loss', 'validation', 'best epoch']
    """
    import numpy as np

    if not training:
        raise DataError(
            "plot_training",
            expected="at least one epoch",
            got="none",
            cure="Draw it for models that are trained by epochs only.",
        )
    own = axes is None
    axes = new_axes() if axes is None else axes
    dress(axes)
    members = list(dict.fromkeys(row["member"] for row in training))
    opacity = 1.0 if len(members) == 1 else 0.65
    drawn: list[float] = []
    for member in members:
        rows = [row for row in training if row["member"] == member]
        epochs = np.array([row["epoch"] for row in rows])
        best = np.array([bool(row.get("best")) for row in rows])
        for key, colour, dashes, label in (
            ("loss", "muted", (3, 1.5), "training loss"),
            ("valid_loss", "model", None, "validation"),
        ):
            curve = np.array(floats(row.get(key) for row in rows))
            if not np.isfinite(curve).any():
                continue
            drawn += curve[np.isfinite(curve)].tolist()
            axes.plot(
                epochs,
                curve,
                color=LIGHT[colour],
                alpha=opacity,
                linewidth=1.4,
                linestyle=(0, dashes) if dashes else "-",
                marker="o" if len(rows) == 1 else "",
                markersize=3,
                label=once(axes, label),
            )
        judged = np.array(floats(row.get("valid_loss") for row in rows))
        judged = np.where(np.isfinite(judged), judged, floats(row.get("loss") for row in rows))
        axes.plot(
            epochs[best],
            judged[best],
            linestyle="",
            marker="o",
            markersize=5,
            color=LIGHT["first"],
            zorder=5,
            label=once(axes, "best epoch"),
        )
    if drawn and min(drawn) > 0 and max(drawn) > 20 * min(drawn):
        axes.set_yscale("log")
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y", which="both", length=0)
        format_axis(axes.yaxis, format_each)
    else:
        format_axis(axes.yaxis, format_values)
    whole_numbers(axes.xaxis)
    axes.margins(x=0.03)
    axes.set_xlim(left=0.5)
    axes.set_xlabel("epoch", color=LIGHT["muted"], fontsize=9)
    if own:
        add_legend(axes)
    return axes


def band_opacity(rank: int) -> float:
    """How opaque the interval of this rank is, 0 being the widest; they lie on one another.

    >>> [band_opacity(rank) for rank in range(3)]
    [0.16, 0.24, 0.32]
    """
    return round(min(0.16 + 0.08 * rank, 0.5), 2)


def floats(values: Any) -> list[float]:
    """Turn None, which JSON holds for what is not known, into NaN."""
    return [float("nan") if value is None else float(value) for value in values]


def _mark_filled(axes: Axes, x: np.ndarray, history: np.ndarray, observed: np.ndarray) -> None:
    """Draw the filled stretches dotted, with a ring on each filled step."""
    import numpy as np

    filled = ~np.asarray(observed, bool)
    if not filled.any():
        return
    # the neighbours of a stretch belong to its line, not to its rings
    near = filled | np.append(filled[1:], False) | np.append(False, filled[:-1])
    axes.plot(x, np.where(near, history, np.nan), color=LIGHT["filled"], linewidth=1.0, dashes=(1.2, 1.4))
    axes.plot(
        x[filled],
        history[filled],
        linestyle="",
        marker="o",
        markersize=3.4,
        markerfacecolor="none",
        markeredgewidth=1.0,
        color=LIGHT["filled"],
        zorder=3,
        label="filled gap",
    )
