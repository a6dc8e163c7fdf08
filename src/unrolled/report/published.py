"""Published figures beside ours: as Markdown, as JSON, and as one HTML page with the published plots drawn anew."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unrolled.report.palette import DARK, LIGHT, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Plot", "Row", "as_json", "as_markdown", "cells", "render_published"]


@dataclass(frozen=True)
class Row:
    """One figure of an experiment.

    Attributes:
        experiment: "E5b" and such.
        what: the network, and what was measured.
        unit: of the figure: "riders a day", "MSE", "accuracy", "seconds".
        published: theirs; None where none is printed.
        found: ours, one for each seed; one alone where no chance is in it; empty where it could not be run.
        seconds: of all seeds together, data and measuring left out.
        note: what else has to be said.
        lower: whether less is better.
        whole: whether the protocol was followed to its end; what was cut short, or not begun, is not judged.
    """

    experiment: str
    what: str
    unit: str
    published: float | None
    found: tuple[float, ...]
    seconds: float = 0.0
    note: str = ""
    lower: bool = True
    whole: bool = True

    @property
    def median(self) -> float | None:
        """Of the seeds."""
        return statistics.median(self.found) if self.found else None

    @property
    def reached(self) -> bool | None:
        """Whether the median is as good as the published figure; None where there is nothing to compare."""
        if self.published is None or self.median is None or not self.whole:
            return None
        if figure(self.median, self.unit) == figure(
            self.published, self.unit
        ):  # theirs is printed in so many digits
            return True
        return self.median <= self.published if self.lower else self.median >= self.published


@dataclass(frozen=True, eq=False)
class Plot:
    """A published plot, drawn anew.

    Attributes:
        experiment: "E2" and such.
        title: above it.
        description: for who cannot see it, and below it.
        draw: draws it into Matplotlib's axes, with labels for the legend.
    """

    experiment: str
    title: str
    description: str
    draw: Callable[[Axes], Any]


HEADINGS = ("", "what", "published", "ours", "lowest to highest", "beside it", "seconds")


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row under `HEADINGS`.

    >>> cells(Row("E5b", "SimpleRNN(32)", "riders a day", 27703, (28000.0, 27000.0, 29000.0), 12.3))
    ('E5b', 'SimpleRNN(32)', '27,703', '28,000', '27,000 to 29,000', 'worse by 1.1 %', '12.3')
    >>> cells(Row("E3", "SimpleRNN(150)", "accuracy", 0.9809, (0.9811,), lower=False))[3:6]
    ('0.9811', '', 'reached')
    """
    median = row.median
    ours = "–" if median is None else figure(median, row.unit)
    span = (
        f"{figure(min(row.found), row.unit)} to {figure(max(row.found), row.unit)}"
        if len(row.found) > 1
        else ""
    )
    beside = "reached" if row.reached else ""
    if row.reached is False:
        beside = f"worse by {shortfall(row)}"
    published = "–" if row.published is None else figure(row.published, row.unit)
    seconds = f"{row.seconds:.1f}" if row.seconds else ""
    return row.experiment, row.what, published, ours, span, beside, seconds


def shortfall(row: Row) -> str:
    """How far the median lies behind the published figure."""
    median, published = row.median or 0.0, row.published or 0.0
    if row.unit == "accuracy":
        return f"{100 * (published - median):.2f} points"
    return f"{abs(median / published - 1):.1%}".replace("%", " %")


def figure(value: float, unit: str) -> str:
    """Write a figure of a unit.

    >>> figure(27703.4, "riders a day"), figure(0.98091, "accuracy"), figure(14.58426, "MSE"), figure(0.00263, "MSE")
    ('27,703', '0.9809', '14.58', '0.002630')
    """
    if unit == "riders a day":
        return f"{value:,.0f}"
    if unit == "accuracy":
        return f"{value:.4f}"
    return f"{value:.1f}" if unit == "seconds" else f"{value:#.4g}"


def as_markdown(rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    """A table of the rows and their notes, below what was run where."""
    lines = [
        "# Published figures beside ours",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
    ]
    lines += ["| " + " | ".join((*HEADINGS[:3], "ours (median)", *HEADINGS[4:], "note")) + " |"]
    lines += ["|" + "---|" * (len(HEADINGS) + 1)]
    lines += [
        "| " + " | ".join(text.replace("|", r"\|") for text in (*cells(row), row.note)) + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Row], facts: Mapping[str, str]) -> dict[str, Any]:
    """The same for machines."""
    found = [dataclasses.asdict(row) | {"median": row.median, "reached": row.reached} for row in rows]
    return {"facts": dict(facts), "rows": found}


def render_published(
    rows: Sequence[Row], plots: Sequence[Plot], facts: Mapping[str, str], command: str = ""
) -> str:
    """Write the page as one HTML document, with no script and no request to anywhere.

    Args:
        rows: in the order to show.
        plots: likewise.
        facts: of the machine and the run.
        command: the command line that made it.

    >>> rows = [Row("E1", "naive: <b>the last value</b>", "MSE", 0.02, (0.021,))]
    >>> plot = Plot("E1", "A series", "It rises.", lambda axes: axes.plot([1, 2]))
    >>> html = render_published(rows, [plot], {"threads": "2"})
    >>> "<b>the last" in html, "It rises." in html, "worse by 5.0 %" in html
    (False, True, True)
    """
    from unrolled.report.axes import add_legend, dress
    from unrolled.report.figures import Drawing, draw
    from unrolled.report.page import find_template

    def drawn(plot: Plot) -> Callable[[Axes], Any]:
        def fill(axes: Axes) -> None:
            dress(axes)
            axes.set_prop_cycle(
                color=[LIGHT[name] for name in ("observed", "first", "model", "second", "third")]
            )
            plot.draw(axes)
            for axis in (axes.xaxis, axes.yaxis):
                axis.label.set(color=LIGHT["muted"], fontsize=9)
            if any(not str(line.get_label()).startswith("_") for line in axes.lines):
                add_legend(axes)

        return fill

    drawings = [
        (
            plot.title,
            [
                Drawing(
                    plot.experiment, draw(f"plot{number}", plot.description, drawn(plot)), plot.description
                )
            ],
        )
        for number, plot in enumerate(plots)
    ]
    counted = [row.reached for row in rows if row.reached is not None]
    return find_template("published.html.j2").render(
        colours=[(name, LIGHT[name], DARK[name]) for name in LIGHT],
        paper=PAPER,
        facts=facts,
        headings=HEADINGS,
        rows=[(row, cells(row)) for row in rows],
        reached=sum(counted),
        compared=len(counted),
        drawings=drawings,
        command=command,
    )
