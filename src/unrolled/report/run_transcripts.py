"""One run of transcription from pairs to a folder: hold out, train, score, report."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import __version__
from unrolled.data.pairs import Pairs, split_symbols
from unrolled.errors import DataError, OptionError
from unrolled.estimators.chance import describe_gain, paired_gain, stand
from unrolled.estimators.saving_transcriber import save_transcriber
from unrolled.estimators.transcriber import Transcriber, Transcription
from unrolled.estimators.transcript_scores import score_transcripts
from unrolled.report.transcript_page import (
    TranscriptExample,
    TranscriptPage,
    render_transcripts,
    transcript_label,
)

__all__ = ["TranscriptRun", "run_transcription"]

WRONG, RIGHT, LOOKED = 12, 6, 3  # examples on the page
CLEAR = 40  # steps of a source whose attention can be seen at a glance


@dataclass(frozen=True)
class TranscriptRun:
    """What a run gave.

    Attributes:
        metrics: what `metrics.json` holds: "model", "baselines", "gains" (of the model over each baseline, in exact
            matches, with a 95 % interval), "held_out", "interrupted", "seconds".
        verdict: that in a sentence or two.
        notes: what was done to the data.
    """

    metrics: dict[str, Any]
    verdict: str
    notes: list[str]


def run_transcription(
    pairs: Pairs,
    transcriber: Transcriber,
    folder: Path,
    *,
    test_size: float = 0.1,
    title: str = "Transcription",
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
    resume: bool = False,
) -> TranscriptRun:
    """Train on a part of the pairs, score on the others, and write the run folder's files.

    Args:
        pairs: of texts.
        transcriber: not yet fitted.
        folder: an existing folder, for config.json, model.safetensors, history.jsonl, timing.jsonl,
            predictions.csv (of the held-out part), metrics.json and report.html.
        test_size: share of the pairs to hold out, above 0 and below 1. Pairs of one source stay together, and those
            with a symbol that comes nowhere else are trained on.
        title: of the report.
        command: the command line to show in the report.
        say: is told what is done, a line at a time.
        resume: go on from the checkpoints that an earlier run has left in `folder`.

    Raises:
        OptionError: `test_size` is out of its range.
        DataError: there are too few pairs.
    """
    if not 0 < test_size < 1:
        raise OptionError("--test-size", "a share between 0 and 1", str(test_size))
    kind = transcriber.level
    sources, targets = (split_symbols(side, "the pairs", kind) for side in (pairs.sources, pairs.targets))
    train, test, rare = _part(pairs, sources, test_size, transcriber.seed)
    notes = []
    if rare:
        notes.append(
            f"{rare:,} of the pairs that were to be held out have a symbol that no other has: they are trained on."
        )
    start = time.perf_counter()
    say(f"Training on {len(train):,} pairs; {len(test):,} are held out.")
    X, y = ([side[number] for number in train] for side in (pairs.sources, pairs.targets))
    transcriber.fit(X, y, folder=folder, resume=resume)
    trained = time.perf_counter()
    held = [pairs.sources[number] for number in test]
    told = transcriber.transcribe(held, return_attention=transcriber.attention is not None)
    scored = time.perf_counter()
    right = [targets[number] for number in test]
    usual = Counter(y).most_common(1)[0][0]
    (most_frequent,) = split_symbols([usual], "the pairs", kind)
    answers = split_symbols([one.answer for one in told], "the pairs", kind)
    baselines = {
        "most_frequent": [most_frequent] * len(test),
        "copy": [sources[number] for number in test],
    }
    metrics: dict[str, Any] = {
        "model": score_transcripts(right, answers),
        "baselines": {name: score_transcripts(right, found) for name, found in baselines.items()},
        "gains": {
            name: paired_gain(_exact(right, answers) - _exact(right, found), bounded=True)
            for name, found in baselines.items()
        },
        "held_out": {
            "pairs": len(test),
            "trained_on": len(train),
            "without_end": sum(not one.ended for one in told),
        },
        "interrupted": transcriber.run_.interrupted,
        "seconds": {"train": round(trained - start, 3), "score": round(scored - trained, 3)},
    }
    sentence = _verdict(metrics)
    save_transcriber(transcriber, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", "utf-8")
    _frame(pairs, test, told).to_csv(folder / "predictions.csv", index=False)
    examples = [
        TranscriptExample(
            str(pairs.names[number]), pairs.sources[number], pairs.targets[number], one.answer,
            math.exp(one.log_probability), one.ended, (sources[number], answer), one.attention,
        )
        for number, one, answer in zip(test, told, answers, strict=True)
    ]  # fmt: skip
    page = TranscriptPage(
        title=title,
        metrics=metrics,
        verdict=sentence,
        **_chosen(examples, right, answers),
        training=transcriber.run_.history,
        settings=_settings(transcriber, sources, targets, test_size),
        notes=[*notes, *transcriber.notes_],
        command=command,
    )
    (folder / "report.html").write_text(render_transcripts(page), "utf-8")
    return TranscriptRun(metrics, sentence, notes)


def _part(
    pairs: Pairs, sources: list[Any], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Numbers of the training part and of the held-out one, and how many pairs came to the first for a rare symbol."""
    number_of: dict[Any, int] = {}
    group = np.array([number_of.setdefault(tuple(source), len(number_of)) for source in sources])
    shuffled = np.random.default_rng(seed).permutation(len(number_of))
    held = np.isin(group, shuffled[: round(share * len(number_of))])
    known = {symbol for number in np.flatnonzero(~held) for symbol in sources[number]}
    rare = np.array([not known.issuperset(source) for source in sources]) & held
    held &= ~rare
    if held.all() or not held.any():
        raise DataError(
            "the pairs",
            f"enough different sources to hold {share:.0%} of them out",
            f"{len(pairs):,} pairs of {len(number_of):,} sources",
            "Give more pairs, or a larger --test-size.",
        )
    return np.flatnonzero(~held), np.flatnonzero(held), int(rare.sum())


