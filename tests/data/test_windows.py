"""Windows: counted by hand, and against Keras' documented semantics."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import Scaler, Windows, make_windows, read_table, timeseries_dataset_from_array
from unrolled.data.features import Features
from unrolled.errors import OptionError, ShapeError


def test_five_rows_of_two_columns_at_length_three():
    array = np.arange(10).reshape(5, 2)
    windows = make_windows(array, 3)
    assert windows.shape == (3, 3, 2)
    assert windows[1].tolist() == [[2, 3], [4, 5], [6, 7]]
    assert np.shares_memory(windows, array)
    assert make_windows(array, 3, horizon=2).shape == (1, 3, 2)


@given(
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.booleans(),
)
def test_make_windows_is_the_plain_loop(rows, length, horizon, stride, rate, flat):
    array = np.arange(rows) if flat else np.arange(rows * 2).reshape(rows, 2)
    span = (length - 1) * rate + 1
    starts = range(0, rows - span - horizon + 1, stride)
    if not len(starts):
        with pytest.raises(ShapeError, match=f"at least {span + horizon} rows, got {rows}"):
            make_windows(array, length, horizon=horizon, stride=stride, sampling_rate=rate)
        return
    expected = [array[start : start + span : rate] for start in starts]
    np.testing.assert_array_equal(
        make_windows(array, length, horizon=horizon, stride=stride, sampling_rate=rate), expected
    )


@pytest.mark.parametrize(
    "option",
    [
        {"length": 0},
        {"length": 2, "stride": 0},
        {"length": 2, "sampling_rate": 0},
        {"length": 2, "horizon": -1},
    ],
)
def test_make_windows_refuses(option):
    with pytest.raises(OptionError, match="make_windows: expected"):
        make_windows(np.zeros(9), **option)


@given(
    st.integers(8, 40),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 7),
    st.integers(1, 45),
)
def test_timeseries_dataset_follows_keras(rows, length, stride, rate, batch, answers):
    """Keras: num_seqs = rows - (length - 1) * rate, at most len(targets); starts = range(0, num_seqs, stride)."""
    data, targets = np.arange(rows) * 1.0, np.arange(answers) * 10.0
    count = min(rows - (length - 1) * rate, answers)
    starts = list(range(0, count, stride))
    batches = timeseries_dataset_from_array(
        data, targets, length, sequence_stride=stride, sampling_rate=rate, batch_size=batch
    )
    found = list(batches)
    assert len(batches) == len(found) == -(-len(starts) // batch)
    assert np.concatenate([x for x, _ in found]).tolist() == [
        [start + rate * k for k in range(length)] for start in starts
    ]
    assert np.concatenate([y for _, y in found]).tolist() == [10.0 * start for start in starts]


def test_timeseries_dataset_shuffles_repeatably_and_anew_each_pass():
    def passes(seed):
        batches = timeseries_dataset_from_array(
            np.arange(50), np.arange(50), 3, shuffle=True, seed=seed, batch_size=50
        )
        return [y.tolist() for _ in range(2) for _, y in batches]

    first, second = passes(1)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(48))
    assert passes(1) == [first, second] != passes(2)
    (only,) = timeseries_dataset_from_array(np.zeros((9, 2)), None, 3)
    assert only.shape == (7, 3, 2)


def table(values, observed=None):
    frame = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=len(values)), "y": values})
    if observed is not None:
        frame.loc[~np.asarray(observed), "y"] = np.nan
    return read_table(frame)


def unscaled():
    one = Scaler(np.zeros((1, 1)), np.ones((1, 1)))
    return Features(("",), one, Scaler(np.zeros(0), np.ones(0)), {})


def test_the_temperature_table():
    """Today 6, 9, 7, 8: tomorrow's targets are 9, 7, 8, and the last row is what the forecast is made from."""
    temperatures = table([6.0, 9.0, 7.0, 8.0])
    windows = Windows.of(temperatures, unscaled(), 1, 1)
    batch = windows.batch(np.arange(len(windows)))
    assert batch.past[:, 0, 0].tolist() == [6.0, 9.0, 7.0]
    assert batch.target[:, 0, 0].tolist() == [9.0, 7.0, 8.0]


@given(st.integers(12, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 30), st.integers(0, 2**31))
def test_windows_never_see_the_future(rows, length, horizon, first, seed):
    first = min(first, rows - 1)
    values = np.arange(rows, dtype=float)
    observed = np.random.default_rng(seed).random(rows) > 0.2
    observed[[0, -1]] = True
    observed[1:4] = True
    filled = table(values, observed)
    windows = Windows.of(filled, unscaled(), length, horizon, first=first)
    for index in range(len(windows)):
        batch = windows.batch(np.array([index]))
        origin = windows.origins[index]
        assert observed[origin], "a filled value is drawn from the rows after it"
        assert batch.past[0, :, 0].tolist() == list(range(origin - length + 1, origin + 1))
        assert batch.target[0, :, 0].tolist() == list(range(origin + 1, origin + horizon + 1))
        assert origin + 1 >= first
        counted = batch.target_mask[0, :, 0] if batch.target_mask is not None else np.ones(horizon, bool)
        assert np.asarray(counted).tolist() == observed[origin + 1 : origin + horizon + 1].tolist()
    expected = [o for o in range(max(length - 1, first - 1), rows - horizon) if observed[o]]
    assert windows.origins.tolist() == expected


def test_scaler_sees_observed_values_only():
    scaler = Scaler.fit(np.array([[1.0], [3.0], [99.0]]), np.array([[True], [True], [False]]))
    assert scaler.mean.tolist() == [2.0]
    assert scaler.scale.tolist() == [1.0]
    assert Scaler.fit(np.full((4, 1), 7.0)).scale.tolist() == [1.0]
