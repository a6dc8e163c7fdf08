"""The channels of a page: each target of each series, with its history and its forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unrolled.errors import DataError
from unrolled.report.plots import check_forecast, recent_steps
from unrolled.report.windows import check_members
from unrolled.report.wording import step_unit

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from unrolled.report.page import ForecastPage

__all__ = ["SHOWN", "Channel", "Channels", "list_channels", "unit_of"]

# how many channels a page draws
SHOWN = 4


@dataclass(frozen=True, eq=False)
class Channel:
    """One target of one series.

    Attributes:
        name: what tells it from the others of the page.
        times, values, observed: shape (n,), its history.
        forecast: its rows of the forecast.
        members: shape (members, rows), or None.
    """

    name: str
    times: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    forecast: pd.DataFrame
    members: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Channels:
    """Those that a page draws, and what there is in all.

    Attributes:
        shown: at least one, at most `SHOWN`.
        count: how many there are.
        series, targets: their names, in the order of the forecast.
    """

    shown: list[Channel]
    count: int
    series: list[str]
    targets: list[str]


def list_channels(page: ForecastPage) -> Channels:
    """Check the page's histories, forecast and members, and take them apart by channel."""
    import numpy as np

    frame = page.forecast
    named = {"series", "target"} <= set(frame.columns)
    keys = list(dict.fromkeys(zip(frame["series"], frame["target"], strict=True))) if named else []
    if page.histories is None and len(keys) > 1:
        raise DataError(
            "report",
            expected="a history for each series and target of the forecast",
            got=f"one history, {len(keys):,} channels",
            cure="Pass histories={(series, target): (times, values, observed)}.",
        )
    if page.histories is not None:
        lacking = [key for key in keys[:SHOWN] if key not in page.histories]
        if lacking or not keys:
            raise DataError(
                "report",
                expected="a history for each series and target of the forecast",
                got=f"none for {lacking[0]!r}"
                if lacking
                else "no column series, or no column target, or no row",
                cure="Pass histories={(series, target): (times, values, observed)}.",
            )
    members = None if page.members is None else np.asarray(page.members, float)
    if members is not None:
        check_members(members, len(frame), "report")
    series = list(dict.fromkeys(str(key[0]) for key in keys))
    targets = list(dict.fromkeys(str(key[1]) for key in keys))
    shown = []
    for key in keys[:SHOWN] or [("", page.target)]:
        own = np.ones(len(frame), bool)
        if len(keys) > 1:
            own = ((frame["series"] == key[0]) & (frame["target"] == key[1])).to_numpy(bool)
        times, values, observed = (
            page.histories[key] if page.histories is not None else (page.times, page.values, page.observed)
        )
        if times is None or values is None or observed is None:
            raise DataError(
                "report",
                expected="times, values and observed, or histories",
                got="neither",
                cure="Pass the history that the forecast goes on from.",
            )
        check_forecast(times, values, observed, frame[own], page.levels)
        parts = [
            str(key[0]) if len(series) > 1 else "",
            str(key[1]) if len(targets) > 1 else page.target,
        ]
        shown.append(
            Channel(
                name=" · ".join(part for part in parts if part),
                times=np.asarray(times),
                values=np.asarray(values, float),
                observed=np.asarray(observed, bool),
                forecast=frame[own],
                members=None if members is None else members[:, own],
            )
        )
    return Channels(shown=shown, count=max(len(keys), 1), series=series, targets=targets)


def unit_of(channel: Channel) -> str:
    """Return the unit of time of a step, in the singular."""
    import numpy as np

    ahead = channel.forecast["time"].to_numpy()
    past = channel.times[-recent_steps(len(ahead)) :]
    return step_unit(np.concatenate([past, ahead.astype(past.dtype)]))
