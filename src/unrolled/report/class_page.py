"""The report of a classification: one HTML file that needs nothing else, made from figures alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unrolled.errors import DataError
from unrolled.estimators.chance import stand
from unrolled.estimators.class_scores import class_label
from unrolled.report.palette import CURVES, DARK, LIGHT, PAPER

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = [
    "ClassPage",
    "Example",
    "count_held_out",
    "list_curves",
    "list_training",
    "mark_kept",
    "render_classes",
    "show_example",
]

MOST_CLASSES = 20  # of a confusion matrix; beyond, the pairs that are mixed up most
PAIRS = 20
LONGEST_TEXT = 600
FRAMES = 6  # of a sequence of images


@dataclass(frozen=True, eq=False)
class Example:
    """A sequence that was told wrongly.

    Attributes:
        name: of the sequence: its id or its line.
        actual: its class.
        told: what was told instead.
        sure: the probability of that.
        chance: the probability of the actual class.
        given: the text, or the array (steps, features) or (steps, height, width).
        step: of the array, that which was told wrongly, from 0; None for the whole.
    """

    name: str
    actual: str
    told: str
    sure: float
    chance: float
    given: Any
    step: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassPage:
    """What the report of one classification shows.

    Attributes:
        title: the heading.
        classes: in the order of the matrix.
        metrics: as in metrics.json: "model" and each of "baselines" hold what `score_classes` returns; "held_out"
            the number of "sequences"; "seconds" by stage.
        verdict: one plain sentence on the model beside the baselines.
        examples: those told wrongly of which the model was surest.
        training: rows of history.jsonl.
        settings: name and value, in the order to show.
        notes: what was done to the data.
        command: the command line that made the run; may be empty.
        place: of the run's folder, as the command knew it.
        features: what the numbers of a step are.
    """

    title: str
    classes: Sequence[Any]
    metrics: Mapping[str, Any]
    verdict: str
    examples: Sequence[Example] = ()
    training: list[dict[str, Any]] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    command: str = ""
    place: str = "."
    features: Sequence[str] = ()


def render_classes(page: ClassPage) -> str:
    """Write the report as one HTML document, with no script and no request to anywhere.

    Raises:
        DataError: the metrics lack the model's scores.

    >>> from unrolled.estimators.class_scores import score_classes
    >>> import numpy as np
    >>> scores = score_classes(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    >>> metrics = {"model": scores, "baselines": {"majority": scores}, "held_out": {"sequences": 2}, "seconds": {}}
    >>> wrong = Example("7", "b", "a", 0.8, 0.2, "<script>alert(1)</script>")
    >>> html = render_classes(ClassPage(title="T", classes=["a", "b"], metrics=metrics, verdict="V.", examples=[wrong]))
    >>> "<script>" in html, "&lt;script&gt;alert(1)" in html
    (False, True)
    """
    from unrolled.report.page import find_template
    from unrolled.report.tables import seconds_table

    if not page.metrics.get("model", {}).get("by_class"):
        raise DataError(
            "report", "metrics with model.by_class", "none", "Pass the content of a run's metrics.json."
        )
    model = page.metrics["model"]
    names = [str(label) for label in page.classes]
    return find_template("classes.html.j2").render(
        page=page,
        place=shlex.quote(page.place),
        colours=[(name, LIGHT[name], DARK[name]) for name in LIGHT],
        paper=PAPER,
        standing=stand(page.metrics.get("gains", {}), class_label),
        facts=_facts(page.metrics),
        rows=_score_rows(page.metrics),
        eyebrow="Classification report",
        measured=count_held_out(page.metrics["held_out"]),
        things="steps" if "steps" in page.metrics["held_out"] else "sequences",
        classes=_class_rows(model, names),
        matrix=_matrix(model["confusion"], names) if len(names) <= MOST_CLASSES else None,
        pairs=_pairs(model["confusion"], names),
        figures=_figures(page),
        training_legend=list_training(page.training),
        curves=list_curves(page.features),
        examples=[show_example(example) for example in page.examples],
        stages=seconds_table(page.metrics.get("seconds") or {}),
    )


def count_held_out(held_out: Mapping[str, int]) -> str:
    """What was held out, in words.

    >>> count_held_out({"sequences": 1200, "steps": 3})
    '3 steps of 1,200 held-out sequences'
    """
    of = f"{held_out['sequences']:,} held-out sequences"
    return f"{held_out['steps']:,} steps of {of}" if "steps" in held_out else of


def best_of(values: Sequence[float | None], high: bool) -> float | None:
    """The highest or lowest of scores, None where there is none.

    >>> best_of([0.5, None, 0.7], high=True)
    0.7
    """
    known = [value for value in values if value is not None]
    return (max if high else min)(known) if known else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _facts(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    model, held_out = metrics["model"], metrics["held_out"]
    facts = [
        {
            "name": "Told rightly",
            "value": _percent(model["accuracy"]),
            "note": f"of {count_held_out(held_out)}",
        }
    ]
    for name, scores in metrics["baselines"].items():
        facts.append({"name": class_label(name), "value": _percent(scores["accuracy"]), "note": "the same"})
    if "whole" in metrics:
        share = _percent(metrics["whole"])
        facts.append(
            {"name": "Told rightly as a whole", "value": share, "note": "sequences without a wrong step"}
        )
    facts.append(
        {
            "name": "Calibration error",
            "value": _percent(model["calibration_error"]),
            "note": "probability against share right",
        }
    )
    return facts


def _score_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    every = {"the model": metrics["model"]}
    every |= {class_label(name): scores for name, scores in metrics["baselines"].items()}
    keys = ("accuracy", "f1", "log_loss", "calibration_error")
    best = {key: best_of([scores[key] for scores in every.values()], high=key in keys[:2]) for key in keys}
    return [
        {
            "name": name, "is_model": name == "the model", "share": round(100 * scores["accuracy"], 1),
            "cells": [
                {"text": f"{scores[key]:.3f}" if key == "log_loss" else _percent(scores[key]),
                 "best": scores[key] == best[key]}
                for key in keys
            ],
        }
        for name, scores in every.items()
    ]  # fmt: skip


def _class_rows(model: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, str]]:
    return [
        {"name": name, "count": f"{entry['count']:,}"}
        | {key: _percent(entry[key]) for key in ("precision", "recall", "f1")}
        for name, entry in zip(names, model["by_class"], strict=True)
    ]


def _matrix(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of the matrix; how dark a cell is tells its share of the row."""
    rows = []
    for number, (name, counts) in enumerate(zip(names, confusion, strict=True)):
        whole = max(sum(counts), 1)
        cells = [
            {
                "count": f"{count:,}" if count else "·",
                "share": round(70 * count / whole),
                "right": number == column,
            }
            for column, count in enumerate(counts)
        ]
        rows.append({"name": name, "cells": cells})
    return rows


def _pairs(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, str]]:
    """The classes that are mixed up most."""
    found = [
        (count, names[actual], names[told], sum(row))
        for actual, row in enumerate(confusion)
        for told, count in enumerate(row)
        if actual != told and count
    ]
    found.sort(key=lambda pair: -pair[0])
    return [
        {"count": f"{count:,}", "actual": actual, "told": told, "share": _percent(count / whole)}
        for count, actual, told, whole in found[:PAIRS]
    ]


