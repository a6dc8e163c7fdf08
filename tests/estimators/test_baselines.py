"""Baselines, against figures worked out by hand or by another library."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.estimators.baselines import drift, find_season, naive, seasonal_naive

T = np.arange(600)
RANDOM = np.random.default_rng(0)


@given(st.integers(1, 9), st.integers(1, 20))
def test_naive_forecasts_repeat(season, horizon):
    past = RANDOM.random((3, 10))
    assert (naive(past, horizon) == past[:, [-1] * horizon]).all()
    expected = [[row[10 - season + step % season] for step in range(horizon)] for row in past]
    assert (seasonal_naive(past, horizon, season) == expected).all()


def test_drift_goes_on_along_a_line():
    lines = np.array([[1.0], [100.0]]) + np.array([[2.0], [-0.5]]) * np.arange(6)
    np.testing.assert_allclose(drift(lines[:, :4], 2), lines[:, 4:])
    past = np.array([[3.0, 50.0, -7.0, 9.0]], np.float32)
    assert drift(past, 3).dtype == np.float32
    np.testing.assert_allclose(drift(past, 3), [[11.0, 13.0, 15.0]])
    assert drift(past[:, -1:], 2).tolist() == [[9.0, 9.0]]


@pytest.mark.parametrize(
    ("values", "usual", "season"),
    [
        (np.sin(2 * np.pi * T / 12), (), 12),
        (np.sin(2 * np.pi * T / 7) + 0.01 * T, (7, 365), 7),
        (np.sin(2 * np.pi * T / 24) + 0.1 * RANDOM.normal(size=600), (24, 168), 24),
        (np.where(T % 14 < 7, 1.0, 5.0) + (T % 7), (7,), 14),
        (1.0 * T, (7, 365), 7),
        (np.full(600, 3.0), (), 1),
        (np.cumsum(RANDOM.normal(size=600)), (12,), 12),
        (1.0 * T[:5], (7,), 1),
    ],
    ids=["sine", "weekly with trend", "daily with noise", "fortnight", "line", "constant", "walk", "short"],
)
def test_find_season(values, usual, season):
    assert find_season(values, usual, 6) == season
