"""What the recipes have in common: training the seeds together, and asking them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

import unrolled as ur
from unrolled.report.published import Plot, Row

__all__ = ["Found", "Plot", "Recipe", "Row", "answers", "check_whole", "train"]

Found = Iterator[Row | Plot]


@dataclass(frozen=True)
class Recipe:
    """An experiment: its name, what it is, and the function from (seeds, quick) to what it gives."""

    name: str
    title: str
    run: Callable[[int, bool], Found]


def train(
    make: Callable[[], nn.Module], data: Sequence[Any], training: ur.Training
) -> tuple[ur.TrainingRun, float, str]:
    """Train the members together; return the run, its seconds, and a note on members that came to nothing.

    Args:
        make: makes a network.
        data: to learn from, and to validate by.
        training: how, and how many.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    start = time.perf_counter()
    learn, valid = data
    run = ur.fit(make, learn, valid, training, progress=False)
    check_whole(run)
    lost = len(run.failures)
    note = f"{lost} of {training.members} members diverged, and are not counted" if lost else ""
    return run, time.perf_counter() - start, note


def check_whole(run: ur.TrainingRun) -> None:
    """Hand on an interrupt, which `fit` takes for the end of training: a figure of what was cut short is none.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    if run.interrupted:
        raise KeyboardInterrupt


@torch.no_grad()
def answers(run: ur.TrainingRun, inputs: ArrayLike) -> NDArray[np.float64]:
    """What each member says of the same inputs, (members, …)."""
    x = torch.as_tensor(np.ascontiguousarray(inputs), dtype=torch.float32)
    return np.stack([network(x).double().numpy() for network in run.members])
