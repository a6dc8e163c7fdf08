"""Draw docs/forecast.svg: a year of weekly CO₂ at Mauna Loa, forecast from the years before, and what came.

python docs/draw_forecast.py
"""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

import unrolled as ur
from unrolled.data import load_co2

AHEAD, SHOWN = 52, 156  # weeks


def draw() -> Figure:
    """The last three years, of which the last is forecast by what learned from the rows before it."""
    table = load_co2()
    forecaster = ur.Forecaster(horizon=AHEAD, seed=0).fit(
        table[:-AHEAD], target="co2", time="time", progress=False
    )
    made = forecaster.predict()
    known, came = table[-SHOWN:-AHEAD], table[-AHEAD:]
    inside = ((came["co2"].to_numpy() >= made["lo-95"]) & (came["co2"].to_numpy() <= made["hi-95"])).mean()
    error = abs(came["co2"].to_numpy() - made["mean"]).mean()
    print(
        f"{'+'.join(forecaster.models_)}: mean absolute error {error:.2f} ppm; {inside:.0%} inside the 95 % interval"
    )
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(
        made["time"], made["lo-95"], made["hi-95"], color="#3c6c99", alpha=0.18, lw=0, label="95 % interval"
    )
    axes.fill_between(
        made["time"], made["lo-80"], made["hi-80"], color="#3c6c99", alpha=0.3, lw=0, label="80 % interval"
    )
    axes.plot(known["time"], known["co2"], color="#222", lw=1.2, label="observed")
    axes.plot(made["time"], made["mean"], color="#3c6c99", lw=1.6, label="forecast")
    axes.plot(came["time"], came["co2"], ".", color="#222", ms=3, label="what came")
    axes.set_ylabel("CO₂, ppm")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", ncols=2, frameon=False)
    return figure


if __name__ == "__main__":
    matplotlib.rcParams.update({"svg.hashsalt": "unrolled", "svg.fonttype": "none"})
    draw().savefig(Path(__file__).parent / "forecast.svg", metadata={"Date": None})
