"""Public data sets: from the folder of `$UNROLLED_DATA`, else the user's cache, else downloaded and checked."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import MissingDataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "load_co2",
    "load_digits_rows",
    "load_imdb",
    "load_jsb_chorales",
    "load_mnist",
    "load_ridership",
    "load_sentence_polarity",
]

GERON = "https://github.com/ageron/data/raw/2ea73147454d2ff8c8a933913be4606f05b352ca"
KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
KIM = "https://github.com/yoonkim/CNN_sentence/raw/23e0e1f7355705bb083043fda05c031b15acb38c"
STANFORD = "https://ai.stanford.edu/~amaas/data/sentiment"
HASHES = {
    "ridership.tgz": "sha256:0ff99f3dddd886ddea161b68f25f90b56b0468f5c91949b75376fb494516c794",
    "jsb_chorales.tgz": "sha256:e722fbc866fc1ba0bac56a6fcad95d7e3e584da80173e13932e3da441440efd7",
    "mnist.npz": "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    "rt-polarity.pos": "sha256:2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
    "rt-polarity.neg": "sha256:4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
    "aclImdb_v1.tar.gz": "md5:7c2ac02c03563afcf9b574c7e56c153a",
}


def load_ridership() -> "pd.DataFrame":
    """Return the daily boardings of Chicago's buses and trains, 2001-01-01 to 2021-11-30, as published.

    Returns:
        7,701 rows: service_date ("01/31/2001"), day_type (W, A, U), bus, rail_boardings,
        total_rides (persons a day). Two months stand in it twice.

    Raises:
        MissingDataError: the file is not on this machine, and cannot be downloaded, or is another.

    Source: Chicago Transit Authority, through github.com/ageron/data (117 kB).
    """
    import pandas as pd

    path = _fetch("ridership.tgz", GERON)
    columns = ["service_date", "day_type", "bus", "rail_boardings", "total_rides"]
    with _readable(path, f"a table of {', '.join(columns)}"), tarfile.open(path) as archive:
        members = [name for name in archive.getnames() if name.endswith(".csv") and "/." not in name]
        table = archive.extractfile(members[0])
        assert table is not None
        return pd.read_csv(table)[columns]


def load_co2() -> "pd.DataFrame":
    """Return the weekly carbon dioxide at Mauna Loa, 1958-03-29 to 2001-12-29, with its real gaps.

    Returns:
        2,284 rows: time (Saturdays), co2 (parts per million by volume; 59 are missing).

    Source: carried by statsmodels (Keeling and Whorf, 2004); needs no network.
    """
    from statsmodels.datasets import co2

    return co2.load().data.rename_axis("time").reset_index()


def load_digits_rows() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return handwritten digits as sequences of rows, from the top: (1797, 8, 8), and their classes (1797,).

    A row has 8 points, from 0 (white) to 16 (black).

    Source: carried by scikit-learn (UCI optical digits, the test part; Alpaydin and Kaynak 1998); needs no network.

    >>> images, digits = load_digits_rows()
    >>> images.shape, digits[:3].tolist()
    ((1797, 8, 8), [0, 1, 2])
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images, found.target.astype(np.int64)


def load_jsb_chorales() -> dict[str, list[NDArray[np.int64]]]:
    """Return 382 chorales of Bach as {"train": 229 pieces, "valid": 76, "test": 77}, each (steps, 4): a note a voice.

    A step is a sixteenth. Notes are MIDI's numbers, 36 (C1) to 81 (A5), soprano first; 0 is silence.

    Raises:
        MissingDataError: the file is not on this machine, and cannot be downloaded, or is another.

    Source: czhuang/JSB-Chorales-dataset, through github.com/ageron/data (118 kB); the published split.
    """
    found: dict[str, list[NDArray[np.int64]]] = {"train": [], "valid": [], "test": []}
    path = _fetch("jsb_chorales.tgz", GERON)
    with _readable(path, "tables of notes"), tarfile.open(path) as archive:
        for name in sorted(archive.getnames()):
            part, file = name.split("/")[-2:] if name.count("/") > 1 else ("", "")
            if part not in found or not file.endswith(".csv") or file.startswith("."):
                continue
            table = archive.extractfile(name)
            assert table is not None
            lines = table.read().decode("ascii").split()[1:]
            found[part].append(np.array([line.split(",") for line in lines]).astype(np.int64))
    return found


def load_mnist() -> tuple[tuple[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]:
    """Return MNIST as ((x_train, y_train), (x_test, y_test)): 60,000 and 10,000 images (28, 28) of uint8; classes.

    The published loaders train on the first 55,000 and keep 5,000 for validation.

    Raises:
        MissingDataError: the file is not on this machine, and cannot be downloaded, or is another.

    Source: LeCun, Cortes and Burges, as Keras publishes it (11 MB).
    """
    path = _fetch("mnist.npz", KERAS)
    with (
        _readable(path, "x_train, y_train, x_test and y_test"),
        path.open("rb") as opened,  # NumPy leaves a broken one open
        np.load(opened, allow_pickle=False) as file,
    ):
        train, test = ((file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test"))
        return train, test


def load_sentence_polarity() -> tuple[list[str], NDArray[np.int64]]:
    """Return 10,662 sentences of film reviews, 5,331 against (0) and then 5,331 for the film (1), in small letters.

    Raises:
        MissingDataError: the files are not on this machine, and cannot be downloaded, or are others.

    Source: Pang and Lee (2005), sentence polarity 1.0, through github.com/yoonkim/CNN_sentence (1.2 MB).
    """
    texts: list[str] = []
    counts = []
    for name in ("rt-polarity.neg", "rt-polarity.pos"):
        # \x85 is a letter here, no end of a line
        path = _fetch(name, KIM)
        with _readable(path, "a sentence a line"):
            found = [line.strip() for line in path.read_bytes().decode("latin-1").split("\n") if line.strip()]
            if not found:
                raise EOFError
        texts += found
        counts.append(len(found))
    return texts, np.repeat(np.arange(2), counts)


def load_imdb(folder: str | Path | None = None) -> dict[str, tuple[list[str], NDArray[np.int64]]]:
    """Return 50,000 film reviews as {"train": (texts, classes), "test": …}: 0 against, 1 for the film, in that order.

    Args:
        folder: one in the layout of aclImdb: texts in train/neg, train/pos, test/neg and test/pos. By default that in
            `$UNROLLED_DATA` or the user's cache, or else the archive, downloaded (84 MB) and unpacked there.

    Raises:
        MissingDataError: there is no such folder, it has no reviews, or it cannot be downloaded.

    Source: Maas et al. (2011).
    """
    place = _find_imdb() if folder is None else Path(folder)
    found = {}
    for part in ("train", "test"):
        texts, counts = [], []
        for sentiment in ("neg", "pos"):
            # by the number before "_", the order in which they are listed everywhere
            files = sorted(
                (place / part / sentiment).glob("*.txt"),
                key=lambda file: (len(file.stem.split("_")[0]), file.stem),
            )
            if not files:
                raise MissingDataError(
                    str(place), f"reviews {part}/{sentiment}/*.txt", "none", "Name the folder aclImdb."
                )
            texts += [file.read_text("utf-8") for file in files]
            counts.append(len(files))
        found[part] = texts, np.repeat(np.arange(2), counts)
    return found


@contextmanager
def _readable(path: Path, expected: str) -> Iterator[None]:
    """Say of a broken file that it is: tarfile, zlib, zipfile, NumPy and pandas each have errors of their own."""
    try:
        yield
    except Exception as error:
        raise MissingDataError(
            str(path), expected, "another file, or a broken one", "Delete it, to download it anew."
        ) from error


def _find_imdb() -> Path:
    import pooch

    own, cache = os.environ.get("UNROLLED_DATA"), Path(pooch.os_cache("unrolled"))
    for place in ([Path(own)] if own else []) + [cache]:
        if (place / "aclImdb").is_dir():
            return place / "aclImdb"
    archive = _fetch("aclImdb_v1.tar.gz", STANFORD)
    partial = cache / "aclImdb.partial"
    partial.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    (partial / "aclImdb").rename(cache / "aclImdb")
    partial.rmdir()
    return cache / "aclImdb"


def _fetch(name: str, origin: str) -> Path:
    """Return where the file lies: `$UNROLLED_DATA`, the cache, or the cache after a download."""
    import pooch

    own = os.environ.get("UNROLLED_DATA")
    if own and (Path(own) / name).is_file():
        return Path(own) / name
    cache = pooch.os_cache("unrolled")
    try:
        return Path(pooch.retrieve(f"{origin}/{name}", known_hash=HASHES[name], fname=name, path=cache))
    except Exception as error:  # no network, a proxy's page, a full disk: pooch lets all of them through
        raise MissingDataError(
            f"data set {name}",
            f"the file in $UNROLLED_DATA or {cache}, or a network",
            f"{type(error).__name__} while downloading from {origin.split('/')[2]}",
            f"Download {origin}/{name} elsewhere, and set UNROLLED_DATA to the folder that holds it.",
        ) from error
