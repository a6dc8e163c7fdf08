"""One run of classification from a table to a folder: hold out, train, score, report."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.calendar_rows import join_words
from unrolled.data.labelled import Labelled
from unrolled.errors import DataError
from unrolled.estimators.class_baselines import logistic_probabilities, majority_probabilities
from unrolled.estimators.class_scores import class_order, class_verdict, score_classes
from unrolled.estimators.classifier import SequenceClassifier
from unrolled.estimators.saving_sequences import save_sequence_estimator
from unrolled.report.class_page import ClassPage, Example, render_classes
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

__all__ = ["ClassRun", "class_frame", "run_classification"]

EXAMPLES = 12  # wrong ones on the page
MOST_CLASSES = 1000


@dataclass(frozen=True)
class ClassRun:
    """What a run gave.

    Attributes:
        metrics: what `metrics.json` holds: "classes", "model", "baselines", "gains" (of the model over each baseline,
            in accuracy, with a 95 % interval), "held_out", "seconds".
        standing: beside the baselines, by more than chance: "wins", "loses", "ties" or "unknown".
        verdict: that in a few sentences.
    """

    metrics: dict[str, Any]
    standing: str
    verdict: str


def run_classification(
    data: Labelled,
    classifier: SequenceClassifier,
    folder: Path,
    *,
    test_size: float = 0.2,
    title: str = "Classification",
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
    resume: bool = False,
    place: str = ".",
) -> ClassRun:
    """Train on a part of the sequences, score on the others, and write the run folder's files.

    Args:
        data: with labels.
        classifier: not yet fitted.
        folder: an existing folder, for config.json, model.safetensors, history.jsonl, timing.jsonl,
            predictions.csv (of the held-out part), metrics.json and report.html.
        test_size: share of the sequences to hold out, above 0 and below 1, in equal shares of the classes (where each
            step has a class, at random).
        title: of the report.
        command: the command line to show in the report.
        say: is told what is done, a line at a time.
        resume: go on from the checkpoints that an earlier run has left in `folder`.
        place: where the folder will be, for the commands that the report names.

    Raises:
        OptionError: `test_size` is out of its range.
        DataError: there are too few sequences, only one class, or more than 1,000.
    """
    check_share(test_size)
    assert data.labels is not None
    per_step = classifier.per_step
    labels: list[Any] = [[str(one) for one in part] if per_step else str(part) for part in data.labels]
    every = [one for part in labels for one in part] if per_step else labels
    if len(set(every)) < 2:
        raise DataError(
            "the labels", "at least two classes", f"one, {every[0]!r}", "There is nothing to tell apart."
        )
    if len(set(every)) > MOST_CLASSES:
        raise DataError(
            "the labels",
            f"at most {MOST_CLASSES:,} classes, whose every pair the report counts",
            f"{len(set(every)):,}",
            "Check the column; numbers are for unrolled regress, more classes for SequenceClassifier in Python.",
        )
    asked = asked_parts(
        data, [set(part) if per_step else {part} for part in labels], test_size, classifier.seed
    )
    if asked is None:
        train, test = (_part_steps if per_step else _part)(labels, test_size, classifier.seed)
        how = f"{test_size:.0%} of {'the sequences' if per_step else 'each class'}"
    else:
        train, test, how = asked
    twins = note_twins(data.inputs, train, test)
    notes = [*data.notes, *twins]
    unseen = set(every) - set(flatten([labels[number] for number in test], per_step).tolist())
    if unseen:
        notes.append(
            f"No held-out sequence is of {'the class' if len(unseen) == 1 else 'the classes'} "
            f"{join_words(sorted(unseen)[:10])}{', …' * (len(unseen) > 10)}: how well it is told is not known."
        )
    start = time.perf_counter()
    say("\n• ".join([f"Training on {len(train):,} sequences; {len(test):,} are held out.", *twins]))
    given = split_once(data.inputs, classifier.lower)
    inputs, held = ([given[number] for number in part] for part in (train, test))
    classifier.fit(inputs, [labels[number] for number in train], folder=folder, resume=resume)
    trained = time.perf_counter()
    order = class_order(classifier.classes_.tolist())
    classes = classifier.classes_[order].tolist()
    number_of = {label: number for number, label in enumerate(classes)}
    known, actual = (
        np.array([number_of[one] for one in flatten([labels[number] for number in part], per_step).tolist()])
        for part in (train, test)
    )
    probabilities = flatten(classifier.predict_proba(held), per_step)[:, order]
    scored = time.perf_counter()
    lengths = np.array([len(part) for part in given])
    first, second, words = baseline_input(inputs, held, classifier)
    baselines = {
        "majority": majority_probabilities(known, len(classes), len(actual)),
        "logistic": logistic_probabilities(first, known, second, words),
    }
    done = time.perf_counter()
    seconds = {"train": trained - start, "score": scored - trained, "baselines": done - scored}
    steps = lengths[test] if per_step else None
    metrics: dict[str, Any] = {
        "classes": classes,
        "model": score_classes(actual, probabilities),
        "baselines": {name: score_classes(actual, found) for name, found in baselines.items()},
        "held_out": {"sequences": len(test), "trained_on": len(train)},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
    if steps is not None:
        metrics["held_out"]["steps"] = len(actual)
        right = np.split(probabilities.argmax(1) == actual, np.cumsum(steps)[:-1])
        metrics["whole"] = float(np.mean([part.all() for part in right]))
    told = probabilities.argmax(1) == actual
    metrics["gains"] = {
        name: gain_over(told * 1.0 - (found.argmax(1) == actual), data, test, steps, bounded=True)
        for name, found in baselines.items()
    }
    standing, sentence = class_verdict(metrics)

    save_sequence_estimator(classifier, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", "utf-8")
    frame = class_frame(data.names[test], probabilities, classes, steps)
    frame.insert(1 + per_step, "actual", [classes[number] for number in actual])
    frame = carry_texts(frame, [data.inputs[number] for number in test], per_step)
    frame.to_csv(folder / "predictions.csv", index=False)
    page = ClassPage(
        title=title,
        classes=classes,
        metrics=metrics,
        verdict=sentence,
        examples=_worst(
            [data.inputs[number] for number in test], data.names[test], actual, probabilities, classes, steps
        ),
        training=classifier.run_.history,
        settings=describe_settings(
            classifier, lengths, ("Classes", f"{len(classes):,}"),
            how,
        ),
        notes=list(dict.fromkeys([*notes, *classifier.notes_])),
        command=command,
        place=place,
        features=data.features,
    )  # fmt: skip
    (folder / "report.html").write_text(render_classes(page), "utf-8", "replace")
    return ClassRun(metrics, standing, sentence)


def class_frame(
    names: NDArray[Any],
    probabilities: NDArray[np.float64],
    classes: list[Any],
    steps: NDArray[np.int64] | None = None,
) -> Any:
    """A pandas frame with a row for each sequence: its name, its class, and the probability of each class.

    With `steps`, how many each sequence has, it has a row for each of them, counted from 1.

    >>> class_frame(np.array([2]), np.array([[0.25, 0.75]]), ["ham", "spam"]).columns.tolist()
    ['sequence', 'class', 'p-ham', 'p-spam']
    """
    import pandas as pd

    columns: dict[str, Any] = {"sequence": names}
    if steps is not None:
        columns = {"sequence": np.repeat(names, steps)}
        columns["step"] = np.concatenate([np.arange(1, count + 1) for count in steps])
    columns |= {"class": [classes[number] for number in probabilities.argmax(1)]}
    columns |= {f"p-{label}": probabilities[:, number] for number, label in enumerate(classes)}
    return pd.DataFrame(columns)


def _part(labels: list[str], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the training part and of the held-out one; a class that comes once is trained on."""
    random = np.random.default_rng(seed)
    held: list[int] = []
    for label in sorted(set(labels)):
        numbers = random.permutation([number for number, one in enumerate(labels) if one == label])
        held += numbers[: min(round(share * len(numbers)), len(numbers) - 1)].tolist()
    if not held:
        raise DataError(
            "the labels",
            f"enough sequences of a class to hold {share:.0%} of them out",
            f"{len(labels):,} sequences of {len(set(labels)):,} classes",
            "Give more sequences, or a larger --test-size; for numbers, see unrolled regress.",
        )
    test = np.sort(np.array(held, np.int64))
    return np.setdiff1d(np.arange(len(labels)), test), test


