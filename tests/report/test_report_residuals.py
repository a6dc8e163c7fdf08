"""What the plots of a backtest draw, against the same figures computed plainly."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from unrolled.errors import DataError, OptionError, ShapeError
from unrolled.report import (
    plot_calibration,
    plot_members,
    plot_residual_autocorrelation,
    plot_residuals,
    plot_worst_windows,
)
from unrolled.report.backtest import autocorrelation, course, coverage, read_backtest, worst_windows

PLOTS = (plot_residuals, plot_residual_autocorrelation, plot_calibration)


def line(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def small(errors, step=1, series="", **columns):
    """One step, an origin at each integer."""
    origin = np.arange(len(errors))
    frame = {"series": series, "target": "y", "origin": origin, "step": step, "time": origin + step}
    return pd.DataFrame({**frame, "actual": errors, "mean": 0.0, **columns})


def test_residuals_are_actual_minus_forecast_of_the_first_and_the_last_step(make_backtest):
    frame = make_backtest()
    frame.loc[frame.index[frame["step"] == 1][3], "actual"] = np.nan
    axes = plot_residuals(frame)
    for step in (1, 14):
        own = frame[frame["step"] == step].dropna()
        drawn = line(axes, f"step {step}")
        np.testing.assert_allclose(drawn.get_ydata(), own["actual"] - own["mean"])
        np.testing.assert_array_equal(np.diff(drawn.get_xdata()), own["time"].diff()[1:].dt.days)
    assert len(line(axes, "step 1").get_ydata()) == 59


def test_the_band_holds_the_middle_of_all_errors_and_the_line_is_the_running_mean(make_backtest):
    frame = make_backtest()
    found = course(read_backtest(frame))
    errors = frame["actual"] - frame["mean"]
    by_time = errors.groupby(frame["time"])
    np.testing.assert_allclose(found.low, by_time.quantile(0.1))
    np.testing.assert_allclose(found.high, by_time.quantile(0.9))
    assert found.width == 4
    first = errors[frame["step"] == 1].to_numpy()
    np.testing.assert_allclose(found.means[0][1][30], first[28:32].mean())
    np.testing.assert_allclose(found.means[0][1][0], first[:2].mean())
    heights = plot_residuals(frame).collections[0].get_paths()[0].vertices[:, 1]
    assert heights.min() == found.low.min()
    assert heights.max() == found.high.max()


def test_many_errors_are_thinned_but_the_largest_stay():
    errors = np.random.default_rng(0).normal(size=5_000)
    errors[[17, 3_333]] = 50.0, -60.0
    axes = plot_residuals(small(errors))
    drawn = line(axes, "step 1").get_ydata()
    assert 200 < len(drawn) <= 250
    assert drawn.max() == 50
    assert drawn.min() == -60
    assert len(line(axes, "running mean, step 1").get_ydata()) <= 500


def test_autocorrelation_is_the_usual_one():
    errors = np.random.default_rng(1).normal(size=300).cumsum()
    axes = plot_residual_autocorrelation(small(errors))
    away = errors - errors.mean()
    wanted = [(away[lag:] * away[:-lag]).sum() / (away**2).sum() for lag in range(1, 26)]
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), wanted)
    band = next(patch for patch in axes.patches if patch.get_label() == "no resemblance")
    np.testing.assert_allclose([band.get_y(), band.get_height()], [-1.96 / 300**0.5, 2 * 1.96 / 300**0.5])


def test_autocorrelation_takes_its_step_in_the_order_of_the_origins(make_backtest):
    frame = make_backtest()
    shuffled = frame.sample(frac=1.0, random_state=0)
    found, again = (autocorrelation(read_backtest(f), 3) for f in (frame, shuffled))
    np.testing.assert_allclose(found.values, again.values)
    third = frame[frame["step"] == 3]
    errors = (third["actual"] - third["mean"]).to_numpy()
    away = errors - errors.mean()
    np.testing.assert_allclose(found.values[0], (away[1:] * away[:-1]).sum() / (away**2).sum())


def test_autocorrelation_of_channels_is_their_mean_and_never_across_them():
    up, down = np.tile([1.0, -1.0], 20), np.repeat([5.0, -5.0], 20)
    both = pd.concat([small(up, series="a"), small(down, series="b")])
    apart = [autocorrelation(read_backtest(small(errors)), 1).values for errors in (up, down)]
    np.testing.assert_allclose(autocorrelation(read_backtest(both), 1).values, np.mean(apart, axis=0))


@pytest.mark.parametrize("errors", [[0.1] * 30, [1.0, 2.0], [0.0] * 30])
def test_errors_that_do_not_vary_have_no_autocorrelation(errors):
    with pytest.raises(
        DataError, match=r"three errors of step 1 in one channel that differ, got fewer\. Backtest"
    ):
        plot_residual_autocorrelation(small(errors))
    plot_residuals(small(errors))


def test_calibration_counts_what_lies_inside(make_backtest):
    frame = make_backtest()
    frame.loc[::5, "actual"] = np.nan
    counted = frame.dropna()
    shares = coverage(read_backtest(frame))
    axes = plot_calibration(frame)
    for rank, level in enumerate((80, 95)):
        inside = counted["actual"].between(counted[f"lo-{level}"], counted[f"hi-{level}"])
        assert shares[str(level)][0] == inside.mean()
        by_step = inside.groupby(counted["step"]).mean()
        assert shares[str(level)][1] == by_step.to_dict()
        drawn = line(axes, "all steps")
        assert axes.texts[rank].get_text().replace("\xa0", "") == f"{inside.mean():.0%}"
        assert axes.texts[rank].xy == (level, 100 * inside.mean())
        assert (drawn.get_xdata()[rank], drawn.get_ydata()[rank]) == (level, 100 * inside.mean())
        bar = axes.collections[0].get_segments()[rank]
        np.testing.assert_allclose(bar[:, 1], [100 * by_step.min(), 100 * by_step.max()])
    with pytest.raises(DataError, match="at least one level, got none"):
        plot_calibration(make_backtest(levels=()))


def test_worst_windows_come_worst_first_and_do_not_overlap():
    errors = np.zeros((20, 3))
    errors[4], errors[5], errors[12], errors[0] = 9.0, 10.0, -8.0, 1.0
    origin, step = np.repeat(np.arange(20), 3), np.tile([1, 2, 3], 20)
    frame = pd.DataFrame({"series": "", "target": "y", "origin": origin, "step": step, "time": origin + step})
    frame["actual"], frame["mean"] = 100.0 + frame["time"], 100.0 + frame["time"] - errors.ravel()
    found = worst_windows(read_backtest(frame), 3)
    assert [(window.origin, window.mae) for window in found] == [(5, 10.0), (12, 8.0), (0, 1.0)]
    np.testing.assert_array_equal(found[0].before[0], [3, 4, 5])
    np.testing.assert_array_equal(found[0].before[1], [103, 104, 105])
    assert len(found[2].before[0]) == 0
    drawn = plot_worst_windows(frame, 3)
    assert [axes.get_title(loc="left") for axes in drawn] == ["after 5", "after 12", "after 0"]
    np.testing.assert_array_equal(line(drawn[0], "observed").get_ydata(), np.arange(103, 109))
    np.testing.assert_array_equal(line(drawn[0], "forecast (mean)").get_ydata(), [96, 97, 98])


def test_worst_windows_of_several_series_are_named_and_rank_by_what_counts(make_backtest):
    frame = pd.concat([make_backtest(series="north"), make_backtest(series="$\\bad$")], ignore_index=True)
    frame.loc[frame["series"] == "north", "actual"] = np.nan
    frame.loc[0, "actual"] = frame.loc[0, "mean"] + 1e6
    drawn = plot_worst_windows(frame, 2)
    assert drawn[0].get_title(loc="left") == "north\nafter 2019-07-31"
    assert drawn[1].get_title(loc="left").startswith("$\\bad$\n")
    drawn[0].figure.draw_without_rendering()


def test_worst_windows_draw_on_axes_given_and_hide_the_spare():
    frame = small([1.0, 2.0])
    axes = Figure().subplots(1, 3).tolist()
    assert plot_worst_windows(frame, 3, axes=axes) == axes[:2]
    assert [one.get_visible() for one in axes] == [True, True, False]
    assert plot_worst_windows(frame)[0].figure.legends
    with pytest.raises(ShapeError, match="at least 3 axes, got 2"):
        plot_worst_windows(frame, 3, axes=axes[:2])
    with pytest.raises(OptionError, match="at least 1, got 0"):
        plot_worst_windows(frame, 0)


def test_members_are_drawn_one_by_one_thirty_at_most(make_page):
    frame = make_page().forecast
    members = np.arange(45.0)[:, None] + np.zeros(14)
    axes = plot_members(frame, members[:3])
    assert [drawn.get_ydata()[0] for drawn in axes.lines] == [0, 1, 2, frame["mean"].iloc[0]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["each member", "together"]
    assert len(plot_members(frame, members).lines) == 31
    with pytest.raises(ShapeError, match=r"shape \(members, 14\), at least one member, got \(3, 13\)"):
        plot_members(frame, members[:3, 1:])
    with pytest.raises(DataError, match="got no column mean"):
        plot_members(frame.drop(columns="mean"), members)


def test_given_axes_are_drawn_on_and_get_no_legend(make_backtest, make_page):
    frame = make_backtest()
    for plot in (
        *(lambda axes, plot=plot: plot(frame, axes=axes) for plot in PLOTS),
        lambda axes: plot_members(make_page().forecast, np.zeros((2, 14)), axes=axes),
    ):
        axes = Figure().add_subplot()
        assert plot(axes) is axes
        assert axes.get_legend() is None
        assert plot(None).get_legend() is not None


def test_a_frame_that_cannot_be_used_is_refused(make_backtest):
    for plot in (*PLOTS, plot_worst_windows):
        with pytest.raises(DataError, match=f"{plot.__name__}: expected .*got no column actual"):
            plot(make_backtest().drop(columns="actual"))
        with pytest.raises(DataError, match=f"{plot.__name__}: expected .* got none in 840 rows"):
            plot(make_backtest().assign(actual=np.nan))


def test_polars_frames_are_drawn_too(make_backtest):
    polars = pytest.importorskip("polars")
    frame = make_backtest()
    other = polars.DataFrame({name: frame[name].to_numpy() for name in frame.columns})
    for plot in PLOTS:
        for one, two in zip(plot(frame).lines, plot(other).lines, strict=True):
            np.testing.assert_array_equal(one.get_ydata(), two.get_ydata())
