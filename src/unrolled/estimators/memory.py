"""Whether training fits into memory, said before it begins."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from unrolled.encoders import Architecture
from unrolled.errors import OptionError
from unrolled.training.options import Training

__all__ = ["check_memory", "check_weights", "free_memory"]

FOR_EACH_WEIGHT = 5  # numbers: itself, its slope, two moments of the optimizer, the best one until now


def check_memory(
    where: str,
    a: Architecture,
    training: Training,
    make: Callable[[Architecture], nn.Module] | None,
    device: torch.device,
    *,
    longest: int,
    count: int,
    held: int,
) -> None:
    """Raise an `OptionError` where the weights, or what the layers keep of a batch, do not fit into memory.

    Args:
        where: what to call the estimator.
        a: what the network is made of.
        training: how it is trained.
        make: makes the network; None where nobody knows its weights.
        device: where.
        longest: steps of the longest sequence.
        count: sequences to learn from.
        held: sequences held back.
    """
    free = free_memory(device)
    if free is None:
        return
    if make is not None:
        check_weights(where, partial(make, a), training.members, device)
    if training.bptt_steps is not None:
        longest = min(longest, training.bptt_steps)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}.get(a.cell or "", 0)
    step = int(np.prod(a.image)) if a.image else 0 if a.embedding else a.input_size
    if a.image:
        step += 8 * int(np.prod(a.image)) * 3
    step += 3 * a.embedding + 3 * a.filters + (2 * gates + 2) * a.units * a.layers * (1 + a.bidirectional)
    step += 2 * a.outputs * (a.per_step or a.line)
    rows = min(training.batch_size, count)
    # what is held back is read by 256 at least, without slopes
    needed = 4 * step * longest * training.members * max(1.5 * rows, min(held, max(rows, 256)))
    if needed > free:
        raise OptionError(
            where,
            f"memory for a batch of {rows} sequences of up to {longest:,} steps, about {needed / 1e9:,.1f} GB",
            f"{free / 1e9:,.1f} GB free",
            "Lower the batch_size of `training`, cut sequences with max_steps, or train fewer members at once.",
        )


def check_weights(where: str, make: Callable[[], nn.Module], members: int, device: torch.device) -> None:
    """Raise an `OptionError` where the weights of so many networks, and what training keeps of each, do not fit."""
    free, weights = free_memory(device), _count_weights(make)
    needed = 4.0 * FOR_EACH_WEIGHT * weights * members
    if free is not None and needed > free:
        raise OptionError(
            where,
            f"memory for {members} networks of {weights:,} weights, about {needed / 1e9:,.1f} GB",
            f"{free / 1e9:,.1f} GB free",
            "Lower units, layers, the size of embeddings, or members.",
        )


def free_memory(device: torch.device) -> float | None:
    """Bytes that can be had, or None where nobody knows."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * float(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _count_weights(make: Callable[[], nn.Module]) -> int:
    try:
        with torch.device("meta"):  # which takes no memory
            return sum(weight.numel() for weight in make().parameters())
    except RuntimeError:  # more bytes than there are numbers for them
        return 2**62
