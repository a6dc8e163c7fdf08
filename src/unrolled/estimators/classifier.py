"""The classifier of sequences: arrays, ragged lists, images over time, texts; a class for each, or for each step."""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from torch import nn

from unrolled.data.text import is_missing
from unrolled.encoders import Architecture
from unrolled.errors import DataError, OptionError
from unrolled.estimators.answers import take_answers, why_no_class
from unrolled.estimators.sequences import SequenceEstimator
from unrolled.nn.validation import is_number, plain
from unrolled.training.options import Training

__all__ = ["SequenceClassifier"]


class SequenceClassifier(ClassifierMixin, SequenceEstimator):
    """Tells the class of a sequence: of numbers, of images, of words; or with `per_step` the class of each step.

    Several members are trained, each from its own seed, and their probabilities averaged. Sequences may have any
    lengths: a batch is padded with zeros at its sequences' ends, a mask keeps the padding out of everything, and
    batches are made of sequences of like lengths.

    Numbers are scaled by the mean and standard deviation of each feature in the training part (images: of all points).
    Texts are split by NLTK's Treebank tokenizer; each word has a vector, learned or pretrained. A word that training
    did not see counts as "unknown", whose vector is zero.

    Args:
        model: "rnn", "lstm", "gru"; "conv" (a convolution and the maximum over time: with filters=250, hidden=250,
            dropout=0.2, bag_of_words=False the published sentiment network); "conv-rnn", "conv-lstm", "conv-gru" (a
            convolution in front of recurrent layers); "bag" (the mean over all steps, whatever their order); "auto":
            "bag" for texts, else "lstm". Or a function from an `Architecture` (its `input_size` and `outputs`) to a
            module of your own, called as network(past), with `mask` where lengths differ; it cannot be saved.
        units: of each recurrent layer.
        layers: recurrent layers.
        bidirectional: whether they read in both directions (with `per_step`, those over texts always do).
        pooling: what is made of all steps: "last" (the last state), "max", "mean"; "auto" is "last" where there is
            a recurrent layer, "max" behind a convolution, "mean" for a bag.
        filters: of the convolution; where there are images, the features of each.
        kernel_size: of the convolution, in steps. It is padded at both ends, so that the number of steps stays.
        hidden: units of a dense layer before the answer; 0 for none.
        dropout: share dropped before the answer and of word vectors; by default 0.5 for texts, else 0.
        embedding_size: of learned word vectors; by default 32.
        max_words: size of the vocabulary: the most frequent words.
        min_count: how often a word must come in training to be known; by default twice where there are 1,000 texts or
            more, else once.
        max_steps: read only the first steps of a sequence; by default all, of texts 400 words.
        lower: write texts in small letters first.
        bag_of_words: whether each word of a text also adds a number of its own to each class ("wide and deep",
            arXiv:1606.07792); by default where word vectors are learned.
        vectors: a file of pretrained vectors (word2vec text or binary, GloVe text; `.gz` too).
        vectors_limit: read only so many vectors from its beginning.
        tune_vectors: whether training changes pretrained vectors.
        unknown: what becomes of words without a pretrained vector: "vector" (a random one each) or "drop" (as
            published: they are left out of the texts).
        per_step: y and the answers are those of each step.
        standardize: whether numbers are scaled.
        valid_size: share of the sequences held back, by which training stops early (`training` with a patience) and
            each member keeps its best weights; 0 for none: the last weights are kept.
        class_weight: "balanced" (n / (classes · n of the class)), a dict from classes to weights, or None.
        members: networks to train and average.
        seed: repeats everything bit for bit.
        device: "auto" (a CUDA device where there is one), "cpu", "cuda".
        training: how to train; its `loss`, `members`, `seed` and `metrics` are those given here ("accuracy" may be
            monitored). By default one cycle: of about 2,000 steps a member, by AdamW at a rate up to 0.003 in batches
            of 32 (128 from 10,000 sequences on), 10 to 200 epochs; of texts about 500 steps, by Adam at up to 0.004 in
            batches of a tenth of the texts (8 to 100), 4 to 20 epochs.

    Attributes after `fit`:
        `classes_`, in the order of the probabilities; `class_shares_` of what was learned from (by class_weight), the
        answer for a text without a known word; `run_`, the `TrainingRun`; `networks_`, its members;
        `architecture_`, what they are made of; `reading_`, how sequences are read (scale,
        vocabulary); `notes_`, what was done to the data.

    Raises:
        OptionError: an argument is out of its range.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> ups = [np.sort(rng.normal(size=rng.integers(3, 9))) for _ in range(40)]
    >>> X, y = [*ups, *(up[::-1] for up in ups)], ["rises"] * 40 + ["falls"] * 40
    >>> classifier = SequenceClassifier("gru", units=8, members=1).fit(X, y, progress=False)
    >>> classifier.predict([[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 0.5]]).tolist()
    ['rises', 'falls']
    """

    def __init__(
        self,
        model: str | Callable[[Architecture], nn.Module] = "auto",
        *,
        units: int = 64,
        layers: int = 1,
        bidirectional: bool = False,
        pooling: str = "auto",
        filters: int = 64,
        kernel_size: int = 3,
        hidden: int = 0,
        dropout: float | None = None,
        embedding_size: int | None = None,
        max_words: int | None = 30_000,
        min_count: int | None = None,
        max_steps: int | None = None,
        lower: bool = True,
        bag_of_words: bool | None = None,
        vectors: str | Path | None = None,
        vectors_limit: int | None = None,
        tune_vectors: bool = False,
        unknown: Literal["vector", "drop"] = "vector",
        per_step: bool = False,
        standardize: bool = True,
        valid_size: float = 0.0,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        members: int = 3,
        seed: int = 0,
        device: str = "auto",
        training: Training | None = None,
    ):
        super().__init__(
            model, units=units, layers=layers, bidirectional=bidirectional, pooling=pooling, filters=filters,
            kernel_size=kernel_size, hidden=hidden, dropout=dropout, embedding_size=embedding_size, max_words=max_words,
            min_count=min_count, max_steps=max_steps, lower=lower, bag_of_words=bag_of_words, vectors=vectors,
            vectors_limit=vectors_limit, tune_vectors=tune_vectors, unknown=unknown, per_step=per_step,
            standardize=standardize, valid_size=valid_size, members=members, seed=seed, device=device,
            training=training,
        )  # fmt: skip
        self.class_weight = class_weight

    def predict(self, X: Any) -> Any:
        """Return the most probable class of each sequence: an array (n,).

        With `per_step`, the classes of each sequence's steps, in an array (n, steps) or where lengths differ a list of
        arrays.

        Raises:
            DataError: as `fit`.
            ShapeError: the sequences are of another kind, or have other features.
        """
        answers, sequences = self._answer(X, _softmax)
        classes = self.classes_[answers.argmax(-1)]
        return self._by_sequence(classes, sequences) if self.per_step else classes

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, (n, classes) in the order of `classes_`; with `per_step` of each step.

        Raises:
            DataError: as `fit`.
            ShapeError: the sequences are of another kind, or have other features.
        """
        answers, sequences = self._answer(X, _softmax)
        return self._by_sequence(answers, sequences) if self.per_step else answers

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of sequences, or with `per_step` of steps, whose class is told rightly.

        `sample_weight` (n,) is what each sequence, or each of its steps, counts; None for 1.

        Raises:
            DataError: as `fit`.
            ShapeError: X and y do not fit together.
        """
        answers, sequences = self._answer(X, _softmax)
        given = take_answers(y, sequences.lengths, self.per_step)
        weights = self._weights_of_answers(sample_weight, sequences.lengths)
        number_of = {label: number for number, label in enumerate(self.classes_.tolist())}
        labels = [plain(label) for label in given]
        actual = np.array([number_of.get(x, -1) if isinstance(x, Hashable) else -1 for x in labels])
        return float(np.average(answers.argmax(-1) == actual, weights=weights))

    def _learn_answers(self, y: Any, lengths: NDArray[np.int64]) -> NDArray[Any]:
        labels = [plain(label) for label in take_answers(y, lengths, self.per_step)]
        for number, label in enumerate(labels):
            if is_missing(label):
                count = sum(map(is_missing, labels))
                raise DataError(
                    "y" if self.per_step else f"y[{number}]",
                    "a class for each step" if self.per_step else "a class",
                    "a missing value",
                    f"Fill it in, or leave its sequence out: {count:,} of {len(labels):,} are missing.",
                )
            if not isinstance(label, Hashable):
                got, cure = why_no_class(label)
                raise DataError(
                    "y" if self.per_step else f"y[{number}]",
                    "a class: a text, a number or what else is hashable",
                    got,
                    cure,
                )
            if isinstance(label, float) and not label.is_integer():
                raise DataError(
                    f"y[{number}]",
                    "classes",
                    f"Unknown label type: the number {label:g}",
                    "Pass texts or whole numbers, or use SequenceRegressor for numbers.",
                )
        self.classes_ = _classes(y, labels, self.per_step)
        if len(self.classes_) < 2:
            raise DataError(
                "y", "at least two classes", f"one class, {labels[0]!r}", "There is nothing to tell apart."
            )
        number_of = {label: number for number, label in enumerate(self.classes_.tolist())}
        target = np.array([number_of[label] for label in labels], np.int64)
        self._weights = self._class_weights(target)
        return target

    def _class_weights(self, target: NDArray[np.int64]) -> tuple[float, ...]:
        given = self.class_weight
        if given is None:
            return ()
        counts = np.bincount(target, minlength=len(self.classes_))
        if isinstance(given, str):
            if given != "balanced":
                raise OptionError(
                    "SequenceClassifier", "class_weight of 'balanced', a dict or None", repr(given)
                )
            return tuple((len(target) / (len(counts) * counts)).tolist())
        if not isinstance(given, Mapping):
            raise OptionError("SequenceClassifier", "class_weight of 'balanced', a dict or None", repr(given))
        known = self.classes_.tolist()
        strange = [label for label in given if plain(label) not in known]
        if strange:
            raise OptionError(
                "SequenceClassifier", f"class_weight of the classes {known[:10]}", repr(strange[0])
            )
        for label, weight in given.items():
            if not is_number(weight) or not 0 < weight < np.inf:
                raise OptionError(
                    "SequenceClassifier", "class_weight of numbers above 0", f"{weight!r} for {label!r}"
                )
        weights = {plain(label): float(weight) for label, weight in given.items()}
        return tuple(weights.get(label, 1.0) for label in known)

    def _scale_answers(self, answers: NDArray[Any], learn: NDArray[np.bool_]) -> NDArray[Any]:
        counts = np.bincount(answers[learn], minlength=len(self.classes_)) * np.array(self._weights or 1.0)
        self.class_shares_ = counts / counts.sum()
        return answers

    def _without_words(self) -> NDArray[np.float64]:
        return self.class_shares_

    def _outputs(self) -> int:
        return len(self.classes_)

    def _strata(self, target: NDArray[Any]) -> NDArray[Any] | None:
        return None if self.per_step else target

    def _loss(self) -> dict[str, Any]:
        return {
            "loss": "cross-entropy",
            "class_weights": self._weights,
            "levels": (),
            "metrics": ("accuracy",),
        }


def _softmax(outputs: Any) -> Any:
    return outputs.double().softmax(-1)


def _classes(y: Any, labels: list[Any], per_step: bool) -> NDArray[Any]:
    """The classes in order; of the kind of y where that is an array of one kind."""
    distinct = list(dict.fromkeys(labels))
    try:
        distinct.sort()
    except TypeError:  # of different kinds
        distinct.sort(key=lambda label: (type(label).__name__, str(label)))
    kind = getattr(y, "dtype", None)
    kinds = {type(label) for label in distinct}
    if isinstance(kind, np.dtype) and kind.kind != "O" and not per_step:
        return np.array(distinct, dtype=kind)
    if len(kinds) == 1 and kinds <= {str, int, float, bool}:
        return np.array(distinct)
    classes = np.empty(len(distinct), object)
    classes[:] = distinct
    return classes
