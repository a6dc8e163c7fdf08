"""What training tells while it runs: a bar on a terminal, one line at the end elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["show_progress"]

Report = Callable[[Sequence[Mapping[str, Any]], int], None]


@contextmanager
def show_progress(epochs: int, wanted: bool | None = None) -> Iterator[Report]:
    """Give a function that takes an epoch's rows of the history and the steps made since the last, and shows them.

    Args:
        epochs: how many there will be at most.
        wanted: False for silence; None, or True, for a bar where standard error is a terminal, and one line at the
            end where it is not.

    >>> with show_progress(10, wanted=False) as report:
    ...     report([{"member": 0, "epoch": 1, "loss": 0.5, "valid_loss": 0.6, "best": True}], 40)
    """
    if wanted is False:
        yield lambda rows, steps: None
        return
    seen = _Seen()
    if not sys.stderr.isatty():
        yield seen.add
        if seen.epoch:
            count = len(seen.members)
            print(f"Trained {count} member{'s' * (count > 1)}: {seen}", file=sys.stderr)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=16), TextColumn("{task.description}"), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=epochs)

        def report(rows: Sequence[Mapping[str, Any]], steps: int) -> None:
            seen.add(rows, steps)
            bar.update(task, advance=1, description=str(seen))

        yield report


class _Seen:
    """What has been reported so far, in a line."""

    def __init__(self) -> None:
        self.start, self.epoch, self.steps = time.perf_counter(), 0, 0
        self.members: set[int] = set()
        self.value, self.best, self.name = float("nan"), float("inf"), "loss"

    def add(self, rows: Sequence[Mapping[str, Any]], steps: int) -> None:
        self.epoch, self.steps = rows[0]["epoch"], self.steps + steps
        self.members.update(row["member"] for row in rows)
        self.name = "loss" if rows[0]["valid_loss"] is None else "valid_loss"
        self.value = sum(row[self.name] for row in rows) / len(rows)
        self.best = min(self.best, *(row[self.name] for row in rows))

    def __str__(self) -> str:
        rate = self.steps / max(time.perf_counter() - self.start, 1e-9)
        return f"epoch {self.epoch}, {self.name} {self.value:.4g}, best {self.best:.4g}, {rate:,.0f} steps/s"
