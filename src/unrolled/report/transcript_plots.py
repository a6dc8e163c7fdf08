"""Attention as a picture: which steps of the source each symbol of the answer looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unrolled.errors import ShapeError
from unrolled.report.axes import new_axes
from unrolled.report.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_attention"]

MOST_LABELS = 60  # of an axis; more cannot be read


def plot_attention(
    attention: Any,
    source: Sequence[Any] | None = None,
    answer: Sequence[Any] | None = None,
    *,
    axes: Axes | None = None,
) -> Axes:
    """Draw weights of attention, a row for each symbol of the answer, a column for each step of the source.

    Args:
        attention: (symbols, steps), as `Transcription.attention`.
        source: the source's symbols, to write below the columns: a text, or a list; None for the steps' numbers.
        answer: the answer's symbols, to write beside the rows.
        axes: where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        ShapeError: source or answer have another number of symbols.

    >>> axes = plot_attention([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]], "ab", "xyz")
    >>> axes.images[0].get_array().shape, [label.get_text() for label in axes.get_xticklabels()]
    ((3, 2), ['a', 'b'])
    """
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    weights = np.asarray(attention, float)
    if weights.ndim != 2:
        raise ShapeError("plot_attention", "attention of shape (symbols, steps)", str(weights.shape))
    axes = new_axes() if axes is None else axes
    colours = LinearSegmentedColormap.from_list("attention", ["#ffffff", LIGHT["model"]])
    axes.imshow(weights, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for axis, symbols, size, name in (
        (axes.xaxis, source, weights.shape[1], "source"), (axes.yaxis, answer, weights.shape[0], "answer"),
    ):  # fmt: skip
        if symbols is not None and len(symbols) != size:
            raise ShapeError(
                "plot_attention", f"{size:,} symbols of the {name}", f"{len(symbols):,}",
                "Give what the weights belong to: of texts by word, text.split().",
            )  # fmt: skip
        if symbols is not None and size <= MOST_LABELS:
            labels = ["␣" if symbol == " " else str(symbol) for symbol in symbols]
            axis.set_ticks(range(size), labels=labels, parse_math=False)
    axes.set_xlabel("source", color=LIGHT["muted"], fontsize=9)
    axes.set_ylabel("answer", color=LIGHT["muted"], fontsize=9)
    axes.tick_params(colors=LIGHT["muted"], labelsize=9, length=0)
    for spine in axes.spines.values():
        spine.set_color(LIGHT["grid"])
    return axes
