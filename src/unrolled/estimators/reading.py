"""How an estimator of sequences reads what it is given: found out once, in `fit`, and kept."""

import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.sequences import Sequences, take_numbers
from unrolled.data.text import Vocabulary, is_tokens, split_words
from unrolled.data.vectors import read_vectors
from unrolled.errors import DataError, ShapeError

__all__ = ["Reading", "check_given", "column_names", "learn_to_read", "match_vectors", "take_sequences"]

logger = logging.getLogger("unrolled")

SMALLEST = 4  # points of an image's side, which is halved twice
FARTHEST = 20  # standard deviations; where a feature hardly ever moves, it is scaled by how far it does


@dataclass(frozen=True)
class Reading:
    """How sequences are read.

    Attributes:
        kind: "numbers", "images" or "words".
        shape: of a step: (features,), (height, width), or ().
        most: steps of a sequence that are read, its first ones; None for all.
        lower: whether texts are written in small letters first.
        drop_unknown: whether words that are not in the vocabulary are left out.
        vocabulary: of words; else None.
        mean: what is taken from numbers, (features,), or () where there are images; None for words.
        scale: what they are divided by then.
    """

    kind: str
    shape: tuple[int, ...]
    most: int | None = None
    lower: bool = True
    drop_unknown: bool = False
    vocabulary: Vocabulary | None = None
    mean: NDArray[np.float32] | None = None
    scale: NDArray[np.float32] | None = None

    @property
    def words(self) -> int:
        """How many numbers stand for words; 0 where sequences are of numbers."""
        return 0 if self.vocabulary is None else len(self.vocabulary)

    def read(self, X: Any) -> Sequences:
        """Return sequences as the network reads them: scaled numbers, or the numbers of words.

        Raises:
            DataError: one is empty, or holds what is no number.
            ShapeError: they are of another kind than those learned from, or have other features.
        """
        X = check_given(X)
        if is_tokens(X) != (self.kind == "words"):
            raise ShapeError(
                "X", "texts" if self.kind == "words" else "sequences of numbers",
                f"a {type(X).__name__} of another kind", "Give what the estimator was fitted on.",
            )  # fmt: skip
        if self.kind == "words":
            return self.number(split_words(X, "X", self.lower))
        one = (
            np.ndim(X) == 1
            if isinstance(X, np.ndarray)
            else np.shape(X[0]) == ()
            if isinstance(X, list)
            else False
        )
        if one:
            raise ShapeError("X", "several sequences", "one alone", "Pass X[None], or [X].")
        sequences = take_numbers(X, "X")
        if sequences.values.shape[1:] != self.shape:
            alone = getattr(X, "shape", ())[1:] == self.shape
            raise ShapeError(
                "X",
                f"sequences of steps of {_show(self.shape)}",
                "one alone" if alone else _show(sequences.values.shape[1:]),
                "Pass X[None]." if alone else "Give the columns that the estimator was fitted on.",
            )
        return self.scaled(self.cut(sequences))

    def number(self, texts: Sequence[Sequence[str]]) -> Sequences:
        """The numbers of texts' words; it is said where a text has no known word."""
        assert self.vocabulary is not None
        sequences = self.vocabulary.sequences(texts, self.drop_unknown)
        known = np.add.reduceat(sequences.values > 1, sequences.starts[:-1])
        if not known.all():
            logger.warning(
                "%s of %s texts have no word that is known.",
                f"{np.count_nonzero(known == 0):,}", f"{len(texts):,}",
            )  # fmt: skip
        return self.cut(sequences)

    def cut(self, sequences: Sequences) -> Sequences:
        """The first steps of sequences; it is said where one is cut."""
        most = self.most
        if most is None or sequences.longest <= most:
            return sequences
        logger.warning(
            "%s of %s sequences have more than %s steps: only their first %s are read (max_steps).",
            f"{np.count_nonzero(sequences.lengths > most):,}", f"{len(sequences):,}", f"{most:,}", f"{most:,}",
        )  # fmt: skip
        return sequences.cut(most)

    def scaled(self, sequences: Sequences) -> Sequences:
        """Numbers less the mean, divided by the scale; words as they are."""
        if self.mean is None or self.scale is None:
            return sequences
        return Sequences((sequences.values - self.mean) / self.scale, sequences.starts)

    def learn_scale(self, sequences: Sequences, standardize: bool) -> "Reading":
        """With the mean and the standard deviation of each feature, or of all points of images together.

        Raises:
            DataError: numbers are too large to be squared.
        """
        if self.kind == "words":
            return self
        values = sequences.values
        axes = tuple(range(values.ndim)) if self.kind == "images" else (0,)
        mean = values.mean(axes, dtype=np.float64)
        spread = values.std(axes, dtype=np.float64)
        if not np.isfinite(spread).all() or (np.abs(values).max() > 1e30):
            raise DataError(
                "X", "numbers that can be squared", f"{np.abs(values).max():g}", "Scale them down."
            )
        if not standardize:
            mean, spread = np.zeros_like(mean), np.ones_like(spread)
        else:
            farthest = np.maximum(values.max(axes) - mean, mean - values.min(axes))
            spread = np.maximum(spread, farthest / FARTHEST)
            spread = np.where(spread > 1e-7 * np.abs(mean), spread, 1.0)  # what never moves but by rounding
        return replace(self, mean=np.asarray(mean, np.float32), scale=np.asarray(spread, np.float32))


