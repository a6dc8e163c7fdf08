"""What the estimators of sequences have in common: reading, training and answering, whatever the answer is."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.data.sequences import Sequences, SequenceSamples
from unrolled.data.text import UNKNOWN
from unrolled.encoders import Architecture, make_encoder
from unrolled.errors import DataError, OptionError, ShapeError
from unrolled.estimators.learned import Learned, take_plainly
from unrolled.estimators.memory import check_memory
from unrolled.estimators.reading import Reading, column_names, learn_to_read, match_vectors, take_sequences
from unrolled.estimators.sample_weights import take_weights
from unrolled.nn.validation import is_count, is_number
from unrolled.training.loop import fit, repeatable
from unrolled.training.members import call
from unrolled.training.options import Training

__all__ = ["CELLS", "LONG", "MODELS", "SequenceEstimator"]

logger = logging.getLogger("unrolled")

CELLS = ("rnn", "lstm", "gru")
MODELS = ("auto", *CELLS, "bag", "conv", *(f"conv-{cell}" for cell in CELLS))
MOST_WORDS = 400  # of a text, as published
TEXT_STEPS = 500
STEPS = 2000  # of the optimizer, for one member, where the training is left to us
EMBEDDING = 32  # numbers of a learned word vector
LONG = 50  # steps, from which on the gates start out to remember a whole sequence
ROWS = 512  # sequences that are answered at once


class SequenceEstimator(Learned):
    """The common part of `SequenceClassifier` and `SequenceRegressor`, where the arguments are described."""

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
        unknown: str = "vector",
        per_step: bool = False,
        standardize: bool = True,
        valid_size: float = 0.0,
        members: int = 3,
        seed: int = 0,
        device: str = "auto",
        training: Training | None = None,
    ):
        self.model = model
        self.units = units
        self.layers = layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.filters = filters
        self.kernel_size = kernel_size
        self.hidden = hidden
        self.dropout = dropout
        self.embedding_size = embedding_size
        self.max_words = max_words
        self.min_count = min_count
        self.max_steps = max_steps
        self.lower = lower
        self.bag_of_words = bag_of_words
        self.vectors = vectors
        self.vectors_limit = vectors_limit
        self.tune_vectors = tune_vectors
        self.unknown = unknown
        self.per_step = per_step
        self.standardize = standardize
        self.valid_size = valid_size
        self.members = members
        self.seed = seed
        self.device = device
        self.training = training

    @repeatable()
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        progress: bool | None = None,
        folder: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Learn to answer for sequences.

        Args:
            X: n sequences: an array (n, steps, features), (n, steps) of one feature or (n, steps, height, width); a
                list of arrays without that n, of any lengths; texts; or lists of words.
            y: n answers; with `per_step`, n lists, each with an answer for each step.
            sample_weight: (n,), what each sequence counts: its loss is multiplied by it (only their proportions
                matter). One of weight 0 is not learned from, not even its words. None for 1.
            progress: False for silence; by default a bar where standard error is a terminal, else a line.
            folder: for checkpoints of the training; None for none.
            resume: go on from the newest checkpoint there.

        Raises:
            DataError: a sequence is empty or holds what is no number, an answer is missing, or there is only one.
            ShapeError: X and y do not fit together, or their shapes are none of these.
            OptionError: an argument of the constructor is out of its range, or memory will not do.
        """
        take_plainly(self)
        self.check_options()
        self.check_files()
        self.notes_: list[str] = []
        self.reading_: Reading
        given = take_sequences(X, self.lower)
        self._learn_columns(X)
        lengths = given.lengths if isinstance(given, Sequences) else np.array([len(text) for text in given])
        answers = self._learn_answers(y, lengths)
        weights = take_weights(sample_weight, len(lengths))
        learn, hold = self._split(lengths, answers, weights)
        inside = np.isin(np.arange(len(lengths)), learn)
        target = self._scale_answers(answers, np.repeat(inside, lengths) if self.per_step else inside)
        if weights is not None:
            weights = weights / weights[learn].mean()
        sequences = self._learn_to_read(given, learn)
        train = self._samples(sequences, target, learn, weights)
        valid = self._samples(sequences, target, hold, weights) if len(hold) else None
        self.reading_ = self.reading_.learn_scale(train.sequences, self.standardize)
        train = dataclasses.replace(train, sequences=self.reading_.scaled(train.sequences))
        if valid is not None:
            valid = dataclasses.replace(valid, sequences=self.reading_.scaled(valid.sequences))
        self.architecture_ = self._architecture(sequences)
        training = self._training(len(train))
        check_memory(
            type(self).__name__, self.architecture_, training, None if callable(self.model) else make_encoder,
            self.find_device(), longest=train.sequences.longest, count=len(train), held=len(hold),
        )  # fmt: skip
        run = fit(
            self.make_network, train, valid, training, device=self.find_device(), progress=progress,
            folder=None if folder is None else folder / "stage-1", resume=resume,
        )  # fmt: skip
        self._take(run)
        return self

    def write(self, folder: Path) -> None:
        """Write the files of `save` into a folder that is there."""
        from unrolled.estimators.saving_sequences import save_sequence_estimator

        save_sequence_estimator(self, folder)

    def check_options(self) -> None:
        """Raise an `OptionError` for an argument that is out of its range."""
        where = type(self).__name__
        for name, among in (
            ("model", MODELS), ("pooling", ("auto", "last", "max", "mean")), ("unknown", ("vector", "drop")),
            ("device", ("auto", "cpu", "cuda")),
        ):  # fmt: skip
            if getattr(self, name) not in among and not (name == "model" and callable(self.model)):
                raise OptionError(where, f"{name} one of {', '.join(among)}", repr(getattr(self, name)))
        for name in (
            "units",
            "layers",
            "filters",
            "kernel_size",
            "members",
            "embedding_size",
            "max_words",
            "min_count",
            "max_steps",
        ):
            value = getattr(self, name)
            if not (value is None and name.startswith(("embedding", "max", "min"))) and not is_count(
                value, 1
            ):
                raise OptionError(where, f"{name} of at least 1", repr(value))
        if not is_count(self.hidden, 0):
            raise OptionError(where, "hidden of at least 0", repr(self.hidden))
        if not is_count(self.seed, 0):
            raise OptionError(where, "a seed of at least 0", repr(self.seed))
        for name in ("bidirectional", "lower", "bag_of_words", "tune_vectors", "per_step", "standardize"):
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_) and not (value is None and name == "bag_of_words"):
                raise OptionError(where, f"{name} True or False", repr(value))
        for name in ("dropout", "valid_size"):
            value = getattr(self, name)
            if not (value is None and name == "dropout") and not (is_number(value) and 0 <= value < 1):
                raise OptionError(where, f"a {name} in [0, 1)", repr(value))
        if self.per_step and self.max_steps is not None:
            raise OptionError(
                where, "max_steps=None with per_step, where each step is answered", str(self.max_steps)
            )
        if self.per_step and self.unknown == "drop":
            raise OptionError(where, "unknown='vector' with per_step, where each word is answered", "'drop'")
        if self.training is not None and not isinstance(self.training, Training):
            raise OptionError(where, "training of unrolled.Training", repr(self.training))
        self.find_device()

    def check_files(self) -> None:
        """Raise a `DataError` where the file of vectors is not there: before anything is read for long."""
        if self.vectors is not None and not Path(self.vectors).is_file():
            raise DataError(str(self.vectors), "a file of word vectors", "no such file", "Check the path.")

    def _learn_columns(self, X: Any) -> None:
        """Keep the names of a data frame's columns, where each is a step, as scikit-learn does."""
        names = column_names(X)
        if names is not None:
            self.feature_names_in_, self.n_features_in_ = np.array(names, object), len(names)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _check_columns(self, X: Any) -> None:
        names, known = column_names(X), getattr(self, "feature_names_in_", None)
        if names is None or known is None or names == list(known):
            return
        known = list(known)
        same = sorted(names) == sorted(known)
        odd = [name for name in names if name not in known] or [name for name in known if name not in names]
        raise ShapeError(
            "X", f"the columns of fit in their order: {', '.join(map(repr, known[:6]))}{', …' * (len(known) > 6)}",
            "another order" if same else f"others, as {', '.join(map(repr, odd[:3]))}",
            "Pass X[list(estimator.feature_names_in_)].",
        )  # fmt: skip

    def _learn_to_read(self, given: Sequences | list[list[str]], learn: NDArray[np.int64]) -> Sequences:
        """Find out how sequences like those of the numbers `learn` are read, and read all; not scaled yet."""
        self.vectors_: NDArray[np.float32] | None = None
        self.reading_ = learn_to_read(
            given if isinstance(given, Sequences) else [given[number] for number in learn],
            lower=self.lower, most=self.max_steps, most_of_text=None if self.per_step else MOST_WORDS,
            max_words=self.max_words, min_count=self.min_count,
        )  # fmt: skip
        if isinstance(given, Sequences):
            if self.vectors is not None:
                where = type(self).__name__
                raise OptionError(where, "vectors for texts alone", "numbers", "Pass vectors=None.")
            return self.reading_.cut(given)
        if self.vectors is not None:
            self.reading_, self.vectors_, notes = match_vectors(
                self.reading_, self.vectors, limit=self.vectors_limit, size=self.embedding_size,
                unknown=self.unknown, seed=self.seed,
            )  # fmt: skip
            for note in notes:
                self._note(note)
        return self.reading_.number(given)

    def _learn_answers(self, y: Any, lengths: NDArray[np.int64]) -> NDArray[Any]:
        """The targets as numbers: (n, …), or with `per_step` (all steps, …)."""
        raise NotImplementedError

    def _scale_answers(self, answers: NDArray[Any], learn: NDArray[np.bool_]) -> NDArray[Any]:
        """The targets as the network learns them, scaled by those that it learns from."""
        return answers

    def _without_words(self) -> NDArray[np.float64]:
        """What is answered for a text of which no word is known: (outputs,)."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """How many numbers the network answers with."""
        raise NotImplementedError

    def _strata(self, target: NDArray[Any]) -> NDArray[Any] | None:
        """What the held-back part is to have in equal shares; None for nothing."""
        return None

    def _split(
        self, lengths: NDArray[np.int64], target: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the sequences to learn from, and of those held back to stop by, these in order of length."""
        numbers = np.arange(len(lengths)) if weights is None else np.flatnonzero(weights)
        count = len(numbers)
        hold = round(self.valid_size * count)
        if not hold:
            return numbers, np.arange(0)
        if hold == count:
            raise OptionError(
                type(self).__name__, "a valid_size that leaves sequences to learn from",
                f"{self.valid_size:g} of {count:,}", "Lower it, or give more sequences.",
            )  # fmt: skip
        from sklearn.model_selection import train_test_split

        strata = self._strata(target)
        if strata is not None:
            strata = np.unique(strata[numbers], return_inverse=True)[1]
            counts = np.bincount(strata)
            if counts.min() < 2 or hold < len(counts) or count - hold < len(counts):
                strata = None
        learn, held = train_test_split(numbers, test_size=hold, random_state=self.seed, stratify=strata)
        return np.sort(learn), held[np.argsort(lengths[held], kind="stable")]

    def _samples(
        self,
        sequences: Sequences,
        target: NDArray[Any],
        index: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
    ) -> SequenceSamples:
        own = None if weights is None else weights[index].astype(np.float32)
        if len(index) == len(sequences):
            return SequenceSamples(sequences, target, self.per_step, weights=own)
        part = sequences.take(index)
        if self.per_step:
            target = Sequences(target, sequences.starts).take(index).values
            return SequenceSamples(part, target, True, weights=own)
        return SequenceSamples(part, target[index], weights=own)

    def _architecture(self, sequences: Sequences) -> Architecture:
        shape = self.reading_.shape
        words = self.reading_.kind == "words"
        model = "own" if callable(self.model) else self.model
        if model == "auto":
            model = "bag" if words and not self.per_step else "lstm"
        convolution = model.startswith("conv") or self.reading_.kind == "images"
        cell = None if model in ("bag", "conv", "own") else model.removeprefix("conv-")
        pooling = self.pooling
        if pooling == "auto":
            pooling = {"bag": "mean", "conv": "max"}.get(model, "last")
        elif pooling == "last" and not cell and model != "own":
            raise OptionError(
                type(self).__name__, "pooling='max' or 'mean' without a recurrent layer", "'last'"
            )
        size = self.embedding_size or EMBEDDING
        if self.vectors_ is not None:
            size = self.vectors_.shape[1]
        dropout = self.dropout if self.dropout is not None else (0.5 if words else 0.0)
        return Architecture(
            input_size=self.reading_.words or sequences.values.shape[1],
            outputs=self._outputs(), cell=cell, units=self.units, layers=self.layers,
            bidirectional=bool(self.bidirectional or (words and self.per_step)),
            filters=self.filters if convolution else 0, kernel_size=self.kernel_size, pooling=pooling,
            hidden=self.hidden, dropout=float(dropout),
            embedding=size if words else 0, frozen=self.vectors_ is not None and not self.tune_vectors,
            line=words and (self.vectors_ is None if self.bag_of_words is None else self.bag_of_words),
            image=(shape[0], shape[1]) if self.reading_.kind == "images" else None, per_step=bool(self.per_step),
            memory=sequences.longest if cell and sequences.longest >= LONG else 0,
        )  # fmt: skip

    def make_network(self) -> nn.Module:
        """Make a network of the fitted architecture, with fresh weights (and the pretrained vectors, if any)."""
        if callable(self.model):
            made: nn.Module = self.model(self.architecture_)
            return made
        network = make_encoder(self.architecture_)
        if self.vectors_ is not None:
            with torch.no_grad():
                network.get_parameter("embedding.weight").copy_(torch.from_numpy(self.vectors_))
        return network

    def _training(self, count: int) -> Training:
        fixed: dict[str, Any] = {"members": self.members, "seed": self.seed, **self._loss()}
        if self.training is not None:
            return dataclasses.replace(self.training, **fixed)
        return self._default_training(count, fixed)

    def _loss(self) -> dict[str, Any]:
        """What a `Training` must have for this kind of answers."""
        raise NotImplementedError

    def _default_training(self, count: int, fixed: dict[str, Any]) -> Training:
        """One cycle of so many steps a member, but no fewer and no more epochs than a few."""
        if self.reading_.kind == "words":
            optimizer, rate, steps, least, most = "adam", 4e-3, TEXT_STEPS, 4, 20
            batch = int(np.clip(count // 10, 8, 100))
        else:
            optimizer, rate, steps, least, most = "adamw", 3e-3, STEPS, 10, 200
            batch = 32 if count < 10_000 else 128
        epochs = int(np.clip(steps // -(-count // batch), least, most))
        return Training(
            optimizer=optimizer,
            learning_rate=rate,
            schedule="one-cycle",
            batch_size=batch,
            epochs=epochs,
            **fixed,
        )

    @repeatable()
    def _answer(self, X: Any, finish: Callable[[Tensor], Tensor]) -> tuple[NDArray[np.float64], Sequences]:
        """The mean of the members' answers, (n, outputs), or with `per_step` (all steps, outputs)."""
        self._check_fitted()
        self._check_columns(X)
        sequences = self.reading_.read(X)
        samples = SequenceSamples(sequences, None, ragged=sequences.ragged)
        device = self.find_device()
        networks = [network.to(device) for network in self.networks_]
        order = np.argsort(sequences.lengths, kind="stable")  # like lengths together: little padding
        count = len(sequences.values) if self.per_step else len(sequences)
        found = np.zeros((count, self.architecture_.outputs))
        rows = max(1, min(ROWS, 2_000_000 // max(sequences.longest, 1)))
        with torch.no_grad():
            for start in range(0, len(order), rows):
                index = order[start : start + rows]
                batch = samples.batch(index).to(device)
                mean = sum(finish(call(network, batch)).double() for network in networks) / len(networks)
                assert isinstance(mean, Tensor)
                answers = mean.cpu().numpy()
                if not self.per_step:
                    found[index] = answers
                    continue
                for number, answer in zip(index, answers, strict=True):
                    at = sequences.starts[number]
                    found[at : at + sequences.lengths[number]] = answer[: sequences.lengths[number]]
        if sequences.values.ndim == 1 and not self.per_step:
            known = np.add.reduceat(sequences.values > UNKNOWN, sequences.starts[:-1])
            found[known == 0] = self._without_words()
        return found, sequences

    def _weights_of_answers(self, given: Any, lengths: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """What each answer counts in a score; with `per_step`, a step counts what its sequence does."""
        weights = take_weights(given, len(lengths))
        return np.repeat(weights, lengths) if weights is not None and self.per_step else weights

    def _by_sequence(self, answers: NDArray[Any], sequences: Sequences) -> Any:
        """Answers of all steps, in a list of arrays, or in one array where all sequences are of one length."""
        if not sequences.ragged:
            return answers.reshape(len(sequences), sequences.longest, *answers.shape[1:])
        return list(np.split(answers, sequences.starts[1:-1]))
