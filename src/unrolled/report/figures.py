"""The figures of the page, each with its description, its caption and its legend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unrolled.data.calendar_rows import join_words
from unrolled.errors import DataError
from unrolled.report.alt import (
    describe_autocorrelation,
    describe_calibration,
    describe_errors,
    describe_forecast,
    describe_members,
    describe_residuals,
    describe_training,
    describe_worst_windows,
)
from unrolled.report.backtest import autocorrelation, course, coverage, read_backtest, worst_windows
from unrolled.report.channels import unit_of
from unrolled.report.plots import (
    STRONG,
    band_opacity,
    error_curves,
    error_limit,
    plot_error_by_step,
    plot_forecast,
    plot_training,
    recent_steps,
)
from unrolled.report.residuals import (
    STEPS,
    plot_calibration,
    plot_residual_autocorrelation,
    plot_residuals,
)
from unrolled.report.windows import MOST_MEMBERS, plot_members, plot_worst_windows

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unrolled.report.channels import Channel, Channels
    from unrolled.report.page import ForecastPage

__all__ = ["Drawing", "draw", "draw_figures", "list_legends"]

_WIDE, _NARROW = (8.6, 3.5), (4.3, 3.1)
_WORST = 3


@dataclass(frozen=True)
class Drawing:
    """A figure as it stands on the page: the axis' name, the drawing, what is said below it."""

    name: str
    svg: Markup
    caption: str = ""


def draw_figures(page: ForecastPage, channels: Channels) -> dict[str, list[Drawing]]:
    """Draw each figure for wide and for narrow screens, one of which the style sheet shows.

    Returns:
        By section, what there is to draw; a section without data has an empty list.
    """
    figures: dict[str, list[Drawing]] = {
        "forecast": [
            Drawing(channel.name, _draw_forecast(page, channel, f"forecast{rank or ''}"))
            for rank, channel in enumerate(channels.shown)
        ],
        "errors": _draw_errors(page, channels),
        "training": [],
        "members": _draw_members(channels),
        **_draw_backtest(page, channels),
    }
    if page.training:
        svg = draw(
            "training", describe_training(page.training), lambda axes: plot_training(page.training, axes=axes)
        )
        figures["training"] = [Drawing("Loss, on scaled data", svg)]
    return figures


def _draw_forecast(page: ForecastPage, channel: Channel, name: str) -> Markup:
    past = (channel.times, channel.values, channel.observed, channel.forecast)
    return draw(
        name,
        describe_forecast(*past, page.levels, channel.name, unit_of(channel)),
        lambda axes: plot_forecast(*past, levels=page.levels, axes=axes),
    )


def _step_scores(page: ForecastPage) -> tuple[Mapping[str, Any], str]:
    """The scores whose errors by step are drawn, and of what they are if not of all."""
    targets = page.scores.get("targets") or {}
    if len(targets) > 1:
        name = next(iter(targets))
        if _has_steps(targets[name]):
            return targets[name], str(name)
    return page.scores, ""


def _has_steps(scores: Mapping[str, Any]) -> bool:
    """Whether there is an error by step to draw: a single step is in the table already."""
    return len((scores.get("model") or {}).get("mae_by_step") or []) > 1


def _draw_errors(page: ForecastPage, channels: Channels) -> list[Drawing]:
    scores, target = _step_scores(page)
    if not _has_steps(scores):
        return []
    curves = error_curves(scores)
    parts = []
    if target:
        parts.append(f"Of {target}, the first of {len(page.scores['targets']):,} targets.")
    if len(channels.series) > 1:
        parts.append(f"Over all {len(channels.series):,} series.")
    if not all(curve.strong for curve in curves):
        parts.append(f"The model and the {STRONG} best baselines stand out.")
    limit = error_limit(curves)
    if limit is not None:
        above = [curve.name for curve in curves if any(error > limit for error in curve.errors)]
        parts.append(f"Beyond the top: {join_words(above)}.")
    svg = draw("errors", describe_errors(scores), lambda axes: plot_error_by_step(scores, axes=axes))
    return [Drawing("Mean absolute error", svg, " ".join(parts))]


