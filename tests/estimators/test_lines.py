"""The line of each target: what is chosen, and what is fitted then."""

import numpy as np
import pytest

from unrolled.estimators import lines
from unrolled.estimators.lines import Lines, candidate_lengths, trusted_share


def cut(values, steps, horizon):
    """Windows of (rows, targets), (windows, steps, targets), and what follows each."""
    whole = np.lib.stride_tricks.sliding_window_view(values.astype(np.float32), steps + horizon, axis=0)
    whole = whole.transpose(0, 2, 1)
    return whole[:, :steps], whole[:, steps:]


def noise(rows, targets=1, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, targets))


def error(line, past, target):
    last = past[:, -1:]
    steps = line.weight.shape[2]
    answer = np.einsum("chs,wsc->whc", line.weight, (past - last)[:, -steps:]) + line.bias.T
    return float(np.square(last + answer - target).mean())


@pytest.mark.parametrize("penalty", [1e-3, 10.0])
def test_it_is_the_ridge_in_closed_form(penalty):
    past, target = cut(noise(300, 2).cumsum(0), 5, 3)
    found = Lines.fit(past, target, [5], penalties=[penalty])
    assert found.shared
    assert not found.bias.any()
    x = np.concatenate([(past - past[:, -1:])[..., c] for c in range(2)]).astype(float)
    y = np.concatenate([(target - past[:, -1:])[..., c] for c in range(2)]).astype(float)
    expected = np.linalg.solve(x.T @ x + 2 * penalty * np.eye(5) + 1e-9 * np.eye(5), x.T @ y).T
    np.testing.assert_allclose(found.weight, [expected] * 2, atol=1e-6)


def test_a_season_far_back_is_worth_a_long_window():
    season = np.tile(noise(40), (30, 1))
    past, target = cut(season + 0.1 * noise(1200, seed=1), 45, 2)
    found = Lines.fit(past, target, [5, 15, 45])
    assert found.weight.shape == (1, 2, 45)
    assert error(found, past, target) < 0.04
    past, target = cut(noise(1200, seed=2).cumsum(0), 45, 2)
    assert Lines.fit(past, target, [5, 15, 45]).weight.shape[2] == 5


def test_a_bias_has_to_be_worth_it():
    steps = noise(800)
    past, target = cut((steps + 0.7).cumsum(0), 8, 6)
    found = Lines.fit(past, target, [8])
    assert found.bias[0, -1] > 1
    past, target = cut(steps.cumsum(0), 8, 6)
    assert not Lines.fit(past, target, [8]).bias.any()


def test_targets_share_a_line_unless_their_own_are_worth_it():
    first, second = (
        noise(800).cumsum(0),
        np.repeat(noise(400, seed=1), 2, axis=0) * np.tile([[1], [-1]], (400, 1)),
    )
    past, target = cut(np.concatenate([first, second], 1), 6, 2)
    found = Lines.fit(past, target, [6])
    assert not found.shared
    assert np.abs(found.weight[0] - found.weight[1]).max() > 0.3
    past, target = cut(noise(800, 3).cumsum(0), 6, 2)
    found = Lines.fit(past, target, [6])
    assert found.shared
    assert np.array_equal(found.weight[0], found.weight[2])


def test_a_line_of_values_goes_on():
    past, target = cut(np.arange(100.0)[:, None] / 30, 8, 6)
    found = Lines.fit(past, target, [8])
    assert error(found, past + 5, target + 5) < 1e-4


def test_windows_that_do_not_count_are_left_out():
    past, target = cut(noise(300).cumsum(0), 5, 3)
    counted = np.ones(target.shape, bool)
    counted[40:60, 1] = False
    expected = Lines.fit(past, target, [5], counted)
    spoilt = target.copy()
    spoilt[40:60] = 1e3
    assert np.array_equal(Lines.fit(past, spoilt, [5], counted).weight, expected.weight)
    assert not np.array_equal(Lines.fit(past, target, [5]).weight, expected.weight)


def test_too_few_windows_to_choose():
    past, target = cut(np.arange(12.0)[:, None], 6, 2)
    found = Lines.fit(past[:3], target[:3], [4, 6], penalties=[0.1, 10.0])
    assert (found.weight.shape[2], found.penalty, found.shared) == (6, 10.0, True)


def test_many_windows_are_thinned_out(monkeypatch):
    past, target = cut(noise(2000).cumsum(0), 5, 2)
    monkeypatch.setattr(lines, "MOST", 500)
    thin = Lines.fit(past, target, [5], penalties=[10.0])
    monkeypatch.undo()
    np.testing.assert_allclose(thin.weight, Lines.fit(past[::4], target[::4], [5], penalties=[10.0]).weight)
    assert not np.allclose(thin.weight, Lines.fit(past, target, [5], penalties=[10.0]).weight)


def test_no_block_is_forecast_by_windows_within_a_horizon_of_it():
    """Left-out blocks: no window is fitted whose targets are among those that are forecast."""
    blocks = lines._blocks(np.zeros((100, 3), np.float32), np.zeros((100, 4), np.float32), None, 1, 1)
    assert [[part.count for part in block] for block in blocks] == [[4, 12, 4]] * 5
    folds = lines._folds(blocks)
    assert [(fitted.count, forecast.count) for fitted, forecast in folds] == [
        (76, 20), (72, 20), (72, 20), (72, 20), (76, 20)
    ]  # fmt: skip


def test_candidates():
    assert candidate_lengths(24, 10_000)[-1] <= lines.LONGEST
    assert candidate_lengths(24, 40) == [24]


def test_a_correction_is_trusted_as_far_as_it_holds_in_all_blocks():
    added = noise(500, 3)
    assert trusted_share(0.4 * added + 0.01 * noise(500, 3, 1), added) == pytest.approx(0.4, abs=0.01)
    assert trusted_share(2 * added, added) == 1
    assert trusted_share(-added, added) == 0
    assert trusted_share(added, 0 * added) == 0
    some = 2 * added * (np.arange(500) < 100)[:, None]  # in one block of five
    plain = float((some * added).sum() / np.square(added).sum())
    assert plain > 0.3
    assert trusted_share(some, added) < 0.05


def test_windows_are_summed_in_pieces(monkeypatch):
    past, target = cut(noise(300).cumsum(0), 5, 3)
    expected = Lines.fit(past, target, [3, 5])
    monkeypatch.setattr(lines, "CHUNK", 7)
    np.testing.assert_allclose(Lines.fit(past, target, [3, 5]).weight, expected.weight, atol=1e-9)
