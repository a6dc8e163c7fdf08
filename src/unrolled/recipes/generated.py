"""E2: a network of 100 relu neurons learns t·sin(t)/3 + 2·sin(5t), and goes on with it alone."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import unrolled as ur
from unrolled.recipes.experiment import Found, Plot, Row, answers, train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Network", "generated", "series"]

STEPS, STEP, LAST = 20, 0.1, 30.0
BATCH, EVERY = 50, 100
PUBLISHED = {0: 379.586, 100: 14.58426, 200: 7.14066, 300: 3.98528, 400: 2.00254}


def series(t: Any) -> NDArray[np.float64]:
    """The series at times t."""
    t = np.asarray(t, np.float64)
    return np.asarray(t * np.sin(t) / 3 + 2 * np.sin(5 * t))


def windows(start: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """20 steps from each start, and the same one step on: (windows, 20, 1) each."""
    values = series(start[:, None] + STEP * np.arange(STEPS + 1))[..., None].astype(np.float32)
    return values[:, :-1], values[:, 1:]


class Network(nn.Module):
    """SimpleRNN(100, relu), one number at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = ur.nn.SimpleRNN(1, 100, activation="relu", return_sequences=True, return_state=True)
        self.dense = ur.nn.Dense(100, 1)

    def forward(self, past: Tensor) -> Tensor:
        """(batch, time, 1), likewise."""
        output: Tensor = self.dense(self.recurrent(past)[0])
        return output


@torch.no_grad()
def go_on(network: nn.Module, seed: NDArray[np.float32], steps: int) -> NDArray[np.float64]:
    """Feed a network with what it said last, the last 20 values at a time, as published."""
    values = [float(value) for value in seed]
    for _ in range(steps):
        past = torch.tensor(values[-STEPS:])[None, :, None]
        values.append(float(network(past)[0, -1, 0]))
    return np.asarray(values[len(seed) :])


@torch.no_grad()
def untrained(seed: int, data: tuple[NDArray[np.float32], NDArray[np.float32]]) -> float:
    """The mean squared error of a member before it learns, from the weights that training starts with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network()
    return float(np.mean((network(torch.from_numpy(data[0])).numpy() - data[1]) ** 2))


def generated(seeds: int, quick: bool) -> Found:
    """E2: the mean squared error at iterations 0 to 400, at the end, and what 300 steps of its own look like."""
    random = np.random.default_rng(0)
    learn = windows(random.uniform(0, LAST - STEPS * STEP, BATCH * EVERY))
    grid = windows(np.arange(0, LAST - STEPS * STEP, STEP / 2))
    before = [untrained(seed, grid) for seed in range(seeds)]
    yield Row(
        "E2",
        "iteration 0",
        "MSE",
        PUBLISHED[0],
        tuple(before),
        note="nothing is learned yet: initial weights differ",
        whole=False,
    )
    # An epoch is a hundred iterations; the validation grid is measured after each.
    training = ur.Training(
        "mse",
        "adam",
        1e-3,
        epochs=10 if quick else 100,
        batch_size=BATCH,
        members=seeds,
        clip_norm=None,
        restore_best=False,
    )
    run, seconds, note = train(Network, (learn, grid), training)
    for iteration in (100, 200, 300, 400, EVERY * training.epochs):
        rows = [
            row
            for row in run.history
            if row["epoch"] == iteration // EVERY and row["member"] not in run.failures
        ]
        what = f"iteration {iteration:,}, on a grid of windows"
        found = tuple(row["valid_loss"] for row in rows)
        yield Row("E2", what, "MSE", PUBLISHED.get(iteration), found, seconds, note)
    start = LAST - STEPS * STEP
    seed = series(start + STEP * np.arange(STEPS)).astype(np.float32)
    own = [go_on(network, seed, 300) for network in run.members]
    made = answers(run, windows(np.array([12.2]))[0])[:, 0, :, 0]

    def draw_instance(axes: "Axes") -> None:
        t = 12.2 + STEP * np.arange(STEPS + 1)
        axes.plot(t[:-1], series(t[:-1]), "o", label="instance", markersize=4)
        axes.plot(t[1:], series(t[1:]), "o", label="target", markersize=7, markerfacecolor="none")
        axes.plot(t[1:], made.mean(axis=0), ".", label="prediction")

    def draw_own(axes: "Axes") -> None:
        t = start + STEP * np.arange(STEPS)
        axes.plot(t, seed, label="the seed")
        axes.plot(t[-1] + STEP * np.arange(1, 301), own[0], label="its own output")

    yield Plot(
        "E2",
        "A training instance",
        "Twenty steps from t = 12.2, the same one step on, and what the network says.",
        draw_instance,
    )
    yield Plot(
        "E2",
        "A creative network",
        "From twenty steps of the series on, the network is fed with its own output, 300 times.",
        draw_own,
    )