def _figures(page: ClassPage) -> dict[str, list[Any]]:
    from unrolled.report.alt import describe_training
    from unrolled.report.class_plots import describe_reliability, plot_reliability
    from unrolled.report.figures import Drawing, draw
    from unrolled.report.plots import plot_training

    bins = page.metrics["model"]["calibration"]
    things = "steps" if "steps" in page.metrics["held_out"] else "sequences"
    figures: dict[str, list[Any]] = {
        "calibration": [
            Drawing(
                "Share told rightly, by probability",
                draw(
                    "calibration",
                    describe_reliability(bins),
                    lambda axes: plot_reliability(bins, axes=axes),
                    both=True,
                ),
                f"The larger a dot, the more {things}. On the dotted line, probabilities are what they say; below it "
                "the model is too sure of itself.",
            )
        ],
        "training": [],
    }
    if page.training:
        training = mark_kept(page.training)
        svg = draw("training", describe_training(training), lambda axes: plot_training(training, axes=axes))
        figures["training"] = [Drawing("Loss (cross-entropy)", svg)]
    return figures


def mark_kept(training: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The history, with the last epoch of each member marked where nothing was held back to find the best one."""
    if any(row.get("valid_loss") is not None for row in training):
        return [dict(row) for row in training]
    last = {row["member"]: row["epoch"] for row in training}
    return [{**row, "best": row["epoch"] == last[row["member"]]} for row in training]


def list_training(training: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The legend of the training curve."""
    validated = any(row.get("valid_loss") is not None for row in training)
    return [
        {"shape": "line", "colour": "muted", "dashes": "4.5 2.25", "name": "training loss"},
        *([{"shape": "line", "colour": "model", "name": "validation"}] if validated else []),
        {"shape": "dot", "colour": "first", "name": "best epoch" if validated else "epoch kept"},
    ]


def list_curves(features: Sequence[str]) -> list[dict[str, str]]:
    """The legend of the curves of examples; none where there is one curve, or a picture in their place.

    >>> [entry["name"] for entry in list_curves(["x", "y"])], list_curves(["x"])
    (['x', 'y'], [])
    """
    if not 1 < len(features) <= len(CURVES):
        return []
    return [
        {"shape": "line", "colour": colour, "dashes": dashes, "name": name}
        for (colour, dashes), name in zip(CURVES.items(), features, strict=False)
    ]


def show_example(example: Example) -> dict[str, Any]:
    """An example as the template shows it: its text, or a picture of it."""
    shown: dict[str, Any] = {
        "name": example.name, "actual": example.actual, "told": example.told, "sure": _percent(example.sure),
        "chance": _percent(example.chance), "text": None, "picture": None, "axis": "",
    }  # fmt: skip
    given = example.given
    if isinstance(given, list) and all(isinstance(word, str) for word in given):
        given = " ".join(given)
    if isinstance(given, str):
        text = given
        shown["text"] = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
    else:
        shown["picture"], shown["axis"] = _picture(example)
    return shown


def _picture(example: Example) -> tuple[Markup, str]:
    import numpy as np

    from unrolled.report.class_plots import curve_svg, image_tag

    array = np.asarray(example.given, float)
    array = array[:, None] if array.ndim == 1 else array
    label = f"{example.name}: {example.actual}, told to be {example.told}"
    if array.ndim == 3:
        chosen = np.unique(np.linspace(0, len(array) - 1, FRAMES).round().astype(int))
        return image_tag(
            np.concatenate(list(array[chosen]), axis=1), label
        ), f"{len(chosen)} of {len(array):,} images"
    if array.shape[1] > len(CURVES):
        return image_tag(array, label), f"{len(array):,} steps downwards, {array.shape[1]:,} features across"
    where = ", each curve on its own scale" if array.shape[1] > 1 else ""
    where += "" if example.step is None else f", the line at step {example.step + 1:,}"
    return curve_svg(array, label, example.step), f"{len(array):,} steps{where}"
