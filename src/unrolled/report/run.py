"""One forecasting run from a table to a folder: hold out, train, score, forecast, report."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import __version__
from unrolled.data.ahead import known_ahead
from unrolled.data.table import Table, show_time
from unrolled.errors import DataError, OptionError
from unrolled.estimators.forecaster import SHORTEST, Forecaster, rows_needed
from unrolled.estimators.saving import save_forecaster
from unrolled.estimators.scores import verdict
from unrolled.report.page import ForecastPage, render

__all__ = ["ForecastRun", "run_forecast"]


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

    Raises:
        OptionError: `test_size` is out of its range.
        DataError: there are too few rows, or a known column lacks a value that the forecast needs.
    """
    if not 0 < test_size < 1:
        raise OptionError("--test-size", "a share between 0 and 1", str(test_size))
    start = time.perf_counter()
    horizon = forecaster.horizon
    test_rows = max(round(test_size * len(table)), horizon)
    shortest = forecaster.input_steps or SHORTEST
    needed = rows_needed(shortest, horizon, test_size)
    if len(table) < needed:
        raise DataError(
            f"column {table.columns[0]!r}",
            f"at least {needed:,} rows for a window of {shortest} steps, a horizon of {horizon} "
            f"and {test_size:.0%} held out",
            f"{len(table):,}",
            "Give more rows, or shorten the horizon.",
        )
    ahead = known_ahead(table, horizon, future)  # what lacks is said before the training
    first = len(table) - test_rows
    kept = table[:first]
    say(
        f"Training on {len(kept):,} rows up to {show_time(kept.times[-1])}; the last {test_rows:,} are held out."
    )
    forecaster.fit(kept, folder=folder, resume=resume)
    trained = time.perf_counter()
    backtest = forecaster.backtest(table, first_origin=table.times[first - 1])
    wins, sentence = verdict(backtest.scores)
    forecast = forecaster.update(table).predict(future=ahead)
    scored = time.perf_counter()
    seconds = {"train": trained - start, "score": scored - trained}
    metrics = backtest.scores | {"seconds": {name: round(value, 3) for name, value in seconds.items()}}

    save_forecaster(forecaster, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", "utf-8")
    plain = _to_pandas(forecast)
    plain.to_csv(folder / "forecast.csv", index=False)
    page = ForecastPage(
        title=title,
        target=table.columns[0],
        times=table.times,
        values=table.values[:, 0],
        observed=table.observed[:, 0],
        forecast=plain,
        levels=tuple(forecaster.levels),
        scores=metrics,
        training=forecaster.run_.history,
        settings=_settings(forecaster, table, test_size, seconds),
        notes=list(dict.fromkeys([*table.notes, *forecaster.notes_])),
        verdict=sentence,
        command=command,
    )
    (folder / "report.html").write_text(render(page), "utf-8")
    return ForecastRun(forecast, metrics, wins, sentence)


def _to_pandas(frame: Any) -> Any:
    import narwhals as nw

    return nw.from_native(frame).to_pandas()


def _settings(
    forecaster: Forecaster, table: Table, test_size: float, seconds: dict[str, float]
) -> dict[str, str]:
    import torch

    parameters = sum(parameter.numel() for parameter in forecaster.networks_[0].parameters())
    members, scaler = len(forecaster.networks_), forecaster.features_.scaler
    return {
        "Rows": f"{len(table):,}, {table.frequency.label}, {show_time(table.times[0])} to {show_time(table.times[-1])}",
        "Horizon": f"{forecaster.horizon} steps",
        "Model": f"{forecaster.model_}, {members} member{'' if members == 1 else 's'}, {parameters:,} parameters each",
        "Window": f"{forecaster.window_:,} steps (the recurrent layer reads {forecaster.input_steps_:,})",
        "Reads": ", ".join([table.columns[0], *table.past, *table.known, *_calendar(forecaster)]),
        "Season": f"{forecaster.season_:,} steps" if forecaster.season_ > 1 else "none found",
        "Held out": f"the last {test_size:.0%} of the rows",
        "Scaling": f"mean {scaler.mean[0]:.6g}, standard deviation {scaler.scale[0]:.6g}, "
        "of the training part",
        "Seed": str(forecaster.seed),
        "Seconds": ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()),
        "Versions": f"unrolled {__version__}, torch {torch.__version__}, NumPy {np.__version__}",
    }


def _calendar(forecaster: Forecaster) -> list[str]:
    return (
        [f"the calendar ({len(forecaster.features_.names)} features)"] if forecaster.features_.names else []
    )
