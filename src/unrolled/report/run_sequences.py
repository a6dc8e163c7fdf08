"""What runs of classification and of regression have in common: what is held out, baselines' input, settings, notes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import __version__
from unrolled.data.labelled import Labelled
from unrolled.data.sequences import Sequences
from unrolled.data.text import Vocabulary, is_tokens, split_words
from unrolled.errors import DataError, OptionError
from unrolled.estimators.chance import paired_gain
from unrolled.estimators.sequences import SequenceEstimator

__all__ = [
    "asked_parts",
    "baseline_input",
    "carry_texts",
    "check_share",
    "describe_settings",
    "flatten",
    "gain_over",
    "hold_out",
    "note_twins",
    "show_steps",
    "split_once",
]

AROUND = 8  # words shown before and after one that was told wrongly


def check_share(share: float) -> None:
    """Raise an `OptionError` where the share to hold out is none."""
    if not 0 < share < 1:
        raise OptionError("--test-size", "a share between 0 and 1", str(share))


def hold_out(count: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the training part and of the held-out one, drawn; each has one sequence at least.

    Raises:
        DataError: there is only one.

    >>> [len(part) for part in hold_out(10, 0.25, 0)]
    [8, 2]
    """
    if count < 2:
        raise DataError("the data", "at least two sequences", f"{count:,}", "Give more.")
    held = min(max(round(share * count), 1), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def asked_parts(
    data: Labelled, classes: list[set[Any]], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], str] | None:
    """The parts that the data asks for, and what is held out in words; None where it leaves that to us.

    Args:
        data: with a file of its own to score on, or with groups, of which whole ones are held out.
        classes: of each sequence, those that training must have: a group that takes one away is learned from.
        share: of the sequences to hold out, about, where there are groups.
        seed: of their draw.

    Raises:
        DataError: no group can be held out, or the file to score on has classes that training has not.
    """
    numbers = np.arange(len(data))
    if data.held is not None:
        train, test = numbers[~data.held], numbers[data.held]
        strange = set().union(*(classes[n] for n in test)) - set().union(*(classes[n] for n in train))
        if strange:
            got = f"{len(strange):,} others, as {min(strange)!r}"
            raise DataError(
                "--test", "the classes that training has", got, "Correct it, or leave its rows out."
            )
        return train, test, f"a file of its own, {len(test):,} sequences"
    if data.groups is None:
        return None
    groups, inverse = np.unique(data.groups.astype(str), return_inverse=True)
    inside, chosen = np.ones(len(data), bool), 0
    for group in np.random.default_rng(seed).permutation(len(groups)):
        own = inverse == group
        left = inside & ~own
        much = np.count_nonzero(~left)
        if not left.any() or (chosen and much > 1.5 * share * len(data)):
            continue
        if not set().union(*(classes[n] for n in numbers[own])) <= set().union(
            *(classes[n] for n in numbers[left])
        ):
            continue
        inside, chosen = left, chosen + 1
        if much >= share * len(data):
            break
    if not chosen:
        raise DataError("--group", "a group that can be held out", f"{len(groups):,}", "Name another column.")
    return numbers[inside], numbers[~inside], f"{chosen:,} of {len(groups):,} groups, whole"


def gain_over(
    gains: NDArray[np.float64],
    data: Labelled,
    test: NDArray[np.int64],
    steps: NDArray[np.int64] | None,
    *,
    bounded: bool,
) -> dict[str, float | None]:
    """`paired_gain`, where all steps of a sequence, and all sequences of a group, belong together."""
    if steps is None and data.groups is None:
        return paired_gain(gains, bounded=bounded)
    names = test if data.groups is None else data.groups[test].astype(str)
    owners = np.unique(names, return_inverse=True)[1]
    owners = owners if steps is None else np.repeat(owners, steps)
    return paired_gain(gains[np.argsort(owners, kind="stable")], np.bincount(owners), bounded=bounded)


def split_once(inputs: list[Any], lower: bool) -> list[Any]:
    """Texts as lists of words, once and not at each turn; anything else as it is."""
    return split_words(inputs, "the texts", lower) if is_tokens(inputs) else inputs


