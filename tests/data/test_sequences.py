"""Sequences of any lengths: how they are taken, padded and put into batches of like lengths."""

import numpy as np
import pytest

from unrolled.data import Sequences, SequenceSamples
from unrolled.data.sequences import round_up, take_numbers
from unrolled.errors import DataError, ShapeError

RANDOM = np.random.default_rng(0)
RAGGED = [RANDOM.normal(size=(n, 2)) for n in (3, 1, 5, 2)]


def test_padding_is_zero_and_masked():
    found, inside = Sequences.of(RAGGED).padded(np.array([[2, 1], [0, 3]]), 6)
    assert found.shape == (2, 2, 6, 2)
    assert inside.sum(-1).tolist() == [[5, 1], [3, 2]]
    assert not found[~inside].any()
    np.testing.assert_array_equal(found[1, 0, :3], RAGGED[0])


def test_cut_keeps_the_first_steps():
    cut = Sequences.of(RAGGED).cut(2)
    assert cut.lengths.tolist() == [2, 1, 2, 2]
    np.testing.assert_array_equal(cut[2], RAGGED[2][:2])
    assert Sequences.of(RAGGED).cut(5).values.shape == (11, 2)


def test_take_gives_the_sequences_asked_for():
    taken = Sequences.of(RAGGED).take(np.array([3, 0]))
    assert taken.lengths.tolist() == [2, 3]
    np.testing.assert_array_equal(taken[1], RAGGED[0])


@pytest.mark.parametrize(
    "given", [np.ones((4, 3)), np.ones((4, 3, 1)), [[1, 1, 1]] * 4, [np.ones((3, 1), bool)] * 4]
)
def test_what_may_be_given(given):
    sequences = take_numbers(given, "X")
    assert sequences.values.shape == (12, 1)
    assert sequences.values.dtype == np.float32
    assert not sequences.ragged


def test_frames_are_taken_as_arrays(to_frame):
    assert take_numbers(to_frame({"a": [1.0, 2.0], "b": [3.0, 4.0]}), "X").lengths.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([[1.0], []], DataError, r"X\[1\]: expected a sequence of at least one step, got an empty one"),
        ([], DataError, "at least one sequence, got none"),
        (np.ones((0, 3, 1)), DataError, "at least one sequence"),
        (np.ones((3, 0, 1)), DataError, "with steps and features"),
        (np.ones(3), ShapeError, r"Reshape your data"),
        ([np.ones((2, 2)), np.ones((2, 3))], ShapeError, r"X\[1\]: expected numbers of shape \(steps, 2\)"),
        ([["a", "b"], [1.0]], ShapeError, r"X\[0\]: expected numbers"),
        (np.array([[1.0, np.nan]]), DataError, r"X\[0\], step 1: expected a finite number, got NaN"),
        (
            [np.ones((2, 2)), np.array([[1, 2], [3, np.inf]])],
            DataError,
            r"X\[1\], step 1, feature 1: .* got inf",
        ),
        (7, ShapeError, "a int"),
    ],
)
def test_what_may_not(given, error, words):
    with pytest.raises(error, match=words):
        take_numbers(given, "X")


def test_lengths_are_rounded_up_by_less_than_an_eighth():
    lengths = np.arange(1, 5000)
    rounded = round_up(lengths)
    assert (rounded >= lengths).all()
    assert (rounded < 1.125 * lengths + 1e-9).all()
    assert len(np.unique(rounded[64:128])) <= 9


def samples(n=103, longest=90):
    random = np.random.default_rng(1)
    parts = [random.normal(size=(k, 1)) for k in random.integers(1, longest, n)]
    return SequenceSamples(Sequences.of(parts), np.arange(n))


def test_batches_have_sequences_of_like_lengths():
    data = samples()
    order = data.orders([np.random.default_rng(0)], 1, 10)[0]
    assert sorted(order) == list(range(103))
    lengths = data.sequences.lengths
    padded = sum(
        data.batch(order[i : i + 10]).past.shape[1] * len(order[i : i + 10]) for i in range(0, 103, 10)
    )
    assert padded < 1.3 * lengths.sum()
    assert order.tolist() != data.orders([np.random.default_rng(1)], 1, 10)[0].tolist()


def test_lengths_of_a_step_are_those_of_every_member_and_seed():
    data = samples()
    two = data.orders([np.random.default_rng(0), np.random.default_rng(7)], 3, 10)
    alone = data.orders([np.random.default_rng(7)], 3, 10)
    assert two[1].tolist() == alone[0].tolist()
    for start in range(0, 103, 10):
        part = two[:, start : start + 10]
        shapes = {data.batch(index).past.shape for index in (*part, part.ravel()[: part.shape[1]])}
        assert {shape[1] for shape in shapes} == {data.batch(part.ravel()).past.shape[1]}


def test_batches_come_in_another_order_each_epoch():
    data = samples()
    first, second = (data.orders([np.random.default_rng(0)], epoch, 10)[0] for epoch in (1, 2))
    assert first.tolist() != second.tolist()


def test_one_length_needs_no_mask_and_is_shuffled_whole():
    data = SequenceSamples(Sequences.of([np.ones((4, 1))] * 9), np.zeros(9))
    assert data.batch(np.arange(3)).mask is None
    plain = np.random.default_rng(5).permutation(9)
    assert data.orders([np.random.default_rng(5)], 1, 4)[0].tolist() == plain.tolist()


def test_targets_of_steps_are_padded_and_not_counted():
    data = SequenceSamples(Sequences.of(RAGGED), np.arange(11), per_step=True)
    batch = data.batch(np.array([1, 0]))
    assert batch.target.tolist() == [[3, 0, 0], [0, 1, 2]]
    assert batch.target_mask.tolist() == [[True, False, False], [True, True, True]]


def test_no_batch_is_padded_beyond_the_longest():
    samples = SequenceSamples(Sequences.of([np.ones((n, 1)) for n in (17, 33, 3)]), None)
    assert samples.padded_lengths.tolist() == [18, 33, 3]


def test_weights_stand_in_the_shape_of_the_targets():
    ragged = Sequences.of(RAGGED)
    weights = np.array([1, 2, 3, 4], np.float32)
    whole = SequenceSamples(ragged, np.arange(4), weights=weights).batch(np.array([[2, 0], [1, 3]]))
    assert whole.target_weight.tolist() == [[3, 1], [2, 4]]
    steps = SequenceSamples(ragged, np.arange(11), True, weights=weights).batch(np.array([1, 3]))
    assert steps.target_weight.tolist() == [[2, 2], [4, 4]]
    assert SequenceSamples(ragged, np.arange(4)).batch(np.array([0])).target_weight is None
