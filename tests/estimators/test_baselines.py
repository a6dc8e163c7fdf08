"""Baselines, against figures worked out by hand or by another library."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.estimators import baselines
from unrolled.estimators.baselines import Linear, drift, find_season, naive, seasonal_naive

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


def test_linear_is_the_ridge_of_the_normal_equations():
    past, target = RANDOM.normal(size=(50, 6)), RANDOM.normal(size=(50, 3))
    line = Linear.fit(past, target, penalty=2.5)
    x, y = past - past[:, -1:], target - past[:, -1:]
    xc, yc = x - x.mean(0), y - y.mean(0)
    weight = np.linalg.solve(xc.T @ xc + 2.5 * np.eye(6), xc.T @ yc)
    np.testing.assert_allclose(line.predict(past) - past[:, -1:], xc @ weight + y.mean(0), atol=1e-10)
    shifted = line.predict(past + 100.0)
    np.testing.assert_allclose(shifted, line.predict(past) + 100.0, atol=1e-10)


def test_linear_leaves_out_windows_with_filled_targets():
    past = RANDOM.normal(size=(40, 4))
    target = past[:, :2] * 3
    spoiled, counted = target.copy(), np.ones((40, 2), bool)
    spoiled[7, 1], counted[7, 1] = 1e6, False
    np.testing.assert_allclose(
        Linear.fit(past, spoiled, counted).weight,
        Linear.fit(np.delete(past, 7, 0), np.delete(target, 7, 0)).weight,
    )


@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 300.0])
def test_linear_is_scikit_learns_ridge_to_rounding(far, penalty, monkeypatch):
    """Also in chunks that do not divide the windows, and where steps lie far from the last value."""
    from sklearn.linear_model import Ridge

    monkeypatch.setattr(baselines, "CHUNK", 64)
    slope = far * np.arange(20.0)
    past = (RANDOM.normal(size=(501, 20)) + slope).astype(np.float32)
    target = (past[:, :5] + RANDOM.normal(size=(501, 5)) + far).astype(np.float32)
    counted = np.ones((501, 5), bool)
    counted[10:90, 2] = False
    x, y = (array.astype(np.float64)[counted.all(1)] for array in (past, target))
    ridge = Ridge(alpha=penalty).fit(x - x[:, -1:], y - x[:, -1:])
    line = Linear.fit(past, target, counted, penalty)
    np.testing.assert_allclose(line.weight, ridge.coef_, atol=1e-8)
    np.testing.assert_allclose(
        line.predict(x), ridge.predict(x - x[:, -1:]) + x[:, -1:], atol=1e-7 * (1 + far)
    )
    assert line.penalty == penalty


def test_linear_without_penalty_gives_constant_steps_no_weight():
    past = np.column_stack([RANDOM.normal(size=(30, 2)), np.zeros(30)])
    line = Linear.fit(past, past[:, :1] * 2 + 1, penalty=0.0)
    np.testing.assert_allclose(line.weight, [[2.0, 0.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(line.bias, [1.0])


@pytest.mark.parametrize("gap", [0, 7])
def test_linear_chooses_the_penalty_on_the_last_fifth(gap):
    """As it comes out by fits and forecasts, one penalty at a time."""
    penalties = np.geomspace(0.01, 1e5, 80)
    chosen = set()
    for seed in range(6):
        draw = np.random.default_rng(seed)
        slope = np.linspace(0, 3, 150)[:, None]  # the mean of the last fifth is another
        past = draw.normal(size=(150, 12)) + slope * np.arange(12)
        target = past @ draw.normal(size=(12, 4)) * 0.1 + draw.normal(size=(150, 4)) * 4 ** (seed % 3)
        counted = draw.random((150, 4)) > 0.05
        usable = counted.all(axis=1)
        early, late = np.flatnonzero(usable[: 120 - gap]), 120 + np.flatnonzero(usable[120:])
        errors = [
            np.mean(
                (Linear.fit(past[early], target[early], penalty=one).predict(past[late]) - target[late]) ** 2
            )
            for one in penalties
        ]
        line = Linear.fit(past, target, counted, penalties, gap)
        assert line.penalty == penalties[np.argmin(errors)]
        np.testing.assert_allclose(line.weight, Linear.fit(past, target, counted, line.penalty).weight)
        chosen.add(line.penalty)
    assert len(chosen) > 1


def test_linear_with_too_few_windows_takes_the_greatest_penalty():
    past = RANDOM.normal(size=(6, 3))
    assert Linear.fit(past, past[:, :2], penalty=[1.0, 9.0, 3.0], gap=5).penalty == 9.0
    assert Linear.fit(past[:2], past[:2, :2], penalty=[1.0, 9.0, 3.0]).penalty == 9.0


@pytest.mark.slow
def test_linear_scales_to_many_long_windows():
    values = RANDOM.normal(size=(60_000 + 336 + 720)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(values, 336 + 720)[:60_000]
    begun = time.monotonic()
    line = Linear.fit(windows[:, :336], windows[:, 336:], penalty=[1.0, 10.0, 100.0], gap=720)
    assert time.monotonic() - begun < 30
    assert line.weight.shape == (720, 336)


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
