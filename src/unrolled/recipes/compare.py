"""SimpleRNN, LSTM, GRU and dilated convolutions side by side, as what has to be remembered lies further back.

The adding problem (Hochreiter and Schmidhuber 1997): of a sequence of numbers two are marked, one in each half, and
their sum is asked at the end. Who says the mean always has a mean squared error of 1/6. The copy task (likewise; as
in Arjovsky, Shah and Bengio 2016, arXiv:1511.06464): five symbols of four kinds have to be said again after a pause.
Who guesses is right once in four.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import unrolled as ur
from unrolled.recipes.experiment import check_whole

__all__ = ["LEAST", "LIMITS", "NETWORKS", "TASKS", "Compared", "adding", "compare", "copying"]

SYMBOLS, COPIED = 4, 5
LEAST = 2 * COPIED + 1  # steps: all symbols, a pause, all signs to speak
LIMITS = {"steps": (LEAST, 100_000), "units": (1, 10_000), "epochs": (1, 100_000), "seeds": (1, 1000)}
TRAIN, TEST, BATCH = 2000, 500, 50
NETWORKS = ("SimpleRNN", "LSTM", "GRU", "Conv1D, dilated")
Data = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Compared:
    """One network on one task at one span.

    Attributes:
        task: "adding" or "copy".
        steps: of a sequence, which is how far back what is asked lies.
        network: of `NETWORKS`.
        parameters: numbers that are learned.
        megabytes: what a batch of 50 keeps for its backward pass.
        seconds: of an epoch of 2,000 sequences, the median.
        error: on 500 other sequences: the mean squared error of adding, the share of wrong symbols of copying (there
            are but 1,024 of a length, so that training saw most of the 500); of the seeds the median.
        chance: that of who has learned nothing.
    """

    task: str
    steps: int
    network: str
    parameters: int
    megabytes: float
    seconds: float
    error: float
    chance: float


def adding(count: int, steps: int, seed: int) -> Data:
    """Sequences of (number in [0, 1], mark), (count, steps, 2), and the sums of the marked ones, (count, 1).

    >>> x, y = adding(2, 10, 0)
    >>> bool(np.allclose((x[..., 0] * x[..., 1]).sum(axis=1), y[:, 0])), x[..., 1].sum(axis=1).tolist()
    (True, [2.0, 2.0])
    """
    random = np.random.default_rng(seed)
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = random.random((count, steps))
    half = steps // 2
    for low, high in ((0, half), (half, steps)):
        x[np.arange(count), random.integers(low, high, count), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(axis=1, keepdims=True)


def copying(count: int, steps: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Five symbols, a pause, five signs to speak: (count, steps, 6) of zeros and ones; and the symbols, (count, 5).

    >>> x, y = copying(3, 20, 0)
    >>> x.shape, bool((x[:, :5].argmax(axis=-1) == y).all()), x[0, -5:, 5].tolist()
    ((3, 20, 6), True, [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    symbols = np.random.default_rng(seed).integers(SYMBOLS, size=(count, COPIED))
    kinds = np.full((count, steps), SYMBOLS)  # the pause
    kinds[:, :COPIED], kinds[:, -COPIED:] = symbols, SYMBOLS + 1
    return np.eye(SYMBOLS + 2, dtype=np.float32)[kinds], symbols


class Answers(nn.Module):
    """What a network says at the last steps: (batch, 1) of adding, (batch, 5, 4) of copying."""

    def __init__(self, body: nn.Module, units: int, outputs: int, last: int):
        super().__init__()
        self.body, self.head, self.last = body, ur.nn.Dense(units, outputs), last

    def forward(self, past: Tensor) -> Tensor:
        """The outputs of the last steps."""
        found: Tensor = self.head(self.body(past)[:, -self.last :])
        return found[:, 0] if self.last == 1 else found


def body(network: str, features: int, units: int, steps: int) -> nn.Module:
    """A layer of so many units that says something at each step, or as many convolutions as see all steps."""
    if network in ("SimpleRNN", "LSTM", "GRU"):
        layer: nn.Module = getattr(ur.nn, network)(features, units, return_sequences=True)
        return layer
    depth = max(int(np.ceil(np.log2(steps))), 1)
    sizes = [features] + [units] * (depth - 1)
    return nn.Sequential(*(
        ur.nn.Conv1D(size, units, 2, padding="causal", activation="relu", dilation_rate=2**number)
        for number, size in enumerate(sizes)
    ))  # fmt: skip


TASKS: dict[
    str, tuple[Callable[..., tuple[NDArray[np.float32], NDArray[np.generic]]], int, int, int, str, float]
] = {
    # data, features, outputs, steps that answer, loss, the error of chance
    "adding": (adding, 2, 1, 1, "mse", 1 / 6),
    "copy": (copying, SYMBOLS + 2, SYMBOLS, COPIED, "cross-entropy", 1 - 1 / SYMBOLS),
}


def compare(
    steps: Sequence[int] = (50, 200, 1000), units: int = 64, epochs: int = 30, seeds: int = 3
) -> Iterator[Compared]:
    """Train each network on each task, and yield what came of it.

    Args:
        steps: lengths of the sequences.
        units: of each layer.
        epochs: of Adam at 0.002, gradients clipped at a norm of 1.
        seeds: members that are trained together.
    """
    for task, length, name in itertools.product(TASKS, steps, NETWORKS):
        make, features, outputs, last, loss, chance = TASKS[task]
        learn, test = make(TRAIN, length, 0), make(TEST, length, 1)

        def network(
            sizes: tuple[str, int, int, int, int] = (name, features, length, outputs, last),
        ) -> nn.Module:
            name, features, length, outputs, last = sizes
            return Answers(body(name, features, units, length), units, outputs, last)

        training = ur.Training(
            loss, "adam", 2e-3, epochs=epochs, batch_size=BATCH, members=seeds, restore_best=False
        )
        run = ur.fit(network, learn, training=training, progress=False)
        check_whole(run)
        one = network()
        yield Compared(
            task=task, steps=length, network=name, chance=chance,
            parameters=sum(weight.numel() for weight in one.parameters()),
            megabytes=kept(one, learn[0][:BATCH]),
            seconds=seconds_of(network, learn, training),
            error=statistics.median(error_of(member, test, task) for member in run.members),
        )  # fmt: skip


@torch.no_grad()
def error_of(network: nn.Module, test: tuple[NDArray[np.float32], NDArray[np.generic]], task: str) -> float:
    """The error as `Compared` tells it."""
    made = network(torch.from_numpy(test[0])).numpy()
    if task == "adding":
        return float(np.mean((made - test[1]) ** 2))
    return float(np.mean(made.argmax(axis=-1) != test[1]))


def seconds_of(
    network: Callable[[], nn.Module], learn: tuple[object, object], training: ur.Training
) -> float:
    """The seconds of an epoch of one network alone, of three the median."""
    run = ur.fit(network, learn, training=replace(training, members=1, epochs=4), progress=False)
    check_whole(run)
    return statistics.median(row["seconds"] for row in run.timing[1:])


def kept(network: nn.Module, batch: NDArray[np.float32]) -> float:
    """Megabytes that a forward pass keeps for the backward pass, weights left out."""
    own = {weight.data_ptr() for weight in network.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(torch.from_numpy(batch))
    del output
    return sum(sizes.values()) / 1e6
