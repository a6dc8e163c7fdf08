"""How good the forecaster's defaults are on Chicago's trains and on ETTh1: `python benchmarks/forecasting.py --help`.

The data sets lie in the folder that UNROLLED_DATA names. Years up to 2018 are there to choose by, 2019 to tell.
"""

import argparse
import os
import time
from pathlib import Path

BEGUN = time.perf_counter()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402

import unrolled as ur  # noqa: E402
from unrolled.data import load_ridership, read_table  # noqa: E402
from unrolled.data.windows import Windows  # noqa: E402
from unrolled.estimators.baselines import seasonal_naive  # noqa: E402
from unrolled.estimators.intervals import Conformal  # noqa: E402
from unrolled.estimators.scores import score  # noqa: E402


def rides():
    roles = {"known": ["day_type"], "observed": ["bus"]}
    return read_table(load_ridership(), target="rail_boardings", time="service_date", **roles)


def chicago(year: int, seeds: int, model: str) -> None:
    """All rows before the year to learn from; origins from 25 February with all 14 targets by 31 May."""
    table = rides()
    first, stop = (
        np.searchsorted(table.times, np.datetime64(day)) for day in (f"{year}-01-01", f"{year}-06-01")
    )
    for seed in range(seeds):
        start = BEGUN if not seed else time.perf_counter()
        forecaster = ur.Forecaster(14, seed=seed, model=model).fit(table[:first], progress=False)
        scores = forecaster.backtest(table[:stop], first_origin=f"{year}-02-25").scores
        seconds, mine = time.perf_counter() - start, scores["model"]
        others = {name: round(entry["mae"]) for name, entry in scores["baselines"].items()}
        print(
            f"{year}, seed {seed}, {'+'.join(forecaster.models_)}: mean {mine['mae']:,.0f}, "
            f"t+1 {mine['mae_by_step'][0]:,.0f}, t+14 {mine['mae_by_step'][-1]:,.0f}; "
            f"80 % holds {mine['coverage']['80']:.1%}; {seconds:.1f} s "
            f"({'with' if not seed else 'without'} import, {torch.get_num_threads()} threads); {others}",
            flush=True,
        )


def intervals(year: int) -> None:
    """Coverage of the 80 % interval over twenty quarters after training, beside the seasonal naive's."""
    table = rides()
    first, stop = (np.searchsorted(table.times, np.datetime64(f"{y}-01-01")) for y in (year, year + 5))
    forecaster = ur.Forecaster(14).fit(table[:first], progress=False)
    backtest = forecaster.backtest(table[: stop + 13], first_origin=table.times[first - 1])
    rows = backtest.frame
    inside = (rows["actual"] >= rows["lo-80"]) & (rows["actual"] <= rows["hi-80"])
    by_quarter = inside.groupby(rows["origin"].dt.to_period("Q")).mean()
    by_quarter = by_quarter[rows.groupby(rows["origin"].dt.to_period("Q")).size() > 14 * 80]
    print(
        f"{len(by_quarter)} quarters from {year}: the 80 % interval holds {by_quarter.mean():.1%} on average "
        f"({by_quarter.min():.1%} to {by_quarter.max():.1%}), "
        f"interval score {backtest.scores['model']['interval_score']['80']:,.0f}"
    )
    held_back = 500  # as `fit` does
    for season in (7, 364):
        length = max(season, forecaster.window_)
        old, new = (
            Windows.of(table[: stop + 13], forecaster.features_, length, 14, [begin], [end])
            for begin, end in ((first - held_back, first), (first, stop + 13))
        )
        bounds = []
        for windows in (old, new):
            made = windows.in_units(seasonal_naive(windows.pasts[..., 0], 14, season)[..., None])[..., 0]
            actual, counted = windows.in_units(windows.targets)[..., 0], windows.counted[..., 0]
            if windows is old:
                conformal = Conformal.fit(actual - made, counted, [80])
            else:
                bounds = conformal.rolling(made, actual - made, counted)
                found = score(actual, made, counted, intervals=bounds)
        print(
            f"seasonal naive of {season} likewise: holds {found['coverage']['80']:.1%}, "
            f"interval score {found['interval_score']['80']:,.0f}"
        )


def ett(horizon: int, model: str) -> None:
    """ETTh1: 8,640 / 2,880 / 2,880 rows, standardised on the first; every test window; mean squared error."""
    frame = pd.read_csv(Path(os.environ["UNROLLED_DATA"]) / "ETTh1.csv")[:14400]
    columns = list(frame.columns[1:])
    part = frame[columns][:8640]
    frame[columns] = (frame[columns] - part.mean()) / part.std(ddof=0)
    table = read_table(frame, target=columns, time="date")
    start = time.perf_counter()
    forecaster = ur.Forecaster(horizon, model=model).fit(table[:11520], progress=False)
    seconds = time.perf_counter() - start
    backtest = forecaster.backtest(table, first_origin=table.times[11519])
    scores = backtest.scores
    squares = {"the model": scores["model"]["rmse"] ** 2}
    squares |= {name: entry["rmse"] ** 2 for name, entry in scores["baselines"].items()}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in squares.items())
    print(
        f"ETTh1, {horizon} steps, {model} ({'+'.join(forecaster.models_)}): MSE {shown}; "
        f"{scores['held_out']['windows']:,} windows; window {forecaster.window_}; {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["chicago", "intervals", "ett"])
    parser.add_argument("--year", type=int, default=2018)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--horizons", type=int, nargs="*", default=[96, 192, 336, 720])
    parser.add_argument("--model", default="auto")
    given = parser.parse_args()
    print(f"unrolled {ur.__version__}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    if given.what == "chicago":
        chicago(given.year, given.seeds, given.model)
    elif given.what == "intervals":
        intervals(given.year)
    else:
        for steps in given.horizons:
            ett(steps, given.model)
