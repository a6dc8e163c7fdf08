"""Intervals: how often they hold."""

import os

import numpy as np
import pytest

from unrolled.estimators import intervals as module
from unrolled.estimators.intervals import Conformal, Widened, conformal_widths
from unrolled.estimators.lines import Lines
from unrolled.estimators.scores import score

RANDOM = np.random.default_rng(0)


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


def clock(origins, horizon):
    """When windows end, and when their errors are known, in rows."""
    return origins, origins[:, None] + np.arange(1, horizon + 1)


def skewed(seed, windows, horizon=3, growth=1.0):
    """Errors that are skewed, wider step by step, and `growth` times as wide at the end as at the beginning."""
    draw = np.random.default_rng(seed).exponential(size=(windows, horizon)) - 0.3
    return draw * np.arange(1, horizon + 1) * np.geomspace(1.0, growth, windows)[:, None]


def inside(bounds, errors):
    return {level: float(((errors >= lo) & (errors <= hi)).mean()) for level, (lo, hi) in bounds.items()}


def test_conformal_quantiles_are_those_of_the_signed_errors(monkeypatch):
    monkeypatch.setattr(module, "RATE", 0.0)
    errors = skewed(0, 199)
    fitted = Conformal.fit(errors, np.ones_like(errors, bool), [95, 80])
    lo, hi = fitted.bounds(np.full((2, 3), 7.0))[80]
    ranked = np.sort(errors, axis=0)
    np.testing.assert_allclose(lo, 7 + ranked[[19, 19]])
    np.testing.assert_allclose(hi, 7 + ranked[[179, 179]])
    np.testing.assert_allclose(fitted.lower[0], ranked[4])
    np.testing.assert_allclose(fitted.upper[0], ranked[194])


def test_conformal_intervals_hold_their_level_on_each_side():
    hits = []
    for seed in range(200):
        errors = skewed(seed, 130)
        fitted = Conformal.fit(errors[:120], np.ones((120, 3), bool), [80, 95])
        bounds = fitted.bounds(np.zeros((10, 3)))
        hits.append([*inside(bounds, errors[120:]).values(), (errors[120:] < bounds[80][0]).mean()])
    np.testing.assert_allclose(np.mean(hits, axis=0), [0.8, 0.95, 0.1], atol=0.015)


def test_few_errors_make_a_symmetric_interval():
    errors = np.array([[1.0, 5.0], [-3.0, 5.0], [2.0, 5.0]])
    counted = np.array([[True, False], [True, False], [True, False]])
    fitted = Conformal.fit(np.where(counted, errors, np.nan), counted, [80])
    lo, hi = fitted.bounds(np.zeros((1, 2)))[80]
    assert (lo[0, 0], hi[0, 0]) == pytest.approx((-3.0, 3.0), rel=0.1)
    assert (lo[0, 1], hi[0, 1]) == pytest.approx((-3.0, 3.0), rel=0.1)


@pytest.mark.parametrize("stride", [1, 5, 40])
def test_rolling_intervals_follow_errors_that_grow(stride):
    errors = skewed(1, 3000, growth=4.0)
    calibration, rest = errors[:500], errors[500::stride]
    fitted = Conformal.fit(calibration, np.ones((500, 3), bool), [80])
    zeros, rows = np.zeros_like(rest), 500 + stride * np.arange(len(rest))
    fixed = inside(fitted.bounds(zeros), rest)[80]
    bounds = fitted.rolling(zeros, rest, np.ones_like(rest, bool), clock=clock(rows, 3))
    assert fixed < 0.65
    assert inside(bounds, rest)[80] < 0.82
    assert inside(bounds, rest)[80] > (
        0.73 if stride < 40 else fixed + 0.03
    )  # a stride of 40 brings 3 errors in 40 rows


