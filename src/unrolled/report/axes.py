"""What every plot of the report does to its axes: their dress, their times, their ticks, their legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unrolled.report.palette import LIGHT
from unrolled.report.wording import format_errors

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = [
    "add_legend",
    "dress",
    "format_axis",
    "format_each",
    "is_narrow",
    "new_axes",
    "once",
    "place_times",
    "whole_numbers",
]


def new_axes() -> Axes:
    """Make axes in a figure of their own, of which no one else knows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8.6, 3.6), layout="constrained").add_subplot()


def dress(axes: Axes) -> None:
    """Take away the frame, and draw ticks and horizontal lines softly."""
    axes.set_facecolor("none")
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT["muted"])
    axes.spines["bottom"].set_linewidth(0.8)
    axes.tick_params(colors=LIGHT["muted"], labelsize=9, width=0.8, length=3)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)


def is_narrow(axes: Axes) -> bool:
    """Whether the figure is one for a narrow screen."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return bool(figure.get_figwidth() < 6)


def place_times(axes: Axes, times: np.ndarray, most: int = 9) -> np.ndarray:
    """Turn times into places on the x axis, and give that axis its labels, at most so many."""
    if times.dtype.kind != "M":
        whole_numbers(axes.xaxis)
        return times
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    locator = AutoDateLocator(minticks=3, maxticks=5 if is_narrow(axes) else most)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set(color=LIGHT["muted"], fontsize=9)
    return date2num(times)


def format_axis(axis: Axis, formatter: Any) -> None:
    """Label the ticks of an axis together by a function from the list of their places to one of texts."""
    from matplotlib.ticker import Formatter

    class Together(Formatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return str(formatter([x])[0])

        def format_ticks(self, values: Any) -> list[str]:
            # two digits of the distance between ticks, not of their whole range, are what a label needs
            return _drop_zeros(list(formatter([float(value) for value in values], 2)))

    axis.set_major_formatter(Together())


def _drop_zeros(texts: list[str]) -> list[str]:
    """Drop the last decimals where they are zero on every tick."""
    parts = [text.partition("×") for text in texts]
    while parts and all("." in number and number[-1] in "0." for number, _, _ in parts):
        ends = {number[-1] for number, _, _ in parts}
        parts = [(number[:-1], times, power) for number, times, power in parts]
        if ends == {"."}:
            break
    return ["".join(part) for part in parts]


def format_each(values: list[float], digits: int = 2) -> list[str]:
    """Format each number by itself, for the ticks of a logarithmic scale."""
    return [format_errors([value], 1)[0] for value in values]


def whole_numbers(axis: Axis) -> None:
    """Set ticks at whole numbers only."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:,.0f}".replace("-", "−")))


def add_legend(axes: Axes) -> None:
    """Set the legend above the axes."""
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3 if is_narrow(axes) else 6,
        frameon=False,
        fontsize=9,
        labelcolor=LIGHT["ink"],
        borderaxespad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def once(axes: Axes, label: str) -> str:
    """Label only the first line of a kind: a leading underscore hides the others from the legend."""
    return f"_{label}" if any(line.get_label() == label for line in axes.lines) else label
