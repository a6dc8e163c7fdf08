"""Whether a model is better than a baseline, or only seems so on the few sequences that were held out."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.calendar_rows import join_words

__all__ = ["FEW", "describe_gain", "paired_gain", "stand", "stand_by_error"]

FEW = 30  # held-out sequences, below which every score is a rough one
MARKS = {"wins": "✓", "loses": "✗", "ties": "=", "unknown": "?"}


def paired_gain(
    gains: NDArray[Any], counts: NDArray[np.int64] | None = None, *, bounded: bool
) -> dict[str, float | None]:
    """How much a model gains over a baseline on the same sequences: mean, and a 95 % interval from `lo` to `hi`.

    Sequences count as drawn at random, the steps of one as belonging together. Where a gain lies between -1 and 1 (a
    right answer or none), half a sequence of each kind is added (Agresti and Min 2005, for McNemar's table), which
    keeps the interval honest where there are few; else it is Student's t of the paired differences.

    Args:
        gains: what the model is better by: (sequences,), or each step's, one sequence after another.
        counts: the steps of each sequence; None where each has one answer.
        bounded: whether gains lie between -1 and 1.

    Returns:
        mean, lo, hi; these are None where one sequence alone says nothing about chance.

    >>> found = paired_gain(np.array([1] * 6 + [0] * 34), bounded=True)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'mean': 0.15, 'lo': 0.027, 'hi': 0.259}
    """
    from scipy.stats import t

    gains = np.asarray(gains, np.float64)
    sizes = np.ones(len(gains)) if counts is None else np.asarray(counts, np.float64)
    sums = gains if counts is None else np.add.reduceat(gains, np.cumsum([0, *counts[:-1]]))
    whole, number, mean = sizes.sum(), len(sums), float(gains.mean())
    if bounded:
        size = whole / number
        centre = float(sums.sum() / (whole + 2 * size))
        spread = float(np.square(sums - centre * sizes).sum() + size**2 * (1 + 2 * centre**2))
        wide = float(1.96 * np.sqrt(spread) / (whole + 2 * size))
        return {"mean": mean, "lo": max(centre - wide, -1.0), "hi": min(centre + wide, 1.0)}
    if number < 2:
        return {"mean": mean, "lo": None, "hi": None}
    spread = float(np.square(sums - mean * sizes).sum() * number / (number - 1))
    wide = float(t.ppf(0.975, number - 1) * np.sqrt(spread) / whole)
    return {"mean": mean, "lo": mean - wide, "hi": mean + wide}


def stand(gains: Mapping[str, Mapping[str, float | None]], label: Callable[[str], str]) -> dict[str, str]:
    """How a model stands beside its baselines: `kind` (wins, loses, ties or unknown), a `mark`, and a few `words`.

    It wins or loses where chance is not enough to explain what it gains.

    >>> stand({"mean": {"mean": 0.2, "lo": -0.1, "hi": 0.5}}, str)["words"]
    'Too few held out to tell it from mean'
    """
    worse = [label(name) for name, gain in gains.items() if gain["hi"] is not None and gain["hi"] < 0]
    open_ = {name: gain for name, gain in gains.items() if gain["lo"] is None or gain["lo"] <= 0}
    among = join_words(list(map(label, open_)))
    if not gains:
        kind, words = "unknown", "Not compared with any baseline"
    elif worse:
        kind, words = "loses", f"The model loses to {join_words(worse)}"
    elif not open_:
        kind, words = "wins", "Beats every baseline"
    elif all(gain["mean"] == 0 for gain in open_.values()):
        kind, words = "ties", f"No better than {among}"
    else:
        kind, words = "unknown", f"Too few held out to tell it from {among}"
    return {"kind": kind, "mark": MARKS[kind], "words": words}


def stand_by_error(
    mine: float, others: Mapping[str, float], label: Callable[[str], str], tie: float = 1.0
) -> dict[str, str]:
    """The same by errors alone, where what chance does is not known.

    Args:
        mine: the model's error.
        others: of each baseline.
        label: writes a baseline's name.
        tie: errors of a ratio between this and 1 are equal.

    >>> stand_by_error(1.0, {"mean": 0.9, "copy": 2.0}, str)["words"]
    'The model loses to mean'
    """
    better = [label(name) for name, error in others.items() if error < tie * mine]
    equal = [label(name) for name, error in others.items() if mine >= tie * error]
    if not others:
        kind, words = "unknown", "Not compared with any baseline"
    elif not math.isfinite(mine):
        kind, words = "loses", "The model's error is not a number"
    elif better:
        kind, words = "loses", f"The model loses to {join_words(better)}"
    elif equal:
        kind, words = "ties", f"No better than {join_words(equal)}"
    else:
        kind, words = "wins", "Beats every baseline"
    return {"kind": kind, "mark": MARKS[kind], "words": words}


def describe_gain(
    gain: Mapping[str, float | None], held: int, show: Callable[[float], str], unit: str = ""
) -> str:
    """How far chance explains what a model gains over a baseline, in a sentence or two.

    Args:
        gain: of `paired_gain`.
        held: sequences held out.
        show: writes a gain, without its sign and unit.
        unit: of gains, with the space before it.

    >>> describe_gain({"mean": -0.2, "lo": -0.5, "hi": -0.1}, 40, "{:.1f}".format)
    'The model is worse by 0.2 (95 % interval 0.1 to 0.5).'
    >>> describe_gain({"mean": 0.2, "lo": -0.1, "hi": 0.5}, 40, "{:.1f}".format)
    'The model is better by 0.2, which may be chance (95 % interval -0.1 to 0.5): 40 held out are too few to tell.'
    """
    mean, lo, hi = gain["mean"], gain["lo"], gain["hi"]
    assert mean is not None
    if mean < 0 and lo is not None and hi is not None:
        lo, hi = -hi, -lo  # of "worse by", as the figure before it
    signed = [] if lo is None or hi is None else ["-" * (end < 0) + show(abs(end)) for end in (lo, hi)]
    span = f" (95 % interval {' to '.join(signed)}{unit})" if signed else ""
    start = (
        "They are equal"
        if mean == 0
        else f"The model is {'better' if mean > 0 else 'worse'} by {show(abs(mean))}{unit}"
    )
    sure = lo is not None and hi is not None and (lo > 0 or hi < 0)
    if sure or mean == 0:
        text = f"{start}{span}."
    else:
        text = f"{start}, which may be chance{span}: {held:,} held out are too few to tell."
    if held < FEW:
        text += (
            f" Every score of {held:,} held out is a rough one: hold out more, or repeat with other seeds."
        )
    return text
