"""A bar on standard error while training runs; nothing where that is no terminal."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["show_progress"]


@contextmanager
def show_progress(epochs: int, wanted: bool | None = None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give a function that takes each row of the history, and shows how far training has come.

    Args:
        epochs: how many rows there will be at most, over all members.
        wanted: show a bar or do not; None shows one where standard error is a terminal.

    >>> with show_progress(10, wanted=False) as report:
    ...     report({"member": 0, "epoch": 1, "loss": 0.5, "valid_loss": 0.6})
    """
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield lambda row: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(bar_width=24),
        TextColumn("member {task.fields[member]}, epoch {task.fields[epoch]}, loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=epochs, member=1, epoch=1, loss="…")

        def report(row: Mapping[str, Any]) -> None:
            loss = row["valid_loss"] if row["valid_loss"] is not None else row["loss"]
            bar.update(task, advance=1, member=row["member"] + 1, epoch=row["epoch"], loss=f"{loss:.4f}")

        yield report
