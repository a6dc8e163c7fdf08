"""The plots, by what stands on their axes."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from unrolled.errors import DataError
from unrolled.report import plot_error_by_step, plot_forecast, plot_training
from unrolled.report.plots import recent_steps
from unrolled.report.svg import figure_to_svg


def line(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_forecast_draws_the_recent_history_and_the_whole_forecast(make_page):
    page = make_page()
    axes = plot_forecast(page.times, page.values, page.observed, page.forecast, levels=(80, 95))
    recent = recent_steps(14)
    seen = np.where(page.observed, page.values, np.nan)[-recent:]
    np.testing.assert_array_equal(line(axes, "observed").get_ydata(), seen)
    np.testing.assert_array_equal(line(axes, "forecast (mean)").get_ydata(), page.forecast["mean"])
    np.testing.assert_array_equal(line(axes, "filled gap").get_ydata(), page.values[280:283])
    days = line(axes, "forecast (mean)").get_xdata() - line(axes, "observed").get_xdata()[-1]
    np.testing.assert_array_equal(days, np.arange(1, 15))


def test_intervals_reach_from_low_to_high_and_open_at_the_last_value(make_page):
    page = make_page()
    axes = plot_forecast(page.times, page.values, page.observed, page.forecast, levels=(80, 95))
    bands = {band.get_label(): band.get_paths()[0].vertices[:, 1] for band in axes.collections}
    for level in (80, 95):
        heights = bands[f"{level} % interval"]
        assert heights.max() == page.forecast[f"hi-{level}"].max()
        assert heights.min() == page.forecast[f"lo-{level}"].min()
        assert page.values[-1] in heights


def test_given_axes_are_drawn_on_and_get_no_legend(make_page, make_scores):
    page = make_page()
    for plot in (
        lambda axes: plot_forecast(page.times, page.values, page.observed, page.forecast, axes=axes),
        lambda axes: plot_error_by_step(make_scores(), axes=axes),
        lambda axes: plot_training(page.training, axes=axes),
    ):
        axes = Figure().add_subplot()
        assert plot(axes) is axes
        assert axes.get_legend() is None
        assert len(axes.lines) > 0
        assert plot(None).get_legend() is not None


def test_times_become_dates_and_integers_stay(make_page, make_forecast):
    page = make_page()
    dated = plot_forecast(page.times, page.values, page.observed, page.forecast)
    assert "2019-10-28" in dated.xaxis.get_major_formatter().format_data_short(
        line(dated, "forecast (mean)").get_xdata()[0]
    )
    times = np.arange(1000, 1300)
    axes = plot_forecast(times, page.values, page.observed, make_forecast(times))
    np.testing.assert_array_equal(line(axes, "forecast (mean)").get_xdata(), np.arange(1300, 1314))


def test_error_by_step_has_a_curve_for_each_and_starts_at_zero(make_scores):
    scores = make_scores()
    scores["baselines"]["naive"]["mae_by_step"] = None
    scores["baselines"]["linear"]["mae_by_step"][0] = None
    axes = plot_error_by_step(scores)
    assert [drawn.get_label() for drawn in axes.lines] == ["seasonal naive", "linear", "model"]
    np.testing.assert_array_equal(line(axes, "model").get_ydata(), scores["model"]["mae_by_step"])
    assert axes.get_ylim()[0] == 0
    assert len({drawn.get_color() for drawn in axes.lines}) == 3
    assert np.isnan(line(axes, "linear").get_ydata()[0])
    with pytest.raises(DataError, match=r"model\.mae_by_step, got none"):
        plot_error_by_step({"model": {"mae": 1.0}})


def test_training_marks_the_best_epoch_of_each_member(make_page):
    page = make_page()
    axes = plot_training(page.training)
    dots = [drawn for drawn in axes.lines if drawn.get_label().endswith("best epoch")]
    assert [drawn.get_xdata().tolist() for drawn in dots] == [[20], [21]]
    assert [round(drawn.get_ydata()[0], 9) for drawn in dots] == [round(0.9**e + 0.01, 9) for e in (20, 21)]
    assert sum(drawn.get_label().endswith("training loss") for drawn in axes.lines) == 2
    with pytest.raises(DataError, match="at least one epoch, got none"):
        plot_training([])


def test_training_is_logarithmic_only_over_a_wide_range(make_page):
    rows = make_page().training
    assert plot_training(rows).get_yscale() == "linear"
    assert plot_training([*rows, {**rows[-1], "epoch": 26, "loss": 0.001}]).get_yscale() == "log"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 650_000, "600,000"),
        (364.2, 377.9, "366"),
        (-3.5e-6, -1e-6, "−2.0×10⁻⁶"),
        (0.0, 0.6, "0.3"),
        (1e6, 1e6 + 0.1, "1,000,000.02"),
    ],
)
def test_ticks_are_written_humanely(low, high, expected):
    axes = plot_error_by_step({"model": {"mae_by_step": [low, high]}})
    axes.set_ylim(low, high)
    axes.figure.draw_without_rendering()
    texts = [label.get_text() for label in axes.get_yticklabels()]
    assert expected in texts
    assert len(set(texts)) == len(texts)


def test_dollars_in_names_are_not_mathematics():
    axes = plot_error_by_step(
        {"model": {"mae_by_step": [1, 2]}, "baselines": {"$\\bad$": {"mae_by_step": [1, 2]}}}
    )
    svg = figure_to_svg(axes.figure, prefix="a", label="", css_class="plot")
    assert "$\\bad$" in svg


def test_no_global_figures_are_made():
    code = (
        "import sys; from unrolled.report import plot_error_by_step as plot;"
        "plot({'model': {'mae_by_step': [1, 2]}}).figure.savefig('/dev/null', format='svg');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