def baseline_input(
    inputs: list[Any], held: list[Any], estimator: SequenceEstimator
) -> tuple[Sequences, Sequences, int]:
    """What baselines read of the training part and of the held-out one, and how many numbers of words there are.

    Numbers as the model reads them; of words all that the training part has, those too that the model takes for
    unknown. Where each step is answered, each is a sequence of its own: what costs nothing knows no context.
    """
    if is_tokens(inputs):
        bag = Vocabulary.of(inputs)
        parts, words = [bag.sequences(part) for part in (inputs, held)], len(bag)
    else:
        parts, words = [estimator.reading_.read(part) for part in (inputs, held)], 0
    if estimator.per_step:
        parts = [Sequences(part.values, np.arange(len(part.values) + 1)) for part in parts]
    return parts[0], parts[1], words


def flatten(parts: Any, per_step: bool) -> Any:
    """Answers of all steps in one array, where there is one for each."""
    return np.concatenate(list(parts)) if per_step else np.asarray(parts)


def carry_texts(frame: Any, inputs: list[Any], per_step: bool) -> Any:
    """The frame of answers with a column of the texts, or of each step's word, that they are of; numbers stay out."""
    if is_tokens(inputs):
        frame.insert(
            1 + per_step, "text", [word for words in inputs for word in words] if per_step else inputs
        )
    return frame


def note_twins(inputs: list[Any], train: NDArray[np.int64], test: NDArray[np.int64]) -> list[str]:
    """Say how many held-out sequences stand in the training part word for word, or number for number."""
    keys = [
        repr(given) if isinstance(given, str | list) else (np.shape(given), np.asarray(given).tobytes())
        for given in inputs
    ]
    seen = {keys[number] for number in train}
    count = sum(keys[number] in seen for number in test)
    if not count:
        return []
    return [f"{count:,} of {len(test):,} held-out sequences stand in the training part as well."]


def show_steps(given: Any, step: int) -> Any:
    """A sequence as an example of a wrong step shows it: of words those around it, itself in brackets."""
    if not isinstance(given, list):
        return given
    start, end = max(0, step - AROUND), min(len(given), step + AROUND + 1)
    words = [f"[{word}]" if number == step else word for number, word in enumerate(given[start:end], start)]
    return " ".join(["…"] * (start > 0) + words + ["…"] * (end < len(given)))


def describe_settings(
    estimator: SequenceEstimator, lengths: NDArray[np.int64], answers: tuple[str, str], held_out: str
) -> dict[str, str]:
    """What the page's last table says."""
    import torch

    parameters = sum(parameter.numel() for parameter in estimator.networks_[0].parameters())
    members, a = len(estimator.networks_), estimator.architecture_
    pooling = {"last": "last state", "max": "maximum over time", "mean": "mean over time"}[a.pooling]
    parts: Sequence[str] = [
        f"word vectors of {a.embedding}" if a.embedding else "",
        "a small convolution of each image" if a.image else "",
        f"convolution of {a.filters} filters over {a.kernel_size} steps" if a.filters and not a.image else "",
        f"{a.layers} {'bidirectional ' * a.bidirectional}{a.cell} of {a.units} units" if a.cell else "",
        "an answer at each step" if a.per_step else pooling,
        f"dense layer of {a.hidden}" if a.hidden else "",
        "a number of its own for each word and answer" if a.line else "",
    ]
    found = {
        "Sequences": f"{len(lengths):,}, of {lengths.min():,} to {lengths.max():,} steps "
        f"(median {np.median(lengths):,.0f})",
        answers[0]: answers[1],
        "Network": ", ".join(part for part in parts if part),
        "Members": f"{members}, {parameters:,} parameters each",
        "Held out": held_out,
        "Seed": str(estimator.seed),
        "Versions": f"unrolled {__version__}, torch {torch.__version__}, NumPy {np.__version__}",
    }
    if estimator.reading_.vocabulary is not None:
        found["Vocabulary"] = f"{len(estimator.reading_.vocabulary.words):,} words"
    return found
