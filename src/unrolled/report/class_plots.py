"""What the report of a classification draws: how far probabilities can be believed, and sequences as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unrolled.report.axes import dress, new_axes
from unrolled.report.palette import CURVES, LIGHT

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup
    from matplotlib.axes import Axes

__all__ = ["curve_svg", "describe_reliability", "image_tag", "plot_reliability"]

MOST_POINTS = 400  # of a curve or a side of an image


def plot_reliability(bins: Sequence[Mapping[str, Any]], *, axes: Axes | None = None) -> Axes:
    """Draw the share told rightly against the probability, a dot for each bin.

    Args:
        bins: each with count, confidence and right, as `score_classes` returns them in "calibration".
        axes: where to draw; None makes a figure.

    >>> axes = plot_reliability([{"count": 4, "confidence": 0.9, "right": 0.75}])
    >>> [float(place) for place in axes.collections[0].get_offsets()[0]]
    [0.9, 0.75]
    """
    axes = new_axes() if axes is None else axes
    dress(axes)
    most = max(entry["count"] for entry in bins)
    axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linewidth=1, dashes=(2, 2))
    axes.scatter(
        [entry["confidence"] for entry in bins],
        [entry["right"] for entry in bins],
        s=[20 + 180 * entry["count"] / most for entry in bins],
        color=LIGHT["model"],
        zorder=3,
        linewidths=0,
    )
    low = min([0.5, *(min(entry["confidence"], entry["right"]) for entry in bins)])
    axes.set_xlim(max(0, low - 0.05), 1.03)
    axes.set_ylim(max(0, low - 0.05), 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda place, _: f"{100 * place:.0f} %")
    axes.set_xlabel("probability of the class told", color=LIGHT["muted"], fontsize=9)
    return axes


def describe_reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """Say what `plot_reliability` shows.

    >>> describe_reliability([{"count": 4, "confidence": 0.9, "right": 0.75}])
    'Calibration. Where the probability was about 90 %, 75 % of 4 were right.'
    """
    parts = [
        f"Where the probability was about {entry['confidence']:.0%}, {entry['right']:.0%} of {entry['count']:,} "
        "were right."
        for entry in bins
    ]
    return " ".join(["Calibration.", *parts]).replace("%", " %")


def image_tag(array: np.ndarray, label: str) -> Markup:
    """An image of numbers, dark where they are high, as an HTML element that holds its picture.

    >>> import numpy as np
    >>> str(image_tag(np.eye(3), "<b>"))[:40]
    '<img alt="&lt;b&gt;" class="picture" src'
    """
    import base64
    from io import BytesIO

    import numpy as np
    from markupsafe import Markup
    from matplotlib.image import imsave

    array = np.asarray(array, float)
    rows, columns = (
        np.unique(np.linspace(0, size - 1, min(size, MOST_POINTS)).round().astype(int))
        for size in array.shape
    )
    target = BytesIO()
    imsave(target, array[np.ix_(rows, columns)], format="png", cmap="gray_r", metadata={"Software": ""})
    data = base64.b64encode(target.getvalue()).decode()
    return Markup('<img alt="{}" class="picture" src="data:image/png;base64,{}">').format(label, data)


def curve_svg(array: np.ndarray, label: str, step: int | None = None) -> Markup:
    """Up to three curves over the steps, each on a scale of its own, as an SVG element; a line at one of the steps.

    >>> import numpy as np
    >>> str(curve_svg(np.array([[0.0], [1.0]]), "up")).count("<path")
    1
    """
    import numpy as np
    from markupsafe import Markup

    array = np.asarray(array, float)
    chosen = np.unique(np.linspace(0, len(array) - 1, min(len(array), MOST_POINTS)).round().astype(int))
    x = np.linspace(2, 298, len(chosen)) if len(chosen) > 1 else np.array([2.0, 298.0])
    paths = []
    if step is not None:
        place = 2 + 296 * step / (len(array) - 1) if len(array) > 1 else 150.0
        paths.append(
            Markup('<path d="M{0:.1f},0V80" style="stroke: var(--muted); stroke-width: 1.2"/>').format(place)
        )
    for feature, (colour, dashes) in zip(array.T, CURVES.items(), strict=False):
        low, high = feature.min(), feature.max()  # each curve has the whole height
        heights = 78 - 76 * (feature[chosen] - low) / ((high - low) or 1)
        heights = np.repeat(heights, 2) if len(chosen) == 1 else heights
        places = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, heights, strict=True))
        paths.append(
            Markup(
                '<path d="M{}" style="fill: none; stroke: var(--{}); stroke-width: 1.5; stroke-dasharray: {}"/>'
            ).format(places, colour, dashes)
        )
    return Markup(
        '<svg class="picture curve" viewBox="0 0 300 80" role="img" aria-label="{}">{}</svg>'
    ).format(label, Markup("").join(paths))
