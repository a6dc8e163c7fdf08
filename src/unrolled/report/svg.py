"""A Matplotlib figure as SVG to stand inside an HTML page.

Text stays text in the page's font, colours become the page's CSS variables, and nothing is left that would
clash with a second figure on the page (ids, a style sheet for `*`), tell the time of day, or name an address.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from unrolled.report.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_to_svg"]

_COLOUR = re.compile("|".join(LIGHT.values()), re.IGNORECASE)
_NAMES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
_REFERENCE = re.compile(r"#([\w-]+)")
_REFERRING = ("href", "clip-path")
# a hundredth of a point is finer than any screen
_LONG = re.compile(r"(\.\d\d)\d+")


def figure_to_svg(figure: Figure, *, prefix: str, label: str, css_class: str) -> str:
    """Turn a figure into an `<svg>` element for an HTML page.

    Args:
        figure: drawn in the colours of `palette.LIGHT`; others stay as they are.
        prefix: put before every id; one of its own for each figure of a page.
        label: the text that stands for the figure where it cannot be seen.
        css_class: the class of the element.

    Returns:
        The element; the same figure always gives the same text.

    >>> from unrolled.report.plots import plot_error_by_step
    >>> axes = plot_error_by_step({"model": {"mae_by_step": [1.0, 1.5]}})
    >>> svg = figure_to_svg(axes.figure, prefix="error", label="It doubles.", css_class="plot")
    >>> svg.startswith('<svg viewBox="0 0 619.2 259.2" role="img" aria-label="It doubles." class="plot">')
    True
    >>> "var(--model)" in svg, "http" in svg
    (True, False)
    """
    root = ElementTree.fromstring(_draw(figure, prefix))
    # metadata holds the date of drawing; the style sheet would hold for the whole page
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    referred = {
        match
        for element in root.iter()
        for name, value in element.attrib.items()
        if _local(name) in _REFERRING
        for match in _REFERENCE.findall(value)
    }
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = _clean(element.attrib, prefix, referred)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, "class": css_class}
    return ElementTree.tostring(root, encoding="unicode")


def _draw(figure: Figure, salt: str) -> bytes:
    from io import BytesIO

    import matplotlib

    figure.patch.set_visible(False)
    target = BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "AutoDateLocator was unable")  # its own choice will do
        figure.savefig(target, format="svg")
    return target.getvalue()


def _local(name: str) -> str:
    """The name without its namespace: inside HTML, `<svg>` needs none."""
    return name.rpartition("}")[2]


def _clean(attributes: dict[str, str], prefix: str, referred: set[str]) -> dict[str, str]:
    cleaned = {}
    for name, value in attributes.items():
        name = _local(name)
        if name == "id":
            if value in referred:
                cleaned[name] = f"{prefix}-{value}"
            continue
        if name == "style":
            value = _COLOUR.sub(lambda match: _NAMES[match[0].lower()], value)
            # Matplotlib 3.9 writes `font: 9px …`, later ones `font-size: 9px; font-family: …`
            value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
            value = re.sub(r"font-family: [^;]*; ?", "", value)
        elif name in _REFERRING:
            value = _REFERENCE.sub(rf"#{prefix}-\1", value)
        elif name == "transform" and value.startswith("rotate(-0 "):
            continue
        elif name in ("d", "x", "y"):
            value = _LONG.sub(r"\1", " ".join(value.split()))
        cleaned[name] = value
    return cleaned