def test_rolling_sees_nothing_that_is_not_known_at_the_origin():
    errors, counted = skewed(2, 60, horizon=4), np.ones((60, 4), bool)
    fitted = Conformal.fit(errors[:20], counted[:20], [80, 95])
    zeros, origins = np.zeros((40, 4)), 100 + 2 * np.arange(40)
    before = fitted.rolling(zeros, errors[20:], counted[20:], clock=clock(origins, 4))
    for row in range(100, 182, 3):
        spoiled = errors[20:].copy()
        spoiled[origins[:, None] + np.arange(1, 5) > row] = 1e6
        after = fitted.rolling(zeros, spoiled, counted[20:], clock=clock(origins, 4))
        for level in (80, 95):
            for side in (0, 1):
                known = origins <= row
                assert (before[level][side][known] == after[level][side][known]).all()
    spoiled = errors[20:].copy()
    spoiled[10, 1] = 1e6  # known two rows after its origin: one window later
    changed = (
        fitted.rolling(zeros, spoiled, counted[20:], clock=clock(origins, 4))[80][1] != before[80][1]
    ).any(axis=1)
    assert np.flatnonzero(changed)[0] == 11


def test_an_update_goes_on_where_rolling_ends():
    errors, counted = skewed(3, 300), np.ones((300, 3), bool)
    counted[RANDOM.random((300, 3)) < 0.1] = False
    fitted = Conformal.fit(errors[:100], counted[:100], [80])
    known = counted[100:200] & (np.arange(100)[:, None] + np.arange(1, 4) <= 100)
    updated = fitted.update(errors[100:200], known)
    bounds = fitted.rolling(np.zeros((101, 3)), errors[100:201], counted[100:201])
    np.testing.assert_allclose(updated.bounds(np.zeros((1, 3)))[80], np.array(bounds[80])[:, -1:])
    assert not np.allclose(updated.factors, fitted.factors)


def test_a_spread_scales_windows():
    spread = np.where(np.arange(400) % 2, 1.0, 50.0)
    errors, counted = skewed(4, 400) * spread[:, None], np.ones((400, 3), bool)
    fitted = Conformal.fit(errors[:300], counted[:300], [80], spread=spread[:300])
    bounds = fitted.rolling(np.zeros((100, 3)), errors[300:], counted[300:], spread=spread[300:])
    for part in (slice(0, None, 2), slice(1, None, 2)):
        share = inside({80: (bounds[80][0][part], bounds[80][1][part])}, errors[300:][part])[80]
        assert 0.7 < share < 0.9
    same = fitted.bounds(np.zeros((2, 3)), np.ones((2, 3)) * [[1.0], [50.0]])[80]
    np.testing.assert_allclose(same[0][1], 50 * same[0][0])


def test_windows_of_several_series_at_one_time_count_once():
    errors, counted = skewed(5, 200), np.ones((200, 3), bool)
    one = Conformal.fit(errors, counted, [80])
    twice = Conformal.fit(
        np.repeat(errors, 2, 0), np.repeat(counted, 2, 0), [80], clock=clock(np.repeat(np.arange(200), 2), 3)
    )
    assert np.abs(twice.factors - one.factors).max() < 0.05


def test_a_wider_level_lies_around_a_narrower_one_whatever_was_missed():
    fitted = Conformal.fit(skewed(6, 200), np.ones((200, 3), bool), [95, 50, 80])
    for draw in range(20):
        factors = np.random.default_rng(draw).normal(size=(3, 2)) * 3
        bounds = module.replace(fitted, factors=factors).bounds(np.zeros((1, 3)))
        assert (bounds[95][0] <= bounds[80][0]).all() and (bounds[80][0] <= bounds[50][0]).all()
        assert (bounds[95][1] >= bounds[80][1]).all() and (bounds[80][1] >= bounds[50][1]).all()
        assert (bounds[50][0] <= bounds[50][1]).all()


def test_errors_that_are_all_equal_are_no_trouble(monkeypatch):
    monkeypatch.setattr(module, "RATE", 1.0)
    counted = np.ones((3000, 2), bool)
    fitted = Conformal.fit(np.zeros((3000, 2)), counted, [80]).update(np.full((3000, 2), 5.0), counted)
    assert np.isfinite(fitted.bounds(np.ones((1, 2)))[80]).all()
    nothing = Conformal.fit(np.full((3, 2), np.nan), np.zeros((3, 2), bool), [80])
    assert np.isfinite(nothing.bounds(np.ones((1, 2)))[80]).all()