def check_given(X: Any) -> Any:
    """What can be taken for several sequences, with a length.

    Raises:
        ShapeError: it is one text, or has no order.
        DataError: it is empty.
    """
    if isinstance(X, str | bytes | Mapping | Set):
        got = f"a {type(X).__name__}"
        raise ShapeError("X", "a list of sequences or texts, or an array", got, "Put it into a list.")
    X = list(X) if isinstance(X, Iterator) else X
    for name in column_names(X) or ():
        cells = X[name]
        if len(cells) and isinstance(next(iter(cells)), str):
            got = f"a data frame with the column {name!r} of texts"
            raise ShapeError("X", "numbers, or texts in one column", got, f"Pass X[{name!r}] to read those.")
    if hasattr(X, "__len__") and not len(X):
        raise DataError("X", "at least one sequence", "none", "Check how the data was read.")
    return X


def column_names(X: Any) -> list[str] | None:
    """The names of a data frame's columns; None for what is none, or whose columns have no texts for names.

    >>> import pandas as pd
    >>> column_names(pd.DataFrame({"a": [1]})), column_names(pd.DataFrame([[1]])), column_names([[1]])
    (['a'], None, None)
    """
    names = list(getattr(X, "columns", ()))
    return names if names and all(isinstance(name, str) for name in names) else None


def take_sequences(X: Any, lower: bool) -> Sequences | list[list[str]]:
    """Take sequences of numbers, or the words of texts.

    Raises:
        DataError: a sequence is empty, or holds what is no number.
        ShapeError: X is none of the kinds that can be read.
    """
    X = check_given(X)
    return split_words(X, "X", lower) if is_tokens(X) else take_numbers(X, "X")


def learn_to_read(
    given: Sequences | list[list[str]],
    *,
    lower: bool,
    most: int | None,
    most_of_text: int | None,
    max_words: int | None,
    min_count: int | None,
    many_texts: int = 1000,
) -> Reading:
    """Find out how sequences like these are read, but for the scale of numbers.

    Args:
        given: what `take_sequences` returns; of texts, those to learn from.
        lower: write texts in small letters first.
        most: steps to read of each; None for all.
        most_of_text: words to read of each text, where `most` is None.
        max_words: of the vocabulary.
        min_count: how often a word must come; None for twice where there are `many_texts`, else once.
        many_texts: from which on a word that comes once is taken for unknown.

    Raises:
        DataError: no word comes often enough.
        ShapeError: images are too small.
    """
    most = None if most is None else int(most)
    if isinstance(given, list):
        least = min_count or (2 if len(given) >= many_texts else 1)
        vocabulary = Vocabulary.of(given, max_words, least)
        if not vocabulary.words:
            raise DataError(
                "X", f"words that come {least:,} times", "none", "Give more texts, or lower min_count."
            )
        return Reading("words", (), most_of_text if most is None else most, lower, False, vocabulary)
    shape = given.values.shape[1:]
    if len(shape) == 2 and min(shape) < SMALLEST:
        got = f"of {shape[0]} by {shape[1]}"
        raise ShapeError("X", f"images of at least {SMALLEST} by {SMALLEST}", got, "Enlarge them.")
    return Reading("images" if len(shape) == 2 else "numbers", shape, most)


def match_vectors(
    reading: Reading, path: str | Path, *, limit: int | None, size: int | None, unknown: str, seed: int
) -> tuple[Reading, NDArray[np.float32], list[str]]:
    """Read the vectors of a vocabulary's words.

    Args:
        reading: of words.
        path: the file.
        limit: read only so many vectors from its beginning.
        size: what each must have; None for what they have.
        unknown: "vector" for a random one for each word without, "drop" to take such words out of the vocabulary.
        seed: of random vectors.

    Returns:
        The reading with the vocabulary that is left; the vectors of all of its numbers; what is to be said.

    Raises:
        DataError: the file cannot be read, or has none of the words.
    """
    assert reading.vocabulary is not None
    words = reading.vocabulary.words
    found = read_vectors(path, limit=limit, keep=words, size=size)
    if not len(found):
        raise DataError(
            str(path),
            "vectors for some of the texts' words",
            "none",
            "Check its language, and whether its words are in small letters (lower=True).",
        )
    row_of = {word: row for row, word in enumerate(found.words)}
    kept = words if unknown == "vector" else tuple(word for word in words if word in row_of)
    random = np.random.default_rng(seed).normal(
        0, float(found.vectors.std()), (len(kept) + 2, found.vectors.shape[1])
    )
    vectors = random.astype(np.float32)
    vectors[:2] = 0
    for number, word in enumerate(kept, 2):
        if word in row_of:
            vectors[number] = found.vectors[row_of[word]]
    notes = []
    if len(found) < len(words):
        fate = "are left out of the texts" if unknown == "drop" else "have a random vector each"
        notes.append(
            f"{len(words) - len(found):,} of {len(words):,} words have no vector in {path}: they {fate}."
        )
    return replace(reading, vocabulary=Vocabulary(kept), drop_unknown=unknown == "drop"), vectors, notes


def _show(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return f"{shape[0]} by {shape[1]} numbers"
    return f"{shape[0]} feature{'s' * (shape[0] != 1)}"
