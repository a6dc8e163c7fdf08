"""Texts as numbers, and pretrained vectors in each format, whole and broken."""

import gzip

import numpy as np
import pytest

from unrolled.data import read_vectors
from unrolled.data.text import Vocabulary, is_tokens, split_words
from unrolled.errors import DataError, OptionError

WORDS = ["the", "film", "naïve", "new york", "of"]
VECTORS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def lines(words=WORDS, vectors=VECTORS, header=True):
    rows = [
        f"{word} " + " ".join(f"{v:.9g}" for v in vector) for word, vector in zip(words, vectors, strict=True)
    ]
    return "\n".join([f"{len(words)} {vectors.shape[1]}"] * header + rows) + "\n"


def binary(words=WORDS, vectors=VECTORS, feed=b"\n"):
    parts = [
        word.replace(" ", "_").encode() + b" " + vector.tobytes() + feed
        for word, vector in zip(words, vectors, strict=True)
    ]
    return f"{len(words)} {vectors.shape[1]}\n".encode() + b"".join(parts)


def test_words_are_split_as_in_the_treebank():
    assert split_words(["He said: 'It can't be.'"], "X") == [
        ["he", "said", ":", "'it", "ca", "n't", "be", ".", "'"]
    ]
    assert split_words(["Big"], "X", lower=False) == [["Big"]]
    assert split_words([("ready", "made")], "X") == [["ready", "made"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "a text with at least one word"), ("  ", "at least one word"), (None, "a missing value"), (3, "a int"),
     (float("nan"), "a missing value"), ([], "at least one word")],
)  # fmt: skip
def test_what_is_no_text(text, words):
    with pytest.raises(DataError, match=rf"X\[1\].*{words}"):
        split_words(["fine", text], "X")


@pytest.mark.parametrize(
    ("given", "yes"),
    [(["a"], True), (np.array(["a", "b"]), True), ([None, "a"], True), ([["a", "b"]], True), (np.ones((2, 3)), False),
     ([np.ones(3)], False), ([[1.0]], False), ([], False)],
)  # fmt: skip
def test_texts_are_told_from_numbers(given, yes):
    assert is_tokens(given) is yes


def test_vocabulary_keeps_the_most_frequent_words():
    texts = [["b", "a", "b"], ["c", "a", "b"]]
    assert Vocabulary.of(texts).words == ("b", "a", "c")
    assert Vocabulary.of(texts, least=2).words == ("b", "a")
    sequences = Vocabulary.of(texts, most=1).sequences([["b", "x"], ["x", "y"]])
    assert [sequences[0].tolist(), sequences[1].tolist()] == [[2, 1], [1, 1]]


def test_unknown_words_are_dropped_but_one_of_a_text_without_others():
    sequences = Vocabulary(("b",)).sequences([["x", "b", "y"], ["x", "y"]], drop_unknown=True)
    assert [sequences[0].tolist(), sequences[1].tolist()] == [[2], [1]]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["word2vec text", "glove", "binary", "binary without line feeds"])
def test_every_format_is_read_alike(tmp_path, kind, packed):
    written = {
        "word2vec text": lines().encode(),
        "glove": lines(header=False).encode(),
        "binary": binary(),
        "binary without line feeds": binary(feed=b""),
    }[kind]
    path = tmp_path / ("vectors.gz" if packed else "vectors")
    path.write_bytes(gzip.compress(written) if packed else written)
    found = read_vectors(path)
    assert [word.replace("_", " ") for word in found.words] == WORDS
    np.testing.assert_allclose(found.vectors, VECTORS, rtol=1e-6)
    assert read_vectors(path, limit=2).words == ("the", "film")
    assert read_vectors(path, keep={"of", "film", "missing"}).words == ("film", "of")
    np.testing.assert_allclose(read_vectors(path, keep={"of"}).vectors[0], VECTORS[4], rtol=1e-6)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (lines().encode()[:-40], "line 6: expected a word and 4 numbers"),
        ("\n".join(lines().splitlines()[:-1]).encode(), "5 vectors, as its first line says, got an end after 4"),
        (binary()[:-3], "5 vectors, as its first line says, got an end after 4"),
        (binary()[: len(binary()) // 2], "as its first line says, got an end after 2"),
        (b"the 1 2 3\nfilm 1 2\n", "line 2: expected a word and 3 numbers"),
        (b"the 1 2 3\nfilm 1 2 3 4\n", "line 2: expected a word and 3 numbers"),
        (b"the 1 2 3\nfilm 1 2 x\n", "line 2: expected a word and 3 numbers"),
        (b"the 1 2 nan\n", "finite numbers for 'the'"),
        (b"", "an empty file"),
        (b"nothing\n", "line 1: expected a word and some numbers"),
    ],
)  # fmt: skip
def test_broken_files_are_refused(tmp_path, written, words):
    path = tmp_path / "vectors"
    path.write_bytes(written)
    with pytest.raises(DataError, match=words):
        read_vectors(path)


@pytest.mark.parametrize("written", [lines().encode(), lines(header=False).encode(), binary()])
def test_vectors_of_another_size_are_refused(tmp_path, written):
    path = tmp_path / "vectors"
    path.write_bytes(written)
    with pytest.raises(DataError, match="5 numbers"):
        read_vectors(path, size=5)


def test_a_truncated_archive_is_refused(tmp_path):
    path = tmp_path / "vectors.gz"
    path.write_bytes(gzip.compress(binary())[:-12])
    with pytest.raises(DataError, match="a whole file of word vectors"):
        read_vectors(path)


def test_options_and_missing_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_vectors(tmp_path / "none")
    with pytest.raises(OptionError, match="a limit of at least 1"):
        read_vectors(tmp_path, limit=0)


def test_a_word_that_comes_twice_keeps_its_first_vector(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("film 1 2\nfilm 3 4\n")
    assert read_vectors(path).vectors.tolist() == [[1.0, 2.0]]


def test_a_first_line_that_asks_for_more_than_memory_is_refused(tmp_path):
    path = tmp_path / "vectors.bin"
    path.write_bytes(b"2 99999999999\nfilm \x00\x00\x80\x3f")
    with pytest.raises(DataError, match="too large for memory|truncated"):
        read_vectors(path)
