"""What every command prints with: lines and tables for people on standard error, JSON on standard output."""

import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from unrolled.errors import RunFolderError

__all__ = [
    "Notes",
    "check_new",
    "console",
    "new_folder",
    "number",
    "print_json",
    "run_folder",
    "say",
    "say_wrapped",
    "write_csv",
    "write_whole",
]


def new_folder(name: str) -> Path:
    """A folder in runs/ that is not there yet."""
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)[:80]
    number = 1
    while (out := Path("runs") / (plain if number == 1 else f"{plain}-{number}")).exists():
        number += 1
    return out


def run_folder(
    out: Path, estimator: Any, *, overwrite: bool, resume: bool, **asked: Any
) -> AbstractContextManager[Path]:
    """The run folder while it is made (`whole_folder`); `resume` goes on with the same estimator and `asked` alone."""
    from unrolled.training.checkpoint import whole_folder

    asked = estimator.get_params(deep=False) | asked
    asked.pop("device")  # another one may go on
    return whole_folder(out, overwrite=overwrite, resume=resume, asked=asked)


def check_new(out: Path | None, overwrite: bool) -> None:
    """Raise a `RunFolderError` where a file that is to be written is there already, or never can be."""
    if out is None:
        return
    if out.exists() and not overwrite:
        raise RunFolderError(
            str(out), "a new file", "one that exists", "Choose another --out, or pass --overwrite."
        )
    place = next(folder for folder in out.absolute().parents if folder.exists())
    wrong = "a folder" if out.is_dir() else "" if place.is_dir() else f"{place}, which is no folder"
    if wrong or not os.access(place, os.W_OK):
        raise RunFolderError(
            str(out), "a file that can be written", wrong or "permission denied", "Choose another --out."
        )


def write_csv(frame: Any, out: Path | None) -> None:
    """Write a pandas frame, whole or not at all, and say so; nothing where `out` is None.

    Raises:
        RunFolderError: it cannot be written.
    """
    if out is not None:
        write_whole(out, lambda partial: frame.to_csv(partial, index=False))


def write_whole(out: Path, write: Callable[[Path], Any]) -> None:
    """Write a file, whole or not at all, by a function of its path, and say so.

    Raises:
        RunFolderError: it cannot be written.
    """
    partial = out.with_name(out.name + ".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(partial)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise RunFolderError(
            str(out), "a file that can be written", reason, "Choose another --out."
        ) from error
    say(f"Written: {out}")


def number(value: float | None) -> str:
    """Write four significant digits, and all of those before the point.

    >>> number(41987.3), number(0.39124), number(371.0)
    ('41,987', '0.3912', '371.0')
    """
    if value is None:
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.4g}" if size >= 1e-4 or not size else f"{value:.3e}"


def print_json(found: dict[str, Any]) -> None:
    """Print on standard output, for machines."""
    print(json.dumps(found, indent=1, allow_nan=False))


def say(line: str) -> None:
    """Print a line on standard error, for people."""
    print(line, file=sys.stderr)


def say_wrapped(text: str) -> None:
    """Print lines no longer than the terminal is wide."""
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    say(
        "\n".join(
            textwrap.fill(line, width, subsequent_indent="  " if line.startswith("•") else "")
            for line in text.split("\n")
        )
    )


def console() -> Any:
    """Where tables for people go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


class Notes(logging.Handler):
    """What the package logs, as lines of ours; each once, however often data is read."""

    def __init__(self, level: int = logging.NOTSET):
        super().__init__(level)
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        text = record.getMessage()
        if text not in self.said:
            self.said.add(text)
            say_wrapped(f"• {text}")
