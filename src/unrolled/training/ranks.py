"""Several processes that train together (`torchrun`): members spread over them, or one member's batches shared."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from unrolled.data.windows import Batch
from unrolled.errors import TrainingError

__all__ = ["add_up", "collect", "count", "first", "joined", "members", "own_place", "share", "wait"]


def joined() -> bool:
    """Whether there are several processes."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def members(count: int) -> list[int]:
    """The members that this process trains. Where torchrun has started it, the processes are joined first.

    >>> members(3)
    [0, 1, 2]
    """
    if (
        distributed.is_available()
        and not distributed.is_initialized()
        and distributed.is_torchelastic_launched()
    ):
        distributed.init_process_group("gloo")
    if count == 1 or not joined():
        return list(range(count))
    return list(range(distributed.get_rank(), count, distributed.get_world_size()))


def own_place(folder: Path, shared: bool) -> Path:
    """Where this process has its checkpoints; those that share a member have one place, and the first writes."""
    return folder / f"rank-{distributed.get_rank()}" if joined() and not shared else folder


def first() -> bool:
    """Whether this is the first process."""
    return not joined() or distributed.get_rank() == 0


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if joined() else 1


def wait() -> None:
    """Until all processes are here."""
    if joined():
        distributed.barrier()


def share(index: Any) -> Any:
    """This process' part of the numbers of a batch, (members, batch)."""
    if not joined():
        return index
    return index[:, distributed.get_rank() :: distributed.get_world_size()]


def add_up(losses: list[float], gradient: Tensor, batch: Batch) -> tuple[list[float], float]:
    """Make the gradient that of all processes' parts together; return the loss, and the number of sequences counted."""
    assert batch.target is not None
    counted = batch.target.numel() if batch.target_mask is None else int(batch.target_mask.sum())
    sums = gradient.new_tensor([*losses, 1.0])
    total = torch.cat([part * counted if counted else torch.zeros_like(part) for part in (gradient, sums)])
    distributed.all_reduce(total)
    weight = total[-1].clamp(min=1)
    gradient.copy_(total[: len(gradient)] / weight)
    found: list[float] = (total[len(gradient) : -1] / weight).tolist()
    return found, total[-1].item() / max(batch.target.shape[2:].numel(), 1)


def collect(
    results: dict[int, dict[str, Tensor]], history: list[dict[str, Any]], failures: dict[int, TrainingError]
) -> tuple[dict[int, dict[str, Tensor]], list[dict[str, Any]], dict[int, TrainingError]]:
    """What all processes have trained, the same in each of them."""
    if not joined():
        return results, history, failures
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, (results, history, failures))
    weights = {m: tensors for found, _, _ in parts for m, tensors in found.items()}
    rows = {(row["epoch"], row["member"]): row for _, found, _ in parts for row in found}
    return (
        weights,
        [rows[key] for key in sorted(rows)],
        {m: error for *_, f in parts for m, error in f.items()},
    )
