"""Intervals: how often they hold."""

import numpy as np

from unrolled.estimators.intervals import conformal_widths


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
