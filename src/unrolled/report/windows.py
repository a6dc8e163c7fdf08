"""The plots of single forecasts: the worst windows of a backtest, and what each member forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unrolled.errors import DataError, OptionError, ShapeError
from unrolled.report.axes import add_legend, dress, format_axis, new_axes, place_times
from unrolled.report.backtest import Window, read_backtest, worst_windows
from unrolled.report.palette import LIGHT
from unrolled.report.wording import format_times, format_values

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_members", "plot_worst_windows"]

MOST_MEMBERS = 30
_LONGEST = 26


def plot_worst_windows(
    backtest: pd.DataFrame, count: int = 3, *, axes: Sequence[Axes] | None = None
) -> list[Axes]:
    """Draw the forecasts that missed by the most, on axes of their own, the worst first.

    Windows of one channel that overlap the one already chosen are passed over: neighbouring origins miss the
    same days.

    Args:
        backtest: as for `plot_residuals`.
        count: how many, at least 1.
        axes: where to draw, at least `count`; those beyond what there is stay empty and are hidden. None makes a
            figure with one row of axes.

    Returns:
        The axes that are drawn on; fewer than `count` if there are fewer windows.

    Raises:
        DataError: a column is missing, or no row has both an actual value and a forecast.
        OptionError: `count` is below 1.
        ShapeError: fewer `axes` than `count`.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": [1, 1, 3, 3], "step": [1, 2, 1, 2],
    ...     "time": [2, 3, 4, 5], "actual": [1.0, 2.0, 4.0, 9.0], "mean": 1.0})
    >>> [axes.get_title(loc="left") for axes in plot_worst_windows(frame)]
    ['after 3', 'after 1']
    """
    if count < 1:
        raise OptionError("count", "at least 1", str(count), "Pass count=3.")
    if axes is not None and len(axes) < count:
        raise ShapeError(
            "plot_worst_windows",
            expected=f"at least {count} axes",
            got=str(len(axes)),
            cure="Pass one for each window, or a smaller count.",
        )
    windows = worst_windows(read_backtest(backtest, "plot_worst_windows"), count)
    own = axes is None
    if axes is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.6, 3.2), layout="constrained")
        axes = figure.subplots(1, len(windows), squeeze=False)[0].tolist()
    several = len({window.name for window in windows}) > 1
    for one, window in zip(axes, windows, strict=False):
        _draw_window(one, window, title=_title(window, several))
    for spare in axes[len(windows) :]:
        spare.set_visible(False)
    drawn = list(axes[: len(windows)])
    if own:
        _add_legend_below(drawn)
    return drawn


def _title(window: Window, several: bool) -> str:
    import numpy as np

    origin = f"after {format_times(np.array([window.origin]))[0]}"
    if not several:
        return origin
    name = window.name[0] or window.name[1]
    return f"{name if len(name) <= _LONGEST else name[: _LONGEST - 1] + '…'}\n{origin}"


def _draw_window(axes: Axes, window: Window, *, title: str) -> None:
    import numpy as np

    dress(axes)
    before, values = window.before
    x = place_times(axes, np.concatenate([before, window.times]), most=5)
    past, ahead = x[: len(before)], x[len(before) :]
    marker = "o" if len(ahead) <= 16 else ""
    if window.bounds is not None:
        axes.fill_between(
            ahead, *window.bounds, color=LIGHT["model"], alpha=0.16, linewidth=0, zorder=1, label="interval"
        )
    if len(past):
        axes.axvline(past[-1], color=LIGHT["muted"], linewidth=0.8, dashes=(2, 2), zorder=1)
    axes.plot(
        x,
        np.concatenate([values, window.actual]),
        color=LIGHT["observed"],
        linewidth=1.3,
        marker=marker,
        markersize=2.4,
        zorder=3,
        label="observed",
    )
    axes.plot(
        ahead,
        window.mean,
        color=LIGHT["model"],
        linewidth=1.8,
        linestyle=(0, (5, 1.5)),
        marker=marker,
        markersize=2.8,
        zorder=4,
        label="forecast (mean)",
    )
    axes.margins(x=0.04)
    axes.set_title(title, loc="left", fontsize=9, color=LIGHT["ink"], parse_math=False)
    format_axis(axes.yaxis, format_values)


def _add_legend_below(drawn: Sequence[Axes]) -> None:
    figure = drawn[0].get_figure(root=True)
    assert figure is not None
    handles, labels = drawn[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=3, frameon=False, fontsize=9, labelcolor=LIGHT["ink"]
    )


def plot_members(forecast: pd.DataFrame, members: np.ndarray, *, axes: Axes | None = None) -> Axes:
    """Draw what each member forecasts, under the forecast that they make together.

    Args:
        forecast: one row a step of one channel, in order, with the columns time and mean.
        members: shape (members, steps), each member's own forecast; beyond 30 members, 30 of them are drawn.
        axes: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        DataError: `forecast` has no row, or lacks a column.
        ShapeError: `members` has another shape.

    >>> import numpy as np, pandas as pd
    >>> frame = pd.DataFrame({"time": [5, 6], "mean": [1.0, 1.5]})
    >>> axes = plot_members(frame, np.array([[0.9, 1.2], [1.1, 1.8]]))
    >>> [line.get_ydata().tolist() for line in axes.lines]
    [[0.9, 1.2], [1.1, 1.8], [1.0, 1.5]]
    """
    import numpy as np

    missing = [name for name in ("time", "mean") if name not in forecast.columns]
    if missing or not len(forecast):
        raise DataError(
            "plot_members",
            expected="a forecast of at least one row with the columns time, mean",
            got=f"no column {missing[0]}" if missing else "no row",
            cure="Pass the frame that Forecaster.predict() returns.",
        )
    members = np.asarray(members, float)
    check_members(members, len(forecast), "plot_members")
    own = axes is None
    axes = new_axes() if axes is None else axes
    dress(axes)
    x = place_times(axes, forecast["time"].to_numpy())
    chosen = np.unique(np.linspace(0, len(members) - 1, MOST_MEMBERS).round().astype(int))
    marker = "o" if len(x) <= 31 else ""
    for rank, member in enumerate(members[chosen]):
        axes.plot(
            x,
            member,
            color=LIGHT["first"],
            linewidth=1.0,
            alpha=0.8 if len(chosen) <= 8 else 0.45,
            marker=marker,
            markersize=2,
            zorder=3,
            label="_member" if rank else "each member",
        )
    axes.plot(
        x,
        forecast["mean"].to_numpy().astype(float),
        color=LIGHT["model"],
        linewidth=2.2,
        marker=marker,
        markersize=3,
        zorder=4,
        label="together",
    )
    axes.margins(x=0.02)
    format_axis(axes.yaxis, format_values)
    if own:
        add_legend(axes)
    return axes


def check_members(members: np.ndarray, rows: int, where: str) -> None:
    """Check that there is a forecast of each member for each row.

    >>> import numpy as np
    >>> check_members(np.zeros((3, 5)), 14, "plot_members")
    Traceback (most recent call last):
    ...
    unrolled.errors.ShapeError: plot_members: expected members of shape (members, 14), at least one member, \
got (3, 5). Pass each member's forecast in the order of the rows of the forecast.
    """
    if members.ndim != 2 or members.shape[1] != rows or not len(members):
        raise ShapeError(
            where,
            expected=f"members of shape (members, {rows}), at least one member",
            got=str(members.shape),
            cure="Pass each member's forecast in the order of the rows of the forecast.",
        )
