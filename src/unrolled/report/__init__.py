"""The report page of a forecast, and its plots.

`page` writes the page, `plots` draws, `alt` describes the plots in words, `svg` puts them into the page,
`wording` writes numbers and times, `palette` holds the colours.
"""

from unrolled.report.page import ForecastPage, render
from unrolled.report.plots import plot_error_by_step, plot_forecast, plot_training

__all__ = ["ForecastPage", "plot_error_by_step", "plot_forecast", "plot_training", "render"]
