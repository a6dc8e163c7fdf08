"""The commands `unrolled forecast`, `backtest`, `demo` and `predict`."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from unrolled.commands.arguments import seconds
from unrolled.commands.classify import predict_sequences
from unrolled.commands.options import Device, Json, Out, Overwrite, Resume, Seed
from unrolled.commands.terminal import (
    check_new,
    console,
    new_folder,
    number,
    print_json,
    run_folder,
    say,
    say_wrapped,
    write_csv,
)
from unrolled.errors import DataError

if TYPE_CHECKING:
    from unrolled.data.table import Table
    from unrolled.estimators.forecaster import Forecaster

__all__ = ["backtest", "demo", "forecast", "predict"]

SHOWN = 3  # forecasts of several series or targets that are printed

Target = Annotated[
    list[str], Option(help="Column to forecast, may be repeated; may be left out where there is only one.")
]
Time = Annotated[str | None, Option(help="Column of times; by default found by its name or content.")]
Series = Annotated[str | None, Option(help="Column that names the series, where there are many.")]
Known = Annotated[list[str], Option(help="Column known ahead, as a price or a holiday; may be repeated.")]
Observed = Annotated[list[str], Option(help="Column of numbers known up to now only; may be repeated.")]
Static = Annotated[list[str], Option(help="Column that says one thing of each series; may be repeated.")]
Future = Annotated[
    Path | None, Option(help="CSV of the known columns ahead; a new file gets the rows to fill in.")
]
Horizon = Annotated[int, Option(help="Steps to forecast.")]
Model = Annotated[str, Option(help="auto, rnn, lstm, gru, conv-gru, wavenet or linear.")]
Strategy = Annotated[str, Option(help="vector (all steps at once), sequence or recursive.")]
Transform = Annotated[
    str | None, Option(help="log or box-cox, for values above 0 that grow with their level.")
]
Intervals = Annotated[str, Option(help="conformal (from held-back rows) or quantile (of the network).")]
Holidays = Annotated[str | None, Option(help="Country whose public holidays are known, as US or US-IL.")]
Budget = Annotated[str | None, Option(help="Time that training may take, about: 30s, 2m.")]
Statistical = Annotated[bool, Option(help="Whether SARIMA and ETS stand among the baselines.")]
Members = Annotated[int, Option(help="Networks to train and average.")]
Levels = Annotated[list[int], Option(help="Prediction intervals in percent: --levels 80 95.", metavar="N…")]
Gaps = Annotated[str, Option(help="fill (by straight lines, flagged) or refuse.")]
Season = Annotated[int | None, Option(help="Steps of a season; by default found in the data.")]
InputSteps = Annotated[int | None, Option(help="Steps that the network reads; by default chosen.")]
TestSize = Annotated[float, Option(help="Share of the rows, the last ones, to score on.")]


def forecast(
    data: Annotated[Path, Argument(metavar="DATA", help="CSV or Parquet file, a row for each time step.")],
    target: Target = [],  # noqa: B006
    time: Time = None,
    series: Series = None,
    known: Known = [],  # noqa: B006
    observed: Observed = [],  # noqa: B006
    static: Static = [],  # noqa: B006
    future: Future = None,
    horizon: Horizon = 14,
    model: Model = "auto",
    strategy: Strategy = "vector",
    members: Members = 5,
    levels: Levels = [80, 95],  # noqa: B006
    intervals: Intervals = "conformal",
    transform: Transform = None,
    holidays: Holidays = None,
    budget: Budget = None,
    gaps: Gaps = "fill",
    season: Season = None,
    input_steps: InputSteps = None,
    test_size: TestSize = 0.15,
    statistical: Statistical = True,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Forecast columns of DATA past its end, and score the model on the last rows."""
    from unrolled.data.ahead import future_frame, known_ahead

    forecaster, table = _set_up(locals())
    _template(future, lambda: future_frame(table, horizon))
    ahead = known_ahead(table, horizon, future)
    name = f"{data.name.split('.')[0]}-{'-'.join(table.targets)}"
    _forecast_table(
        table, forecaster, name, test_size, out, overwrite, resume, as_json, ahead, statistical=statistical
    )


