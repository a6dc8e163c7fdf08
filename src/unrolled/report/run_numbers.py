"""One run of regression from a table to a folder: hold out, train, score, report."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.labelled import Labelled
from unrolled.estimators.chance import describe_gain, stand
from unrolled.estimators.class_baselines import ridge_numbers
from unrolled.estimators.regressor import SequenceRegressor
from unrolled.estimators.saving_sequences import save_sequence_estimator
from unrolled.report.class_page import Example
from unrolled.report.number_page import NumberPage, number_label, render_numbers
from unrolled.report.run_sequences import (
    asked_parts,
    baseline_input,
    carry_texts,
    check_share,
    describe_settings,
    flatten,
    gain_over,
    hold_out,
    note_twins,
    show_steps,
    split_once,
)

__all__ = ["NumberRun", "number_frame", "number_verdict", "run_regression", "score_numbers"]

EXAMPLES = 12  # those farthest off, on the page


@dataclass(frozen=True)
class NumberRun:
    """What a run gave.

    Attributes:
        metrics: what `metrics.json` holds: "model", "baselines", "gains" (of the model over each baseline, in MAE,
            with a 95 % interval), "held_out", "seconds".
        standing: beside the baselines, by more than chance: "wins", "loses", "ties" or "unknown".
        verdict: that in a few sentences.
    """

    metrics: dict[str, Any]
    standing: str
    verdict: str


def run_regression(
    data: Labelled,
    regressor: SequenceRegressor,
    folder: Path,
    *,
    test_size: float = 0.2,
    title: str = "Regression",
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
    resume: bool = False,
    place: str = ".",
) -> NumberRun:
    """Train on a part of the sequences, score on the others, and write the run folder's files.

    Args:
        data: with numbers for labels.
        regressor: not yet fitted.
        folder: an existing folder, for the files that `run_classification` writes.
        test_size: share of the sequences to hold out, above 0 and below 1.
        title: of the report.
        command: the command line to show in the report.
        say: is told what is done, a line at a time.
        resume: go on from the checkpoints that an earlier run has left in `folder`.
        place: where the folder will be, for the commands that the report names.

    Raises:
        OptionError: `test_size` is out of its range.
        DataError: there are too few sequences.
    """
    check_share(test_size)
    assert data.labels is not None
    per_step = regressor.per_step
    asked = asked_parts(data, [set() for _ in data.inputs], test_size, regressor.seed)
    if asked is None:
        train, test = hold_out(len(data), test_size, regressor.seed)
        how = f"{test_size:.0%} of the sequences, drawn"
    else:
        train, test, how = asked
    twins = note_twins(data.inputs, train, test)
    start = time.perf_counter()
    say("\n• ".join([f"Training on {len(train):,} sequences; {len(test):,} are held out.", *twins]))
    given = split_once(data.inputs, regressor.lower)
    inputs, held = ([given[number] for number in part] for part in (train, test))
    answers = [data.labels[number] for number in train]
    regressor.fit(inputs, answers, folder=folder, resume=resume)
    trained = time.perf_counter()
    known = flatten(answers, per_step).astype(np.float64)
    actual = flatten([data.labels[number] for number in test], per_step).astype(np.float64)
    told = flatten(regressor.predict(held), per_step)
    scored = time.perf_counter()
    lengths = np.array([len(part) for part in given])
    first, second, words = baseline_input(inputs, held, regressor)
    baselines = {
        "mean": np.full(len(actual), known.mean()),
        "ridge": ridge_numbers(first, known, second, words),
    }
    done = time.perf_counter()
    seconds = {"train": trained - start, "score": scored - trained, "baselines": done - scored}
    steps = lengths[test] if per_step else None
    metrics: dict[str, Any] = {
        "model": score_numbers(actual, told),
        "baselines": {name: score_numbers(actual, found) for name, found in baselines.items()},
        "held_out": {"sequences": len(test), "trained_on": len(train)},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
    if per_step:
        metrics["held_out"]["steps"] = len(actual)
    off = np.abs(told - actual)
    metrics["gains"] = {
        name: gain_over(np.abs(found - actual) - off, data, test, steps, bounded=False)
        for name, found in baselines.items()
    }
    standing, sentence = number_verdict(metrics)

    save_sequence_estimator(regressor, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", "utf-8")
    frame = number_frame(data.names[test], told, steps)
    frame.insert(1 + per_step, "actual", actual)
    frame = carry_texts(frame, [data.inputs[number] for number in test], per_step)
    frame.to_csv(folder / "predictions.csv", index=False)
    span = f"{actual.min():g} to {actual.max():g} held out, {known.min():g} to {known.max():g} trained on"
    page = NumberPage(
        title=title,
        metrics=metrics,
        verdict=sentence,
        actual=actual,
        told=told,
        examples=_farthest([data.inputs[number] for number in test], data.names[test], actual, told, steps),
        training=regressor.run_.history,
        settings=describe_settings(regressor, lengths, ("Numbers", span), how),
        notes=list(dict.fromkeys([*data.notes, *twins, *regressor.notes_])),
        command=command,
        place=place,
        features=data.features,
    )
    (folder / "report.html").write_text(render_numbers(page), "utf-8", "replace")
    return NumberRun(metrics, standing, sentence)


def score_numbers(actual: NDArray[np.float64], told: NDArray[np.float64]) -> dict[str, float | None]:
    """What `metrics.json` holds of one model: mae, rmse, and r2 (None where what was is always the same).

    >>> score_numbers(np.array([0.0, 2.0]), np.array([0.0, 1.0]))
    {'mae': 0.5, 'rmse': 0.7071067811865476, 'r2': 0.5}
    """
    off = told - actual
    spread = float(np.square(actual - actual.mean()).sum())
    return {
        "mae": float(np.abs(off).mean()),
        "rmse": float(np.sqrt(np.square(off).mean())),
        "r2": 1 - float(np.square(off).sum()) / spread if spread else None,
    }


def number_verdict(metrics: dict[str, Any]) -> tuple[str, str]:
    """Whether the model wins, loses, ties, or nobody knows ("unknown"); and that in a few sentences.

    >>> found = {"model": {"mae": 1.0}, "baselines": {"ridge": {"mae": 2.0}}, "held_out": {"sequences": 99}}
    >>> kind, sentence = number_verdict(found | {"gains": {"ridge": {"mean": 1.0, "lo": 0.5, "hi": 1.5}}})
    >>> sentence[:77], sentence[77:]  # doctest: +NORMALIZE_WHITESPACE
    ('The model is off by 1 on average, the best baseline (ridge regression) by 2. ',
     'The model is better by 1 (95 % interval 0.5 to 1.5).')
    """
    mine, others, gains = metrics["model"]["mae"], metrics["baselines"], metrics["gains"]
    best = min(others, key=lambda name: others[name]["mae"])
    theirs, name, kind = others[best]["mae"], number_label(best), stand(gains, number_label)["kind"]
    sentence = f"The model is off by {mine:.4g} on average, the best baseline ({name}) by {theirs:.4g}. "
    sentence += describe_gain(gains[best], metrics["held_out"]["sequences"], "{:.4g}".format)
    if kind == "loses":
        sentence += f" Use {name} instead: it costs nothing and tells more."
    return kind, sentence


def number_frame(
    names: NDArray[Any], told: NDArray[np.float64], steps: NDArray[np.int64] | None = None
) -> Any:
    """A pandas frame with a row for each sequence, or each of its `steps`: its name and the number told.

    >>> number_frame(np.array([2]), np.array([0.5, 0.75]), np.array([2])).to_dict("list")
    {'sequence': [2, 2], 'step': [1, 2], 'told': [0.5, 0.75]}
    """
    import pandas as pd

    if steps is None:
        return pd.DataFrame({"sequence": names, "told": told})
    step = np.concatenate([np.arange(1, count + 1) for count in steps])
    return pd.DataFrame({"sequence": np.repeat(names, steps), "step": step, "told": told})


def _farthest(
    inputs: list[Any],
    names: NDArray[Any],
    actual: NDArray[np.float64],
    told: NDArray[np.float64],
    steps: NDArray[np.int64] | None,
) -> list[Example]:
    """The answers that are farthest off."""
    off = np.abs(told - actual)
    owner = np.arange(len(actual)) if steps is None else np.repeat(np.arange(len(steps)), steps)
    first = np.searchsorted(owner, owner)
    return [
        Example(
            str(names[owner[n]]) if steps is None else f"{names[owner[n]]}, step {n - first[n] + 1:,}",
            f"{actual[n]:.4g}", f"{told[n]:.4g}", 0.0, 0.0,
            *((inputs[n],) if steps is None else (show_steps(inputs[owner[n]], n - first[n]), int(n - first[n]))),
        )
        for n in np.argsort(-off, kind="stable")[:EXAMPLES]
        if off[n] > 0
    ]  # fmt: skip
