"""The report of a transcription: one HTML file that needs nothing else, made from figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unrolled.errors import DataError
from unrolled.estimators.chance import stand
from unrolled.report.palette import DARK, LIGHT, PAPER

__all__ = ["TranscriptExample", "TranscriptPage", "render_transcripts", "transcript_label"]

LONGEST_TEXT = 400
WIDEST = 60  # steps of a source whose attention is shown
DARKEST = 70  # percent of the colour in a cell, so that its number can be read
BASELINES = {"most_frequent": "the most frequent target", "copy": "the source as it is"}


@dataclass(frozen=True, eq=False)
class TranscriptExample:
    """A held-out source and what was made of it.

    Attributes:
        name: of the pair: its line.
        source: its text.
        right: the right target.
        told: the answer.
        probability: of the answer.
        ended: whether the answer has an end.
        symbols: of the source and of the answer, split as the network reads and writes them.
        attention: (symbols of the answer, steps of the source), or None.
    """

    name: str
    source: str
    right: str
    told: str
    probability: float
    ended: bool = True
    symbols: tuple[Sequence[str], Sequence[str]] = ((), ())
    attention: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TranscriptPage:
    """What the report of one transcription shows.

    Attributes:
        title: the heading.
        metrics: as in metrics.json: "model" and each of "baselines" hold what `score_transcripts` returns; "held_out"
            the number of "pairs", and those "without_end"; "seconds" by stage.
        verdict: one plain sentence on the model beside the baselines.
        wrong: the wrong answers of which the model was surest.
        right: some right ones.
        looked: those of which the attention is shown.
        training: rows of history.jsonl.
        settings: name and value, in the order to show.
        notes: what was done to the data.
        command: the command line that made the run; may be empty.
    """

    title: str
    metrics: Mapping[str, Any]
    verdict: str
    wrong: Sequence[TranscriptExample] = ()
    right: Sequence[TranscriptExample] = ()
    looked: Sequence[TranscriptExample] = ()
    training: list[dict[str, Any]] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    command: str = ""


def transcript_label(name: str) -> str:
    """What a baseline is called in tables.

    >>> transcript_label("copy")
    'the source as it is'
    """
    return BASELINES.get(name, name)


def render_transcripts(page: TranscriptPage) -> str:
    """Write the report as one HTML document, with no script and no request to anywhere.

    Raises:
        DataError: the metrics lack the model's scores.

    >>> scores, gains = {"exact_match": 0.5, "symbol_error_rate": 0.1}, {"copy": {"mean": 0.0, "lo": -0.1, "hi": 0.1}}
    >>> metrics = {"model": scores, "baselines": {"copy": scores}, "gains": gains}
    >>> metrics["held_out"] = {"pairs": 2, "without_end": 0}
    >>> wrong = TranscriptExample("7", "<script>alert(1)</script>", "b", "a", 0.8)
    >>> html = render_transcripts(TranscriptPage(title="T", metrics=metrics, verdict="V.", wrong=[wrong]))
    >>> "<script>" in html, "&lt;script&gt;alert(1)" in html
    (False, True)
    """
    from unrolled.report.page import find_template
    from unrolled.report.tables import seconds_table

    if "exact_match" not in page.metrics.get("model", {}):
        raise DataError(
            "report", "metrics with model.exact_match", "none", "Pass the content of a run's metrics.json."
        )
    return find_template("transcripts.html.j2").render(
        page=page,
        colours=[(name, LIGHT[name], DARK[name]) for name in LIGHT],
        paper=PAPER,
        standing=stand(page.metrics["gains"], transcript_label),
        facts=_facts(page.metrics),
        rows=_rows(page.metrics),
        wrong=[_show(example) for example in page.wrong],
        right=[_show(example) for example in page.right],
        heat=[_heat(example) for example in page.looked],
        figures=_figures(page.training),
        training_legend=_legend(page.training),
        stages=seconds_table(page.metrics.get("seconds") or {}),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _facts(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    model, held = metrics["model"], metrics["held_out"]
    pairs = f"of {held['pairs']:,} held-out sources"
    return [
        {"name": "Exactly right", "value": _percent(model["exact_match"]), "note": pairs},
        {"name": "Symbol error rate", "value": _percent(model["symbol_error_rate"]), "note": "edits for each symbol"},
        *(
            {"name": transcript_label(name).capitalize(), "value": _percent(scores["exact_match"]), "note": "the same"}
            for name, scores in metrics["baselines"].items()
        ),
        {"name": "Without an end", "value": f"{held['without_end']:,}", "note": "answers that were cut"},
    ]  # fmt: skip


def _rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    every = {"the model": metrics["model"]}
    every |= {transcript_label(name): scores for name, scores in metrics["baselines"].items()}
    best = max(scores["exact_match"] for scores in every.values())
    return [
        {
            "name": name, "exact": _percent(scores["exact_match"]), "errors": _percent(scores["symbol_error_rate"]),
            "best": scores["exact_match"] == best, "is_model": name == "the model",
            "share": round(100 * scores["exact_match"], 1),
        }
        for name, scores in every.items()
    ]  # fmt: skip


def _show(example: TranscriptExample) -> dict[str, Any]:
    texts = {"source": example.source, "right": example.right, "told": example.told}
    cut = {
        key: text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…" for key, text in texts.items()
    }
    return cut | {"name": example.name, "sure": _percent(example.probability), "ended": example.ended}


def _heat(example: TranscriptExample) -> dict[str, Any]:
    """A table of how much each symbol of an answer looked at each step of the source."""
    source, told = example.symbols
    rows = [
        {
            "symbol": "␣" if symbol == " " else symbol,
            "cells": [
                {"percent": round(100 * float(weight)), "share": round(DARKEST * float(weight))}
                for weight in weights[:WIDEST]
            ],
        }
        for symbol, weights in zip(told, example.attention, strict=True)
    ]
    return {
        "name": example.name,
        "steps": ["␣" if step == " " else step for step in source[:WIDEST]],
        "rows": rows[:WIDEST],
        "cut": len(source) > WIDEST or len(told) > WIDEST,
    }


def _figures(training: Sequence[Mapping[str, Any]]) -> list[Any]:
    if not training:
        return []
    from unrolled.report.alt import describe_training
    from unrolled.report.class_page import mark_kept
    from unrolled.report.figures import Drawing, draw
    from unrolled.report.plots import plot_training

    rows = mark_kept(training)
    svg = draw("training", describe_training(rows), lambda axes: plot_training(rows, axes=axes))
    return [Drawing("Loss (cross-entropy of each symbol)", svg)]


def _legend(training: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    from unrolled.report.class_page import list_training

    return list_training(training)
