"""The tables of the page: scores, forecast, history, seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unrolled.data.calendar_rows import join_words
from unrolled.report.channels import unit_of
from unrolled.report.wording import (
    count_steps,
    format_errors,
    format_percent,
    format_times,
    format_values,
    name_of,
)

if TYPE_CHECKING:
    import numpy as np

    from unrolled.report.channels import Channel, Channels
    from unrolled.report.page import ForecastPage

__all__ = [
    "Comparison",
    "compare",
    "forecast_table",
    "held_out",
    "history_table",
    "score_tables",
    "seconds_table",
]

_ROWS = 200
_TARGETS = 6


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


def compare(scores: Mapping[str, Any]) -> Comparison:
    """Take the mean absolute errors out of scores; NaN where one is missing."""
    return Comparison(
        _number(scores.get("model") or {}, "mae"),
        {name: _number(entry, "mae") for name, entry in (scores.get("baselines") or {}).items()},
    )


def _number(entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    return math.nan if value is None else float(value)


def score_tables(scores: Mapping[str, Any], levels: Sequence[int]) -> dict[str, Any]:
    """List the score tables: the one over all, then one for each of several targets, at most six of these.

    >>> scores = {"model": {"mae": 1.0}, "baselines": {"naive": {"mae": 2.0, "mase": 1.1}}}
    >>> table = score_tables(scores, ())["tables"][0]
    >>> table["extra"], [(row["name"], row["mae"], row["extra"]) for row in table["rows"]]
    (['MASE'], [('model', '1.00', ['–']), ('naive', '2.00', ['1.10'])])
    """
    targets = scores.get("targets") or {}
    several = len(targets) > 1
    tables = [{"name": "All targets" if several else "", **_score_table(scores, levels)}]
    if several:
        tables += [
            {"name": str(name), **_score_table(entry, levels)}
            for name, entry in [*targets.items()][:_TARGETS]
        ]
    return {"tables": tables, "left_out": max(len(targets) - _TARGETS, 0) if several else 0}


def _score_table(scores: Mapping[str, Any], levels: Sequence[int]) -> dict[str, Any]:
    """The model and the baselines, the lowest error first."""
    comparison = compare(scores)
    entries = [("", scores.get("model") or {}), *(scores.get("baselines") or {}).items()]
    entries.sort(key=lambda entry: (math.isnan(_number(entry[1], "mae")), _number(entry[1], "mae")))
    errors = [_number(entry, "mae") for _, entry in entries]
    worst = max((error for error in errors if math.isfinite(error)), default=0.0)
    maes = format_errors(errors)
    rmses = format_errors(_number(entry, "rmse") for _, entry in entries)
    extra = _extra_columns([entry for _, entry in entries], levels)
    rows = [
        {
            "name": name_of(name) or "model",
            "is_model": not name,
            "best": rank == 0 and math.isfinite(error) and len(entries) > 1,
            "share": round(100 * error / worst, 1) if worst > 0 and math.isfinite(error) else 0,
            "mae": maes[rank],
            "rmse": rmses[rank],
            "relative": format_percent(comparison.relative(error), signed=True)
            if name != comparison.best
            else "reference",
            "extra": [texts[rank] for _, texts in extra],
        }
        for rank, ((name, _), error) in enumerate(zip(entries, errors, strict=True))
    ]
    headings = [heading for heading, _ in extra]
    return {"rows": rows, "extra": headings, "compared": comparison.best is not None}


def _extra_columns(
    entries: Sequence[Mapping[str, Any]], levels: Sequence[int]
) -> list[tuple[str, list[str]]]:
    """The columns, heading and texts, of which at least one entry holds a figure."""

    def percents(values: Iterable[float]) -> list[str]:
        return [format_percent(value) for value in values]

    columns: list[tuple[str, list[float], Any]] = [
        ("MASE", [_number(entry, "mase") for entry in entries], format_errors),
        ("sMAPE", [_number(entry, "smape") / 100 for entry in entries], percents),
        ("Pinball", [_number(entry, "pinball") for entry in entries], format_errors),
    ]
    for key, name, write in (
        ("coverage", "held", percents),
        ("interval_score", "score", format_errors),
    ):
        for level in sorted(levels):
            values = [_number(entry.get(key) or {}, str(level)) for entry in entries]
            columns.append((f"{level} % interval {name}", values, write))
    return [
        (heading, write(values))
        for heading, values, write in columns
        if any(math.isfinite(v) for v in values)
    ]


def held_out(scores: Mapping[str, Any]) -> str:
    """Say on how many windows the scores were measured; empty if that is not known."""
    found = scores.get("held_out") or {}
    if not found.get("windows"):
        return ""
    text = f"Measured on {count_steps(int(found['windows']), 'window')} that training never saw"
    first, last = found.get("first_origin"), found.get("last_origin")
    return (
        f"{text}, with origins from {first} to {last}."
        if first is not None and last is not None
        else f"{text}."
    )


def forecast_table(channel: Channel, levels: Sequence[int]) -> dict[str, Any]:
    """The forecast in figures; beyond `_ROWS` steps, the first of them."""
    import numpy as np

    shown = channel.forecast.head(_ROWS)
    ascending = sorted(levels)
    columns = ["mean", *(f"{side}-{level}" for level in ascending for side in ("lo", "hi"))]
    numbers = shown[columns].to_numpy(float)
    texts = np.array(format_values(numbers.ravel()), dtype=object).reshape(numbers.shape)
    times = format_times(shown["time"].to_numpy(), weekday=unit_of(channel) in ("day", "business day"))
    steps = [int(step) for step in shown["step"]] if "step" in shown.columns else range(1, len(shown) + 1)
    rows = [
        {"step": f"{step:,}", "time": time, "mean": row[0], "bounds": row[1:].tolist()}
        for step, time, row in zip(steps, times, texts, strict=True)
    ]
    return {
        "name": channel.name,
        "rows": rows,
        "levels": ascending,
        "left_out": len(channel.forecast) - len(shown),
    }


def history_table(page: ForecastPage, channels: Channels) -> list[tuple[str, str]]:
    """Say how much data there was, over all channels."""
    import numpy as np

    first = channels.shown[0]
    histories: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = (
        [(first.times, first.values, first.observed)]
        if page.histories is None
        else [*page.histories.values()]
    )
    histories = [history for history in histories if len(history[0])]
    start = min(np.asarray(times)[0] for times, _, _ in histories)
    end = max(np.asarray(times)[-1] for times, _, _ in histories)
    count = sum(len(times) for times, _, _ in histories)
    filled = sum(int(np.count_nonzero(~np.asarray(observed, bool))) for _, _, observed in histories)
    share = f" ({format_percent(filled / count)})" if filled else ""
    rows = []
    if len(channels.series) > 1:
        rows.append(("Series", f"{len(channels.series):,}"))
    if len(channels.targets) > 1:
        more = len(channels.targets) - _TARGETS
        names = [*channels.targets[:_TARGETS], *([f"{more:,} more"] if more > 0 else [])]
        rows.append(("Targets", join_words(names)))
    return [
        *rows,
        ("Rows" if len(histories) == 1 else "Values", f"{count:,}"),
        ("From", format_times(np.array([start]))[0]),
        ("To", format_times(np.array([end]))[0]),
        ("Filled gaps", f"{filled:,}{share}"),
    ]


def seconds_table(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """List the stages with their seconds, and how long each took beside the longest, in percent.

    >>> seconds_table({"train": 2.0, "score": 0.5})
    [{'name': 'train', 'seconds': '2.00', 'share': 100.0}, {'name': 'score', 'seconds': '0.50', 'share': 25.0}]
    """
    longest = max((float(value) for value in seconds.values()), default=0.0)
    return [
        {
            "name": str(name),
            "seconds": f"{float(value):,.2f}",
            "share": round(100 * float(value) / longest, 1) if longest > 0 else 0.0,
        }
        for name, value in seconds.items()
    ]