def backtest(
    data: Annotated[Path, Argument(metavar="DATA", help="CSV or Parquet file, a row for each time step.")],
    target: Target = [],  # noqa: B006
    time: Time = None,
    series: Series = None,
    known: Known = [],  # noqa: B006
    observed: Observed = [],  # noqa: B006
    static: Static = [],  # noqa: B006
    horizon: Horizon = 14,
    first_origin: Annotated[
        str | None, Option(help="Last time known to the first forecast; by default 15 % before the end.")
    ] = None,
    last_origin: Annotated[str | None, Option(help="Last time known to the last forecast.")] = None,
    stride: Annotated[int, Option(help="Rows from one origin to the next.")] = 1,
    refit: Annotated[str, Option(help="never, always, or after how many origins to train anew.")] = "never",
    model: Model = "auto",
    strategy: Strategy = "vector",
    members: Members = 5,
    levels: Levels = [80, 95],  # noqa: B006
    intervals: Intervals = "conformal",
    transform: Transform = None,
    holidays: Holidays = None,
    budget: Budget = None,
    gaps: Gaps = "fill",
    season: Season = None,
    input_steps: InputSteps = None,
    statistical: Statistical = True,
    seed: Seed = 0,
    device: Device = "auto",
    out: Annotated[Path | None, Option(help="CSV file to write, a row for each forecast step.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace that file.")] = False,
    as_json: Json = False,
) -> None:
    """Forecast from many origins in the past of DATA, beside the baselines; trained on the rows up to the first."""
    from unrolled.estimators.rolling import check_rolling
    from unrolled.estimators.scores import verdict
    from unrolled.report.run import run_backtest

    check_new(out, overwrite)
    again = int(refit) if refit.isdigit() else refit
    check_rolling(stride, again)
    forecaster, table = _set_up(locals())
    found = run_backtest(
        table, forecaster, first_origin=first_origin, last_origin=last_origin, stride=stride, refit=again,
        statistical=statistical, say=say_wrapped,
    )  # fmt: skip
    frame = found.frame if table.kind == "pandas" else found.frame.to_pandas()
    _show_scores(found.scores)
    _show_coverage(found.scores)
    say_wrapped(f"{verdict(found.scores)[1]}\n")
    write_csv(frame, out)
    if as_json:
        print_json({"verdict": verdict(found.scores)[1], **found.scores})


def demo(
    out: Out = Path("runs/demo"),
    members: Members = 5,
    as_json: Json = False,
) -> None:
    """Forecast weekly carbon dioxide at Mauna Loa: real data, with real gaps, that is already installed."""
    from unrolled.data.datasets import load_co2
    from unrolled.data.table import read_table
    from unrolled.estimators.forecaster import Forecaster

    table = read_table(load_co2(), target="co2", time="time")
    _forecast_table(
        table, Forecaster(14, members=members), "demo", 0.15, out, True, False, as_json, statistical=False
    )


def predict(
    run: Annotated[Path, Argument(metavar="RUN", help="Folder of a finished run.")],
    data: Annotated[
        Path | None,
        Argument(
            metavar="[DATA]",
            help="Newer rows to forecast from, by default where the run ended; or the texts or sequences to tell.",
        ),
    ] = None,
    future: Future = None,
    gaps: Annotated[str | None, Option(help="Of a forecast: fill (the default) or refuse.")] = None,
    device: Device = "auto",
    out: Annotated[Path | None, Option(help="CSV file to write.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace that file.")] = False,
    as_json: Json = False,
) -> None:
    """Forecast, or tell classes or numbers, with the saved model of RUN.

    A forecast starts at the end of the run's data, or of newer rows in DATA. A run of classify or regress tells the
    classes or numbers of the texts or sequences in DATA.
    """
    from unrolled.errors import OptionError
    from unrolled.estimators.generator import SequenceGenerator
    from unrolled.estimators.saving import load
    from unrolled.estimators.sequences import SequenceEstimator
    from unrolled.estimators.transcriber import Transcriber

    check_new(out, overwrite)
    forecaster = load(run, device)
    if isinstance(forecaster, SequenceEstimator):
        for name, given in (("--future", future), ("--gaps", gaps)):
            if given is not None:
                raise OptionError(name, "a run of unrolled forecast", "one of sequences", "Leave it out.")
        predict_sequences(forecaster, data, out, as_json)
        return
    if isinstance(forecaster, SequenceGenerator | Transcriber):
        verb = "generate" if isinstance(forecaster, SequenceGenerator) else "transcribe"
        raise DataError(
            "predict",
            "a run of forecasts or classes",
            f"one of a {type(forecaster).__name__}",
            f"Use unrolled {verb} RUN.",
        )
    newer = data if data is None else forecaster.read(data, gaps=gaps or "fill")
    _template(future, lambda: forecaster.make_future_frame(newer))
    frame = forecaster.predict(newer, future)
    if forecaster.tail_.kind != "pandas":
        frame = frame.to_pandas()
    _show_forecast(frame, forecaster.levels)
    write_csv(frame, out)
    if as_json:
        print_json({"forecast": _records(frame)})


OF_FORECASTERS = (
    "model", "strategy", "members", "intervals", "transform", "holidays", "season", "input_steps", "seed", "device"
)  # fmt: skip
OF_TABLES = ("time", "series", "known", "observed", "static", "gaps")


def _set_up(given: Mapping[str, Any]) -> "tuple[Forecaster, Table]":
    """Make a forecaster and read its table, by the options that a command was given under their own names."""
    from unrolled.data.table import read_table
    from unrolled.estimators.forecaster import Forecaster
    from unrolled.estimators.options import check_options

    options = {name: given[name] for name in OF_FORECASTERS}
    budget, levels = seconds(given["budget"]), tuple(given["levels"])
    forecaster = Forecaster(given["horizon"], levels=levels, budget=budget, **options)
    check_options(forecaster)
    roles = {name: given[name] for name in OF_TABLES}
    return forecaster, read_table(given["data"], target=given["target"] or None, **roles)


