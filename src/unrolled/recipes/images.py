"""E3, E4: MNIST read row by row, 28 steps of 28 points, by 150 neurons, three layers of 100, LSTM and GRU."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

import unrolled as ur
from unrolled.data import load_mnist
from unrolled.recipes.experiment import Found, Plot, Row, train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["gated", "rows_of_images"]

LEARN, BATCH = 55_000, 150


def network(cell: Callable[..., nn.Module], units: int, layers: int = 1) -> nn.Sequential:
    """Layers of so many units, and ten classes."""
    sizes = [28] + [units] * (layers - 1)
    stack = [cell(size, units, return_sequences=place < layers - 1) for place, size in enumerate(sizes)]
    return nn.Sequential(*stack, ur.nn.Dense(units, 10))


def measured(
    experiment: str, what: str, make: Callable[[], nn.Module], seeds: int, quick: bool, published: bool
) -> Found:
    """Test accuracy after the first epoch, and after the last of a hundred."""
    (x, y), (x_test, y_test) = load_mnist()
    x, x_test = ((part / 255).astype(np.float32) for part in (x[:LEARN], x_test))
    training = ur.Training(
        "cross-entropy", "adam", 1e-3, epochs=1 if quick else 100, batch_size=BATCH, members=seeds,
        metrics=["accuracy"], clip_norm=None, restore_best=False,
    )  # fmt: skip
    # The test part stands where validation does, to be measured after each epoch; nothing is chosen by it.
    data = (x, y[:LEARN].astype(np.int64)), (x_test, y_test.astype(np.int64))
    run, seconds, note = train(make, data, training)
    curve = np.array(
        [
            [row["valid_accuracy"] for row in run.history if row["member"] == member]
            for member in range(seeds)
            if member not in run.failures
        ]
    )
    yield Row(experiment, f"{what}: epoch 1", "accuracy", 0.7299 if published else None,
              tuple(map(float, curve[:, 0])), seconds / training.epochs, note, lower=False)  # fmt: skip
    if quick:
        return
    yield Row(experiment, f"{what}: mean of epochs 96 to 100", "accuracy", 0.9809 if published else None,
              tuple(map(float, curve[:, -5:].mean(axis=1))), seconds, note, lower=False)  # fmt: skip

    def draw(axes: "Axes") -> None:
        for number, one in enumerate(curve):
            axes.plot(
                np.arange(1, len(one) + 1), one, linewidth=1, label="a seed" if not number else f"_{number}"
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel("test accuracy")

    yield Plot(
        experiment, f"MNIST by rows: {what}", "Test accuracy after each epoch, a line for each seed.", draw
    )


def rows_of_images(seeds: int, quick: bool) -> Found:
    """E3: SimpleRNN(150)."""
    yield from measured("E3", "SimpleRNN(150)", partial(network, ur.nn.SimpleRNN, 150), seeds, quick, True)


def gated(seeds: int, quick: bool) -> Found:
    """E4: three layers of 100; LSTM; GRU."""
    if quick:
        yield Row(
            "E4",
            "three SimpleRNN(100); LSTM(150); GRU(150)",
            "accuracy",
            None,
            (),
            note="left out by --quick",
        )
        return
    yield from measured(
        "E4", "three SimpleRNN(100)", partial(network, ur.nn.SimpleRNN, 100, 3), seeds, quick, False
    )
    for cell in (ur.nn.LSTM, ur.nn.GRU):
        yield from measured("E4", f"{cell.__name__}(150)", partial(network, cell, 150), seeds, quick, False)
