"""Folders that are whole or not there, and checkpoints: work happens beside, and one rename makes it count."""

import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.errors import RunFolderError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_checkpoint", "make_place", "save_checkpoint", "whole_folder"]

logger = logging.getLogger("unrolled")

UNFINISHED = "UNFINISHED"  # marks a folder in which a run was at work: ours to delete
ASKED = "ASKED.json"  # what that run was asked for, before there is a checkpoint that knows


@contextmanager
def whole_folder(
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    asked: Mapping[str, Any] | None = None,
    known_by: str = "config.json",
) -> Iterator[Path]:
    """Give a folder `OUT.partial` to write into, which becomes `out` by one rename at the end.

    Where the work inside fails, the partial folder is deleted and `out` stays as it was, unless there are
    checkpoints in it. Those, and what a killed process leaves, are there for `resume`; the next run without it
    clears them away.

    Args:
        out: the folder to make.
        overwrite: replace a run folder of that name; anything else is never replaced.
        resume: go on in the `OUT.partial` that an earlier run has left, if there is one; else it is said.
        asked: what the run is to do, by name: `resume` goes on with the same alone.
        known_by: a file in it by which a folder is known to be one that `overwrite` may replace.

    Raises:
        RunFolderError: `out` exists, its place cannot be written, or the run to go on with was asked for others.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with whole_folder(Path(place) / "run") as partial:
    ...         _ = (partial / "config.json").write_text("{}")
    ...     sorted(os.listdir(place))
    ['run']
    """
    out = Path(os.path.abspath(out))
    if not out.name:
        raise RunFolderError(str(out), "a new folder", "the root of the file system", "Choose another --out.")
    partial, old = out.with_name(out.name + ".partial"), out.with_name(out.name + ".old")
    _check_free(out, overwrite, known_by)
    try:
        if old.exists():  # killed between the two renames below: put it back, or finish deleting it
            shutil.rmtree(old) if out.exists() else old.rename(out)
            _check_free(out, overwrite, known_by)
        if partial.exists():
            if not (partial / UNFINISHED).exists():
                raise RunFolderError(
                    str(partial),
                    "no such folder",
                    "one that no run has left",
                    "Move it away, or choose another --out.",
                )
            if not resume:
                _check_not_at_work(partial)
                if any(partial.rglob("checkpoint-*.safetensors")):
                    logger.warning(
                        "Starts anew: %s, from which --resume would have gone on, is deleted.", partial.name
                    )
                shutil.rmtree(partial)
        if resume and not any(partial.rglob("checkpoint-*.safetensors")):
            logger.warning("There is no checkpoint to go on from: starts at the beginning.")
        partial.mkdir(parents=True, exist_ok=resume)
        (partial / UNFINISHED).write_text(str(os.getpid()))
        _check_asked(partial, asked)
    except OSError as error:
        raise RunFolderError(
            str(out), "a place that can be written", _reason(error), "Choose another folder with --out."
        ) from error
    try:
        yield partial
        (partial / UNFINISHED).unlink()
        (partial / ASKED).unlink(missing_ok=True)
        for checkpoint in partial.rglob("checkpoint-*.safetensors"):
            checkpoint.unlink()
        for place in [path for kind in ("stage-*", "member-*", "rank-*") for path in partial.glob(kind)]:
            shutil.rmtree(place)
        if out.exists():
            out.rename(old)
        partial.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise RunFolderError(
            str(out),
            "a place that can be written",
            _reason(error),
            "Make room, or choose another folder with --out.",
        ) from error
    finally:
        if not any(partial.rglob("checkpoint-*.safetensors")):
            shutil.rmtree(partial, ignore_errors=True)