def _exact(right: list[Any], found: list[Any]) -> NDArray[np.float64]:
    """1 for each answer that is exactly right, else 0."""
    return np.array([float(list(one) == list(other)) for one, other in zip(right, found, strict=True)])


def _verdict(metrics: dict[str, Any]) -> str:
    mine, others = metrics["model"]["exact_match"], metrics["baselines"]
    best = max(others, key=lambda name: others[name]["exact_match"])
    theirs, name = others[best]["exact_match"], transcript_label(best)
    sentence = (
        f"The model writes {100 * mine:.1f} % exactly, with {100 * metrics['model']['symbol_error_rate']:.1f} errors "
        f"for 100 symbols; the best baseline ({name}) {100 * theirs:.1f} %. "
    )
    pairs, show = metrics["held_out"]["pairs"], lambda gain: f"{100 * gain:.1f}"
    sentence += describe_gain(metrics["gains"][best], pairs, show, unit=" points")
    if stand(metrics["gains"], transcript_label)["kind"] == "loses":
        sentence += f" Use {name} instead."
    return sentence


def _frame(pairs: Pairs, test: NDArray[np.int64], told: list[Transcription]) -> Any:
    import pandas as pd

    columns = {
        "line": pairs.names[test],
        "source": [pairs.sources[number] for number in test],
        "target": [pairs.targets[number] for number in test],
        "answer": [one.answer for one in told],
        "ended": [one.ended for one in told],
        "log_probability": [one.log_probability for one in told],
    }
    return pd.DataFrame(columns)


def _chosen(
    examples: list[TranscriptExample], right: list[Any], answers: list[Any]
) -> dict[str, list[TranscriptExample]]:
    """The wrong answers of which the model was surest, some right ones, and those whose attention is shown."""
    fine = _exact(right, answers)
    wrong = sorted(
        (e for e, good in zip(examples, fine, strict=True) if not good), key=lambda e: -e.probability
    )
    good = [e for e, one in zip(examples, fine, strict=True) if one][:RIGHT]
    looked = [
        e
        for e in (*good, *wrong)
        if e.attention is not None and 1 <= len(e.symbols[1]) <= CLEAR >= len(e.symbols[0])
    ]
    return {"wrong": wrong[:WRONG], "right": good, "looked": looked[:LOOKED]}


def _settings(
    transcriber: Transcriber, sources: list[Any], targets: list[Any], test_size: float
) -> dict[str, str]:
    import torch

    a, members = transcriber.architecture_, len(transcriber.networks_)
    parameters = sum(parameter.numel() for parameter in transcriber.networks_[0].parameters())
    lengths = [[len(one) for one in side] for side in (sources, targets)]
    unit = transcriber.level
    network = (
        f"{a.layers} {'bidirectional ' * a.bidirectional}{a.cell} of {a.units} units to read, "
        f"{a.layers} {a.cell} of {a.units} to write, "
        + (f"attention by {a.attention} scores" if a.attention else "no attention")
    )
    return {
        "Pairs": f"{len(sources):,}",
        "Sources": f"{min(lengths[0]):,} to {max(lengths[0]):,} {unit}",
        "Targets": f"{min(lengths[1]):,} to {max(lengths[1]):,} {unit}",
        "Alphabets": f"{a.input_size - 3:,} symbols to read, {a.outputs - 1:,} to write",
        "Network": network,
        "Members": f"{members}, {parameters:,} parameters each",
        "Held out": f"{test_size:.0%} of the sources",
        "Seed": str(transcriber.seed),
        "Versions": f"unrolled {__version__}, torch {torch.__version__}, NumPy {np.__version__}",
    }
