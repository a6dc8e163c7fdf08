"""The report of a forecast: one HTML file that needs nothing else, made from figures alone.

`render` fills `forecast.html.j2`. What is computed here comes from `ForecastPage.scores`, not from its
verdict: whether the model wins, loses or ties is shown even if the sentence forgets to say it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unrolled.errors import DataError
from unrolled.estimators.scores import TIE
from unrolled.report.alt import describe_errors, describe_forecast, describe_training
from unrolled.report.palette import BASELINES, DARK, LIGHT, PAPER
from unrolled.report.plots import (
    band_opacity,
    check_forecast,
    plot_error_by_step,
    plot_forecast,
    plot_training,
    recent_steps,
)
from unrolled.report.wording import (
    count_steps,
    format_errors,
    format_percent,
    format_times,
    format_values,
    join_words,
    name_of,
    step_unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pandas as pd
    from markupsafe import Markup
    from matplotlib.axes import Axes

__all__ = ["ForecastPage", "render"]

_ROWS = 200
_WIDE, _NARROW = (8.6, 3.5), (4.3, 3.1)


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
        forecast: one row a step: series, target, origin, step, time, mean, and lo-L and hi-L for each level.
        levels: the levels of the intervals in percent, such as (80, 95); may be empty.
        scores: as in metrics.json, in the units of the data: `{"model": {"mae": …, "rmse": …, "mae_by_step":
            […], "coverage": {"80": 0.81, …}}, "baselines": {name: {...same...}}, "held_out": {"windows": 9,
            "first_origin": "…", "last_origin": "…"}}`. All but model.mae may be missing or None.
        training: rows `{"member": 0, "epoch": 1, "loss": …, "valid_loss": …, "best": False}`; empty for a
            model that is not trained by epochs.
        settings: name and value, in the order to show.
        notes: what was done to the data, a sentence each; empty if nothing was.
        verdict: one plain sentence on the model beside the baselines.
        command: the command line that made the run, for the reader to repeat; may be empty.
    """

    title: str
    target: str
    unit_note: str = ""
    times: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    forecast: pd.DataFrame
    levels: tuple[int, ...] = (80, 95)
    scores: Mapping[str, Any]
    training: list[dict[str, Any]] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    verdict: str
    command: str = ""


def render(page: ForecastPage) -> str:
    """Write the report as one HTML document, with no script and no request to anywhere.

    Args:
        page: what to show.

    Returns:
        The document; the same page always gives the same text.

    Raises:
        ShapeError: `times`, `values` and `observed` differ in length, or are empty.
        DataError: the forecast is empty, holds several series, lacks a column, or has other times than the
            history; the scores lack model.mae.

    >>> import numpy as np, pandas as pd
    >>> frame = pd.DataFrame({"time": [5, 6], "mean": [1.0, 1.5], "lo-80": [0.5, 0.7], "hi-80": [1.5, 2.3]})
    >>> page = ForecastPage(title="Sales", target="<b>sold</b>", times=np.arange(5), values=np.ones(5),
    ...     observed=np.ones(5, bool), forecast=frame, levels=(80,), verdict="Better than naive.",
    ...     scores={"model": {"mae": 1.0}, "baselines": {"naive": {"mae": 2.0}}})
    >>> html = render(page)
    >>> html.startswith("<!doctype html>"), "<b>sold</b>" in html, "Beats every baseline" in html
    (True, False, True)
    """
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    _check(page)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("unrolled.report").joinpath("forecast.html.j2").read_text(encoding="utf-8")
    )
    comparison = _compare(page.scores)
    return template.render(
        page=page,
        colours=[(name, LIGHT[name], DARK[name]) for name in LIGHT],
        paper=PAPER,
        standing=_standing(comparison),
        facts=_facts(page, comparison),
        rows=_score_rows(page, comparison),
        held_out=_held_out(page),
        figures=_figures(page),
        legends=_legends(page),
        table=_forecast_table(page),
        history=_history(page),
    )


@dataclass(frozen=True)
class Comparison:
    """The mean absolute errors, the model's and each baseline's, by key."""

    model: float
    baselines: dict[str, float]

    @property
    def best(self) -> str | None:
        """The key of the best baseline."""
        measured = {name: mae for name, mae in self.baselines.items() if math.isfinite(mae)}
        return min(measured, key=measured.__getitem__, default=None)

    def relative(self, mae: float) -> float:
        """By what share an error is larger than the best baseline's."""
        least = self.baselines[self.best] if self.best else math.nan
        return mae / least - 1 if least > 0 else (0.0 if mae == least else math.nan)