def _part_steps(
    labels: list[list[str]], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same where each step has a label; a sequence with a class that training would lack is trained on."""
    train, test = hold_out(len(labels), share, seed)
    known = {one for number in train for one in labels[number]}
    kept = []
    for number in test:
        if known.issuperset(labels[number]):
            kept.append(number)
        known.update(labels[number])
    if not kept:
        raise DataError(
            "the labels",
            "sequences to hold out whose classes others have too",
            "none",
            "Give more sequences.",
        )
    test = np.array(kept, np.int64)
    return np.setdiff1d(np.arange(len(labels)), test), test


def _worst(
    inputs: list[Any],
    names: NDArray[Any],
    actual: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: list[Any],
    steps: NDArray[np.int64] | None,
) -> list[Example]:
    """The wrong answers of which the model was surest."""
    told, sure = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(told != actual)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:EXAMPLES]
    owner = np.arange(len(actual)) if steps is None else np.repeat(np.arange(len(steps)), steps)
    first = np.searchsorted(owner, owner)
    return [
        Example(
            str(names[owner[n]]) if steps is None else f"{names[owner[n]]}, step {n - first[n] + 1:,}",
            str(classes[actual[n]]), str(classes[told[n]]), float(sure[n]), float(probabilities[n, actual[n]]),
            *((inputs[n],) if steps is None else (show_steps(inputs[owner[n]], n - first[n]), int(n - first[n]))),
        )
        for n in wrong
    ]  # fmt: skip
