"""The report of a forecast: one HTML file that needs nothing else, made from figures alone.

`render` fills `forecast.html.j2`. What is computed here comes from `ForecastPage.scores`, not from its
verdict: whether the model wins, loses or ties is shown even if the sentence forgets to say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unrolled.errors import DataError
from unrolled.estimators.chance import stand_by_error
from unrolled.estimators.scores import TIE
from unrolled.report.channels import list_channels, unit_of
from unrolled.report.figures import draw_figures, list_legends
from unrolled.report.palette import DARK, LIGHT, PAPER
from unrolled.report.tables import (
    Comparison,
    compare,
    forecast_table,
    held_out,
    history_table,
    score_tables,
    seconds_table,
)
from unrolled.report.wording import (
    count_steps,
    format_errors,
    format_percent,
    format_times,
    name_of,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from unrolled.report.channels import Channels

__all__ = ["ForecastPage", "find_template", "render"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ForecastPage:
    """What the report of one forecast shows.

    Args:
        title: the heading.
        target: the name of the column that is forecast; shown as it is, whatever it holds.
        unit_note: the unit of the data, such as "ppm"; may be empty.
        times: shape (n,), ascending, datetime64 without a time zone, or integers. The whole history; the plot
            shows its last part.
        values: shape (n,), float.
        observed: shape (n,), bool; False where a gap was filled.
        histories: for several series or targets: (series, target) → times, values and observed of that channel.
            Where it is given, it takes the place of `times`, `values` and `observed`.
        forecast: one row a step: series, target, origin, step, time, mean, and lo-L and hi-L for each level. The
            page draws the first four channels, a channel being one target of one series.
        levels: the levels of the intervals in percent, such as (80, 95); may be empty.
        scores: as in metrics.json, in the units of the data: `{"model": {"mae": …, "rmse": …, "mae_by_step":
            […], "coverage": {"80": 0.81, …}, "mase": …, "smape": …, "pinball": …, "interval_score": {"80":
            …}}, "baselines": {name: {...same...}}, "targets": {name: {"model": …, "baselines": …}},
            "held_out": {"windows": 9, "first_origin": "…", "last_origin": "…"}}`. Coverage is a share
            of one: 0.05 is 5 %; smape is in percent. All but model.mae may be missing or None.
        training: rows `{"member": 0, "epoch": 1, "loss": …, "valid_loss": …, "best": False}`; empty for a
            model that is not trained by epochs.
        settings: name and value, in the order to show.
        notes: what was done to the data, a sentence each; empty if nothing was.
        verdict: one plain sentence on the model beside the baselines.
        command: the command line that made the run, for the reader to repeat; may be empty.
        backtest: a row for each channel, origin and step: series, target, origin, step, time, actual (NaN where
            not to be counted), mean, and lo-L and hi-L; None leaves the residuals out. Of several targets, whose
            units may differ, the residuals of the first are shown.
        members: shape (members, rows of `forecast`), each member's own forecast; None leaves them out.
        seconds: stage → seconds, in the order to show.
    """

    title: str
    target: str
    unit_note: str = ""
    times: np.ndarray | None = None
    values: np.ndarray | None = None
    observed: np.ndarray | None = None
    histories: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
    forecast: pd.DataFrame
    levels: tuple[int, ...] = (80, 95)
    scores: Mapping[str, Any]
    training: list[dict[str, Any]] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    verdict: str
    command: str = ""
    backtest: pd.DataFrame | None = None
    members: np.ndarray | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def render(page: ForecastPage) -> str:
    """Write the report as one HTML document, with no script and no request to anywhere.

    Args:
        page: what to show.

    Returns:
        The document; the same page always gives the same text.

    Raises:
        ShapeError: `times`, `values` and `observed` differ in length, or are empty; `members` does not fit the
            forecast.
        DataError: the forecast is empty, lacks a column, holds a channel without a history, or has other times
            than the history; the backtest lacks a column; the scores lack model.mae.

    >>> import numpy as np, pandas as pd
    >>> frame = pd.DataFrame({"time": [5, 6], "mean": [1.0, 1.5], "lo-80": [0.5, 0.7], "hi-80": [1.5, 2.3]})
    >>> page = ForecastPage(title="Sales", target="<b>sold</b>", times=np.arange(5), values=np.ones(5),
    ...     observed=np.ones(5, bool), forecast=frame, levels=(80,), verdict="Better than naive.",
    ...     scores={"model": {"mae": 1.0}, "baselines": {"naive": {"mae": 2.0}}})
    >>> html = render(page)
    >>> html.startswith("<!doctype html>"), "<b>sold</b>" in html, "Beats every baseline" in html
    (True, False, True)
    """
    if page.scores.get("model", {}).get("mae") is None:
        raise DataError(
            "report",
            expected="scores with model.mae",
            got="none",
            cure="Pass the content of a run's metrics.json.",
        )
    channels = list_channels(page)
    template = find_template("forecast.html.j2")
    comparison = compare(page.scores)
    figures = draw_figures(page, channels)
    return template.render(
        page=page,
        channels=channels,
        colours=[(name, LIGHT[name], DARK[name]) for name in LIGHT],
        paper=PAPER,
        standing=stand_by_error(comparison.model, comparison.baselines, name_of, TIE),
        facts=_facts(page, channels, comparison),
        scores=score_tables(page.scores, page.levels),
        held_out=held_out(page.scores),
        figures=figures,
        legends=list_legends(page, channels),
        tables=[forecast_table(channel, page.levels) for channel in channels.shown],
        history=history_table(page, channels),
        stages=seconds_table(page.seconds),
    )


def find_template(name: str) -> Any:
    """A page's template; what is filled in is escaped, and what is not there is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("unrolled.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _facts(page: ForecastPage, channels: Channels, comparison: Comparison) -> list[dict[str, str]]:
    """The few figures that stand at the head of the page."""
    first = channels.shown[0]
    last = format_times(first.forecast["time"].to_numpy())[-1]
    facts = [
        {
            "name": "Horizon",
            "value": count_steps(len(first.forecast), unit_of(first)),
            "note": f"to {last}",
        },
        {
            "name": "Mean absolute error",
            "value": format_errors([comparison.model])[0],
            "note": f"{page.unit_note}, on held-out data" if page.unit_note else "on held-out data",
        },
    ]
    if comparison.best is not None:
        change = comparison.relative(comparison.model)
        facts.append(
            {
                "name": "Against the best baseline",
                "value": format_percent(change, signed=True),
                "note": f"the error of {name_of(comparison.best)}",
            }
        )
    coverage = page.scores["model"].get("coverage") or {}
    for level in sorted(page.levels)[:1]:
        if coverage.get(str(level)) is not None:
            facts.append(
                {
                    "name": f"{level}\N{NO-BREAK SPACE}% interval held",
                    "value": format_percent(float(coverage[str(level)])),
                    "note": "of the held-out values",
                }
            )
    return facts
