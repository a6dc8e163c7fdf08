"""How good classes were told: by all, by class, and how far probabilities can be believed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.estimators.chance import describe_gain, stand

__all__ = ["CLASS_BASELINES", "class_label", "class_order", "class_verdict", "score_classes"]

BINS = 10
CLASS_BASELINES = {
    "majority": "majority class",
    "logistic": "logistic regression",
}


def score_classes(actual: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, Any]:
    """Return what `metrics.json` holds of one model.

    Args:
        actual: (n,), the number of each sequence's class.
        probabilities: (n, classes).

    Returns:
        accuracy; f1, the mean of the classes' F1 (macro); log_loss, mean −ln p of the actual class; calibration_error,
        mean |share right − mean probability| over ten bins of the highest probability, weighed by their sequences
        (Naeini, Cooper and Hauskrecht 2015); calibration, those bins that are not empty: count, confidence, right;
        confusion, (actual, told); by_class, for each precision, recall, f1 (None where there is none told, or none
        there) and count.

    >>> found = score_classes(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    >>> round(found["accuracy"], 3), found["confusion"], found["by_class"][1]["recall"]
    (0.667, [[1, 0], [1, 1]], 0.5)
    """
    count = probabilities.shape[1]
    told, sure = probabilities.argmax(1), probabilities.max(1)
    right = told == actual
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (actual, told), 1)
    by_class = []
    for number in range(count):
        hits = int(confusion[number, number])
        precision = _share(hits, int(confusion[:, number].sum()))
        recall = _share(hits, int(confusion[number].sum()))
        both = int(confusion[:, number].sum() + confusion[number].sum())
        by_class.append(
            {
                "precision": precision,
                "recall": recall,
                "f1": _share(2 * hits, both),
                "count": int(confusion[number].sum()),
            }
        )
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    calibration = [
        {
            "count": int(inside.sum()),
            "confidence": float(sure[inside].mean()),
            "right": float(right[inside].mean()),
        }
        for number in range(BINS)
        if (inside := bins == number).any()
    ]
    chosen = np.clip(probabilities[np.arange(len(actual)), actual], 1e-15, 1)
    return {
        "accuracy": float(right.mean()),
        "f1": float(np.mean([entry["f1"] or 0.0 for entry in by_class])),
        "log_loss": float(-np.log(chosen).mean()),
        "calibration_error": sum(b["count"] * abs(b["right"] - b["confidence"]) for b in calibration)
        / len(actual),
        "calibration": calibration,
        "confusion": confusion.tolist(),
        "by_class": by_class,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def class_label(name: str) -> str:
    """What a baseline is called in tables."""
    return CLASS_BASELINES.get(name, name)


def class_verdict(metrics: dict[str, Any]) -> tuple[str, str]:
    """Whether the model wins, loses, ties, or nobody knows ("unknown"); and that in a few sentences.

    >>> found = {"model": {"accuracy": 0.9}, "baselines": {"majority": {"accuracy": 0.5}}}
    >>> found |= {"held_out": {"sequences": 99}, "gains": {"majority": {"mean": 0.4, "lo": 0.3, "hi": 0.5}}}
    >>> kind, sentence = class_verdict(found)
    >>> sentence[:75], sentence[75:]  # doctest: +NORMALIZE_WHITESPACE
    ('The model tells 90.0 % rightly, the best baseline (majority class) 50.0 %. ',
     'The model is better by 40.0 points (95 % interval 30.0 to 50.0 points).')
    """
    mine, others, gains = metrics["model"]["accuracy"], metrics["baselines"], metrics["gains"]
    best = max(others, key=lambda name: others[name]["accuracy"])
    theirs, kind = others[best]["accuracy"], stand(gains, class_label)["kind"]
    beside = f"the best baseline ({class_label(best)}) {100 * theirs:.1f} %"
    sentence = f"The model tells {100 * mine:.1f} % rightly, {beside}. "
    sentence += describe_gain(
        gains[best], metrics["held_out"]["sequences"], lambda gain: f"{100 * gain:.1f}", " points"
    )
    if kind == "loses":
        sentence += f" Use {class_label(best)} instead: it costs nothing and tells more."
    return kind, sentence


def class_order(classes: Sequence[Any]) -> list[int]:
    """The numbers of the classes as people order them: by size where the texts of all are numbers, else as they are.

    >>> class_order(["1", "10", "2"]), class_order(["1", "10", "a"])
    ([0, 2, 1], [0, 1, 2])
    """
    try:
        sizes = [float(label) for label in classes]
    except ValueError:
        return list(range(len(classes)))
    return sorted(range(len(classes)), key=lambda number: sizes[number])


def names_of(classes: Sequence[Any]) -> list[str]:
    """Classes as texts."""
    return [str(label) for label in classes]
