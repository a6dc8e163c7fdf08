"""One run of classification from a table to a folder: hold out, train, score, report."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import __version__
from unrolled.data.labelled import Labelled
from unrolled.data.sequences import Sequences
from unrolled.data.text import Vocabulary, is_tokens, split_words
from unrolled.errors import DataError, OptionError
from unrolled.estimators.class_baselines import logistic_probabilities, majority_probabilities
from unrolled.estimators.class_scores import class_verdict, score_classes
from unrolled.estimators.classifier import SequenceClassifier
from unrolled.estimators.saving_sequences import save_sequence_estimator
from unrolled.report.class_page import ClassPage, Example, render_classes

__all__ = ["ClassRun", "class_frame", "run_classification"]

EXAMPLES = 12  # wrong ones on the page


@dataclass(frozen=True)
class ClassRun:
    """What a run gave.

    Attributes:
        metrics: what `metrics.json` holds: "classes", "model", "baselines", "held_out", "seconds".
        wins: whether the model tells no fewer rightly than each baseline.
        verdict: that in one sentence.
    """

    metrics: dict[str, Any]
    wins: bool
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
) -> ClassRun:
    """Train on a part of the sequences, score on the others, and write the run folder's files.

    Args:
        data: with labels.
        classifier: not yet fitted.
        folder: an existing folder, for config.json, model.safetensors, history.jsonl, timing.jsonl,
            predictions.csv (of the held-out part), metrics.json and report.html.
        test_size: share of the sequences to hold out, above 0 and below 1, in equal shares of the classes.
        title: of the report.
        command: the command line to show in the report.
        say: is told what is done, a line at a time.
        resume: go on from the checkpoints that an earlier run has left in `folder`.

    Raises:
        OptionError: `test_size` is out of its range.
        DataError: there are too few sequences, or only one class.
    """
    if not 0 < test_size < 1:
        raise OptionError("--test-size", "a share between 0 and 1", str(test_size))
    assert data.labels is not None
    labels = [str(label) for label in data.labels]
    if len(set(labels)) < 2:
        raise DataError(
            "the labels", "at least two classes", f"one, {labels[0]!r}", "There is nothing to tell apart."
        )
    train, test = _part(labels, test_size, classifier.seed)
    start = time.perf_counter()
    say(f"Training on {len(train):,} sequences; {len(test):,} are held out.")
    given = data.inputs
    if is_tokens(given):  # once, and not at each turn
        given = split_words(given, "the texts", classifier.lower)
    inputs, held = ([given[number] for number in part] for part in (train, test))
    classifier.fit(inputs, [labels[number] for number in train], folder=folder, resume=resume)
    trained = time.perf_counter()
    classes = classifier.classes_.tolist()
    number_of = {label: number for number, label in enumerate(classes)}
    actual = np.array([number_of[labels[number]] for number in test])
    probabilities = classifier.predict_proba(held)
    scored = time.perf_counter()
    reading = classifier.reading_
    read = [reading.read(part) for part in (inputs, held)]
    known = np.array([number_of[labels[number]] for number in train])
    baselines = {
        "majority": majority_probabilities(known, len(classes), len(test)),
        "logistic": _logistic(inputs, known, held, read),
    }
    done = time.perf_counter()
    seconds = {"train": trained - start, "score": scored - trained, "baselines": done - scored}
    metrics: dict[str, Any] = {
        "classes": classes,
        "model": score_classes(actual, probabilities),
        "baselines": {name: score_classes(actual, found) for name, found in baselines.items()},
        "held_out": {"sequences": len(test), "trained_on": len(train)},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
    wins, sentence = class_verdict(metrics)

    save_sequence_estimator(classifier, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", "utf-8")
    frame = class_frame(data.names[test], probabilities, classes)
    frame.insert(1, "actual", [classes[number] for number in actual])
    frame.to_csv(folder / "predictions.csv", index=False)
    page = ClassPage(
        title=title,
        classes=classes,
        metrics=metrics,
        verdict=sentence,
        examples=_worst(
            [data.inputs[number] for number in test], data.names[test], actual, probabilities, classes
        ),
        training=classifier.run_.history,
        settings=_settings(classifier, np.concatenate([part.lengths for part in read]), test_size),
        notes=list(dict.fromkeys([*data.notes, *classifier.notes_])),
        command=command,
    )
    (folder / "report.html").write_text(render_classes(page), "utf-8")
    return ClassRun(metrics, wins, sentence)


def _logistic(
    inputs: list[Any], known: NDArray[np.int64], held: list[Any], read: list[Sequences]
) -> NDArray[np.float64]:
    """Logistic regression on all numbers, or on a bag of all words: of those too that the network takes for unknown."""
    if not is_tokens(inputs):
        return logistic_probabilities(read[0], known, read[1])
    bag = Vocabulary.of(inputs)
    return logistic_probabilities(bag.sequences(inputs), known, bag.sequences(held), len(bag))


def class_frame(names: NDArray[Any], probabilities: NDArray[np.float64], classes: list[Any]) -> Any:
    """A pandas frame with a row for each sequence: its name, its class, and the probability of each class.

    >>> class_frame(np.array([2]), np.array([[0.25, 0.75]]), ["ham", "spam"]).columns.tolist()
    ['sequence', 'class', 'p-ham', 'p-spam']
    """
    import pandas as pd

    columns = {"sequence": names, "class": [classes[number] for number in probabilities.argmax(1)]}
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
            "Give more sequences, or a larger --test-size.",
        )
    test = np.sort(np.array(held, np.int64))
    return np.setdiff1d(np.arange(len(labels)), test), test


def _worst(
    inputs: list[Any],
    names: NDArray[Any],
    actual: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: list[Any],
) -> list[Example]:
    """The wrong answers of which the model was surest."""
    told, sure = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(told != actual)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:EXAMPLES]
    return [
        Example(
            str(names[n]), str(classes[actual[n]]), str(classes[told[n]]), float(sure[n]),
            float(probabilities[n, actual[n]]), inputs[n],
        )
        for n in wrong
    ]  # fmt: skip


def _settings(classifier: SequenceClassifier, lengths: NDArray[np.int64], test_size: float) -> dict[str, str]:
    import torch

    parameters = sum(parameter.numel() for parameter in classifier.networks_[0].parameters())
    members, a = len(classifier.networks_), classifier.architecture_
    parts = [
        f"word vectors of {a.embedding}" if a.embedding else "",
        "a small convolution of each image" if a.image else "",
        f"convolution of {a.filters} filters over {a.kernel_size} steps" if a.filters and not a.image else "",
        f"{a.layers} {'bidirectional ' * a.bidirectional}{a.cell} of {a.units} units" if a.cell else "",
        {"last": "last state", "max": "maximum over time", "mean": "mean over time"}[a.pooling],
        f"dense layer of {a.hidden}" if a.hidden else "",
        "a number of its own for each word and class" if a.line else "",
    ]
    found = {
        "Sequences": f"{len(lengths):,}, of {lengths.min():,} to {lengths.max():,} steps "
        f"(median {np.median(lengths):,.0f})",
        "Classes": f"{len(classifier.classes_):,}",
        "Network": ", ".join(part for part in parts if part),
        "Members": f"{members}, {parameters:,} parameters each",
        "Held out": f"{test_size:.0%} of each class",
        "Seed": str(classifier.seed),
        "Versions": f"unrolled {__version__}, torch {torch.__version__}, NumPy {np.__version__}",
    }
    if classifier.reading_.vocabulary is not None:
        found["Vocabulary"] = f"{len(classifier.reading_.vocabulary.words):,} words"
    return found
