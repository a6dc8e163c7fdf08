"""Scores, against figures worked out by hand."""

import json

import numpy as np
import pytest

from unrolled.estimators.scores import label, score, seasonal_scale, verdict

ALL = np.ones((2, 2), bool)


def test_score_leaves_out_what_does_not_count():
    actual = np.array([[1.0, 2.0], [3.0, np.nan]])
    counted = np.array([[True, True], [True, False]])
    found = score(actual, np.array([[2.0, 0.0], [3.0, 9.0]]), counted)
    assert (found["mae"], found["mae_by_step"]) == (1.0, [0.5, 2.0])
    assert found["rmse"] == pytest.approx(np.sqrt(5 / 3))
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


def test_a_baseline_without_error_is_no_divisor():
    _, sentence = verdict({"model": {"mae": 0.25}, "baselines": {"naive": {"mae": 0.0}}})
    assert (
        "LOSES to naive (last value): its mean absolute error is 0.25, and that of naive (last value) 0."
        in sentence
    )


def test_percentages_leave_out_zeros():
    actual, forecast = np.array([[0.0, 2.0], [4.0, 0.0]]), np.array([[1.0, 1.0], [5.0, 0.0]])
    found = score(actual, forecast, ALL)
    assert found["mape"] == pytest.approx((50 + 25) / 2)
    assert found["smape"] == pytest.approx((200 + 200 / 3 + 200 / 9 + 0) / 4)
    assert score(np.zeros((2, 2)), forecast, ALL)["mape"] is None


def test_mase_divides_by_the_scale_of_each_window():
    actual, forecast = np.array([[1.0, 2.0], [30.0, 50.0]]), np.array([[3.0, 2.0], [40.0, 40.0]])
    assert score(actual, forecast, ALL, scale=2.0)["mase"] == pytest.approx(22 / 4 / 2)
    assert score(actual, forecast, ALL, scale=np.array([2.0, 20.0]))["mase"] == pytest.approx(
        (1 + 0 + 0.5 + 0.5) / 4
    )
    assert score(actual, forecast, ALL, scale=np.array([2.0, 0.0]))["mase"] == pytest.approx(0.5)
    assert [score(actual, forecast, ALL, scale=scale)["mase"] for scale in (None, 0.0)] == [None, None]


def test_seasonal_scale_stays_within_series_and_what_was_observed():
    values = np.array([1.0, 2.0, 4.0, 8.0, 100.0, 103.0, 109.0])
    seen = np.ones(7, bool)
    assert seasonal_scale(values, seen, 1, starts=[0, 4]) == pytest.approx((1 + 2 + 4 + 3 + 6) / 5)
    assert seasonal_scale(values, seen, 2, starts=[0, 4]) == pytest.approx((3 + 6 + 9) / 3)
    assert seasonal_scale(values, np.array([1, 1, 0, 1, 1, 1, 1], bool), 1, [0, 4]) == pytest.approx(
        (1 + 3 + 6) / 3
    )
    assert seasonal_scale(values, seen, 4, [0, 4]) is None
    assert seasonal_scale(values, seen, 9) is None


def test_intervals_are_scored_by_level():
    actual, forecast = np.array([[1.0, 9.0], [5.0, np.nan]]), np.array([[2.0, 5.0], [5.0, 0.0]])
    counted = np.array([[True, True], [True, False]])
    lo, hi = forecast - 2, forecast + 3
    found = score(actual, forecast, counted, intervals={80: (lo, hi), 50.5: (forecast, forecast)})
    assert found["coverage"] == {"80": pytest.approx(2 / 3), "50.5": pytest.approx(1 / 3)}
    assert found["coverage_by_step"] == {"80": [1.0, 0.0], "50.5": [0.5, 0.0]}
    assert found["width"] == {"80": 5.0, "50.5": 0.0}
    assert found["interval_score"]["80"] == pytest.approx(5 + 2 / 0.2 * 1 / 3)
    halves = (0.5 * 1 + 0.5 * 4) / 3
    tenths = (0.1 * (1 + 6 + 2) + 0.1 * (4 + 3 + 0) + 0.9 * 1) / 3
    quarters = 0.2475 * 4 + 0.7525 * 1 + 0.2475 * 1 + 0.7525 * 4
    assert found["pinball"] == pytest.approx((halves + tenths + quarters / 3) / 5)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "forecast", [np.full((2, 2), np.nan), np.full((2, 2), np.inf), np.full((2, 2), 1e200)]
)
def test_scores_are_json_whatever_comes(forecast):
    for counted in (ALL, ~ALL):
        found = score(np.ones((2, 2)), forecast, counted, scale=1.0, intervals={80: (forecast, forecast)})
        json.dumps(found, allow_nan=False)
    assert found["mae"] is None and found["coverage"] == {"80": None}


def test_a_verdict_leaves_out_what_has_no_error():
    assert verdict({"model": {"mae": 1.0}, "baselines": {"naive": {"mae": None}, "linear": {"mae": 2.0}}})[0]
    for scores in (
        {"model": {"mae": 1.0}, "baselines": {}},
        {"model": {"mae": None}, "baselines": {"naive": {"mae": 1.0}}},
    ):
        assert verdict(scores)[1].startswith("There is no error to compare")


def test_every_baseline_has_a_name():
    names = [
        "naive",
        "seasonal_naive",
        "seasonal_naive_7",
        "drift",
        "linear",
        "sarima",
        "ets",
        "constant_velocity",
    ]
    assert not {label(name) for name in names} & set(names)
