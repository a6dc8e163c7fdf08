"""The generator of sequences: learns what comes next, and goes on from a seed, a context, or the start."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.autoregressive import Autoregression, AutoregressiveNetwork, Stepper
from unrolled.data.pieces import Pieces, PieceWindows
from unrolled.data.sequences import Sequences
from unrolled.data.symbols import START
from unrolled.errors import DataError, OptionError, ShapeError
from unrolled.estimators.drawing import Drawing, draw_symbols, go_on, mean_chances
from unrolled.estimators.generator_options import check_generator
from unrolled.estimators.learned import Learned, take_plainly
from unrolled.estimators.memory import check_weights, free_memory
from unrolled.estimators.piece_reading import PieceReading, learn_pieces, read_context
from unrolled.nn.validation import is_count
from unrolled.training.loop import fit, repeatable
from unrolled.training.options import Training

__all__ = ["SequenceGenerator", "check_steps", "r_squared"]

logger = logging.getLogger("unrolled")

STEPS = 2000  # of the optimizer, for one member, where the training is left to us
WINDOWS = 20_000  # up to so many, one begins at each step
CHUNK = 1024  # steps that are read at once when what is told is judged
MOST = 10_000_000  # steps to make
EMBEDDING = 32  # numbers of a symbol's vector, at most


class SequenceGenerator(Learned):
    """Learns what comes next in sequences of values or of symbols, and goes on with them one step at a time.

        p(x(t+1) | x(1), …, x(t)) = softmax(W h(t) + b),   h(t) = f(h(t-1), x(t))        (values: x̂(t+1) = W h(t) + b)

    In training each step reads the true one before it (teacher forcing), in windows of `steps` whose state begins at
    zero. In generation it reads its own last answer, and the state is carried: a step costs the same however long the
    sequence is. Members are trained together, and their answers averaged.

    Values are told as their mean, or the mean of their change; symbols as probabilities, from which one is drawn.
    Several streams of symbols go side by side, each with an alphabet of its own and told given the steps before (of a
    chord's notes none knows the others); with `in_turn` they are told one after another, given all before.

    Args:
        cell: "rnn", "lstm" or "gru".
        units: of each recurrent layer.
        layers: recurrent layers.
        activation: of the cells: "tanh", "relu", "linear" or "sigmoid".
        embedding_size: numbers of a symbol's vector; by default half of the largest alphabet, at most 32.
        filters: of each causal convolution (relu) in front, dilated by 1, 2, 4, …; empty for none.
        kernel_size: of the convolutions, in steps.
        dropout: share dropped of vectors of symbols, between layers and before the answer.
        recurrent_dropout: share dropped of the state, in training.
        steps: of a training window.
        stride: from a window's begin to the next one's; by default 1, where there are many windows half of `steps`.
        kind: "values", "symbols", or "auto": numbers with a point are values; texts and whole numbers, symbols.
        in_turn: whether several streams of symbols are told one after another.
        ends: whether symbols begin and end pieces: then generation can begin without a seed, and stops at an end it
            draws. By default where several pieces are given.
        differences: whether values' changes are told, not values; by default where changes spread less.
        context_hidden: units of a dense layer (relu) between a context and the state; 0 for none.
        valid_size: share held back, by which the best weights are kept: pieces, or the end of a single one.
        members: networks to train and average.
        epochs: passes over the windows, where `training` is left to us; by default about 2,000 steps.
        seed: the same seed gives the same bits.
        device: "auto", "cpu" or "cuda", for training; a single step is too little work for any but the CPU.
        training: how to train; by default one cycle of `epochs`.

    Attributes after `fit`:
        `reading_` (with `alphabets`), `architecture_`, `networks_`, `run_`, `notes_`.

    Raises:
        OptionError: an argument is out of its range (in `fit`).

    Sources: Graves, arXiv:1308.0850 (generation); Williams and Zipser 1989 (teacher forcing); Vinyals et al.,
    arXiv:1411.4555 (a context begins the state).

    >>> song = "la la lu " * 30
    >>> training = Training(epochs=20, learning_rate=0.03)
    >>> generator = SequenceGenerator("gru", units=16, steps=12, training=training).fit(song, progress=False)
    >>> generator.generate("la lu l", 8, top_k=1)
    'a la lu '
    """

    def __init__(
        self,
        cell: str = "lstm",
        *,
        units: int = 128,
        layers: int = 1,
        activation: str = "tanh",
        embedding_size: int | None = None,
        filters: Sequence[int] = (),
        kernel_size: int = 2,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        steps: int = 64,
        stride: int | None = None,
        kind: str = "auto",
        in_turn: bool = False,
        ends: bool | None = None,
        differences: bool | None = None,
        context_hidden: int = 0,
        valid_size: float = 0.0,
        members: int = 1,
        epochs: int | None = None,
        seed: int = 0,
        device: str = "auto",
        training: Training | None = None,
    ):
        self.cell = cell
        self.units = units
        self.layers = layers
        self.activation = activation
        self.embedding_size = embedding_size
        self.filters = filters
        self.kernel_size = kernel_size
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.steps = steps
        self.stride = stride
        self.kind = kind
        self.in_turn = in_turn
        self.ends = ends
        self.differences = differences
        self.context_hidden = context_hidden
        self.valid_size = valid_size
        self.members = members
        self.epochs = epochs
        self.seed = seed
        self.device = device
        self.training = training

    @repeatable()
    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        context: Any = None,
        progress: bool | None = None,
        folder: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Learn what comes next.

        Args:
            X: a piece: a text (of characters), an array (steps,) or (steps, columns), a list of numbers, a list of a
                tuple for each step; or several: an array (n, steps, columns), a list of texts, of arrays, of lists of
                symbols (words) or of tuples. A bare list of words is a list of texts: put it in a list, [words].
            y: not used; there for scikit-learn.
            context: (n, size), a vector of each piece, such as an image's points, that sets the initial state.
            progress: False for silence; by default a bar where standard error is a terminal, else a line.
            folder: for checkpoints of the training; None for none.
            resume: go on from the newest checkpoint there.

        Raises:
            DataError: a piece is empty or too short, or holds what is no finite number or no symbol.
            ShapeError: pieces of different widths, or as many contexts as pieces there are not.
            OptionError: an argument of the constructor is out of its range, or does not fit the pieces.
        """
        take_plainly(self)
        check_generator(self)
        self.notes_: list[str] = []
        self.reading_: PieceReading
        self.reading_, pieces = learn_pieces(
            X, "X", kind=self.kind, in_turn=self.in_turn, ends=self.ends, differences=self.differences,
            learned=self._learned_parts,
        )  # fmt: skip
        vectors = None if context is None else self._learn_context(context, pieces)
        inputs, targets = self.reading_.read(pieces, "X")
        train, valid = self._split(inputs, targets, vectors)
        self.architecture_ = self._architecture(0 if vectors is None else vectors.shape[1])
        training = self._training(len(train))
        self._check_memory(training, train)
        run = fit(
            self.make_network, train, valid, training, device=self.find_device(),
            progress=progress, folder=None if folder is None else folder / "stage-1", resume=resume,
        )  # fmt: skip
        self._take(run)
        return self

    @repeatable()
    def generate(
        self,
        seed_sequence: Any = None,
        n: int = 100,
        *,
        context: Any = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        return_ended: bool = False,
    ) -> Any:
        """Go on from a seed, from the start, or from a context; return what was made, without the seed.

        Args:
            seed_sequence: one piece to read first, of any length; None begins a new one, where ends were learned.
            n: steps to make, at most: a drawn end stops before.
            context: (size,) for one sequence, or (rows, size) for a list of them; as in training.
            temperature: above 0; below 1 the probable becomes more so. Of symbols, as are top_k and top_p.
            top_k: draw from the k most probable symbols alone; 1 takes the most probable.
            top_p: draw from the fewest symbols that together have this probability, in (0, 1].
            seed: of the draws.
            return_ended: return also whether an end was drawn, not cut off at `n`: (made, ended).

        Returns:
            What was made, in the form of the seed (text, list, array; without one, that of the training); a list of
            such with several contexts.

        Raises:
            DataError: an unseen symbol, an empty seed, or none where no starts were learned.
            ShapeError: a seed or context of another shape than in training.
            OptionError: n, temperature, top_k or top_p is out of its range.
        """
        self._check_fitted()
        drawing = Drawing(temperature, top_k, top_p)
        check_steps(n)
        if not is_count(seed, 0):
            raise OptionError("generate", "a seed of at least 0", repr(seed))
        reading = self.reading_
        if reading.kind == "values" and drawing != Drawing():
            raise OptionError(
                "generate", "temperature, top_k and top_p of symbols", "values",
                "Leave them out: values are not drawn.",
            )  # fmt: skip
        pieces = None if seed_sequence is None else self._take_seed(seed_sequence)
        vectors = self._scale_context(context)
        past = self._begin(pieces, 1 if vectors is None else len(vectors))
        networks = [network.to("cpu") for network in self.networks_]
        stepper = Stepper(networks)
        told = stepper.read(torch.from_numpy(past), None if vectors is None else torch.from_numpy(vectors))
        if pieces is not None and reading.kind == "values":
            made: Any = go_on(reading, stepper, told, pieces.parts[0][-1].astype(np.float64), n)
            ended = np.zeros(len(past), bool)
        else:
            came = 0 if pieces is None else pieces.steps(0) * reading.voices
            made, ended = draw_symbols(reading, stepper, told, n * reading.voices, came, drawing, seed)
        if not ended.all() and reading.ends:
            logger.info("%s of %s sequences did not end within %s steps.", (~ended).sum(), len(ended), n)
        found = [reading.give_back(rows, pieces) for rows in made]
        single = context is None or np.ndim(context) < 2
        if return_ended:
            return (found[0], bool(ended[0])) if single else (found, ended)
        return found[0] if single else found

    def score(self, X: Any, y: None = None, *, context: Any = None, skip: int = 0) -> float:
        """Return how well next steps are told, given the true ones before: of symbols the accuracy, of values R².

        Args:
            X: pieces, as in `fit`. The state is carried through each.
            y: not used; there for scikit-learn.
            context: as in `fit`.
            skip: steps of each piece that are told but not counted, as where they were learned from.

        Raises:
            DataError, ShapeError: as `fit`, or an unseen symbol.
        """
        self._check_fitted()
        if self.reading_.kind == "symbols":
            return self.judge(X, context=context, skip=skip)[0]
        return r_squared(*self._values_told(X, context, skip))

    def accuracy(self, X: Any, *, context: Any = None, skip: int = 0) -> float:
        """Return the share of symbols (and ends, where learned) that are the most probable, given those before.

        Arguments and errors are those of `score`; of values it is an OptionError.
        """
        return self.judge(X, context=context, skip=skip)[0]

    def perplexity(self, X: Any, *, context: Any = None, skip: int = 0) -> float:
        """Return exp of the mean of -log p over symbols (and ends, where learned), given those before.

        As many equally probable symbols would be as hard to tell. Arguments and errors are those of `accuracy`.
        """
        return self.judge(X, context=context, skip=skip)[1]

    def judge(self, X: Any, *, context: Any = None, skip: int = 0) -> tuple[float, float]:
        """Return the accuracy and the perplexity, which together cost what one of them does."""
        right, logs = self._symbols_told(X, context, skip)
        return float(right.mean()), float(np.exp(-logs.mean()))

    def mse(self, X: Any, *, context: Any = None, skip: int = 0) -> float:
        """Return the mean squared error of next values, given the true ones before, in the data's units.

        Arguments and errors are those of `score`; of symbols it is an OptionError.
        """
        actual, told = self._values_told(X, context, skip)
        return float(np.mean((actual - told) ** 2))

    def write(self, folder: Path) -> None:
        """Write the files of `save` into a folder that is there."""
        from unrolled.estimators.saving_generator import save_generator

        save_generator(self, folder)

    def make_network(self) -> AutoregressiveNetwork:
        """Make a network of the fitted architecture, with fresh weights."""
        return AutoregressiveNetwork(self.architecture_)

    def _architecture(self, context: int) -> Autoregression:
        reading = self.reading_
        numbers = tuple(len(alphabet) for alphabet in reading.alphabets)
        embedding = self.embedding_size or min(EMBEDDING, -(-max(numbers, default=0) // 2))
        return Autoregression(
            features=reading.width if reading.kind == "values" else 0, numbers=numbers, voices=reading.voices,
            cell=self.cell, units=self.units, layers=self.layers, activation=self.activation,
            embedding=embedding, filters=tuple(self.filters), kernel_size=self.kernel_size,
            dropout=self.dropout, recurrent_dropout=self.recurrent_dropout, context=context,
            context_hidden=self.context_hidden if context else 0,
        )  # fmt: skip

    def _training(self, count: int) -> Training:
        values = self.reading_.kind == "values"
        fixed: dict[str, Any] = {"members": self.members, "seed": self.seed}
        if not values:
            fixed |= {"loss": "cross-entropy", "metrics": ("accuracy",), "levels": ()}
        elif self.training is None or self.training.loss not in ("mse", "mae", "huber"):
            fixed |= {"loss": "mse", "levels": (), "class_weights": ()}
        if self.training is not None:
            return dataclasses.replace(self.training, **fixed)
        batch = int(np.clip(count // 10, 4, 32))  # few windows need steps, too
        epochs = self.epochs or int(np.clip(STEPS // -(-count // batch), 3, 300))
        chosen: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 3e-3, "schedule": "one-cycle"}
        return Training(epochs=epochs, batch_size=batch, **chosen, **fixed)

    def _learn_context(self, context: Any, pieces: Pieces) -> NDArray[np.float32]:
        if pieces.single:
            raise ShapeError(
                "context", "several pieces, each with a vector", "one piece", "Give a list of pieces."
            )
        vectors = read_context(context, len(pieces), None)
        learned = vectors[self._hold(len(vectors))[0]]
        self.context_mean_ = learned.mean(0, dtype=np.float64)
        spread = learned.std(0, dtype=np.float64)
        self.context_scale_ = np.where(spread > 0, spread, 1.0)
        return self._scaled(vectors)

    def _scaled(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = ((vectors - self.context_mean_) / self.context_scale_).astype(np.float32)
        return found

    def _scale_context(self, context: Any, count: int | None = None) -> NDArray[np.float32] | None:
        size = self.architecture_.context
        if (context is None) == bool(size):
            raise ShapeError(
                "context", f"vectors of {size} numbers, as in training" if size else "none, as in training",
                "none" if size else "some", "Give context as in fit.",
            )  # fmt: skip
        if context is None:
            return None
        if count is None and np.ndim(context) == 1:
            context = np.asarray(context)[None]
        return self._scaled(read_context(context, count, size))

    def _split(
        self, inputs: Sequences, targets: Sequences, vectors: NDArray[np.float32] | None
    ) -> tuple[PieceWindows, PieceWindows | None]:
        """Windows to learn from, and those held back."""
        steps = self.steps * self.reading_.voices
        stride = None if self.stride is None else self.stride * self.reading_.voices
        if stride is None:
            stride = 1 if len(inputs.values) <= WINDOWS else max(steps // 2, 1)

        def windows(index: NDArray[np.int64]) -> PieceWindows:
            own = None if vectors is None else vectors[index]
            return PieceWindows(inputs.take(index), targets.take(index), steps, stride, own)

        learn, held = self._hold(len(inputs))
        if not self.valid_size:
            return windows(learn), None
        if len(held):
            return windows(learn), windows(held)
        cut = round((1 - self.valid_size) * len(inputs.values))
        if not 0 < cut < len(inputs.values):
            raise OptionError("SequenceGenerator", "a valid_size that leaves steps", str(self.valid_size))
        parts = [
            (Sequences.of([inputs.values[part]]), Sequences.of([targets.values[part]]))
            for part in (slice(None, cut), slice(cut, None))
        ]
        first, second = (PieceWindows(*part, steps, stride) for part in parts)
        return first, second

    def _hold(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the pieces to learn from, and of those held back; of a single piece its end is."""
        if not self.valid_size or count == 1:
            return np.arange(count), np.arange(0)
        order = np.random.default_rng(self.seed).permutation(count)
        hold = max(1, round(self.valid_size * count))
        if hold >= count:
            raise OptionError("SequenceGenerator", "a valid_size that leaves a piece", str(self.valid_size))
        return np.sort(order[hold:]), np.sort(order[:hold])

    def _learned_parts(self, pieces: Pieces) -> list[Any]:
        """What values are scaled by: nothing that is held back."""
        if len(pieces) == 1 and self.valid_size:
            cut = round((1 - self.valid_size) * (pieces.steps(0) - 1))
            return [pieces.parts[0][: cut + 1]]
        return [pieces.parts[number] for number in self._hold(len(pieces))[0]]

    def _take_seed(self, seed_sequence: Any) -> Pieces:
        if hasattr(seed_sequence, "__len__") and not len(seed_sequence):
            raise DataError(
                "generate", "a seed of at least one step", "an empty one",
                "Give some steps to go on from; or None, where pieces with starts and ends were learned.",
            )  # fmt: skip
        # a list is one piece here, be it of words or of rows
        pieces = self.reading_.take(
            [seed_sequence] if isinstance(seed_sequence, list | tuple) else seed_sequence, "seed"
        )
        if len(pieces) != 1:
            raise ShapeError("seed", "one piece", f"{len(pieces):,} pieces", "Give one at a time.")
        return pieces

    def _begin(self, pieces: Pieces | None, rows: int) -> NDArray[Any]:
        """What is read before the first step to make, (rows, steps, columns)."""
        reading = self.reading_
        if pieces is None and not reading.ends:
            raise DataError(
                "generate", "a seed to go on from", "none",
                "Give one; or fit with ends=True on several pieces of symbols, to learn how they start.",
            )  # fmt: skip
        numbers = np.zeros((0, reading.width if reading.voices == 1 else 1), np.int64)
        if pieces is not None:
            numbers = reading.numbers(pieces.parts[0], "seed")
        if reading.ends:
            numbers = np.concatenate([np.full((1, numbers.shape[1]), START), numbers])
        numbers = reading.with_voice(numbers, 0 if reading.ends else 1)
        return np.repeat(numbers[None], rows, 0)

    def _check_memory(self, training: Training, train: PieceWindows) -> None:
        """Say before training that weights, or what the layers keep of a batch, do not fit into memory."""
        a, device = self.architecture_, self.find_device()
        check_weights(type(self).__name__, self.make_network, training.members, device)
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[a.cell]
        each = len(a.numbers) * a.embedding + a.features + 2 * sum(a.filters)
        each += (2 * gates + 2) * a.units * a.layers + 3 * sum(a.numbers)
        rows, steps = min(training.batch_size, len(train)), min(train.steps, train.inputs.longest)
        needed, free = 6.0 * each * steps * rows * training.members, free_memory(device)
        if free is not None and needed > free:
            raise OptionError(
                type(self).__name__,
                f"memory for a batch of {rows} windows of {steps:,} steps, about {needed / 1e9:,.1f} GB",
                f"{free / 1e9:,.1f} GB free",
                "Lower steps, units or the batch_size of `training`.",
            )

    def _told(self, X: Any, context: Any, skip: int) -> Iterator[tuple[NDArray[Any], Iterator[Any], Any]]:
        """For each piece: the targets, what each chunk of it is told, of all members, and the piece."""
        if not is_count(skip, 0):
            raise OptionError("score", "a skip of at least 0 steps", repr(skip))
        pieces = self.reading_.take(X, "X")
        vectors = self._scale_context(context, len(pieces))
        inputs, targets = self.reading_.read(pieces, "X")
        short = np.flatnonzero(targets.lengths <= self.reading_.uncounted(int(skip)))
        if len(short):
            raise DataError(
                f"X[{short[0]}]", f"a piece with steps after the {skip:,} to skip",
                f"{pieces.steps(int(short[0])):,} steps", "Skip fewer.",
            )  # fmt: skip
        device = self.find_device()
        networks = [network.to(device) for network in self.networks_]
        for number in range(len(inputs)):
            past = torch.from_numpy(inputs[number])[None].to(device)
            static = None if vectors is None else torch.from_numpy(vectors[number : number + 1]).to(device)
            yield targets[number], _read_on(networks, past, static), pieces.parts[number]

    @repeatable()
    def _values_told(
        self, X: Any, context: Any, skip: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values after each piece's first, and what they were told to be."""
        self._check_fitted()
        if self.reading_.kind != "values":
            raise OptionError("mse", "a generator of values", "one of symbols", "Use accuracy or perplexity.")
        actual, told = [], []
        for _, chunks, part in self._told(X, context, skip):
            outputs = np.concatenate([chunk.mean(0)[0] for chunk in chunks])
            actual.append(part[1 + skip :])
            told.append(self.reading_.values(part[:-1], outputs)[skip:])
        return np.concatenate(actual), np.concatenate(told)

    @repeatable()
    def _symbols_told(self, X: Any, context: Any, skip: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """For each symbol: whether it was the most probable one, and the logarithm of its probability."""
        self._check_fitted()
        if self.reading_.kind != "symbols":
            raise OptionError(
                "accuracy and perplexity", "a generator of symbols", "one of values", "Use score or mse."
            )
        rights, logs = [], []
        for targets, chunks, _ in self._told(X, context, skip):
            counted = np.ones(targets.shape, bool)
            counted[: self.reading_.uncounted(int(skip))] = False
            counted[:, 1:] &= targets[:, 1:] != 0  # the first stream tells the end for all
            at = 0
            for chunk in chunks:  # all chances of a long piece would be much memory
                part = slice(at, at := at + chunk.shape[2])
                chances = mean_chances(chunk[:, 0])
                of_target = np.take_along_axis(chances, targets[part, :, None], -1)[..., 0]
                rights.append((chances.argmax(-1) == targets[part])[counted[part]])
                logs.append(np.log(np.maximum(of_target, 1e-300))[counted[part]])
        return np.concatenate(rights), np.concatenate(logs)


def check_steps(n: Any, name: str = "n") -> None:
    """Raise an `OptionError` where so many steps cannot be made."""
    if not is_count(n, 1):
        raise OptionError("generate", f"{name} of at least 1", repr(n), "Pass for instance 100.")
    if n > MOST:
        raise OptionError("generate", f"{name} of at most {MOST:,}", "more", "Go on from what was made.")


def r_squared(actual: NDArray[np.float64], told: NDArray[np.float64]) -> float:
    """R² of (steps, features), all features together; of values that are all equal 1 where all are told, else 0.

    >>> r_squared(np.ones((3, 1)), np.ones((3, 1))), r_squared(np.ones((3, 1)), np.zeros((3, 1)))
    (1.0, 0.0)
    """
    spread, off = ((actual - actual.mean(0)) ** 2).sum(), ((actual - told) ** 2).sum()
    return float(1 - off / spread) if spread else float(off == 0)


@torch.no_grad()
def _read_on(networks: Sequence[Any], past: Any, static: Any) -> Iterator[NDArray[Any]]:
    """What members tell of each step, (M, 1, steps, …), chunk by chunk, the state carried."""
    states = [network.start(past, static) for network in networks]
    for start in range(0, past.shape[1], CHUNK):
        chunk = past[:, start : start + CHUNK]
        both = [network.read(chunk, state) for network, state in zip(networks, states, strict=True)]
        states = [state for _, state in both]
        yield torch.stack([told for told, _ in both]).cpu().numpy()
