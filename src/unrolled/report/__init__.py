"""The report page of a forecast, and its plots; and what attention of a transcription looks at.

`page` writes the page, from `tables` and `figures`, channel by channel (`channels`); `plots`, `residuals` and
`windows` draw on axes dressed by `axes`, the last two from `backtest`; `alt` describes the plots in words, `svg`
puts them into the page, `wording` writes numbers and times, `palette` holds the colours.
"""

from unrolled.report.page import ForecastPage, render
from unrolled.report.plots import plot_error_by_step, plot_forecast, plot_training
from unrolled.report.residuals import plot_calibration, plot_residual_autocorrelation, plot_residuals
from unrolled.report.transcript_plots import plot_attention
from unrolled.report.windows import plot_members, plot_worst_windows

__all__ = [
    "ForecastPage",
    "plot_attention",
    "plot_calibration",
    "plot_error_by_step",
    "plot_forecast",
    "plot_members",
    "plot_residual_autocorrelation",
    "plot_residuals",
    "plot_training",
    "plot_worst_windows",
    "render",
]
