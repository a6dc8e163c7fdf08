"""The transcriber: from sequences to sequences of another length, symbol by symbol."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.data.pairs import PairSamples, SymbolReading, holds_numbers, split_symbols
from unrolled.data.sequences import Sequences, take_numbers
from unrolled.encoder_decoder import ATTENTION, CoderArchitecture, EncoderDecoder
from unrolled.errors import OptionError, ShapeError
from unrolled.estimators.beam import search
from unrolled.estimators.learned import Learned, take_plainly
from unrolled.estimators.memory import check_weights, free_memory
from unrolled.estimators.reading import Reading
from unrolled.estimators.sequences import CELLS, LONG
from unrolled.estimators.transcript_scores import score_transcripts
from unrolled.nn.validation import is_count, is_number
from unrolled.training.loop import fit, repeatable
from unrolled.training.options import Training

__all__ = ["Transcriber", "Transcription", "check_search"]

logger = logging.getLogger("unrolled")

STEPS = 1500  # of the optimizer, for one member, where the training is left to us
ROWS = 512  # beginnings that are carried on at once
MOST = {"beam": 10_000, "max_length": 1_000_000}  # that can be searched


@dataclass(frozen=True)
class Transcription:
    """What a source was transcribed to.

    Attributes:
        answer: a text, or a list of symbols, as the targets of training were.
        ended: whether it came to its end within `max_length`; where it did not, `answer` is its beginning.
        log_probability: the natural logarithm of the probability of all of it, the end included.
        attention: (symbols of the answer, steps of the source), what each symbol looked at, the mean of the members;
            None unless asked for.
    """

    answer: Any
    ended: bool
    log_probability: float
    attention: NDArray[np.float32] | None = None


class Transcriber(Learned):
    """Writes for a sequence another one, of another length: of a date, a spelling, a sentence, strokes of a pen.

    An encoder reads the source in both directions, a decoder starts from its last state and writes the target symbol by
    symbol until it writes the end; with attention it looks back at the source's steps (`unrolled.encoder_decoder`).
    Several members are trained together, each from its own seed, and their probabilities averaged at each symbol.

    Sources are texts, lists of symbols (texts and whole numbers), or numbers: an array (n, steps, features) or a list
    of arrays (steps, features); floats without an axis of features are one feature. Numbers are scaled by the mean and
    standard deviation of each feature. Targets are texts or lists of symbols. Lengths are free on either side.

    Args:
        model: the recurrent layers, "lstm", "gru" or "rnn".
        units: of each layer.
        layers: of the encoder, and as many of the decoder.
        bidirectional: whether the encoder reads in both directions.
        attention: "dot" (Luong et al. 2015), "additive" (Bahdanau et al. 2015; takes half as long again or more), or
            None: all that the decoder knows is one vector.
        embedding_size: numbers of a symbol's vector.
        dropout: share dropped of symbols' vectors and before the answer.
        level: how texts are split: "characters", or "words" at white space.
        standardize: whether numbers are scaled.
        valid_size: share of the pairs held back, by which training stops early (`training` with a patience) and each
            member keeps its best weights; 0 for none: the last weights are kept.
        members: networks to train and average.
        seed: repeats everything bit for bit.
        device: "auto" (a CUDA device where there is one), "cpu", "cuda".
        epochs: passes over the pairs, in one cycle of the learning rate; by default so many that a member makes about
            1,500 steps.
        training: how to train instead; its `loss`, `members` and `seed` are those given here.

    Attributes after `fit`:
        `run_`, the `TrainingRun`; `networks_`, its members; `architecture_`; `source_`, how sources are read;
        `target_`, the targets' alphabet; `longest_`, symbols of the longest target; `notes_`.

    Raises:
        OptionError: an argument is out of its range.

    >>> pairs = [(a + b, b + a) for a in "abcd" for b in "abcd"]
    >>> sources, targets = zip(*pairs)
    >>> quick = Training(learning_rate=0.03, epochs=60, batch_size=8)
    >>> transcriber = Transcriber("gru", units=16, members=1, training=quick).fit(sources, targets, progress=False)
    >>> transcriber.predict(["ad", "cb"])
    ['da', 'bc']
    """

    def __init__(
        self,
        model: Literal["lstm", "gru", "rnn"] = "lstm",
        *,
        units: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        attention: Literal["dot", "additive"] | None = "dot",
        embedding_size: int = 32,
        dropout: float = 0.0,
        level: Literal["characters", "words"] = "characters",
        standardize: bool = True,
        valid_size: float = 0.0,
        members: int = 3,
        seed: int = 0,
        device: str = "auto",
        epochs: int | None = None,
        training: Training | None = None,
    ):
        self.model = model
        self.units = units
        self.layers = layers
        self.bidirectional = bidirectional
        self.attention = attention
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.level = level
        self.standardize = standardize
        self.valid_size = valid_size
        self.members = members
        self.seed = seed
        self.device = device
        self.epochs = epochs
        self.training = training

    @repeatable()
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        progress: bool | None = None,
        folder: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Learn from pairs.

        Args:
            X: n sources, none of them empty.
            y: n targets; one may be empty.
            progress: False for silence; by default a bar where standard error is a terminal, else a line.
            folder: for checkpoints of the training; None for none.
            resume: go on from the newest checkpoint there.

        Raises:
            DataError: a side is missing, a source is empty, or numbers are not finite.
            ShapeError: there are not as many targets as sources, or they are no sequences.
            OptionError: an argument of the constructor is out of its range, or memory will not do.
        """
        take_plainly(self)
        self.check_options()
        self.notes_: list[str] = []
        self.source_: Reading | SymbolReading
        sources = self._learn_sources(_listed(X))
        self.target_, split = SymbolReading.learn(y, "y", self.level)
        if len(split) != len(sources):
            raise ShapeError(
                "y", f"{len(sources):,} targets, one for each source", f"{len(split):,}", "Check X and y."
            )
        targets = self.target_.numbers(split, "y", end=True)
        self.longest_ = targets.longest - 1
        learn, hold = self._split(sources, targets)
        train = PairSamples(sources.take(learn), targets.take(learn))
        valid = PairSamples(sources.take(hold), targets.take(hold)) if len(hold) else None
        if isinstance(self.source_, Reading):
            self.source_ = self.source_.learn_scale(train.sources, self.standardize)
            train = dataclasses.replace(train, sources=self.source_.scaled(train.sources))
            if valid is not None:
                valid = dataclasses.replace(valid, sources=self.source_.scaled(valid.sources))
        self.architecture_ = CoderArchitecture(
            input_size=sources.values.shape[1] if isinstance(self.source_, Reading) else len(self.source_.alphabet),
            outputs=len(self.target_.alphabet.symbols) + 1, cell=self.model, units=self.units, layers=self.layers,
            bidirectional=self.bidirectional, attention=self.attention, embedding=self.embedding_size,
            symbols=isinstance(self.source_, SymbolReading), dropout=self.dropout,
            memory=sources.longest if sources.longest >= LONG else 0,
        )  # fmt: skip
        training = self._training(len(train))
        self._check_memory(training, train)
        run = fit(
            self.make_network, train, valid, training, device=self.find_device(), progress=progress,
            folder=None if folder is None else folder / "stage-1", resume=resume,
        )  # fmt: skip
        self._take(run)
        return self

    @repeatable()
    def transcribe(
        self,
        X: Any,
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_power: float = 1.0,
        return_attention: bool = False,
    ) -> list[Transcription]:
        """Write a target for each source.

        Args:
            X: sources, as those of training.
            beam: beginnings that are carried on together; 1 takes the most probable symbol each time (greedy).
            max_length: symbols of an answer, at most; by default twice as many as the longest target of training has.
            length_power: p, by which the beam's finished targets are compared: log probability / (symbols + 1)^p. 0
                takes the most probable one, which favours short ones; 1 the greatest mean.
            return_attention: whether each answer comes with its weights of attention.

        Returns:
            An answer for each source, flagged where it has no end within `max_length`.

        Raises:
            DataError: a source is empty or missing, or has a symbol that was not seen in training.
            ShapeError: sources are of another kind, or have other features.
            OptionError: an argument is out of its range.
        """
        self._check_fitted()
        most = max(2 * self.longest_, 1) if max_length is None else max_length
        check_search(beam, most, length_power)
        if return_attention and self.architecture_.attention is None:
            raise OptionError(
                "transcribe", "a transcriber with attention", "attention=None", "Leave return_attention out."
            )
        sources = self._read(_listed(X))
        device = self.find_device()
        networks = [network.to(device) for network in self.networks_]
        order = np.argsort(sources.lengths, kind="stable")  # like lengths together: little padding
        samples = PairSamples(sources, Sequences(np.zeros(len(order), np.int64), np.arange(len(order) + 1)))
        found: list[Any] = [None] * len(order)
        rows = max(1, ROWS // int(beam))
        for start in range(0, len(order), rows):
            index = order[start : start + rows]
            batch = samples.batch(index).to(device)
            written = search(networks, batch.past, batch.mask, beam=int(beam), most=int(most), power=length_power,
                             attention=return_attention)  # fmt: skip
            for number, one in zip(index, written, strict=True):
                weights = None if one.attention is None else one.attention[:, : sources.lengths[number]]
                answer = self.target_.write(one.numbers)
                found[number] = Transcription(answer, one.ended, one.log_probability, weights)
        return found

    def predict(self, X: Any, *, beam: int = 1, max_length: int | None = None) -> list[Any]:
        """Return the answers alone of `transcribe`: texts, or lists of symbols; it is said where one has no end.

        Raises:
            DataError: as `transcribe`.
            ShapeError: as `transcribe`.
            OptionError: as `transcribe`.
        """
        found = self.transcribe(X, beam=beam, max_length=max_length)
        open_ = sum(not one.ended for one in found)
        if open_:
            logger.warning(
                "%s of %s answers have no end within max_length: they are cut there.",
                f"{open_:,}", f"{len(found):,}",
            )  # fmt: skip
        return [one.answer for one in found]

    def score(self, X: Any, y: Any, *, beam: int = 1) -> float:
        """Return the share of sources whose target is written exactly.

        Raises:
            DataError: as `fit`.
            ShapeError: X and y do not fit together.
        """
        return self._scores(X, y, beam)["exact_match"]

    def symbol_error_rate(self, X: Any, y: Any, *, beam: int = 1) -> float:
        """Return the symbols to insert, delete or replace, for each symbol of the right targets.

        Raises:
            DataError: as `fit`.
            ShapeError: X and y do not fit together.
        """
        return self._scores(X, y, beam)["symbol_error_rate"]

    def write(self, folder: Path) -> None:
        """Write the files of `save` into a folder that is there."""
        from unrolled.estimators.saving_transcriber import save_transcriber

        save_transcriber(self, folder)

    def check_options(self) -> None:
        """Raise an `OptionError` for an argument that is out of its range."""
        for name, among in (
            ("model", CELLS), ("attention", (None, *ATTENTION)), ("level", ("characters", "words")),
            ("device", ("auto", "cpu", "cuda")),
        ):  # fmt: skip
            if getattr(self, name) not in among:
                wanted = f"{name} one of {', '.join(map(str, among))}"
                raise OptionError("Transcriber", wanted, repr(getattr(self, name)))
        for name in ("units", "layers", "members", "embedding_size", "epochs"):
            value = getattr(self, name)
            if not (name == "epochs" and value is None) and not is_count(value, 1):
                raise OptionError("Transcriber", f"{name} of at least 1", repr(value))
        if not is_count(self.seed, 0):
            raise OptionError("Transcriber", "a seed of at least 0", repr(self.seed))
        for name in ("dropout", "valid_size"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < 1:
                raise OptionError("Transcriber", f"a {name} in [0, 1)", repr(value))
        if self.training is not None and not isinstance(self.training, Training):
            raise OptionError("Transcriber", "training of unrolled.Training", repr(self.training))
        if self.training is not None and self.epochs is not None:
            raise OptionError("Transcriber", "epochs, or training with its own", "both", "Leave epochs out.")
        self.find_device()

    def make_network(self) -> EncoderDecoder:
        """Make a network of the fitted architecture, with fresh weights."""
        return EncoderDecoder(self.architecture_)

    def _learn_sources(self, X: Any) -> Sequences:
        """Find out how sources like these are read, and read them; numbers are not scaled yet."""
        if not holds_numbers(X):
            reading, split = SymbolReading.learn(X, "X", self.level, empty=False)
            self.source_ = reading
            return reading.numbers(split, "X")
        sequences = take_numbers(X, "X")
        self.source_ = Reading("numbers", _features(sequences))
        return sequences

    def _read(self, X: Any) -> Sequences:
        """Sources as the networks read them."""
        if isinstance(self.source_, Reading):
            return self.source_.read(X)
        if holds_numbers(X):
            raise ShapeError(
                "X",
                "sequences of symbols",
                "sequences of numbers",
                "Give what the transcriber was fitted on.",
            )
        return self.source_.numbers(split_symbols(X, "X", self.source_.kind, empty=False), "X")

    def _split(self, sources: Sequences, targets: Sequences) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the pairs to learn from, and of those held back to stop by, these in order of length."""
        count = len(sources)
        hold = min(round(self.valid_size * count), count - 1)
        shuffled = np.random.default_rng(self.seed).permutation(count)
        held = shuffled[:hold]
        order = np.lexsort((held, targets.lengths[held], sources.lengths[held]))
        return np.sort(shuffled[hold:]), held[order]

    def _training(self, count: int) -> Training:
        fixed: dict[str, Any] = {
            "loss": "cross-entropy", "members": self.members, "seed": self.seed, "levels": (), "metrics": ("accuracy",),
            "class_weights": (),
        }  # fmt: skip
        if self.training is not None:
            return dataclasses.replace(self.training, **fixed)
        batch = int(np.clip(count // 10, 8, 64))
        epochs = self.epochs or int(np.clip(STEPS // -(-count // batch), 3, 200))
        return Training(
            optimizer="adam",
            learning_rate=5e-3,
            schedule="one-cycle",
            batch_size=batch,
            epochs=epochs,
            **fixed,
        )

    def _check_memory(self, training: Training, train: PairSamples) -> None:
        """Say before training that a batch does not fit into memory: what the layers keep of it, and their slopes."""
        a, both = self.architecture_, 1 + self.bidirectional
        long, wide = train.sources.longest, train.targets.longest
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[a.cell]
        each = (2 * gates + 2) * a.units * a.layers
        needed = float(
            long * (each * both + 3 * a.embedding) + wide * (each + 3 * a.embedding + 3 * a.outputs)
        )
        if a.attention:
            needed += 3.0 * long * wide * (1 + 2 * a.units * (a.attention == "additive"))
        needed *= 4 * training.members * min(training.batch_size, len(train)) * 1.5
        device = self.find_device()
        check_weights("Transcriber", self.make_network, training.members, device)
        free = free_memory(device)
        if free is not None and needed > free:
            raise OptionError(
                "Transcriber",
                f"memory for a batch of {min(training.batch_size, len(train))} pairs of up to {long:,} and {wide:,} "
                f"steps, about {needed / 1e9:,.1f} GB",
                f"{free / 1e9:,.1f} GB free",
                "Lower the batch_size of `training`, take attention='dot', or train fewer members at once.",
            )

    def _scores(self, X: Any, y: Any, beam: int) -> dict[str, float]:
        self._check_fitted()
        actual = split_symbols(y, "y", self.target_.kind)
        told = split_symbols(self.predict(X, beam=beam), "y", self.target_.kind)
        if len(actual) != len(told):
            raise ShapeError(
                "y", f"{len(told):,} targets, one for each source", f"{len(actual):,}", "Check X and y."
            )
        return score_transcripts(actual, told)


def check_search(beam: Any, max_length: Any = None, length_power: float = 1.0) -> None:
    """Raise an `OptionError` where targets cannot be searched for like this."""
    for name, value in (("beam", beam), ("max_length", 1 if max_length is None else max_length)):
        if not is_count(value, 1):
            raise OptionError("transcribe", f"{name} of at least 1", repr(value))
        if value > MOST[name]:
            raise OptionError("transcribe", f"{name} of at most {MOST[name]:,}", "more")
    if not is_number(length_power) or not 0 <= length_power <= 10:
        raise OptionError("transcribe", "length_power of at least 0, at most 10", repr(length_power))


def _listed(X: Any) -> Any:
    """What can be gone through once alone, in a list."""
    return X if hasattr(X, "__len__") or not hasattr(X, "__iter__") else list(X)


def _features(sequences: Sequences) -> tuple[int, ...]:
    shape = sequences.values.shape[1:]
    if len(shape) != 1:
        raise ShapeError(
            "X", "numbers of shape (steps, features) for each source", f"images of {shape[0]} by {shape[1]}",
            "Make a row of each image: x.reshape(n, steps, -1).",
        )  # fmt: skip
    return shape