def _draw_members(channels: Channels) -> list[Drawing]:
    first = channels.shown[0]
    if first.members is None or len(first.members) < 2:
        return []
    members = first.members
    parts = []
    if channels.count > 1:
        parts.append(f"Of {first.name}, the first of {channels.count:,} forecasts.")
    if len(members) > MOST_MEMBERS:
        parts.append(f"{MOST_MEMBERS} of {len(members):,} members are drawn.")
    parts.append("Where the members part, the outcome of training was a matter of chance.")
    svg = draw(
        "members",
        describe_members(first.forecast, members),
        lambda axes: plot_members(first.forecast, members, axes=axes),
    )
    return [Drawing(first.name, svg, " ".join(parts))]


def _first_target(page: ForecastPage, channels: Channels) -> tuple[pd.DataFrame | None, str]:
    """The backtest, of the first target if there are several, and what to say of that."""
    backtest = page.backtest
    if backtest is None or "target" not in backtest.columns or not len(backtest):
        return backtest, ""
    targets = list(dict.fromkeys(backtest["target"]))
    if len(targets) > 1:
        name = next(
            (target for target in targets if str(target) == next(iter(channels.targets), "")), targets[0]
        )
        backtest = backtest[backtest["target"] == name]
        return backtest, f"Of {name}, the first of {len(targets):,} targets: their units may differ."
    return backtest, ""


def _draw_backtest(page: ForecastPage, channels: Channels) -> dict[str, list[Drawing]]:
    figures: dict[str, list[Drawing]] = {
        "residuals": [],
        "autocorrelation": [],
        "calibration": [],
        "worst": [],
    }
    backtest, note = _first_target(page, channels)
    if backtest is None or not backtest["actual"].notna().any():
        return figures
    rows = read_backtest(backtest)
    found = course(rows)
    parts = [note, f"Over all {len(rows.names):,} series." if len(rows.names) > 1 else ""]
    if found.width > 1:
        parts.append(f"Each running mean is over {found.width:,} times.")
    figures["residuals"] = [
        Drawing(
            "Actual minus forecast",
            draw("residuals", describe_residuals(rows), lambda axes: plot_residuals(backtest, axes=axes)),
            " ".join(part for part in parts if part),
        )
    ]
    try:
        resemblance = autocorrelation(rows, 1)
    except DataError:
        # too few errors, or all alike: the page says so
        pass
    else:
        figures["autocorrelation"] = [
            Drawing(
                "Autocorrelation of the errors of step 1",
                draw(
                    "autocorrelation",
                    describe_autocorrelation(resemblance, 1),
                    lambda axes: plot_residual_autocorrelation(backtest, axes=axes),
                    both=True,
                ),
                "One lag in 20 lies outside the grey band by chance. More than that: past errors tell of the next, "
                "and the model does not use it.",
            )
        ]
    shares = coverage(rows)
    if shares:
        figures["calibration"] = [
            Drawing(
                "Values that the intervals held",
                draw(
                    "calibration",
                    describe_calibration(shares),
                    lambda axes: plot_calibration(backtest, axes=axes),
                    both=True,
                ),
                "Below the dashed line an interval is too narrow, above it too wide. Bars: from the step "
                "that held the least to the one that held the most.",
            )
        ]
    windows = worst_windows(rows, _WORST)
    parts = [note]
    if len(windows) > 1 and len(page.forecast):
        parts.append("Of windows that overlap, the worst is shown.")
    figures["worst"] = [
        Drawing(
            _axis_of(channels, str(windows[0].name[1])),
            _draw_windows(
                backtest, len(windows), describe_worst_windows(windows, several=len(rows.names) > 1)
            ),
            " ".join(part for part in parts if part),
        )
    ]
    return figures


def _axis_of(channels: Channels, target: str) -> str:
    return channels.shown[0].name if channels.count == 1 else target


def draw(name: str, label: str, plot: Callable[[Axes], Axes], *, both: bool = False) -> Markup:
    """Draw twice, or, with `both`, once, small, for half of a wide screen and the whole of a narrow one."""
    sizes = (("both", _NARROW),) if both else (("wide", _WIDE), ("narrow", _NARROW))
    return _write(name, label, sizes, lambda figure, _: plot(figure.add_subplot()))


