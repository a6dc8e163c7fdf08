"""The report of a generator: one HTML file that needs nothing else, made from figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unrolled.errors import DataError
from unrolled.estimators.chance import stand_by_error
from unrolled.report.axes import dress, new_axes, whole_numbers
from unrolled.report.palette import DARK, LIGHT, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PiecePage", "piece_label", "plot_continuation", "render_pieces", "standing"]

BASELINES = {
    "trigram": "trigrams",
    "last_value": "the last value again",
    "last_change": "the last change again",
}
MOST_PLOTS = 4  # features of values, each with a plot of its own
MOST_SYMBOLS = 400  # steps of symbols that are written out
SEED_SHOWN = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class PiecePage:
    """What the report of one generator shows.

    Attributes:
        title: the heading.
        metrics: as in metrics.json: "kind", "model" and each of "baselines" (mse and r2, or perplexity and accuracy),
            "held_out" the number of "steps"; "seconds" by stage.
        verdict: one plain sentence on the model beside the baselines.
        columns: the names of a step's values or streams.
        seed: the last steps that were read, as the generator takes them.
        actual: what came next.
        made: what the generator made instead.
        training: rows of history.jsonl.
        settings: name and value, in the order to show.
        notes: what was done to the data.
        command: the command line that made the run; may be empty.
    """

    title: str
    metrics: Mapping[str, Any]
    verdict: str
    columns: Sequence[str]
    seed: Any
    actual: Any
    made: Any
    training: list[dict[str, Any]] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    command: str = ""


def piece_label(name: str) -> str:
    """What a baseline is called in tables.

    >>> piece_label("trigram")
    'trigrams'
    """
    return BASELINES.get(name, name)


def render_pieces(page: PiecePage) -> str:
    """Write the report as one HTML document, with no script and no request to anywhere.

    Raises:
        DataError: the metrics lack the model's scores.

    >>> scores = {"perplexity": 2.0, "accuracy": 0.5}
    >>> metrics = {"kind": "symbols", "model": scores, "baselines": {"trigram": scores}, "held_out": {"steps": 9}}
    >>> page = PiecePage(title="T", metrics=metrics, verdict="V.", columns=["c"], seed="<b>", actual="a", made="<i>")
    >>> html = render_pieces(page)
    >>> "<b>" in html, "&lt;i&gt;" in html
    (False, True)
    """
    from unrolled.report.class_page import list_training
    from unrolled.report.page import find_template
    from unrolled.report.tables import seconds_table

    if not page.metrics.get("model"):
        raise DataError("report", "metrics with model", "none", "Pass the content of a run's metrics.json.")
    rows = _steps(page.made)
    numeric = all(isinstance(value, int | float) for row in rows for value in row)
    return find_template("pieces.html.j2").render(
        page=page,
        values=page.metrics["kind"] == "values",
        colours=[(name, LIGHT[name], DARK[name]) for name in LIGHT],
        paper=PAPER,
        standing=standing(page.metrics),
        facts=_facts(page.metrics),
        rows=_rows(page.metrics),
        texts=None
        if numeric
        else {name: _written(getattr(page, name)) for name in ("seed", "actual", "made")},
        figures=_figures(page, numeric),
        legend=[
            {"shape": "line", "colour": "observed", "dashes": "none", "name": "actual"},
            {"shape": "line", "colour": "model", "name": "made"},
        ],
        training_legend=list_training(page.training),
        stages=seconds_table(page.metrics.get("seconds") or {}),
    )


def plot_continuation(
    seed: Sequence[float], actual: Sequence[float], made: Sequence[float], *, axes: Axes | None = None
) -> Axes:
    """Draw what was read, what came next, and what was made instead, as steps of one line each.

    >>> axes = plot_continuation([1.0, 2.0], [3.0], [2.5, 2.0])
    >>> [len(line.get_xdata()) for line in axes.lines]
    [3, 3, 2]
    """
    import numpy as np

    axes = new_axes() if axes is None else axes
    dress(axes)
    seed, actual, made = list(seed), list(actual), list(made)
    before = np.arange(len(seed) + len(actual)) - len(seed) + 1
    axes.plot(before, [*seed, *actual], color=LIGHT["observed"], linewidth=1.4)
    axes.plot(np.arange(len(made) + 1), [seed[-1], *made], color=LIGHT["model"], linewidth=2)
    axes.axvline(0, color=LIGHT["muted"], linewidth=0.8, dashes=(2, 2))
    whole_numbers(axes.xaxis)
    axes.set_xlabel("step", color=LIGHT["muted"], fontsize=9)
    return axes


def _steps(piece: Any) -> list[list[Any]]:
    """The rows of a piece, in Python's own numbers."""
    plain = piece.tolist() if hasattr(piece, "tolist") else list(piece)
    return [list(step) if isinstance(step, tuple | list) else [step] for step in plain]


