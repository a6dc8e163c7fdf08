"""Texts as numbers: words by NLTK's Treebank tokenizer, and a vocabulary that numbers them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from unrolled.data.sequences import Sequences
from unrolled.errors import DataError

__all__ = ["UNKNOWN", "Vocabulary", "is_missing", "is_tokens", "is_words", "split_words"]

PADDING, UNKNOWN = 0, 1  # numbers that stand for no word


@dataclass(frozen=True)
class Vocabulary:
    """The words that have numbers: from 2 on; 0 is padding, 1 stands for every other word.

    Attributes:
        words: by number, from 2 on.

    >>> vocabulary = Vocabulary.of([["a", "fine", "film"], ["a", "film"]], most=2)
    >>> vocabulary.words, vocabulary.numbers(["a", "dull", "film"])
    (('a', 'film'), [2, 1, 3])
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]], most: int | None = None, least: int = 1) -> "Vocabulary":
        """The `most` frequent words that come `least` times or more; of equal ones those that come first."""
        counts = Counter(word for words in texts for word in words)
        return cls(tuple(word for word, count in counts.most_common(most) if count >= least))

    def __len__(self) -> int:
        """How many numbers there are, 0 and 1 included."""
        return len(self.words) + 2

    @cached_property
    def number_of(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words, 2)}

    def numbers(self, words: Iterable[str]) -> list[int]:
        """The numbers of words, 1 for those that are not known."""
        find = self.number_of.get
        return [find(word, UNKNOWN) for word in words]

    def sequences(self, texts: Sequence[Sequence[str]], drop_unknown: bool = False) -> Sequences:
        """The numbers of texts' words.

        Args:
            texts: each with at least one word.
            drop_unknown: leave words out that are not known; a text of such words alone keeps one, as number 1.
        """
        found = []
        for words in texts:
            numbers = np.asarray(self.numbers(words), np.int64)
            known = numbers[numbers != UNKNOWN] if drop_unknown else numbers
            found.append(known if len(known) else numbers[:1])
        return Sequences.of(found)


def split_words(texts: Iterable[Any], where: str, lower: bool = True) -> list[list[str]]:
    """Split texts into words and marks by NLTK's Treebank tokenizer; lists of words are taken as they are.

    Args:
        texts: each a text, or a list of words.
        where: what to call them in messages.
        lower: write texts in small letters first.

    Raises:
        DataError: one is missing, is no text, or has no words.

    >>> split_words(["It isn't bad."], "texts")
    [['it', 'is', "n't", 'bad', '.']]
    """
    split = _tokenizer().tokenize
    found = []
    for number, text in enumerate(texts):
        if isinstance(text, str):
            words = split(text.lower() if lower else text)
        elif is_words(text):
            words = [str(word) for word in text]
        else:
            raise DataError(
                f"{where}[{number}]",
                "a text",
                "a missing value" if is_missing(text) else f"a {type(text).__name__}",
                "Fill it in, or leave its row out.",
            )
        if not words:
            raise DataError(
                f"{where}[{number}]",
                "a text with at least one word",
                repr(text)[:60],
                "Leave empty texts out.",
            )
        found.append(words)
    if not found:
        raise DataError(where, "at least one text", "none", "Check how the data was read.")
    return found


def is_words(text: Any) -> bool:
    """Whether this is a list of words."""
    return isinstance(text, list | tuple | np.ndarray) and all(isinstance(word, str) for word in text)


def is_tokens(given: Any) -> bool:
    """Whether these are texts, or lists of words, by the first one that is not missing.

    >>> is_tokens(["a", "b"]), is_tokens([None, ["a"], ["b", "c"]]), is_tokens([[1.0]])
    (True, True, False)
    """
    if hasattr(given, "columns") or getattr(given, "ndim", 1) != 1 or not hasattr(given, "__iter__"):
        return False  # a table of numbers, whose columns have names
    first = next((text for text in given if not is_missing(text)), None)
    return isinstance(first, str) or (first is not None and is_words(first) and len(first) > 0)


def is_missing(value: Any) -> bool:
    """Whether a cell of a table is None, NaN or pandas' NA.

    >>> is_missing(None), is_missing(float("nan")), is_missing(""), is_missing([1.0])
    (True, True, False, False)
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


@lru_cache(1)
def _tokenizer() -> Any:
    from nltk.tokenize.treebank import TreebankWordTokenizer

    return TreebankWordTokenizer()
