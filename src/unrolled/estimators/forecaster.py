"""The forecaster: from a table of the past to the steps that follow, with intervals and honest baselines."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from unrolled.data.scaling import Scaler
from unrolled.data.table import Table, read_table, show_time
from unrolled.data.windows import Windows
from unrolled.errors import DataError, OptionError
from unrolled.estimators.baselines import Linear, find_season, naive, seasonal_naive
from unrolled.estimators.intervals import conformal_widths
from unrolled.estimators.scores import Backtest, score
from unrolled.networks import SequenceToVector
from unrolled.training.loop import fit, repeatable
from unrolled.training.options import Training, TrainingRun

__all__ = ["Forecaster", "rows_needed"]

logger = logging.getLogger("unrolled")

MODELS = ("auto", "rnn", "lstm", "gru", "linear")
UNITS = 32
VALID_SIZE = (
    0.15  # share of the rows given to `fit` that is not trained on: it measures how wide intervals are
)
SHORTEST = 4  # steps of a window, where its length is left to us
STEPS = 600  # of the optimizer, for one member


class Forecaster(BaseEstimator):
    """Forecasts the next `horizon` steps of a series, all at once, by a small recurrent network on top of a line.

    Several members are trained, each from its own seed, and averaged. What the network is measured
    against comes with it: the last value, the last season, and ridge regression on the same window.

    Args:
        horizon: steps to forecast, at least 1.
        model: "rnn", "lstm", "gru", "linear" (the line alone), or "auto" ("lstm", the fastest today).
        input_steps: steps that the network reads; by default from the horizon, the season and the rows.
        season: steps of a season; by default found in the training part.
        members: networks to train and average.
        levels: of the prediction intervals, in percent.
        seed: repeats everything bit for bit.
        device: "auto" (a CUDA device where there is one), "cpu", "cuda".
        training: how to train; by default mean absolute error, AdamW, one cycle of 600 steps a
            member, whose last weights are kept. Its `members` and `seed` are those given here.

    Attributes after `fit`:
        `run_`, the `TrainingRun`; `networks_`, its members; `linear_`, the ridge baseline; `season_` and
        `input_steps_`, what was found; `window_`, the rows that a forecast needs; `frequency_`, the
        calendar; `notes_`, what was done to the data.

    Raises:
        OptionError: an argument is out of its range.

    >>> import numpy as np, pandas as pd
    >>> days = pd.date_range("2020-01-01", periods=120)
    >>> sales = pd.DataFrame({"ds": days, "y": 10 + days.day_of_week + 0.1 * np.arange(120)})
    >>> forecaster = Forecaster(3, model="linear").fit(sales)
    >>> frame = forecaster.predict()
    >>> frame["time"].dt.strftime("%a").tolist(), frame["mean"].round(1).tolist()
    (['Thu', 'Fri', 'Sat'], [25.0, 26.1, 27.2])
    """

    def __init__(
        self,
        horizon: int = 1,
        *,
        model: str = "auto",
        input_steps: int | None = None,
        season: int | None = None,
        members: int = 5,
        levels: Sequence[int] = (80, 95),
        seed: int = 0,
        device: str = "auto",
        training: Training | None = None,
    ):
        self.horizon = horizon
        self.model = model
        self.input_steps = input_steps
        self.season = season
        self.members = members
        self.levels = levels
        self.seed = seed
        self.device = device
        self.training = training

    @repeatable()
    def fit(
        self,
        frame: Any,
        target: str | None = None,
        time: str | None = None,
        series: str | None = None,
        *,
        progress: bool | None = None,
        folder: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Learn from a table. Its last 15 % are not trained on: they tell how wide the intervals must be.

        Args:
            frame: a pandas or polars data frame, a path to a CSV or Parquet file, or a `Table`.
            target: the column to forecast; by default "y", or the only numeric column.
            time: the column of times; by default "ds", "date" and such, or the first that holds dates.
            series: the column that names the series; there must be one series.
            progress: False for silence; by default a bar where standard error is a terminal, else a line.
            folder: for the checkpoints of the training; None for none.
            resume: go on from the newest checkpoint there.

        Raises:
            DataError: the table cannot be used (`read_table`), or has too few rows.
            OptionError: an argument of the constructor is out of its range.
            RunFolderError: a checkpoint cannot be written, or is one of other data or options.
        """
        self.check_options()
        table = (
            frame if isinstance(frame, Table) else read_table(frame, target=target, time=time, series=series)
        )
        if len(table.names) > 1:
            got = f"{len(table.names):,} series"
            raise DataError(f"column {table.series!r}", "one series", got, "Select the rows of one first.")
        horizon, valid_rows = self.horizon, _part(len(table), VALID_SIZE, self.horizon)
        learn_rows = len(table) - valid_rows
        most = learn_rows - horizon
        shortest = self.input_steps or SHORTEST
        if most < shortest:
            needed = rows_needed(shortest, horizon)
            raise DataError(
                f"column {table.columns[0]!r}",
                f"at least {needed:,} rows for a window of {shortest} steps and a horizon of {horizon}",
                f"{len(table):,}",
                "Give more rows, or shorten the horizon.",
            )
        # A gap that reaches beyond the training rows was filled from what comes after them.
        observed = np.flatnonzero(table.observed[:learn_rows, 0])
        known = table.column(table.columns[0])[: observed[-1] + 1] if len(observed) else np.zeros(0)
        self.scaler_ = Scaler.fit(table.values[:learn_rows], table.observed[:learn_rows])
        if not np.isfinite(self.scaler_.scale).all():
            raise DataError(
                f"column {table.columns[0]!r}",
                "values that can be squared",
                f"{np.abs(known).max():g}",
                "Scale them down.",
            )
        season = self.season or find_season(known, table.frequency.seasons, horizon)
        if season > most:
            raise OptionError(
                "Forecaster", f"a season of at most {most:,} steps for {len(table):,} rows", str(season)
            )
        length = self.input_steps or _input_steps(horizon, season, most)
        lag = season if season > 1 and length + season <= most // 2 else 0
        constant = len(known) > 0 and bool(np.ptp(known) <= 1e-12 * np.abs(known).max())
        self.notes_ = list(table.notes)
        if constant:
            self._note(
                f"Column {table.columns[0]!r} is constant ({known[0]:g}): nothing to learn, its value is repeated."
            )
        self.target_, self.time_, self.series_ = table.columns[0], table.time, table.names[0]
        self.kind_, self.frequency_ = table.kind, table.frequency
        self.season_, self.lag_, self.input_steps_ = season, lag, length
        self.model_ = "linear" if constant else {"auto": "lstm"}.get(self.model, self.model)
        self.tail_ = table[-self.window_ :]

        train = Windows.of(table, self.scaler_, self.window_, horizon, last=learn_rows - 1)
        valid = Windows.of(table, self.scaler_, self.window_, horizon, first=learn_rows)
        if not len(train):
            raise DataError(
                f"column {self.target_!r}",
                "a window that ends on a value",
                "filled gaps only",
                "Give more rows.",
            )
        self.linear_ = Linear.fit(train.inputs[..., 0], train.targets, train.counted)
        self.run_ = self._train(train, valid, progress, folder, resume)
        self.networks_ = self.run_.members
        if self.run_.interrupted:
            last = max(row["epoch"] for row in self.run_.history)
            self._note(f"Interrupted: goes on with what was learned in {last} epoch{'s' * (last > 1)}.")
        for failure in self.run_.failures.values():
            self._note(f"A member is left out. {failure}")
        self.widths_ = self._interval_widths(valid if len(valid) else train)
        return self

    def update(self, frame: Any) -> Self:
        """Let the forecaster see newer rows, without training: what `predict()` starts from afterwards.

        Args:
            frame: as for `fit`, with the same columns; rows already known may come again.

        Raises:
            DataError: the rows follow another calendar, or leave a hole behind those already known.
        """
        self._check_fitted()
        self.tail_ = self._seen(frame)[-self.window_ :]
        return self

    def read(self, frame: Any, *, gaps: str = "fill") -> Table:
        """Read newer rows by the names and the calendar of the training data; otherwise as `read_table`.

        Raises:
            DataError: as `read_table`, or the rows follow another calendar.
        """
        return read_table(
            frame, target=self.target_, time=self.time_ or None, gaps=gaps, frequency=self.frequency_
        )

    @repeatable()
    def predict(self, frame: Any = None) -> Any:
        """Forecast the `horizon` steps after the last row.

        Args:
            frame: newer rows, as for `update`; by default the end of what was seen last.

        Returns:
            A frame of the kind that was given (pandas or polars), a row for each step: series,
            target, origin (the last observed time), step (from 1), time, mean, and lo-80, hi-80 …
            for each level, in the units of the data.

        Raises:
            DataError: as `update`.
        """
        self._check_fitted()
        table = self.tail_ if frame is None else self._seen(frame)
        if len(table) < self.window_:
            raise DataError(
                f"column {self.target_!r}",
                f"at least {self.window_:,} rows, the window of this model",
                f"{len(table):,}",
                "Give more of the rows before.",
            )
        last = len(table) - 1
        windows = Windows(
            np.asarray(self.scaler_.transform(table.values), np.float32),
            table.observed[:, 0],
            np.array([last]),
            self.window_,
            0,
        )
        times = self.frequency_.after(table.times[last], self.horizon)
        return self._frame(table.kind, table.times[[last]], times[None], self._forecast(windows))

    @repeatable()
    def backtest(
        self,
        frame: Any,
        first_origin: Any = None,
        last_origin: Any = None,
        stride: int = 1,
        refit: str = "never",
    ) -> Backtest:
        """Forecast from each origin of a period that lies behind us, and score it beside the baselines.

        The model stays as it is; it and the baselines read the same windows. Filled gaps are no
        origins, and are not scored.

        Args:
            frame: as for `fit`, the rows before the first origin included.
            first_origin: the last observed time of the first forecast; by default the first that
                lies a window after the beginning.
            last_origin: that of the last forecast; by default the last whose steps are all in the frame.
            stride: rows from one origin to the next.
            refit: "never".

        Raises:
            DataError: no origin is left.
            OptionError: `stride` or `refit` is out of its range.
        """
        self._check_fitted()
        if refit != "never":
            raise OptionError(
                "backtest", "refit='never'", repr(refit), "Other values come in a later version."
            )
        if stride < 1:
            raise OptionError("backtest", "a stride of at least 1", str(stride))
        table = frame if isinstance(frame, Table) else self.read(frame)
        length = max(self.window_, self.season_)
        first = length - 1 if first_origin is None else _row(table, first_origin, "left")
        last = len(table) - 1 if last_origin is None else _row(table, last_origin, "right") - 1
        windows = Windows.of(
            table, self.scaler_, length, self.horizon, first + 1, min(last + self.horizon, len(table) - 1)
        )
        if not len(windows):
            raise DataError(
                "backtest",
                f"an origin with {length:,} rows up to it and {self.horizon} after it",
                f"none among {len(table):,} rows",
                "Give more rows, or another period.",
            )
        windows = dataclasses.replace(windows, origins=windows.origins[::stride])
        actual = table.column(self.target_)[windows.origins[:, None] + np.arange(1, self.horizon + 1)]
        counted, past = windows.counted, windows.inputs[..., 0]
        if not counted.any():
            raise DataError(
                "backtest",
                "at least one observed value after an origin",
                f"filled gaps only, {len(windows):,} origins",
                "Give data with fewer gaps, or another period.",
            )
        mean = self._forecast(dataclasses.replace(windows, length=self.window_))
        others = {
            "naive": naive(past, self.horizon),
            "seasonal_naive": seasonal_naive(past, self.horizon, self.season_),
            "linear": self.linear_.predict(past[:, -self.window_ :]),
        }
        usual = next(iter(self.frequency_.seasons), self.season_)
        if (
            usual != self.season_ and usual <= length
        ):  # the calendar's own season beside the one that was found
            others[f"seasonal_naive_{usual}"] = seasonal_naive(past, self.horizon, usual)
        origins = table.times[windows.origins]
        scores = {
            "model": score(actual, mean, counted) | {"coverage": self._coverage(actual - mean, counted)},
            "baselines": {
                name: score(actual, self._in_units(scaled), counted) for name, scaled in others.items()
            },
            "held_out": {
                "windows": len(windows),
                "first_origin": show_time(origins[0]),
                "last_origin": show_time(origins[-1]),
            },
        }
        times = table.times[windows.origins[:, None] + np.arange(1, self.horizon + 1)]
        return Backtest(
            self._frame(table.kind, origins, times, mean, np.where(counted, actual, np.nan)), scores
        )

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the forecaster to a folder that `unrolled.load` reads; no code and no pickle in it.

        Raises:
            RunFolderError: the folder exists already, or cannot be written.
        """
        from unrolled.estimators.saving import save_forecaster
        from unrolled.training.checkpoint import whole_folder

        self._check_fitted()
        with whole_folder(Path(folder), overwrite=overwrite) as partial:
            save_forecaster(self, partial)

    @property
    def window_(self) -> int:
        """Steps before a forecast that the network reads: `input_steps_`, and a season before each of them."""
        return self.input_steps_ + self.lag_

    def make_network(self) -> SequenceToVector:
        """Return an untrained network of the kind that was fitted, its line set to the ridge baseline."""
        network = SequenceToVector(
            1,
            UNITS,
            self.horizon,
            length=self.input_steps_,
            season=self.lag_,
            cell=None if self.model_ == "linear" else self.model_,
        )
        network.start_from(torch.from_numpy(self.linear_.weight), torch.from_numpy(self.linear_.bias))
        return network

    def check_options(self) -> None:
        """Raise an `OptionError` for the first argument of the constructor that is out of its range."""
        if not isinstance(self.horizon, int | np.integer) or self.horizon < 1:
            raise OptionError("Forecaster", "a horizon of at least 1 step", repr(self.horizon))
        if self.model not in MODELS:
            raise OptionError("Forecaster", f"model one of {', '.join(MODELS)}", repr(self.model))
        if self.input_steps is not None and self.input_steps < 2:
            raise OptionError("Forecaster", "input_steps of at least 2", repr(self.input_steps))
        if self.season is not None and self.season < 1:
            raise OptionError("Forecaster", "a season of at least 1 step", repr(self.season))
        if self.members < 1:
            raise OptionError("Forecaster", "at least 1 member", repr(self.members))
        if not all(0 < level < 100 for level in self.levels):
            raise OptionError("Forecaster", "levels between 0 and 100 percent", repr(tuple(self.levels)))
        if self.device not in ("auto", "cpu") and not torch.cuda.is_available():
            raise OptionError(
                "Forecaster", "a device of this machine", repr(self.device), "Use device='auto'."
            )

    def _train(
        self, train: Windows, valid: Windows, progress: bool | None, folder: Path | None, resume: bool
    ) -> TrainingRun:
        if self.model_ == "linear":
            return TrainingRun([self.make_network().eval()])
        batch = 64
        epochs = int(np.clip(STEPS * batch // len(train), 4, 100))
        default = Training("mae", "adamw", 3e-3, "one-cycle", epochs, batch, restore_best=False)
        training = dataclasses.replace(self.training or default, members=self.members, seed=self.seed)
        run = fit(
            self.make_network, train, valid, training,
            device=self._device(), progress=progress, folder=folder, resume=resume,
        )  # fmt: skip
        if run.interrupted and not run.history:
            raise KeyboardInterrupt
        return run

    def _interval_widths(self, windows: Windows) -> NDArray[np.float64]:
        errors = self._in_units(windows.targets.astype(np.float64)) - self._forecast(windows)
        least = int(windows.counted.sum(axis=0).min())
        narrow = [f"{level:g} %" for level in self.levels if (least + 1) * level > 100 * least]
        if narrow:
            self._note(
                f"Only {least} held-back windows measure the intervals: that of {' and '.join(narrow)} is no wider "
                "than the largest error among them."
            )
        return conformal_widths(errors, windows.counted, self.levels)

    def _note(self, sentence: str) -> None:
        self.notes_.append(sentence)
        logger.warning("%s", sentence)

    def _check_fitted(self) -> None:
        if not hasattr(self, "widths_"):
            raise OptionError(
                "Forecaster", "a fitted forecaster", "one that has seen no data", "Call fit first."
            )

    def _coverage(self, errors: NDArray[np.float64], counted: NDArray[np.bool_]) -> dict[str, float]:
        inside = [np.abs(errors) <= width for width in self.widths_]
        return {
            f"{level:g}": float(hit[counted].mean()) for level, hit in zip(self.levels, inside, strict=True)
        }

    @torch.no_grad()
    def _forecast(self, windows: Windows) -> NDArray[np.float64]:
        """Return the mean of the members for each window, (windows, horizon), in the units of the data."""
        device = self._device()
        parts = np.array_split(np.arange(len(windows)), -(-len(windows) // 1024))
        rows = []
        for part in parts:
            past = windows.batch(part).past.to(device)
            rows.append(
                torch.stack([network.to(device)(past).double() for network in self.networks_]).mean(0).cpu()
            )
        return self._in_units(torch.cat(rows).numpy())

    def _in_units(self, scaled: NDArray[Any]) -> NDArray[np.float64]:
        return self.scaler_.inverse(np.asarray(scaled, np.float64)[..., None])[..., 0]

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def _seen(self, frame: Any) -> Table:
        newer = frame if isinstance(frame, Table) else self.read(frame)
        return newer if len(newer) >= self.window_ else self.tail_.followed_by(newer)

    def _frame(
        self,
        kind: Literal["pandas", "polars"],
        origins: NDArray[Any],
        times: NDArray[Any],
        mean: NDArray[np.float64],
        actual: NDArray[np.float64] | None = None,
    ) -> Any:
        """Return the frame that `predict` and `backtest` promise; `times` and `mean` are (origins, horizon)."""
        import narwhals as nw

        count, horizon = mean.shape
        columns: dict[str, Any] = {
            "series": np.full(count * horizon, self.series_, dtype=object),
            "target": np.full(count * horizon, self.target_, dtype=object),
            "origin": np.repeat(origins, horizon),
            "step": np.tile(np.arange(1, horizon + 1), count),
            "time": times.ravel(),
        }
        if actual is not None:
            columns["actual"] = actual.ravel()
        columns["mean"] = mean.ravel()
        for level, width in zip(self.levels, self.widths_, strict=True):
            columns[f"lo-{level:g}"] = (mean - width).ravel()
            columns[f"hi-{level:g}"] = (mean + width).ravel()
        if kind == "polars":
            columns |= {name: columns[name].tolist() for name in ("series", "target")}
        return nw.from_dict(columns, backend=kind).to_native()


def rows_needed(input_steps: int, horizon: int, test_size: float = 0.0) -> int:
    """Return the least number of rows that `fit` needs; with `test_size`, that a table with such a held-out part needs.

    >>> rows_needed(input_steps=4, horizon=14)
    32
    """
    rows = input_steps + horizon
    while True:
        kept = rows - (_part(rows, test_size, horizon) if test_size else 0)
        if kept - _part(kept, VALID_SIZE, horizon) >= input_steps + horizon:
            return rows
        rows += 1


def _part(rows: int, share: float, horizon: int) -> int:
    """Return how many rows at the end are held out: their share, and no less than one horizon."""
    return max(round(share * rows), horizon)


def _input_steps(horizon: int, season: int, most: int) -> int:
    """Return the steps to read: four horizons or two short seasons; from 24 to 168, and a third of the rows at most."""
    wanted = max(4 * horizon, 2 * season if season <= 64 else 0, 24)
    return max(min(wanted, 168, most // 3), SHORTEST)


def _row(table: Table, time: Any, side: Any) -> int:
    if np.issubdtype(table.times.dtype, np.integer):
        return int(np.searchsorted(table.times, int(time), side=side))
    import pandas as pd

    try:
        stamp = pd.Timestamp(time).to_datetime64().astype("datetime64[us]")
    except (ValueError, TypeError) as error:
        raise OptionError("backtest", "an origin that is a time", repr(time)) from error
    return int(np.searchsorted(table.times, stamp, side=side))
