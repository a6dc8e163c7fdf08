"""What the commands run: from a table to a folder (hold out, train, score, forecast, report), or to a backtest."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import __version__
from unrolled.data.ahead import known_ahead
from unrolled.data.calendar_rows import count, some_names
from unrolled.data.table import Table, show_time
from unrolled.errors import DataError, OptionError
from unrolled.estimators.forecaster import Forecaster
from unrolled.estimators.plan import SHORTEST, check_time, held_out, row_after, rows_needed, stops
from unrolled.estimators.rolling import check_rolling, origin_rows, roll
from unrolled.estimators.saving import save_forecaster
from unrolled.estimators.scores import Backtest, verdict
from unrolled.report.page import ForecastPage, render

__all__ = ["ForecastRun", "describe_model", "run_backtest", "run_forecast"]


@dataclass(frozen=True)
class ForecastRun:
    """What a run gave.

    Attributes:
        forecast: the frame of `Forecaster.predict`, past the end of the data.
        metrics: what `metrics.json` holds: "model", "baselines", "held_out", "seconds".
        wins: whether the model is no worse than every baseline.
        verdict: that in one sentence.
    """

    forecast: Any
    metrics: dict[str, Any]
    wins: bool
    verdict: str


def run_forecast(
    table: Table,
    forecaster: Forecaster,
    folder: Path,
    *,
    test_size: float = 0.15,
    title: str = "Forecast",
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
    resume: bool = False,
    future: Any = None,
    statistical: bool = True,
) -> ForecastRun:
    """Train on the first rows, score on the last, forecast past the end, and write the run folder's files.

    Args:
        table: all rows.
        forecaster: not yet fitted; it is fitted on the rows before the held-out part, then shown the rest.
        folder: an existing folder, for config.json, model.safetensors, history.jsonl, timing.jsonl,
            forecast.csv, metrics.json and report.html.
        test_size: share of the rows to hold out, above 0 and below 1; no less than one horizon is.
        title: of the report.
        command: the command line to show in the report.
        say: is told what is done, a line at a time.
        resume: go on from the checkpoints that an earlier run has left in `folder`.
        future: the known columns of the steps to forecast, as for `Forecaster.predict`.
        statistical: whether SARIMA and ETS stand among the baselines.

    Raises:
        OptionError: `test_size` is out of its range.
        DataError: there are too few rows, or a known column lacks a value that the forecast needs.
    """
    if not 0 < test_size < 1:
        raise OptionError("--test-size", "a share between 0 and 1", str(test_size))
    horizon = forecaster.horizon
    test_rows = held_out(table, test_size, horizon)
    shortest = forecaster.input_steps or SHORTEST
    needed = rows_needed(shortest, horizon, test_size)
    longest = int(np.diff(table.starts).max())
    if longest < needed:
        raise DataError(
            f"column {table.columns[0]!r}",
            f"at least {needed:,} rows for a window of {shortest} steps, a horizon of {horizon} "
            f"and {test_size:.0%} held out",
            f"{longest:,}",
            "Give more rows, or shorten the horizon.",
        )
    ahead = known_ahead(table, horizon, future)  # what lacks is said before the training
    first = stops(table, test_rows)
    kept = table.until(first)
    late = np.diff(kept.starts) == 0
    notes = []
    if late.any():
        named = some_names(np.asarray(kept.names, object)[late])
        notes.append(
            f"{count(int(late.sum()), 'series')} ({named}) began within the held-out rows: "
            "forecast, but not learned from."
        )
        say(notes[-1])
    kept = kept.nonempty()
    say(
        f"Training on {len(kept):,} rows up to {show_time(kept.times.max())}; the last {test_rows:,} "
        f"{'rows of each series' if len(table.names) > 1 else 'rows'} are held out."
    )
    forecaster.fit(kept, folder=folder, resume=resume)
    say(f"Forecasts with {describe_model(forecaster)}.")
    begin = time.perf_counter()
    backtest = roll(forecaster, table, first, table.starts[1:], with_statistical=statistical)
    wins, sentence = verdict(backtest.scores)
    scored = time.perf_counter()
    forecaster.update(table)
    forecast = forecaster.predict(future=ahead)
    members = forecaster.predict_members(future=ahead)
    seconds = forecaster.seconds_ | {"backtest": scored - begin, "forecast": time.perf_counter() - scored}
    metrics = backtest.scores | {"seconds": {name: round(value, 3) for name, value in seconds.items()}}

    save_forecaster(forecaster, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", "utf-8")
    plain = _to_pandas(forecast)
    plain.to_csv(folder / "forecast.csv", index=False)
    plain = _in_utc(plain)
    page = ForecastPage(
        title=title,
        target=", ".join(table.targets),
        histories=_histories(table),
        forecast=plain,
        levels=tuple(forecaster.levels),
        scores=metrics,
        training=forecaster.run_.history,
        settings=_settings(forecaster, table, test_size),
        notes=list(dict.fromkeys([*table.notes, *notes, *forecaster.notes_, *metrics.get("notes", [])])),
        verdict=sentence,
        command=command,
        backtest=_in_utc(_to_pandas(backtest.frame)),
        members=members if len(members) > 1 else None,
        seconds=metrics["seconds"],
    )
    (folder / "report.html").write_text(render(page), "utf-8")
    return ForecastRun(forecast, metrics, wins, sentence)


def run_backtest(
    table: Table,
    forecaster: Forecaster,
    *,
    first_origin: Any = None,
    last_origin: Any = None,
    stride: int = 1,
    refit: str | int = "never",
    statistical: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Backtest:
    """Train on the rows up to the first origin, and forecast from each origin from there on.

    Args:
        table: all rows.
        forecaster: not yet fitted.
        first_origin, last_origin, stride, refit, statistical: as for `Forecaster.backtest`; by default the first
            origin lies 15 % before the end.
        say: is told what is done, a line at a time.

    Raises:
        DataError: there are too few rows before the first origin, or after it.
        OptionError: the last origin lies before the first, or an option is out of its range.
    """
    every, horizon = check_rolling(stride, refit), forecaster.horizon
    first = stops(table, held_out(table, 0.15, horizon))
    if first_origin is not None:
        first = row_after(table, check_time(table, first_origin), "right")
    kept = table.until(first).nonempty()
    if not len(kept):
        begins = show_time(table.times.min())
        raise DataError(
            "--first-origin", f"rows up to it, the first is {begins}", str(first_origin), "Name a later one."
        )
    origin = kept.times.max()
    if last_origin is not None and check_time(table, last_origin) < origin:
        raise OptionError(
            "--last-origin", f"a time from {show_time(origin)} on, the first origin", str(last_origin)
        )
    if not (table.starts[1:] - first >= horizon).any():
        raise DataError(
            "--first-origin",
            f"{horizon} rows after it",
            f"{show_time(origin)}, too near the end",
            "Name an earlier one.",
        )
    say(f"Training on {len(kept):,} rows up to {show_time(origin)}.")
    forecaster.fit(kept)
    _, stop = origin_rows(forecaster, table, None, last_origin)
    return roll(forecaster, table, first, stop, stride=stride, every=every, with_statistical=statistical)


def _in_utc(frame: Any) -> Any:
    """Return a frame whose times have no zone, as the plots need them: in UTC where they had one."""
    zoned = {name: frame[name].dt.tz_convert("UTC").dt.tz_localize(None)
             for name in ("origin", "time") if getattr(frame[name].dtype, "tz", None) is not None}  # fmt: skip
    return frame.assign(**zoned)


def _histories(table: Table) -> dict[tuple[str, str], tuple[Any, Any, Any]]:
    """Return times, values and which were observed, of each target of each series."""
    found = {}
    for number, name in enumerate(table.names):
        rows = slice(int(table.starts[number]), int(table.starts[number + 1]))
        for column, target in enumerate(table.targets):
            found[name, target] = (
                table.times[rows], table.values[rows, column], table.observed[rows, column]
            )  # fmt: skip
    return found


def _to_pandas(frame: Any) -> Any:
    import narwhals as nw

    return nw.from_native(frame).to_pandas()


def _settings(forecaster: Forecaster, table: Table, test_size: float) -> dict[str, str]:
    import torch

    span = f"{show_time(table.times.min())} to {show_time(table.times.max())}"
    series = f" of {len(table.names):,} series" if len(table.names) > 1 else ""
    scaler = forecaster.features_.scaler
    scaling = "each series and column by its own mean and standard deviation"
    if len(table.names) == len(table.targets) == 1:
        scaling = f"mean {scaler.mean[0, 0]:.6g}, standard deviation {scaler.scale[0, 0]:.6g}"
    return {
        "Rows": f"{len(table):,}{series}, {table.frequency.label}, {span}",
        "Horizon": f"{forecaster.horizon} steps",
        "Model": describe_model(forecaster),
        "Window": f"{forecaster.window_:,} steps (the recurrent layer reads {forecaster.input_steps_:,})",
        "Reads": ", ".join(
            [*table.targets, *table.past, *table.known, *table.static, *_calendar(forecaster)]
        ),
        "Season": f"{forecaster.season_:,} steps" if forecaster.season_ > 1 else "none found",
        "Held out": f"the last {test_size:.0%} of the rows",
        "Scaling": f"{scaling}, of the training part",
        "Seed": str(forecaster.seed),
        **({"Times": f"drawn in UTC; forecast.csv has them in {table.zone}"} if table.zone else {}),
        "Versions": f"unrolled {__version__}, torch {torch.__version__}, NumPy {np.__version__}",
    }


def describe_model(forecaster: Forecaster) -> str:
    """The networks that forecast, and how much of what they add to the line is kept."""
    networks, shares = forecaster.ensemble_.networks, forecaster.ensemble_.shares

    def kept(share: float) -> str:
        if share >= 0.995:
            return ""
        size = f"{share:.0%}".replace("%", " %")
        said = f"added at {size} of its size, as far as it" if share else "left out: it did not"
        return f", whose correction of the line is {said} help{'ed' if share else ''} on rows held back"

    models = [
        f"{count(len(group), 'network')} ({model}, {sum(p.numel() for p in group[0].parameters()):,} parameters each)"
        f"{kept(shares.get(model, 1.0))}"
        if model != "linear" else "a line (ridge)" for model, group in networks.items()
    ]  # fmt: skip
    return "the mean of " + " and ".join(models) if len(forecaster.networks_) > 1 else models[0]


def _calendar(forecaster: Forecaster) -> list[str]:
    return (
        [f"the calendar ({len(forecaster.features_.names)} features)"] if forecaster.features_.names else []
    )
