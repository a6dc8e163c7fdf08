"""The baseline of generators of symbols: what came after the same few symbols before."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

__all__ = ["NGrams"]


class NGrams:
    """How often each symbol came after the `order - 1` before it, mixed with how often it came after fewer.

        p(s | h) = (n(hs) + t(h) p(s | h')) / (n(h) + t(h))

    n counts, t(h) is how many different symbols came after h, h' is h without its first symbol; at the end stands
    1 / `count` (Witten and Bell 1991, as Chen and Goodman 1998 write it: there is no number to choose).

    Args:
        order: 3 for trigrams.
        count: how many symbols there are.

    >>> grams = NGrams(3, 2).fit([[0, 1, 0, 1, 0, 1]])
    >>> round(grams.probability([0, 1], 0), 3), round(grams.probability([], 0), 3)
    (0.944, 0.5)
    """

    def __init__(self, order: int, count: int):
        self.order, self.count = order, count
        self.after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)

    def fit(self, sequences: Sequence[Sequence[int]]) -> "NGrams":
        """Count in sequences."""
        for sequence in sequences:
            numbers = [int(number) for number in sequence]
            for at, symbol in enumerate(numbers):
                for length in range(min(self.order - 1, at) + 1):
                    self.after[tuple(numbers[at - length : at])][symbol] += 1
        return self

    def probability(self, before: Sequence[int], symbol: int) -> float:
        """The probability of a symbol after others."""
        length = min(self.order - 1, len(before))
        found = 1 / self.count
        for size in range(length + 1):
            counts = self.after.get(tuple(before[len(before) - size :]))
            if not counts:
                break
            kinds = len(counts)
            found = (counts[symbol] + kinds * found) / (counts.total() + kinds)
        return found

    def score(self, sequences: Sequence[Sequence[int]], skip: int = 0) -> tuple[float, float]:
        """The perplexity of sequences, and the share of symbols that are the most frequent after those before.

        The first `skip` of each are not counted.

        >>> NGrams(2, 4).fit([[0, 1, 0, 1]]).score([[0, 1]])[1]
        1.0
        """
        logs, right = [], 0
        for sequence in sequences:
            numbers = [int(number) for number in sequence]
            for at, symbol in list(enumerate(numbers))[skip:]:
                before = numbers[max(at - self.order + 1, 0) : at]
                logs.append(math.log(self.probability(before, symbol)))
                right += self._likeliest(before) == symbol
        return math.exp(-sum(logs) / len(logs)), right / len(logs)

    def _likeliest(self, before: Sequence[int]) -> int:
        for start in range(len(before) + 1):
            counts = self.after.get(tuple(before[start:]))
            if counts:
                return max(counts, key=lambda symbol: (counts[symbol], -symbol))
        return 0