def make_place(folder: Path, resume: bool) -> None:
    """Make a folder for checkpoints.

    Raises:
        RunFolderError: it cannot be made, or holds checkpoints from which nobody wants to `resume`.
    """
    if not resume and _checkpoints(folder):
        raise RunFolderError(
            str(folder),
            "a folder without checkpoints",
            "those of an earlier training",
            "Pass resume=True, or another.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            str(folder), "a place that can be written", _reason(error), "Choose another folder."
        ) from error


def save_checkpoint(folder: Path, tensors: "dict[str, Tensor]", facts: dict[str, Any]) -> None:
    """Write the next checkpoint, whole or not at all, and delete all but the one before it.

    Args:
        folder: of the run, existing.
        tensors: to be kept, by name.
        facts: what else is to be kept; anything that JSON can hold.

    Raises:
        RunFolderError: it cannot be written, as where the disk is full; the checkpoints before it are still there.
    """
    from safetensors.torch import save

    known = _checkpoints(folder)
    number = 1 + (int(known[-1].stem.rpartition("-")[2]) if known else 0)
    path = folder / f"checkpoint-{number:06}.safetensors"
    temporary = folder / "checkpoint.writing"
    written = save(tensors, {"facts": json.dumps(facts)})
    try:
        with temporary.open("wb") as file:
            file.write(zlib.crc32(written).to_bytes(4, "little"))
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = f"; {known[-1].name} is still there" if known else ""
        raise RunFolderError(
            str(folder),
            "room for a checkpoint",
            f"{_reason(error)}{kept}",
            "Make room, then go on with resume.",
        ) from error
    for old in known[:-1]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
    """Read the newest checkpoint that is whole; None where there is none. A damaged one is passed over, and said so."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    for path in reversed(_checkpoints(folder)):
        written = path.read_bytes()
        try:
            if zlib.crc32(written[4:]) != int.from_bytes(written[:4], "little"):
                raise ValueError("the sum over its bytes differs")
            size = int.from_bytes(written[4:12], "little")
            facts = json.loads(json.loads(written[12 : 12 + size])["__metadata__"]["facts"])
            return load(written[4:]), facts
        except (ValueError, KeyError, SafetensorError) as error:
            logger.warning("%s is damaged (%s): going on from the checkpoint before it.", path.name, error)
            path.unlink(missing_ok=True)  # lest the next one pushes out what is whole
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.safetensors"))


def _check_not_at_work(partial: Path) -> None:
    """No other process of this machine works in the folder."""
    try:
        owner = int((partial / UNFINISHED).read_text())
        os.kill(owner, 0)
    except PermissionError:
        pass  # it is there, and another user's
    except (ValueError, OSError):
        return
    if owner != os.getpid():
        raise RunFolderError(
            str(partial),
            "a folder that no run is at work in",
            f"that of process {owner}",
            "Choose another --out.",
        )


def _check_asked(partial: Path, asked: Mapping[str, Any] | None) -> None:
    """What the run in the folder was asked for is what this one is asked for; where it is new, that is written down."""
    mine = json.loads(json.dumps(asked or {}, default=str))
    if (partial / ASKED).exists():
        try:
            of = json.loads((partial / ASKED).read_text("utf-8"))
            others = sorted(name for name in {*of, *mine} if of.get(name) != mine.get(name))
        except ValueError:  # killed while it was written
            others = []
        if others:
            raise RunFolderError(
                str(partial), "a run that was asked for the same", f"one with another {', '.join(others)}",
                "Start anew without --resume, or give what it was started with.",
            )  # fmt: skip
    (partial / ASKED).write_text(json.dumps(mine), "utf-8")


def _check_free(out: Path, overwrite: bool, known_by: str) -> None:
    if not os.path.lexists(out):
        return
    if not (out / known_by).is_file():
        raise RunFolderError(str(out), "a new folder", "something that is not a run", "Choose another --out.")
    if not overwrite:
        raise RunFolderError(
            str(out),
            "a new folder",
            "one that already holds a run",
            "Choose another --out, or pass --overwrite (in Python overwrite=True).",
        )


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
