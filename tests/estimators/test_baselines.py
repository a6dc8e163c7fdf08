"""Baselines, scores and intervals, against figures worked out by hand or by another library."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.estimators.baselines import Linear, find_season, naive, seasonal_naive
from unrolled.estimators.intervals import conformal_widths
from unrolled.estimators.scores import score, verdict

T = np.arange(600)
RANDOM = np.random.default_rng(0)


@given(st.integers(1, 9), st.integers(1, 20))
def test_naive_forecasts_repeat(season, horizon):
    past = RANDOM.random((3, 10))
    assert (naive(past, horizon) == past[:, [-1] * horizon]).all()
    expected = [[row[10 - season + step % season] for step in range(horizon)] for row in past]
    assert (seasonal_naive(past, horizon, season) == expected).all()


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


def test_score_leaves_out_what_does_not_count():
    actual = np.array([[1.0, 2.0], [3.0, np.nan]])
    counted = np.array([[True, True], [True, False]])
    found = score(actual, np.array([[2.0, 0.0], [3.0, 9.0]]), counted)
    assert found == {"mae": 1.0, "rmse": pytest.approx(np.sqrt(5 / 3)), "mae_by_step": [0.5, 2.0]}
    assert score(actual, actual, np.array([[True, False], [True, False]]))["mae_by_step"] == [0.0, None]


@pytest.mark.parametrize(
    ("model", "wins", "words"),
    [(0.5, True, "50 % below that of linear"), (0.999, True, "as good as linear"), (1.2, False, "LOSES to linear (ridge)"), (1.0, True, "as good as linear"), (0.96, True, "4 % below"),
     (3.0, False, "LOSES to naive (last value) and linear (ridge): its mean absolute error lies 200 % above")],
)  # fmt: skip
def test_verdict_is_plain(model, wins, words):
    found, sentence = verdict(
        {"model": {"mae": model}, "baselines": {"naive": {"mae": 2.0}, "linear": {"mae": 1.0}}}
    )
    assert found is wins
    assert words in sentence


def test_intervals_cover_what_they_say():
    """Split conformal intervals hold at least their level on average, for any distribution."""
    hits = []
    for seed in range(300):
        errors = np.random.default_rng(seed).standard_t(3, size=(60, 2))
        widths = conformal_widths(errors[:59], np.ones((59, 2), bool), [80])
        hits.append(np.abs(errors[59]) <= widths[0])
    assert 0.77 < np.mean(hits) < 0.84


def test_intervals_use_what_counts():
    errors = np.array([[1.0, 5.0], [9.0, 5.0]])
    counted = np.array([[True, False], [False, False]])
    assert conformal_widths(errors, counted, [80, 95]).tolist() == [[1.0, 1.0], [1.0, 1.0]]