def _forecast_table(
    table: Any,
    forecaster: Any,
    name: str,
    test_size: float,
    out: Path | None,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    ahead: Any = None,
    *,
    statistical: bool = True,
) -> None:
    from unrolled.data.table import show_time
    from unrolled.report.run import run_forecast

    out = out or new_folder(name)
    target = " and ".join(map(repr, table.targets))
    asked = {"targets": table.targets, "rows": len(table), "test_size": test_size}
    with run_folder(out, forecaster, overwrite=overwrite, resume=resume, **asked) as partial:
        span = f"{show_time(table.times.min())} to {show_time(table.times.max())}"
        of = f"{len(table.names):,} series of {target}" if len(table.names) > 1 else target
        say(f"Read {len(table):,} rows of {of}: {table.frequency.label}, {span}.")
        run = run_forecast(
            table,
            forecaster,
            partial,
            test_size=test_size,
            title=f"Forecast of {' and '.join(table.targets)}",
            command=shlex.join(["unrolled", *sys.argv[1:]]),
            say=say_wrapped,
            resume=resume,
            future=ahead,
            statistical=statistical,
        )
    _show_scores(run.metrics)
    _show_coverage(run.metrics)
    _show_forecast(run.forecast, forecaster.levels)
    say_wrapped(f"{run.verdict}\n")
    say(f"Report: {out / 'report.html'}")
    if as_json:
        print_json(
            {"out": str(out), "verdict": run.verdict, "forecast": _records(run.forecast), **run.metrics}
        )


def _template(future: Path | None, frame: Callable[[], Any]) -> None:
    """Write the rows to fill in, and say so, where the file named by --future is not there yet."""
    from unrolled.errors import DataError

    if future is None or future.exists():
        return
    import narwhals as nw

    try:
        nw.from_native(frame()).to_pandas().to_csv(future, index=False)
    except OSError as error:
        raise DataError(
            f"--future {future}", "a file", (error.strerror or "none").lower(), "Check the path."
        ) from error
    raise DataError(
        f"--future {future}",
        "a file with the known columns of the steps to forecast",
        "no such file",
        "Written as a template: fill in its empty cells, and run the command again.",
    )


def _show_scores(scores: Mapping[str, Any]) -> None:
    from rich.table import Table as Grid

    from unrolled.estimators.scores import label

    held_out = scores["held_out"]
    grid = Grid(
        title=f"Held out: {held_out['windows']:,} forecasts, "
        f"from {held_out['first_origin']} to {held_out['last_origin']}",
        title_justify="left",
    )
    for heading in ("", "MAE", "RMSE", "MAE at step 1", "at the last step"):
        grid.add_column(heading, justify="left" if not heading else "right")
    rows = {"the model": scores["model"]}
    rows |= {label(name): values for name, values in scores["baselines"].items()}
    best = min(values["mae"] for values in rows.values())
    for name, values in rows.items():
        steps = values["mae_by_step"]
        cells = [number(value) for value in (values["mae"], values["rmse"], steps[0], steps[-1])]
        grid.add_row(name, *cells, style="bold" if values["mae"] == best else None)
    console().print("\n", grid, sep="")


def _show_coverage(scores: Mapping[str, Any]) -> None:
    held = scores["model"]["coverage"].items()
    say(
        "Held-out values inside: "
        + ", ".join(f"{share:.0%} of the {level} % interval" for level, share in held)
    )


def _show_forecast(frame: Any, levels: Any) -> None:
    from rich.table import Table as Grid

    from unrolled.data.table import show_time

    channels = list(frame.groupby(["series", "target"], sort=False))
    for (series, target), part in channels[:SHOWN]:
        of_series = f" of {series}" if series and len(channels) > 1 else ""
        grid = Grid(title=f"Forecast of {target}{of_series}", title_justify="left")
        for heading in ("step", "time", "mean", *(f"{level:g} % interval" for level in levels)):
            grid.add_column(heading, justify="right")
        rows = part.to_dict("records")
        shown = rows if len(rows) <= 14 else [*rows[:7], None, *rows[-6:]]
        for row in shown:
            if row is None:
                grid.add_row(*["…"] * (3 + len(levels)))
                continue
            time = row["time"]
            if hasattr(time, "tz_localize"):
                time = time.tz_localize(None).to_datetime64()
            ranges = [f"{number(row[f'lo-{level:g}'])} … {number(row[f'hi-{level:g}'])}" for level in levels]
            grid.add_row(str(row["step"]), show_time(time), number(row["mean"]), *ranges)
        console().print("\n", grid, sep="")
    if len(channels) > SHOWN:
        say(f"… and {len(channels) - SHOWN:,} more.")
    say("")


def _records(frame: Any) -> Any:
    return json.loads(frame.to_json(orient="records", date_format="iso"))
