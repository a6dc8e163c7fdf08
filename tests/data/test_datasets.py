"""Loaders of labelled data: from the folder of $UNROLLED_DATA, without a network."""

import io
import tarfile

import numpy as np
import pytest

from unrolled.data import (
    load_digits_rows,
    load_imdb,
    load_jsb_chorales,
    load_mnist,
    load_ridership,
    load_sentence_polarity,
)
from unrolled.errors import MissingDataError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UNROLLED_DATA", str(tmp_path))
    return tmp_path


def test_digits_rows():
    images, digits = load_digits_rows()
    assert images.shape == (1797, 8, 8)
    assert np.bincount(digits).min() > 150


def test_mnist_comes_from_the_folder(folder):
    arrays = {
        "x_train": np.zeros((3, 28, 28), np.uint8),
        "y_train": np.arange(3),
        "x_test": np.ones((2, 28, 28)),
        "y_test": np.arange(2),
    }
    np.savez(folder / "mnist.npz", **arrays)
    (x, y), (x_test, _) = load_mnist()
    assert x.shape == (3, 28, 28)
    assert y.tolist() == [0, 1, 2]
    assert len(x_test) == 2
    np.savez(folder / "mnist.npz", x_train=np.zeros(1))
    with pytest.raises(MissingDataError, match="another file"):
        load_mnist()


@pytest.mark.parametrize("written", ["empty", "short", "html", "another"])
def test_a_broken_file_is_said_to_be_one(folder, written):
    table = (
        b"service_date,day_type,bus,rail_boardings,total_rides\n"
        + b"01/01/2001,U,297192,126455,423647\n" * 9000
    )
    packed, arrays = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        inner = tarfile.TarInfo("ridership/another.txt" if written == "another" else "ridership/rides.csv")
        inner.size = len(table)
        archive.addfile(inner, io.BytesIO(table))
    np.savez_compressed(
        arrays, **{f"{name}_{part}": np.arange(5000) for name in "xy" for part in ("train", "test")}
    )
    for name, whole, load in (
        ("ridership.tgz", packed.getvalue(), load_ridership),
        ("jsb_chorales.tgz", packed.getvalue(), load_jsb_chorales),
        ("mnist.npz", arrays.getvalue(), load_mnist),
    ):
        (folder / name).write_bytes(
            {"empty": b"", "short": whole[: len(whole) // 2], "html": b"<html>no</html>", "another": whole}[
                written
            ]
        )
        if written == "another" and load != load_ridership:
            continue
        with pytest.raises(MissingDataError, match=f"{name}: expected .* Delete it, to download it anew"):
            load()


def test_a_file_without_sentences_is_said_to_be_one(folder):
    for name in ("rt-polarity.neg", "rt-polarity.pos"):
        (folder / name).write_bytes(b"\n")
    with pytest.raises(MissingDataError, match=r"rt-polarity\.neg: expected a sentence a line"):
        load_sentence_polarity()


def test_sentence_polarity_has_a_line_for_each_sentence(folder):
    (folder / "rt-polarity.neg").write_bytes(b"dull .\nna\xefve\x85 and slow .\n")
    (folder / "rt-polarity.pos").write_bytes(b"fine .\n")
    texts, classes = load_sentence_polarity()
    assert texts == ["dull .", "naïve\x85 and slow .", "fine ."]
    assert classes.tolist() == [0, 0, 1]


def test_imdb_is_read_from_its_folders(folder):
    for part in ("train", "test"):
        for sentiment in ("neg", "pos"):
            place = folder / "aclImdb" / part / sentiment
            place.mkdir(parents=True)
            for number in (10, 2):
                (place / f"{number}_7.txt").write_text(f"{part} {sentiment} {number} é", "utf-8")
    found = load_imdb()
    texts, classes = found["test"]
    assert texts == ["test neg 2 é", "test neg 10 é", "test pos 2 é", "test pos 10 é"]
    assert classes.tolist() == [0, 0, 1, 1]
    assert load_imdb(folder / "aclImdb")["train"][0] == found["train"][0]
    with pytest.raises(MissingDataError, match="reviews train/neg"):
        load_imdb(folder)