@pytest.mark.skipif("UNROLLED_DATA" not in os.environ, reason="needs the ridership of Chicago")
@pytest.mark.parametrize("end", [3652 - 730, 4748])
@pytest.mark.parametrize("point", ["seasonal naive", "linear"])
def test_intervals_of_chicagos_trains_hold_over_twenty_quarters(point, end):
    """Calibrated on the 15 % before `end`; then five years of daily origins, without a new fit."""
    from unrolled.data.datasets import load_ridership

    frame = load_ridership().drop_duplicates("service_date")
    order = np.argsort(frame["service_date"].str[6:] + frame["service_date"].str[:5])
    rides = frame["rail_boardings"].to_numpy(float)[order][: end + 5 * 365 + 14]
    origins = np.arange(419, len(rides) - 14)
    past = np.lib.stride_tricks.sliding_window_view(rides, 420)[: len(origins)]
    actual = rides[origins[:, None] + np.arange(1, 15)]
    trained = origins + 14 < 0.85 * end
    mean = past[:, 56:70] if point == "seasonal naive" else None  # 364 days before
    if mean is None:
        unit = rides[: int(0.85 * end)].std()
        line = Lines.fit(past[trained][..., None] / unit, actual[trained][..., None] / unit, [420])
        mean = line.predict(past[..., None] / unit)[..., 0] * unit
    errors, counted = actual - mean, np.ones(actual.shape, bool)
    held, test = (origins >= 0.85 * end) & (origins + 14 < end), origins >= end
    fitted = Conformal.fit(errors[held], counted[held], [80], clock=clock(origins[held], 14))
    bounds = fitted.rolling(mean[test], errors[test], counted[test], clock=clock(origins[test], 14))
    lo, hi = bounds[80]
    quarters = [part.mean() for part in np.array_split(((actual[test] >= lo) & (actual[test] <= hi)), 20)]
    assert 0.785 < np.mean(quarters) < 0.82
    found = score(actual[test], mean[test], counted[test], intervals=bounds)
    fixed = score(actual[test], mean[test], counted[test], intervals=fitted.bounds(mean[test]))
    assert found["interval_score"]["80"] < 1.02 * fixed["interval_score"]["80"]


def test_quantiles_of_a_network_are_moved_until_they_hold():
    random = np.random.default_rng(7)
    actual, counted = random.normal(size=(2000, 2)), np.ones((2000, 2), bool)
    mean, half = np.zeros((2000, 2)), np.array([[0.2, 5.0]])  # far too narrow, and far too wide
    raw = {80: (mean - half, mean + half), 95: (mean - half, mean + half)}
    counted[:1000, 0] = random.random(1000) < 0.5
    fitted = Widened.fit(
        {level: (lo[:1000], hi[:1000]) for level, (lo, hi) in raw.items()}, actual[:1000], counted[:1000]
    )
    bounds = fitted.bounds(mean[1000:], {level: (lo[1000:], hi[1000:]) for level, (lo, hi) in raw.items()})
    for level, (lo, hi) in bounds.items():
        held = ((actual[1000:] >= lo) & (actual[1000:] <= hi)).mean(axis=0)
        np.testing.assert_allclose(held, level / 100, atol=0.035)
    assert (bounds[95][0] <= bounds[80][0]).all() and (bounds[80][1] <= bounds[95][1]).all()


def test_intervals_of_series_out_of_phase_know_no_later_error():
    """Two weekly series, on Mondays and on Thursdays: an error counts from the day on which it is known."""
    days = np.sort(np.concatenate([7 * np.arange(30), 7 * np.arange(30) + 3]))
    due = days[:, None] + 7 * np.arange(1, 4)
    errors, counted = skewed(3, 60), np.ones((60, 3), bool)
    fitted = Conformal.fit(errors[:20], counted[:20], [80])
    before = fitted.rolling(np.zeros((60, 3)), errors, counted, clock=(days, due))[80]
    for day in (50, 101, 150):
        after = fitted.rolling(
            np.zeros((60, 3)), np.where(due > day, 1e6, errors), counted, clock=(days, due)
        )[80]
        assert (after[1][days <= day] == before[1][days <= day]).all()
