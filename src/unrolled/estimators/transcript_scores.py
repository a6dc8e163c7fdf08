"""How right transcriptions are: the share that is exact, and the share of symbols that would have to be mended."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["edit_distance", "score_transcripts"]


def edit_distance(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The fewest symbols to insert, delete or replace that make one sequence the other (Levenshtein 1966).

    >>> edit_distance("kitten", "sitting"), edit_distance([], [1, 2]), edit_distance("ab", "ab")
    (3, 2, 0)
    """
    if len(one) < len(other):
        one, other = other, one
    number: dict[Any, int] = {}
    first, second = (
        np.array([number.setdefault(s, len(number)) for s in side], np.int64) for side in (one, other)
    )
    steps = np.arange(len(second) + 1)
    row = steps
    for count, symbol in enumerate(first, 1):
        change = np.concatenate([[count], np.minimum(row[1:] + 1, row[:-1] + (second != symbol))])
        row = np.minimum.accumulate(change - steps) + steps  # an insertion after any of those before
    return int(row[-1])


def score_transcripts(actual: Sequence[Sequence[Any]], told: Sequence[Sequence[Any]]) -> dict[str, float]:
    """The share of sequences that are exact, and the errors for each symbol of the right ones, over all.

    Args:
        actual: the right sequences.
        told: those to score, as many.

    >>> score_transcripts(["abc", "d"], ["abc", "dd"])
    {'exact_match': 0.5, 'symbol_error_rate': 0.25}
    """
    pairs = list(zip(actual, told, strict=True))
    wrong = sum(edit_distance(right, found) for right, found in pairs)
    symbols = sum(len(right) for right, _ in pairs)
    return {
        "exact_match": sum(list(right) == list(found) for right, found in pairs) / max(len(pairs), 1),
        "symbol_error_rate": wrong / max(symbols, 1),
    }
