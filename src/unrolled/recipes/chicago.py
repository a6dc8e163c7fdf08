"""E5: Chicago's trains and buses, as the decks and the third edition's notebook forecast them.

1,096 days to learn from, validation from January to May 2019, windows of 56 days, Huber loss, SGD with momentum 0.9,
at most 500 epochs, the weights of the best validation error restored. That error is what is reported, as published.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

import unrolled as ur
from unrolled.data import load_ridership, make_windows, timeseries_dataset_from_array
from unrolled.errors import MissingDataError
from unrolled.recipes.experiment import Found, Plot, Row, answers, train

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = [
    "conventional",
    "deep",
    "long_sequences",
    "multivariate",
    "recurrent",
    "sarima",
    "to_sequence",
    "to_vector",
]

DAYS, AHEAD, LONG = 56, 14, 112
RIDERS = "riders a day"


@dataclass(frozen=True)
class Part:
    """A period: rail and bus in millions of riders, five inputs (bus, rail, the next day's type), and the days."""

    rail: NDArray[np.float32]
    both: NDArray[np.float32]
    five: NDArray[np.float32]
    days: "pd.DatetimeIndex"

    def next_day(self, inputs: NDArray[np.float32], targets: NDArray[np.float32]) -> Any:
        """Windows of 56 days, and what comes on the day after each."""
        return timeseries_dataset_from_array(inputs, targets[DAYS:], DAYS)

    def fortnight(self, days: int = DAYS) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Windows of five inputs, and the 14 days of rail after each."""
        return make_windows(self.five, days, horizon=AHEAD), make_windows(self.rail[days:], AHEAD)

    def every_fortnight(self, days: int = DAYS) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Windows of five inputs, and the 14 days of rail after each of their days."""
        return make_windows(self.five, days, horizon=AHEAD), make_windows(
            make_windows(self.rail[1:], AHEAD), days
        )


@cache
def rides() -> "pd.DataFrame":
    """The table by day, without its doubled rows.

    Raises:
        MissingDataError: it has not each day that the protocol asks for.
    """
    import pandas as pd

    frame = load_ridership().drop_duplicates()
    frame.index = pd.DatetimeIndex(pd.to_datetime(frame["service_date"], format="%m/%d/%Y"), name="date")
    frame = frame.sort_index().rename(columns={"rail_boardings": "rail"})
    if not frame["2016":"2019-05"].index.equals(pd.date_range("2016-01-01", "2019-05-31")):
        raise MissingDataError(
            "data set ridership.tgz",
            "each day from 2016 to May 2019",
            "others",
            "Delete it, to download it anew.",
        )
    return frame.assign(next_day_type=frame["day_type"].shift(-1))[["bus", "rail", "next_day_type"]]


@cache
def part(first: str, last: str) -> Part:
    """The days from `first` to `last`."""
    import pandas as pd

    frame = rides()
    five = pd.get_dummies(frame, columns=["next_day_type"]).astype("float32")
    five[["bus", "rail"]] /= 1e6
    rows = five[first:last]
    rail, both, five = (
        columns.to_numpy(np.float32) for columns in (rows["rail"], rows[["bus", "rail"]], rows)
    )
    return Part(rail, both, five, rows.index)


def learn() -> Part:
    """The training part."""
    return part("2016-01", "2018-12")


def valid() -> Part:
    """The validation part."""
    return part("2019-01", "2019-05")


def published(learning_rate: float, seeds: int, quick: bool, **others: Any) -> ur.Training:
    """The published training."""
    options: dict[str, Any] = {
        "loss": "huber",
        "optimizer": "sgd",
        "momentum": 0.9,
        "clip_norm": None,
    } | others
    return ur.Training(
        learning_rate=learning_rate, epochs=60 if quick else 500, batch_size=32, patience=50, members=seeds,
        metrics=["mae"], monitor="valid_mae", **options,
    )  # fmt: skip


def errors(run: ur.TrainingRun, data: Any) -> NDArray[np.float64]:
    """Absolute errors in riders of each member, at the last step where there are several: (members, windows, …)."""
    x, y = (data.windows, data.targets) if hasattr(data, "windows") else data
    x, made = np.asarray(x), answers(run, x[..., None] if np.ndim(x) == 2 else x)
    if made.ndim == 4:
        made, y = made[:, :, -1], y[:, -1]
    return np.asarray(1e6 * np.abs(made - np.asarray(y, np.float64).reshape(made.shape[1:])))


def column(rail: NDArray[np.float32]) -> NDArray[np.float32]:
    """One feature a day."""
    return rail[:, None]


def conventional(seeds: int, quick: bool) -> Found:
    """E5a: the value of a week ago, and a line through 56 days."""
    frame = 1e6 * valid().both.astype(np.float64)
    spring = valid().days >= "2019-03-01"
    naive = np.abs(frame[7:] - frame[:-7])[spring[7:], 1].mean()
    yield Row("E5a", "naive: a week ago, March to May 2019", RIDERS, 42_143, (float(naive),))
    data = [p.next_day(column(p.rail), column(p.rail)) for p in (learn(), valid())]
    run, seconds, note = train(
        lambda: nn.Sequential(nn.Flatten(), ur.nn.Dense(DAYS, 1)), data, published(0.02, seeds, quick)
    )
    yield Row("E5a", "linear", RIDERS, 37_866, mean(errors(run, data[1])), seconds, note)


def mean(found: NDArray[np.float64]) -> tuple[float, ...]:
    """The mean error of each member."""
    return tuple(float(value) for value in found.reshape(len(found), -1).mean(axis=1))


def recurrent(seeds: int, quick: bool) -> Found:
    """E5b: one layer of 32."""
    data = [p.next_day(column(p.rail), column(p.rail)) for p in (learn(), valid())]
    run, seconds, note = train(
        lambda: nn.Sequential(ur.nn.SimpleRNN(1, 32), ur.nn.Dense(32, 1)),
        data,
        published(0.05, seeds, quick),
    )
    yield Row("E5b", "SimpleRNN(32)", RIDERS, 27_703, mean(errors(run, data[1])), seconds, note)
    made = answers(run, data[1].windows).mean(axis=0)[:, 0] if run.members else None

    def draw(axes: "Axes") -> None:
        days = valid().days[DAYS:]
        axes.plot(days, valid().rail[DAYS:], label="rail", marker="o", markersize=3)
        if made is not None:
            axes.plot(days, made, label="forecast", marker="o", markersize=3)
        axes.set_ylabel("million riders a day")

    yield Plot(
        "E5b",
        "The next day, forecast",
        "Rail in spring 2019, each day forecast from the 56 before it: the mean of the seeds.",
        draw,
    )


def deep(seeds: int, quick: bool) -> Found:
    """E5c: three layers of 32."""

    def make() -> nn.Module:
        return nn.Sequential(
            ur.nn.SimpleRNN(1, 32, return_sequences=True), ur.nn.SimpleRNN(32, 32, return_sequences=True),
            ur.nn.SimpleRNN(32, 32), ur.nn.Dense(32, 1),
        )  # fmt: skip

    data = [p.next_day(column(p.rail), column(p.rail)) for p in (learn(), valid())]
    run, seconds, note = train(make, data, published(0.01, seeds, quick))
    yield Row("E5c", "three SimpleRNN(32)", RIDERS, 31_211, mean(errors(run, data[1])), seconds, note)


def multivariate(seeds: int, quick: bool) -> Found:
    """E5d: five inputs: rail alone, then bus and rail at once."""
    data = [p.next_day(p.five, column(p.rail)) for p in (learn(), valid())]
    run, seconds, note = train(
        lambda: nn.Sequential(ur.nn.SimpleRNN(5, 32), ur.nn.Dense(32, 1)),
        data,
        published(0.05, seeds, quick),
    )
    yield Row("E5d", "five inputs: rail", RIDERS, 22_062, mean(errors(run, data[1])), seconds, note)
    data = [p.next_day(p.five, p.both) for p in (learn(), valid())]
    run, seconds, note = train(
        lambda: nn.Sequential(ur.nn.SimpleRNN(5, 32), ur.nn.Dense(32, 2)),
        data,
        published(0.02, seeds, quick),
    )
    found = errors(run, data[1])
    yield Row("E5d", "five inputs, both at once: rail", RIDERS, 25_330, mean(found[..., 1]), seconds, note)
    yield Row("E5d", "five inputs, both at once: bus", RIDERS, 26_369, mean(found[..., 0]), seconds, note)


def to_vector(seeds: int, quick: bool) -> Found:
    """E5e: 14 days at once, from the last day of a window."""
    data = [p.fortnight() for p in (learn(), valid())]
    run, seconds, note = train(
        lambda: nn.Sequential(ur.nn.SimpleRNN(5, 32), ur.nn.Dense(32, AHEAD)),
        data,
        published(0.02, seeds, quick),
    )
    yield Row(
        "E5e", "14 days, sequence to vector: mean", RIDERS, 35_017, mean(errors(run, data[1])), seconds, note
    )


def to_sequence(seeds: int, quick: bool) -> Found:
    """E5f: 14 days from each day of a window; those from its last day are measured."""
    data = [p.every_fortnight() for p in (learn(), valid())]
    run, seconds, note = train(sequence_to_sequence, data, published(0.1, seeds, quick))
    found = errors(run, data[1])
    for step, theirs in ((1, 25_519), (2, 26_274), (14, 34_322)):
        what = f"14 days, sequence to sequence: t+{step}"
        yield Row("E5f", what, RIDERS, theirs, mean(found[..., step - 1]), seconds, note)
    yield Row("E5f", "14 days, sequence to sequence: mean", RIDERS, None, mean(found), seconds, note)
    made = answers(run, data[1][0][:1]).mean(axis=0)[0, -1] if run.members else None

    def draw(axes: "Axes") -> None:
        days = valid().days[: DAYS + AHEAD]
        axes.plot(days, valid().rail[: DAYS + AHEAD], label="rail", marker="o", markersize=3)
        if made is not None:
            axes.plot(days[DAYS:], made, label="forecast", marker="o", markersize=3)
        axes.set_ylabel("million riders a day")

    yield Plot(
        "E5f",
        "Fourteen days at once",
        "The first window of the validation part, and the 14 days after it: the mean of the seeds.",
        draw,
    )


def sequence_to_sequence(
    cell: Callable[..., nn.Module] = ur.nn.SimpleRNN, *between: nn.Module, **options: Any
) -> nn.Sequential:
    """One layer of 32, and 14 numbers at each step."""
    return nn.Sequential(cell(5, 32, return_sequences=True, **options), *between, ur.nn.Dense(32, AHEAD))


class BatchNorm(nn.Module):
    """Batch normalisation of the features at all steps."""

    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(features)

    def forward(self, past: Tensor) -> Tensor:
        """(batch, time, features), likewise."""
        normalised: Tensor = self.norm(past.transpose(1, 2))
        return normalised.transpose(1, 2)


def poor_start() -> nn.Sequential:
    """As `sequence_to_sequence`, from weights that are drawn without regard to the layer's size."""
    network = sequence_to_sequence()
    for weight in network.parameters():
        if weight.ndim == 2:
            nn.init.normal_(weight, std=1.0)
    return network


def wavenet() -> nn.Sequential:
    """Causal convolutions with dilations 1, 2, 4, 8, twice."""
    sizes = [5, *[32] * 8]
    layers = [
        ur.nn.Conv1D(size, 32, 2, padding="causal", activation="relu", dilation_rate=rate)
        for size, rate in zip(sizes, (1, 2, 4, 8) * 2, strict=False)
    ]
    return nn.Sequential(*layers, ur.nn.Conv1D(32, AHEAD, 1))


def long_sequences(seeds: int, quick: bool) -> Found:
    """E5g: what helps against unstable gradients and short memory, and what does not. None published; E5f beside it."""
    vector, sequence = Part.fortnight, Part.every_fortnight
    sgd: dict[str, Any] = {}
    adam = {"optimizer": "adam"}
    rows: list[tuple[str, Callable[[], nn.Module], Any, int, float, dict[str, Any]]] = [
        ("as E5f", sequence_to_sequence, sequence, DAYS, 0.1, sgd),
        ("relu (not to help)", lambda: sequence_to_sequence(activation="relu"), sequence, DAYS, 0.1, sgd),
        ("batch normalisation (not to help)", lambda: sequence_to_sequence(ur.nn.SimpleRNN, BatchNorm(32)), sequence,
         DAYS, 0.1, sgd),
        ("poor initial weights, N(0, 1)", poor_start, sequence, DAYS, 0.1, sgd),
        ("a faster optimizer: Adam, 0.005", sequence_to_sequence, sequence, DAYS, 0.005, adam),
        ("dropout 0.2, recurrent dropout 0.2, to a vector",
         lambda: nn.Sequential(ur.nn.SimpleRNN(5, 32, dropout=0.2, recurrent_dropout=0.2), ur.nn.Dense(32, AHEAD)),
         vector, DAYS, 0.02, sgd),
        ("layer norm", lambda: sequence_to_sequence(layer_norm=True), sequence, DAYS, 0.1, sgd),
        ("LSTM", lambda: sequence_to_sequence(ur.nn.LSTM), sequence, DAYS, 0.1, sgd),
        ("GRU", lambda: sequence_to_sequence(ur.nn.GRU), sequence, DAYS, 0.1, sgd),
        ("Conv1D(32, 4, stride 2), GRU(32), 112 days, to a vector",
         lambda: nn.Sequential(
             ur.nn.Conv1D(5, 32, 4, strides=2, activation="relu"), ur.nn.GRU(32, 32), ur.nn.Dense(32, AHEAD)),
         vector, LONG, 0.02, sgd),
        ("dilated causal convolutions, 112 days", wavenet, sequence, LONG, 0.1, sgd),
    ]  # fmt: skip
    for what, make, cut, days, rate, options in rows:
        data = [cut(p, days) for p in (learn(), valid())]
        training = published(rate, seeds, quick, **options)
        try:
            run, seconds, note = train(make, data, training)
        except ur.errors.TrainingError:
            yield Row("E5g", f"{what}: mean of 14 days", RIDERS, None, (), note="every member diverged")
            continue
        yield Row("E5g", f"{what}: mean of 14 days", RIDERS, None, mean(errors(run, data[1])), seconds, note)


def sarima(seeds: int, quick: bool) -> Found:
    """E5h: SARIMA (1,0,0)(0,1,1,7), fitted anew for each day from March to May on the rows from January 2019 on."""
    import time
    import warnings

    from statsmodels.tsa.arima.model import ARIMA

    what = "SARIMA (1,0,0)(0,1,1,7), fitted anew each day"
    if quick:
        yield Row("E5h", what, RIDERS, 32_041, (), note="left out by --quick")
        return
    rail = rides()["rail"]["2019-01-01":"2019-05-31"].asfreq("D").astype(float)
    start, found = time.perf_counter(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for day in range(int((rail.index < "2019-03-01").sum()), len(rail)):
            model = ARIMA(rail.iloc[:day], order=(1, 0, 0), seasonal_order=(0, 1, 1, 7)).fit()
            found.append(abs(model.forecast().iloc[0] - rail.iloc[day]))
    yield Row("E5h", what, RIDERS, 32_041, (float(np.mean(found)),), time.perf_counter() - start)
