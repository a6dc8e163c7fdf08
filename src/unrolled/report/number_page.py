"""The report of a regression: one HTML file that needs nothing else, made from figures alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unrolled.errors import DataError
from unrolled.estimators.chance import stand
from unrolled.report.axes import dress, new_axes
from unrolled.report.class_page import (
    Example,
    best_of,
    count_held_out,
    list_curves,
    list_training,
    mark_kept,
    show_example,
)
from unrolled.report.palette import DARK, LIGHT, PAPER

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["NumberPage", "number_label", "plot_against", "render_numbers"]

NUMBER_BASELINES = {"mean": "mean of the training part", "ridge": "ridge regression"}
MOST_DOTS = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberPage:
    """What the report of one regression shows.

    Attributes:
        title: the heading.
        metrics: as in metrics.json: "model" and each of "baselines" hold mae, rmse and r2; "held_out" the number of
            "sequences", and of "steps" where each is answered; "seconds" by stage.
        verdict: one plain sentence on the model beside the baselines.
        actual: (n,), the numbers held out.
        told: (n,), what the model told.
        examples: those farthest off.
        training: rows of history.jsonl.
        loss: what was made small.
        settings: name and value, in the order to show.
        notes: what was done to the data.
        command: the command line that made the run; may be empty.
        place: of the run's folder, as the command knew it.
        features: what the numbers of a step are.
    """

    title: str
    metrics: Mapping[str, Any]
    verdict: str
    actual: NDArray[np.float64]
    told: NDArray[np.float64]
    examples: Sequence[Example] = ()
    training: list[dict[str, Any]] = field(default_factory=list)
    loss: str = "mse"
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    command: str = ""
    place: str = "."
    features: Sequence[str] = ()


def render_numbers(page: NumberPage) -> str:
    """Write the report as one HTML document, with no script and no request to anywhere.

    Raises:
        DataError: the metrics lack the model's scores.

    >>> import numpy as np
    >>> scores = {"mae": 1.0, "rmse": 1.0, "r2": None}
    >>> metrics = {"model": scores, "baselines": {"mean": scores}, "held_out": {"sequences": 2}, "seconds": {}}
    >>> y = np.array([0.0, 1.0])
    >>> "<h1>T &lt;b&gt;</h1>" in render_numbers(
    ...     NumberPage(title="T <b>", metrics=metrics, verdict="V.", actual=y, told=1 - y)
    ... )
    True
    """
    from unrolled.report.page import find_template
    from unrolled.report.tables import seconds_table

    if "mae" not in page.metrics.get("model", {}):
        raise DataError(
            "report", "metrics with model.mae", "none", "Pass the content of a run's metrics.json."
        )
    return find_template("numbers.html.j2").render(
        page=page,
        place=shlex.quote(page.place),
        colours=[(name, LIGHT[name], DARK[name]) for name in LIGHT],
        paper=PAPER,
        eyebrow="Regression report",
        measured=count_held_out(page.metrics["held_out"]),
        standing=stand(page.metrics.get("gains", {}), number_label),
        facts=_facts(page.metrics),
        rows=_rows(page.metrics),
        figures=_figures(page),
        training_legend=list_training(page.training),
        curves=list_curves(page.features),
        examples=[show_example(example) for example in page.examples],
        stages=seconds_table(page.metrics.get("seconds") or {}),
    )


def number_label(name: str) -> str:
    """What a baseline is called in tables."""
    return NUMBER_BASELINES.get(name, name)


def _facts(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    facts = [
        {
            "name": "Off on average",
            "value": _number(metrics["model"]["mae"]),
            "note": f"over {count_held_out(metrics['held_out'])}",
        }
    ]
    for name, scores in metrics["baselines"].items():
        facts.append({"name": number_label(name), "value": _number(scores["mae"]), "note": "the same"})
    return facts


def _rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    every = {"the model": metrics["model"]}
    every |= {number_label(name): scores for name, scores in metrics["baselines"].items()}
    most = max(scores["mae"] for scores in every.values()) or 1.0
    best = {
        name: best_of([scores[name] for scores in every.values()], high=name == "r2")
        for name in ("mae", "rmse", "r2")
    }
    return [
        {
            "name": name, "is_model": name == "the model", "share": round(100 * scores["mae"] / most, 1),
            "cells": [
                {"text": "–" if scores[key] is None else f"{scores[key]:.3f}" if key == "r2" else _number(scores[key]),
                 "best": scores[key] is not None and scores[key] == best[key]}
                for key in best
            ],
        }
        for name, scores in every.items()
    ]  # fmt: skip


def _figures(page: NumberPage) -> dict[str, list[Any]]:
    from unrolled.report.alt import describe_training
    from unrolled.report.figures import Drawing, draw
    from unrolled.report.plots import plot_training

    off = _number(page.metrics["model"]["mae"])
    label = f"What was told against what was, for {len(page.actual):,}: off by {off} on average."
    against = draw("against", label, lambda axes: plot_against(page.actual, page.told, axes=axes), both=True)
    caption = "On the dotted line, what was told is what was."
    figures: dict[str, list[Any]] = {"against": [Drawing("Told", against, caption)], "training": []}
    if page.training:
        training = mark_kept(page.training)
        svg = draw("training", describe_training(training), lambda axes: plot_training(training, axes=axes))
        figures["training"] = [Drawing(f"Loss ({page.loss})", svg)]
    return figures


def plot_against(actual: NDArray[np.float64], told: NDArray[np.float64], *, axes: Axes | None = None) -> Axes:
    """Draw what was told against what was, a dot for each, of up to 2,000.

    >>> import numpy as np
    >>> axes = plot_against(np.array([0.0, 2.0]), np.array([1.0, 2.0]))
    >>> axes.collections[0].get_offsets().data.tolist()
    [[0.0, 1.0], [2.0, 2.0]]
    """
    import numpy as np

    axes = new_axes() if axes is None else axes
    dress(axes)
    chosen = np.unique(np.linspace(0, len(actual) - 1, min(len(actual), MOST_DOTS)).round().astype(int))
    low, high = min(actual.min(), told.min()), max(actual.max(), told.max())
    axes.plot([low, high], [low, high], color=LIGHT["muted"], linewidth=1, dashes=(2, 2))
    axes.scatter(actual[chosen], told[chosen], s=16, alpha=0.6, color=LIGHT["model"], linewidths=0, zorder=3)
    axes.set_xlabel("actual", color=LIGHT["muted"], fontsize=9)
    return axes


def _number(value: float) -> str:
    """Four significant digits, and all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}" if value else "0"
