"""Folders that are whole or not there: work happens beside, and one rename makes it count."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unrolled.errors import RunFolderError

__all__ = ["whole_folder"]

UNFINISHED = "UNFINISHED"  # marks a folder in which a run was at work: ours to delete


@contextmanager
def whole_folder(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder `OUT.partial` to write into, which becomes `out` by one rename at the end.

    Where the work inside fails, the partial folder is deleted and `out` stays as it was. A process
    that is killed leaves `OUT.partial`, which the next run clears away.

    Args:
        out: the folder to make.
        overwrite: replace a run folder of that name; anything else is never replaced.

    Raises:
        RunFolderError: `out` exists, or its place cannot be written.

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
    _check_free(out, overwrite)
    try:
        if old.exists():  # killed between the two renames below: put it back, or finish deleting it
            shutil.rmtree(old) if out.exists() else old.rename(out)
            _check_free(out, overwrite)
        if partial.exists():
            if not (partial / UNFINISHED).exists():
                raise RunFolderError(
                    str(partial),
                    "no such folder",
                    "one that no run has left",
                    "Move it away, or choose another --out.",
                )
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        (partial / UNFINISHED).touch()
    except OSError as error:
        raise RunFolderError(
            str(out), "a place that can be written", _reason(error), "Choose another folder with --out."
        ) from error
    try:
        yield partial
        (partial / UNFINISHED).unlink()
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
        shutil.rmtree(partial, ignore_errors=True)


def _check_free(out: Path, overwrite: bool) -> None:
    if not os.path.lexists(out):
        return
    if not (out / "config.json").is_file():
        raise RunFolderError(str(out), "a new folder", "something that is not a run", "Choose another --out.")
    if not overwrite:
        raise RunFolderError(
            str(out),
            "a new folder",
            "one that already holds a run",
            "Choose another --out, or pass --overwrite.",
        )


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
