"""The plots of a backtest's errors: over time, against themselves, against the intervals.

As in `plots`: axes of your own get no legend, and without axes a figure with a legend is made. An error is
actual minus forecast: above zero, the forecast was too low.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unrolled.errors import DataError
from unrolled.report.axes import (
    add_legend,
    dress,
    format_axis,
    is_narrow,
    new_axes,
    place_times,
    whole_numbers,
)
from unrolled.report.backtest import autocorrelation, course, coverage, read_backtest
from unrolled.report.palette import LIGHT
from unrolled.report.wording import format_percent, format_values

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_calibration", "plot_residual_autocorrelation", "plot_residuals"]

# a page of two sizes holds each dot twice
_DOTS = 250
# of the first and the last step: the colour's name, the dash, the marker
STEPS: tuple[tuple[str, tuple[float, ...] | None, str], ...] = (
    ("model", None, "o"),
    ("first", (5.0, 2.0), "s"),
)


def plot_residuals(backtest: pd.DataFrame, *, axes: Axes | None = None) -> Axes:
    """Draw the errors over time: of the first and of the last step, their running means, and of all a band.

    The band holds the middle 80 % of the errors of all steps at a time. Where a step has more than 250 errors,
    those 250 are dots that are evenly spread over time, the largest among them.

    Args:
        backtest: a row for each channel, origin and step: series, target, origin, step, time, actual (NaN where
            not to be counted), mean, and lo-L and hi-L for each level L. In one unit.
        axes: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: a column is missing, or no row has both an actual value and a forecast.

    >>> import numpy as np, pandas as pd
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": np.repeat(range(40), 2),
    ...     "step": [1, 2] * 40, "time": np.repeat(range(40), 2) + [1, 2] * 40, "actual": 1.0, "mean": 0.5})
    >>> axes = plot_residuals(frame)
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['80 % of the errors', 'step 1', 'running mean, step 1', 'step 2', 'running mean, step 2']
    """
    import numpy as np

    found = course(read_backtest(backtest, "plot_residuals"))
    own = axes is None
    axes = new_axes() if axes is None else axes
    dress(axes)
    everything = np.concatenate([found.times, *(times for times, _ in found.points)])
    places = np.split(
        place_times(axes, everything),
        np.cumsum([len(found.times), *map(len, (t for t, _ in found.points))])[:-1],
    )
    axes.axhline(0, color=LIGHT["muted"], linewidth=0.9, zorder=2)
    axes.fill_between(
        places[0],
        found.low,
        found.high,
        color=LIGHT["muted"],
        alpha=0.2,
        linewidth=0,
        zorder=1,
        label="80 % of the errors",
    )
    for step, (_, errors), (when, mean), x, (colour, dashes, marker) in zip(
        found.steps, found.points, found.means, places[1:], STEPS, strict=False
    ):
        shown = _spread(errors)
        axes.plot(
            x[shown],
            errors[shown],
            linestyle="",
            marker=marker,
            markersize=2.6 if len(shown) > 40 else 4,
            markeredgewidth=0,
            alpha=0.5,
            color=LIGHT[colour],
            zorder=3,
            label=f"step {step:,}",
        )
        # the mean of few errors is but the errors
        if len(when) > 15:
            some = np.unique(np.linspace(0, len(when) - 1, 2 * _DOTS).round().astype(int))
            axes.plot(
                place_times(axes, when)[some],
                mean[some],
                color=LIGHT[colour],
                linewidth=1.8,
                linestyle=(0, dashes) if dashes else "-",
                zorder=4,
                label=f"running mean, step {step:,}",
            )
    axes.margins(x=0.02)
    format_axis(axes.yaxis, format_values)
    if own:
        add_legend(axes)
    return axes


def _spread(errors: np.ndarray) -> np.ndarray:
    """Which errors to draw: at most `_DOTS`, evenly spread, the 20 largest always."""
    import numpy as np

    if len(errors) <= _DOTS:
        return np.arange(len(errors))
    largest = np.argsort(-np.abs(errors), kind="stable")[:20]
    even = np.linspace(0, len(errors) - 1, _DOTS - len(largest)).round().astype(int)
    return np.union1d(largest, even)


def plot_residual_autocorrelation(backtest: pd.DataFrame, step: int = 1, *, axes: Axes | None = None) -> Axes:
    """Draw how far the errors of one step resemble those of the origins before.

    A good forecast of step 1 leaves no resemblance: what the last error tells, it would have used. At step k,
    errors less than k origins apart share what came as news to both, so that the first k − 1 lags may be high.
    The band is ±1.96 / √n (Box and Jenkins, 1970), n being the errors of one channel.

    Args:
        backtest: as for `plot_residuals`; several channels are averaged.
        step: the step ahead, from 1.
        axes: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: a column is missing, or no channel has three errors of this step that differ.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": range(40), "step": 1, "time": range(1, 41),
    ...     "actual": [1.0, -1.0] * 20, "mean": 0.0})
    >>> axes = plot_residual_autocorrelation(frame)
    >>> axes.lines[-1].get_ydata()[:2].round(3).tolist()
    [-0.975, 0.95]
    """
    import numpy as np

    where = "plot_residual_autocorrelation"
    found = autocorrelation(read_backtest(backtest, where), step, where)
    own = axes is None
    axes = new_axes() if axes is None else axes
    dress(axes)
    lags = np.arange(1, len(found.values) + 1)
    axes.axhspan(
        -found.bound,
        found.bound,
        color=LIGHT["muted"],
        alpha=0.2,
        linewidth=0,
        zorder=1,
        label="no resemblance",
    )
    axes.axhline(0, color=LIGHT["muted"], linewidth=0.9, zorder=2)
    axes.vlines(lags, 0, found.values, color=LIGHT["model"], linewidth=1.8, zorder=3)
    axes.plot(
        lags,
        found.values,
        linestyle="",
        marker="o",
        markersize=4,
        color=LIGHT["model"],
        zorder=4,
        label=f"errors of step {step:,}",
    )
    highest = max(1.15 * float(np.abs(found.values).max()), 1.4 * found.bound, 0.3)
    axes.set_ylim(-min(highest, 1.05), min(highest, 1.05))
    axes.set_xlim(0.4, len(lags) + 0.6)
    format_axis(axes.yaxis, format_values)
    whole_numbers(axes.xaxis)
    axes.set_xlabel("origins apart", color=LIGHT["muted"], fontsize=9)
    if own:
        add_legend(axes)
    return axes


def plot_calibration(backtest: pd.DataFrame, *, axes: Axes | None = None) -> Axes:
    """Draw for each interval the share of values it held against the share it promised.

    The dots are over all steps; the bars reach from the step that held the least to the one that held the most.
    On the dashed line, an interval keeps its promise.

    Args:
        backtest: as for `plot_residuals`, with lo-L and hi-L for at least one level L.
        axes: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: a column is missing, or there is no interval beside an actual value.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": range(4), "step": 1, "time": range(1, 5),
    ...     "actual": [0.0, 1.0, 2.0, 3.0], "mean": 0.0, "lo-80": -2.0, "hi-80": 2.0})
    >>> [line.get_ydata().tolist() for line in plot_calibration(frame).lines if line.get_label() == "all steps"]
    [[75.0]]
    """
    import numpy as np

    shares = coverage(read_backtest(backtest, "plot_calibration"))
    if not shares:
        raise DataError(
            "plot_calibration",
            expected="columns lo-L and hi-L for at least one level",
            got="none",
            cure="Backtest with levels=(80, 95).",
        )
    own = axes is None
    axes = new_axes() if axes is None else axes
    dress(axes)
    levels = np.array([float(level) for level in shares])
    whole = 100 * np.array([share for share, _ in shares.values()])
    least, most = (
        100 * np.array([bound(by_step.values()) for _, by_step in shares.values()]) for bound in (min, max)
    )
    left = max(min(levels.min() - 15, 75), 0)
    axes.plot(
        [0, 100],
        [0, 100],
        color=LIGHT["muted"],
        linewidth=1.2,
        linestyle=(0, (5, 3)),
        zorder=2,
        label="as promised",
    )
    axes.vlines(
        levels, least, most, color=LIGHT["model"], alpha=0.4, linewidth=7, zorder=3, label="from step to step"
    )
    axes.plot(
        levels,
        whole,
        linestyle="",
        marker="o",
        markersize=6,
        color=LIGHT["model"],
        zorder=4,
        label="all steps",
    )
    for level, share in zip(levels, whole, strict=True):
        axes.annotate(
            format_percent(share / 100),
            (level, share),
            xytext=(-8, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
            color=LIGHT["ink"],
            zorder=5,
        )
    axes.set_xlim(left, 101.5)
    axes.set_ylim(max(min(least.min() - 8, left), -3), 103)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda place, _: format_percent(round(place) / 100).replace(".0", ""))
    axes.set_xticks(_ticks(levels, 12 if is_narrow(axes) else 4))
    axes.set_xlabel("promised", color=LIGHT["muted"], fontsize=9)
    if own:
        add_legend(axes)
    return axes


def _ticks(levels: np.ndarray, apart: float) -> list[float]:
    """The levels, without those that would write over the one before."""
    kept: list[float] = []
    for level in levels.tolist():
        if not kept or level - kept[-1] >= apart:
            kept.append(level)
    return kept