def _check(page: ForecastPage) -> None:
    check_forecast(page.times, page.values, page.observed, page.forecast, page.levels)
    if "series" in page.forecast.columns and page.forecast["series"].nunique(dropna=False) > 1:
        raise DataError(
            "report",
            expected="the forecast of one series",
            got=f"{page.forecast['series'].nunique(dropna=False)} series",
            cure="Write one page for each.",
        )
    if page.scores.get("model", {}).get("mae") is None:
        raise DataError(
            "report",
            expected="scores with model.mae",
            got="none",
            cure="Pass the content of a run's metrics.json.",
        )


def _compare(scores: Mapping[str, Any]) -> Comparison:
    return Comparison(
        _number(scores["model"], "mae"),
        {name: _number(entry, "mae") for name, entry in scores.get("baselines", {}).items()},
    )


def _number(entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    return math.nan if value is None else float(value)


def _standing(comparison: Comparison) -> dict[str, str]:
    """Say in a few words how the model stands beside the baselines, from the figures."""
    if comparison.best is None:
        return {"kind": "unknown", "mark": "?", "words": "Not compared with any baseline"}
    if not math.isfinite(comparison.model):
        return {"kind": "loses", "mark": "✗", "words": "The model's error is not a number"}
    better = [name_of(name) for name, mae in comparison.baselines.items() if mae < comparison.model]
    equal = [name_of(name) for name, mae in comparison.baselines.items() if comparison.model >= TIE * mae]
    if better:
        return {"kind": "loses", "mark": "✗", "words": f"The model loses to {join_words(better)}"}
    if equal:
        return {"kind": "ties", "mark": "=", "words": f"No better than {join_words(equal)}"}
    return {"kind": "wins", "mark": "✓", "words": "Beats every baseline"}


def _facts(page: ForecastPage, comparison: Comparison) -> list[dict[str, str]]:
    """The few figures that stand at the head of the page."""
    horizon = len(page.forecast)
    last = format_times(page.forecast["time"].to_numpy())[-1]
    facts = [
        {
            "name": "Horizon",
            "value": count_steps(horizon, _unit(page)),
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


def _score_rows(page: ForecastPage, comparison: Comparison) -> dict[str, Any]:
    """The score table: the model and the baselines, the lowest error first."""
    entries = [("", page.scores["model"]), *page.scores.get("baselines", {}).items()]
    entries.sort(key=lambda entry: (math.isnan(_number(entry[1], "mae")), _number(entry[1], "mae")))
    levels = [
        str(level)
        for level in sorted(page.levels)
        if any((entry.get("coverage") or {}).get(str(level)) is not None for _, entry in entries)
    ]
    errors = [_number(entry, "mae") for _, entry in entries]
    worst = max((error for error in errors if math.isfinite(error)), default=0.0)
    maes = format_errors(errors)
    rmses = format_errors(_number(entry, "rmse") for _, entry in entries)
    rows = [
        {
            "name": name_of(name) or "model",
            "is_model": not name,
            "best": error == min(errors) and len(entries) > 1,
            "share": round(100 * error / worst, 1) if worst > 0 and math.isfinite(error) else 0,
            "mae": mae,
            "rmse": rmse,
            "relative": format_percent(comparison.relative(error), signed=True)
            if name != comparison.best
            else "reference",
            "coverage": [format_percent(_number(entry.get("coverage") or {}, level)) for level in levels],
        }
        for (name, entry), error, mae, rmse in zip(entries, errors, maes, rmses, strict=True)
    ]
    return {"rows": rows, "levels": levels, "compared": comparison.best is not None}


def _held_out(page: ForecastPage) -> str:
    held_out = page.scores.get("held_out") or {}
    if not held_out.get("windows"):
        return ""
    text = f"Measured on {count_steps(int(held_out['windows']), 'window')} that training never saw"
    first, last = held_out.get("first_origin"), held_out.get("last_origin")
    return (
        f"{text}, with origins from {first} to {last}."
        if first is not None and last is not None
        else f"{text}."
    )


def _unit(page: ForecastPage) -> str:
    import numpy as np

    ahead = page.forecast["time"].to_numpy()
    past = np.asarray(page.times)[-recent_steps(len(ahead)) :]
    return step_unit(np.concatenate([past, ahead.astype(past.dtype)]))


def _figures(page: ForecastPage) -> dict[str, Markup | None]:
    """Each plot twice, for wide and for narrow screens, one of which the style sheet shows."""
    figures: dict[str, Markup | None] = {"forecast": None, "errors": None, "training": None}
    figures["forecast"] = _draw(
        "forecast",
        describe_forecast(
            page.times, page.values, page.observed, page.forecast, page.levels, page.target, _unit(page)
        ),
        lambda axes: plot_forecast(
            page.times, page.values, page.observed, page.forecast, levels=page.levels, axes=axes
        ),
    )
    if _has_steps(page):
        figures["errors"] = _draw(
            "errors", describe_errors(page.scores), lambda axes: plot_error_by_step(page.scores, axes=axes)
        )
    if page.training:
        figures["training"] = _draw(
            "training", describe_training(page.training), lambda axes: plot_training(page.training, axes=axes)
        )
    return figures


def _has_steps(page: ForecastPage) -> bool:
    """Whether there is an error by step to draw: a single step is in the table already."""
    return len(page.scores["model"].get("mae_by_step") or []) > 1


def _draw(name: str, label: str, plot: Callable[[Axes], Axes]) -> Markup:
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from unrolled.report.svg import figure_to_svg

    parts = []
    # The page must not depend on the user's matplotlibrc.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for width, size in (("wide", _WIDE), ("narrow", _NARROW)):
            figure = Figure(figsize=size, layout="constrained")
            plot(figure.add_subplot())
            parts.append(
                figure_to_svg(figure, prefix=f"{name}-{width}", label=label, css_class=f"plot {width}")
            )
    return Markup("\n".join(parts))


def _legends(page: ForecastPage) -> dict[str, list[dict[str, Any]]]:
    """What the legends in HTML show: a line, a ring, a dot or a band, with its colour and name."""
    baselines = [
        {
            "shape": "line",
            "colour": BASELINES[rank % len(BASELINES)][0],
            "dashes": " ".join(str(1.5 * part) for part in BASELINES[rank % len(BASELINES)][1]),
            "name": name_of(name),
        }
        for rank, (name, entry) in enumerate(page.scores.get("baselines", {}).items())
        if entry.get("mae_by_step")
    ]
    recent = page.observed[-recent_steps(len(page.forecast)) :]
    model = {"shape": "line", "colour": "model"}
    opacity = 0.0
    bands = []
    for rank, level in enumerate(sorted(page.levels, reverse=True)):
        # an inner band lies on the outer ones
        opacity = 1 - (1 - opacity) * (1 - band_opacity(rank))
        name = f"{level}\N{NO-BREAK SPACE}% interval"
        bands.append({"shape": "band", "colour": "model", "opacity": round(opacity, 3), "name": name})
    validated = any(row.get("valid_loss") is not None for row in page.training)
    return {
        "forecast": [
            {"shape": "line", "colour": "observed", "name": "observed"},
            *([] if all(recent) else [{"shape": "ring", "colour": "filled", "name": "filled gap"}]),
            {**model, "name": "forecast (mean)"},
            *reversed(bands),
        ],
        "errors": [{**model, "name": "model"}, *baselines],
        "training": [
            {"shape": "line", "colour": "muted", "dashes": "4.5 2.25", "name": "training loss"},
            *([{**model, "name": "validation"}] if validated else []),
            {"shape": "dot", "colour": "first", "name": "best epoch"},
        ],
    }


def _forecast_table(page: ForecastPage) -> dict[str, Any]:
    """The forecast in figures; beyond `_ROWS` steps, the first of them."""
    import numpy as np

    shown = page.forecast.head(_ROWS)
    levels = sorted(page.levels)
    columns = ["mean", *(f"{side}-{level}" for level in levels for side in ("lo", "hi"))]
    numbers = shown[columns].to_numpy(float)
    texts = np.array(format_values(numbers.ravel()), dtype=object).reshape(numbers.shape)
    times = format_times(shown["time"].to_numpy(), weekday=_unit(page) in ("day", "business day"))
    steps = [int(step) for step in shown["step"]] if "step" in shown.columns else range(1, len(shown) + 1)
    rows = [
        {"step": f"{step:,}", "time": time, "mean": row[0], "bounds": row[1:].tolist()}
        for step, time, row in zip(steps, times, texts, strict=True)
    ]
    return {"rows": rows, "levels": levels, "left_out": len(page.forecast) - len(shown)}


def _history(page: ForecastPage) -> Sequence[tuple[str, str]]:
    import numpy as np

    times = np.asarray(page.times)
    first, last = format_times(times[[0, -1]])
    filled = int(np.count_nonzero(~np.asarray(page.observed, bool)))
    share = f" ({format_percent(filled / len(times))})" if filled else ""
    return [
        ("Rows", f"{len(times):,}"),
        ("From", first),
        ("To", last),
        ("Filled gaps", f"{filled:,}{share}"),
    ]