def _draw_windows(backtest: pd.DataFrame, count: int, label: str) -> Markup:
    def plot(figure: Figure, size: str) -> None:
        shape = (1, count) if size == "wide" else (count, 1)
        plot_worst_windows(backtest, count, axes=figure.subplots(*shape, squeeze=False).ravel().tolist())

    sizes = (("wide", (8.6, 2.9)), ("narrow", (4.3, 2.3 * count)))
    return _write("worst", label, sizes, plot)


def _write(
    name: str,
    label: str,
    sizes: tuple[tuple[str, tuple[float, float]], ...],
    plot: Callable[[Figure, str], Any],
) -> Markup:
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from unrolled.report.svg import figure_to_svg

    parts = []
    # The page must not depend on the user's matplotlibrc.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for kind, size in sizes:
            figure = Figure(figsize=size, layout="constrained")
            plot(figure, kind)
            parts.append(
                figure_to_svg(figure, prefix=f"{name}-{kind}", label=label, css_class=f"plot {kind}")
            )
    return Markup("\n".join(parts))


def list_legends(page: ForecastPage, channels: Channels) -> dict[str, list[dict[str, Any]]]:
    """What the legends in HTML show: a line, a ring, a dot or a band, with its colour and name."""
    recent = [
        seen
        for channel in channels.shown
        for seen in channel.observed[-recent_steps(len(channel.forecast)) :]
    ]
    model = {"shape": "line", "colour": "model"}
    observed = {"shape": "line", "colour": "observed", "name": "observed"}
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
            observed,
            *([] if all(recent) else [{"shape": "ring", "colour": "filled", "name": "filled gap"}]),
            {**model, "name": "forecast (mean)"},
            *reversed(bands),
        ],
        "errors": _error_legend(page),
        "training": [
            {"shape": "line", "colour": "muted", "dashes": "4.5 2.25", "name": "training loss"},
            *([{**model, "name": "validation"}] if validated else []),
            {"shape": "dot", "colour": "first", "name": "best epoch"},
        ],
        "members": [
            {**model, "name": "together"},
            {**model, "colour": "first", "width": 1, "name": "each member"},
        ],
        **_backtest_legends(page, channels, observed),
    }


def _error_legend(page: ForecastPage) -> list[dict[str, Any]]:
    scores, _ = _step_scores(page)
    if not _has_steps(scores):
        return []
    curves = error_curves(scores)
    # the model, what stands out, the rest
    curves.sort(key=lambda curve: (curve.dashes is not None, not curve.strong))
    return [
        {
            "shape": "line",
            "colour": curve.colour,
            "name": curve.name,
            "width": 2.4 if not curve.dashes else 1.7 if curve.strong else 1,
            **({"dashes": " ".join(f"{1.5 * part:g}" for part in curve.dashes)} if curve.dashes else {}),
        }
        for curve in curves
    ]


def _backtest_legends(
    page: ForecastPage, channels: Channels, observed: dict[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    backtest, _ = _first_target(page, channels)
    if backtest is None or not backtest["actual"].notna().any():
        return {"residuals": [], "worst": []}
    rows = read_backtest(backtest)
    found = course(rows)
    lines: list[dict[str, Any]] = []
    for step, (colour, dashes, marker), (when, _) in zip(found.steps, STEPS, found.means, strict=False):
        lines.append(
            {"shape": "dot" if marker == "o" else "square", "colour": colour, "name": f"step {step:,}"}
        )
        if len(when) > 15:
            dash = {"dashes": " ".join(f"{1.5 * part:g}" for part in dashes)} if dashes else {}
            lines.append({"shape": "line", "colour": colour, "name": "its running mean", **dash})
    band = {"shape": "band", "colour": "muted", "opacity": 0.2, "name": "80 % of the errors at any step"}
    widest = [*rows.bounds][-1:]
    return {
        "residuals": [*lines, band],
        "worst": [
            observed,
            {"shape": "line", "colour": "model", "dashes": "7.5 2.25", "name": "forecast (mean)"},
            *(
                {"shape": "band", "colour": "model", "opacity": 0.16, "name": f"{level} % interval"}
                for level in widest
            ),
        ],
    }