def _written(piece: Any) -> str:
    if isinstance(piece, str):
        return piece[:MOST_SYMBOLS]
    rows = _steps(piece)[:MOST_SYMBOLS]
    return " ".join("/".join(map(str, row)) for row in rows)


def _figures(page: PiecePage, numeric: bool) -> dict[str, list[Any]]:
    from unrolled.report.alt import describe_training
    from unrolled.report.class_page import mark_kept
    from unrolled.report.figures import Drawing, draw
    from unrolled.report.plots import plot_training

    figures: dict[str, list[Any]] = {"made": [], "training": []}
    if numeric:
        seed, actual, made = (_steps(part) for part in (page.seed[-SEED_SHOWN:], page.actual, page.made))
        for number, name in list(enumerate(page.columns))[:MOST_PLOTS]:
            lines = [[row[number] for row in rows] for rows in (seed, actual, made)]

            def plot(axes: Axes, lines: Any = lines) -> Axes:
                return plot_continuation(*lines, axes=axes)

            words = (
                f"{name}: {len(lines[0])} steps that were read, {len(lines[1])} that came next, "
                f"{len(lines[2])} that were made"
                + (
                    f", from {min(lines[2]):.4g} to {max(lines[2]):.4g}."
                    if lines[2]
                    else ": the end came at once."
                )
            )
            figures["made"].append(Drawing(name, draw(f"made-{number}", words, plot)))
    if page.training:
        training = mark_kept(page.training)
        svg = draw("training", describe_training(training), lambda axes: plot_training(training, axes=axes))
        figures["training"] = [Drawing("Loss", svg)]
    return figures


def standing(metrics: Mapping[str, Any]) -> dict[str, str]:
    """How the model stands beside the baselines, by the figures of `metrics.json`."""
    name = "mse" if metrics["kind"] == "values" else "perplexity"
    others = {label: scores[name] for label, scores in metrics["baselines"].items()}
    return stand_by_error(metrics["model"][name], others, piece_label)


def _facts(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    every = [("the model", metrics["model"])]
    every += [(piece_label(name), scores) for name, scores in metrics["baselines"].items()]
    values, steps = metrics["kind"] == "values", f"of {metrics['held_out']['steps']:,} held-out steps"
    what, key = ("Mean squared error", "mse") if values else ("Perplexity", "perplexity")
    facts = [
        {
            "name": f"{what}, {name}",
            "value": f"{scores[key]:.4g}",
            "note": steps if name == "the model" else "the same",
        }
        for name, scores in every
    ]
    if not values:
        facts.append({"name": "Told rightly", "value": f"{metrics['model']['accuracy']:.1%}", "note": steps})
    return facts


def _rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    every = {"the model": metrics["model"]}
    every |= {piece_label(name): scores for name, scores in metrics["baselines"].items()}
    key, other = ("mse", "r2") if metrics["kind"] == "values" else ("perplexity", "accuracy")
    best = min(scores[key] for scores in every.values())
    return [
        {
            "name": name, "first": f"{scores[key]:.4g}", "second": f"{100 * scores[other]:.1f} %",
            "best": scores[key] == best, "is_model": name == "the model",
        }
        for name, scores in every.items()
    ]  # fmt: skip
