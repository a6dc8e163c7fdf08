"""Pretrained vectors of words: word2vec's text and binary formats, GloVe's text, read as a stream."""

import gzip
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError, OptionError

__all__ = ["WordVectors", "read_vectors"]

LONGEST_WORD = 10_000  # bytes; beyond, it is no file of vectors


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors.

    Attributes:
        words: in the order of the file.
        vectors: (words, size), float32.
    """

    words: tuple[str, ...]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.words)


def read_vectors(
    path: str | Path,
    *,
    limit: int | None = None,
    keep: Collection[str] | None = None,
    size: int | None = None,
) -> WordVectors:
    """Read vectors of words: word2vec's text (a first line "count size") or binary format, or GloVe's text.

    The format is found in the file; `.gz` is unpacked on the way. Only what is kept is held in memory. A word that
    comes twice keeps its first vector.

    Args:
        path: of the file.
        limit: read only so many vectors from its beginning, where the most frequent words stand.
        keep: words to keep; None keeps all.
        size: what each vector must have; by default what the file's first one has.

    Raises:
        DataError: the file is missing, truncated, of another size, or none of these formats.
        OptionError: `limit` below 1.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "glove.txt"
    ...     _ = path.write_text("the 0.5 1\\nfilm -1 2e-1\\n")
    ...     read_vectors(path, keep={"film"}).vectors.tolist()
    [[-1.0, 0.20000000298023224]]
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise OptionError("read_vectors", "a limit of at least 1", str(limit))
    if not path.is_file():
        raise DataError(str(path), "a file of word vectors", "no such file", "Check the path.")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _collect(path, _rows(path, file, limit, size), keep)
    except (OSError, EOFError, MemoryError, OverflowError) as error:  # a first line may ask for any size
        reason = " ".join(str(error).split())[:120] or "vectors too large for memory"
        raise DataError(str(path), "a whole file of word vectors", reason, "Copy it anew.") from error


def _collect(
    path: Path, rows: Iterator[tuple[bytes, NDArray[np.float32]]], keep: Collection[str] | None
) -> WordVectors:
    wanted = None if keep is None else set(keep)
    found: dict[str, NDArray[np.float32]] = {}
    size = 0
    for name, vector in rows:
        word = name.decode("utf-8", "replace")
        size = len(vector)
        if not np.isfinite(vector).all():
            raise DataError(str(path), f"finite numbers for {word!r}", "others", "Copy it anew.")
        if (wanted is None or word in wanted) and word not in found:
            found[word] = vector
    vectors = np.stack(list(found.values())) if found else np.zeros((0, size), np.float32)
    return WordVectors(tuple(found), vectors)


def _rows(
    path: Path, file: IO[bytes] | Any, limit: int | None, size: int | None
) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
    first = file.readline(1_000_000)
    head = first.split()
    if not head:
        raise DataError(str(path), "word vectors", "an empty file or line", "Name a file of word vectors.")
    if len(head) != 2 or not all(part.isdigit() for part in head):  # GloVe: no header
        yield from _text_rows(path, file, first, 1, limit, None, size)
        return
    count, width = map(int, head)
    if width < 1 or (size is not None and width != size):
        raise DataError(
            str(path),
            f"vectors of {size or 'at least 1'} numbers",
            f"of {width}, by its first line",
            "Name another file, or another size.",
        )
    count = count if limit is None else min(count, limit)
    start = file.tell()
    line = file.readline(1_000_000)
    file.seek(start)
    if _is_text(line, width):
        yield from _text_rows(path, file, file.readline(), 2, count, count, width)
    else:
        yield from _binary_rows(path, file, count, width)


def _is_text(line: bytes, width: int) -> bool:
    """Whether a word and so many numbers stand in the line (a truncated line of text counts as one)."""
    parts = line.rstrip().split(b" ")
    try:
        [float(part) for part in parts[1:]]
    except ValueError:
        return False
    return 2 <= len(parts) <= max(width, 1) + 1 and line.isascii() | (len(parts) > 2)


def _text_rows(
    path: Path,
    file: IO[bytes] | Any,
    line: bytes,
    number: int,
    limit: int | None,
    count: int | None,
    size: int | None,
) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
    done = 0
    while line and (limit is None or done < limit):
        parts = line.rstrip().split(b" ")
        size = len(parts) - 1 if size is None else size
        # a word of GloVe may have spaces in it: the last numbers are its vector
        numbers = parts[-size:] if size else []
        try:
            vector = np.array([float(part) for part in numbers], np.float32)
        except ValueError as error:
            raise _wrong_line(path, number, size, parts) from error
        if len(parts) < size + 1 or not size or (len(parts) > size + 1 and _number(parts[-size - 1])):
            raise _wrong_line(path, number, size, parts)
        yield b" ".join(parts[:-size]), vector
        line, number, done = file.readline(1_000_000), number + 1, done + 1
    if count is not None and done < count:
        raise _truncated(path, count, done)


def _number(part: bytes) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _wrong_line(path: Path, number: int, size: int, parts: list[bytes]) -> DataError:
    return DataError(
        f"{path}, line {number}",
        f"a word and {size or 'some'} numbers",
        f"{len(parts)} parts, {parts[0].decode('utf-8', 'replace')[:20]!r} first",
        "The file is truncated, or of another format: copy it anew.",
    )


def _binary_rows(
    path: Path, file: IO[bytes] | Any, count: int, width: int
) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
    for done in range(count):
        word = bytearray()
        while (letter := file.read(1)) != b" ":
            if not letter or len(word) > LONGEST_WORD:
                raise _truncated(path, count, done)
            if letter != b"\n":  # some writers end each vector by a line feed
                word += letter
        data = file.read(4 * width)
        if len(data) < 4 * width:
            raise _truncated(path, count, done)
        yield bytes(word), np.frombuffer(data, "<f4").astype(np.float32)


def _truncated(path: Path, count: int, done: int) -> DataError:
    return DataError(
        str(path),
        f"{count:,} vectors, as its first line says",
        f"an end after {done:,}",
        "The file is truncated: copy it anew.",
    )
