"""Pairs of sequences: how symbols are read and written, how batches are padded, and in which order they come."""

import numpy as np
import pytest

from unrolled.data.pairs import PairSamples, SymbolReading, holds_numbers, read_pairs, split_symbols
from unrolled.data.sequences import Sequences
from unrolled.data.symbols import END, START
from unrolled.errors import DataError

RANDOM = np.random.default_rng(0)


def pairs(count=50, longest=40):
    def side(end):
        lengths = RANDOM.integers(1, longest, count)
        return Sequences.of(
            [np.append(RANDOM.integers(3, 9, k), [END] * end).astype(np.int64) for k in lengths]
        )

    return PairSamples(side(0), side(1))


def test_the_decoder_is_given_what_it_has_to_write_a_step_late():
    samples = pairs()
    index = np.array([3, 17, 8])
    batch = samples.batch(index)
    for row, number in enumerate(index):
        source, target = samples.sources[number], samples.targets[number]
        assert batch.past[row][batch.mask[row]].tolist() == source.tolist()
        assert (batch.target[row] + END)[batch.target_mask[row]].tolist() == target.tolist()
        assert batch.future[row][: len(target)].tolist() == [START, *target[:-1]]
        assert not batch.past[row][~batch.mask[row]].any()
    assert batch.target.min() == 0
    assert batch.future.shape == batch.target.shape


def test_members_read_batches_of_the_same_lengths_each_in_its_own_order():
    samples = pairs(200)
    shuffles = [np.random.default_rng(seed) for seed in range(3)]
    orders = samples.orders(shuffles, 1, 16)
    alone = samples.orders([np.random.default_rng(2)], 1, 16)
    np.testing.assert_array_equal(orders[2], alone[0])
    assert (np.sort(orders, axis=1) == np.arange(200)).all()
    lengths = samples.padded_lengths[orders]
    np.testing.assert_array_equal(lengths[0], lengths[1])
    assert (orders[0] != orders[1]).any()
    whole = lengths[0, :192].reshape(12, 16, 2)[..., 0]
    assert (whole.max(1) - whole.min(1)).mean() < 5
    assert (samples.orders([np.random.default_rng(0)], 2, 16) != orders[:1]).any()


def test_equal_lengths_need_no_mask():
    samples = PairSamples(
        Sequences.of([np.ones((3, 2), np.float32)] * 4), Sequences.of([np.array([3, 2])] * 4)
    )
    batch = samples.batch(np.arange(2))
    assert batch.mask is None and batch.target_mask is None
    assert batch.past.shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (["ab", "c"], False),
        ([["a"], ["b"]], False),
        ([[1, 2], [3]], False),
        ([np.array([1, 2])], False),
        (np.ones((2, 3), int), False),
        ([[], [1]], False),
        ([[0.5]], True),
        ([[], [0.5]], True),
        ([np.array([[1, 2]])], True),
        (np.ones((2, 3)), True),
        (np.ones((2, 3, 1), int), True),
        ([[[1], [2]]], True),
        (7, False),
    ],
)
def test_what_is_measured_and_what_is_a_symbol(given, numbers):
    assert holds_numbers(given) is numbers


@pytest.mark.parametrize(
    ("given", "level", "kind", "again"),
    [
        (["b a", ""], "characters", "characters", ["b a", ""]),
        (["b  a ", "a"], "words", "words", ["b a", "a"]),
        ([[60, "hold"], [60]], "words", "symbols", [[60, "hold"], [60]]),
    ],
)
def test_what_is_read_is_written_again(given, level, kind, again):
    reading, split = SymbolReading.learn(given, "y", level)
    assert reading.kind == kind
    numbers = reading.numbers(split, "y", end=True)
    assert [reading.write(numbers[number]) for number in range(len(numbers))] == again


def test_a_text_of_spaces_has_no_words():
    with pytest.raises(DataError, match=r"X\[1\]: expected at least one symbol"):
        split_symbols(["a", "  "], "X", "words", empty=False)


def test_tables(to_frame):
    frame = to_frame({"id": ["1", "2"], "from": ["a", "b"], "to": ["x", "y"]})
    found = read_pairs(frame, "from", "to")
    assert (found.sources, found.targets, found.columns) == (["a", "b"], ["x", "y"], ("from", "to"))
    assert read_pairs(frame, target="id").columns == ("from", "id")
    assert read_pairs(frame).columns == ("id", "from")
    with pytest.raises(DataError, match="row 1, column 'to': expected a text on either side of the pair"):
        read_pairs(to_frame({"from": ["a", "b"], "to": ["x", None]}))
