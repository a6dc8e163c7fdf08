"""E1: the next value of generated sine waves, as the second edition's notebook forecasts it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

import unrolled as ur
from unrolled.recipes.experiment import Found, Plot, Row, answers, train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["generate", "sines"]

STEPS = 50


def generate(count: int, seed: int = 42) -> NDArray[np.float32]:
    """Return two sines of random frequency and phase with noise: (count, 51, 1).

    >>> generate(3).shape
    (3, 51, 1)
    """
    random = np.random.default_rng(seed)
    f1, f2, o1, o2 = random.random((4, count, 1))
    t = np.linspace(0, 1, STEPS + 1)
    waves = 0.5 * np.sin((t - o1) * (f1 * 10 + 10)) + 0.2 * np.sin((t - o2) * (f2 * 20 + 20))
    waves += 0.1 * (random.random((count, STEPS + 1)) - 0.5)
    return waves[..., None].astype(np.float32)


def sines(seeds: int, quick: bool) -> Found:
    """E1: mean squared error on the validation part after 20 epochs."""
    waves = generate(10_000)
    learn, valid = ((part[:, :STEPS], part[:, STEPS]) for part in (waves[:7000], waves[7000:9000]))
    naive = float(np.mean((valid[1] - valid[0][:, -1]) ** 2))
    yield Row("E1", "naive: the last value", "MSE", 0.020, (naive,))
    networks: list[tuple[str, Callable[[], nn.Module], float, float]] = [
        ("linear", lambda: nn.Sequential(nn.Flatten(), ur.nn.Dense(STEPS, 1)), 1e-3, 0.004),
        ("SimpleRNN(1)", lambda: ur.nn.SimpleRNN(1, 1), 5e-3, 0.011),
        ("SimpleRNN(20), SimpleRNN(20), Dense(1)", lambda: nn.Sequential(
            ur.nn.SimpleRNN(1, 20, return_sequences=True), ur.nn.SimpleRNN(20, 20), ur.nn.Dense(20, 1)), 1e-3, 0.0026),
    ]  # fmt: skip
    for what, make, rate, published in networks:
        training = ur.Training(
            "mse", "adam", rate, epochs=5 if quick else 20, batch_size=32, members=seeds, clip_norm=None,
            restore_best=False,
        )  # fmt: skip
        run, seconds, note = train(make, (learn, valid), training)
        made = answers(run, valid[0])
        found = tuple(float(np.mean((one - valid[1]) ** 2)) for one in made)
        yield Row("E1", what, "MSE", published, found, seconds, note)
    first = made[:, 0, 0]

    def draw(axes: "Axes") -> None:
        axes.plot(valid[0][0, :, 0], label="50 steps", marker="o", markersize=3)
        axes.plot([STEPS], valid[1][0], "x", label="what comes", markersize=8)
        axes.plot([STEPS] * len(first), first, "_", label="forecasts", markersize=12)

    yield Plot(
        "E1",
        "A generated series",
        "The first validation series, its 51st value, and what the deep network says.",
        draw,
    )
