"""The forecaster: from a table of the past to the steps that follow, with intervals and honest baselines."""

import dataclasses
import logging
import time as time_
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from unrolled.data.ahead import future_frame, known_ahead
from unrolled.data.calendar_rows import count, some_names
from unrolled.data.frequency import Frequency
from unrolled.data.table import Table, read_table
from unrolled.data.windows import Windows
from unrolled.errors import DataError, OptionError
from unrolled.estimators.ensemble import STEPS, Architecture, fit_lines, steps_within, train
from unrolled.estimators.frames import forecast_frame
from unrolled.estimators.intervals import Bounds, Conformal, Widened, bounds_of_quantiles
from unrolled.estimators.learned import take_plainly
from unrolled.estimators.lines import Lines, candidate_lengths
from unrolled.estimators.options import check_options
from unrolled.estimators.plan import SHORTEST, decide, held_back, stops
from unrolled.estimators.scores import Backtest
from unrolled.training.loop import repeatable
from unrolled.training.options import Training, TrainingRun

__all__ = ["Forecaster"]

logger = logging.getLogger("unrolled")

FIRST_MEMBERS = 2  # of each model, trained without the rows that measure the intervals


class Forecaster(BaseEstimator):
    """Forecasts the next `horizon` steps of one or many series, by small recurrent networks on top of a line.

    Several members are trained, each from its own seed, and averaged: one global model for all series and
    targets, each of which is scaled by itself. They read the targets, columns that are
    `observed` beside them, what is known ahead (`known` columns, and the calendar: hour, day of the week,
    season of the year), and what is told of each series (`static`). What they are measured against comes with
    it: the last value, the last season, a straight line, ridge regression on the same window, SARIMA and ETS.

    Args:
        horizon: steps to forecast, at least 1.
        model: "rnn", "lstm", "gru", "conv-gru" (a convolution of stride 2 in front), "wavenet" (dilated causal
            convolutions), "linear" (the line alone), or "auto": "gru", "linear" or their mean, whichever has the
            least error on the rows that are held back at first.
        input_steps: steps that the network reads; by default from the horizon, the season and the rows.
        season: steps of a season; by default found in the training part.
        members: networks to train and average.
        levels: of the prediction intervals, in percent.
        seed: repeats everything bit for bit.
        device: "auto" (a CUDA device where there is one), "cpu", "cuda".
        training: how to train; by default mean absolute error, AdamW, one cycle of 1,200 steps a
            member, whose last weights are kept. Its `members` and `seed` are those given here.
        calendar: whether the network reads the hour, the day of the week and the season of the year.
        holidays: the country whose public holidays the network reads, as "US" or "US-IL"; None for none. Needs
            `pip install unrolled[holidays]`.
        units: of the recurrent layer, or filters of the convolutions.
        depth: recurrent layers, one on top of the other.
        bidirectional: whether the recurrent layers read the window from both ends.
        layer_norm: whether the recurrent layers normalise (Ba, Kiros and Hinton 2016).
        strategy: "vector", all steps at once; "sequence", all steps at once, trained to forecast from every step of
            the window; "recursive", one step, fed back.
        base: what the network adds to: "ridge", a line through the window that starts as ridge regression;
            "last", the last value; "season", the value of a season before.
        normalise: divide each window by its own standard deviation, and undo that in the forecast (instance
            normalisation).
        transform: of the targets, before they are scaled: None, "log" or "box-cox".
        intervals: "conformal", from the errors on rows held back, or "quantile", from outputs of the network that
            are trained by the pinball loss and moved by what such rows ask.
        budget: seconds that `fit` may take, about; None for as long as it needs. With a budget, runs differ.

    Attributes after `fit`:
        `run_`, the `TrainingRun`; `networks_`, its members; `linear_`, the ridge baseline of each target; `season_`
        and `input_steps_`, what was found; `models_`, what `model` came to; `window_`, the rows that a forecast
        reads; `frequency_`, the calendar; `notes_`, what was done to the data; `seconds_`, by stage.

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

    architecture_: Architecture
    intervals_: list[Conformal | Widened]

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
        calendar: bool = True,
        holidays: str | None = None,
        units: int = 32,
        depth: int = 1,
        bidirectional: bool = False,
        layer_norm: bool = False,
        strategy: str = "vector",
        base: str = "ridge",
        normalise: bool = False,
        transform: str | None = None,
        intervals: str = "conformal",
        budget: float | None = None,
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
        self.calendar = calendar
        self.holidays = holidays
        self.units = units
        self.depth = depth
        self.bidirectional = bidirectional
        self.layer_norm = layer_norm
        self.strategy = strategy
        self.base = base
        self.normalise = normalise
        self.transform = transform
        self.intervals = intervals
        self.budget = budget

    @repeatable()
    def fit(
        self,
        frame: Any,
        target: str | Sequence[str] | None = None,
        time: str | None = None,
        series: str | None = None,
        *,
        known: Sequence[str] = (),
        observed: Sequence[str] = (),
        static: Sequence[str] = (),
        progress: bool | None = None,
        folder: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Learn from a table twice: without its last 15 % (500 rows at most), which measure the intervals; then whole.

        Args:
            frame: a pandas or polars data frame, a path to a CSV or Parquet file, or a `Table`.
            target: the column or columns to forecast; by default "y", or the only numeric column.
            time: the column of times; by default "ds", "date" and such, or the first that holds dates.
            series: the column that names the series; by default "unique_id", where there is one.
            known: columns whose values are known ahead, of numbers or labels.
            observed: columns of numbers that are known up to the origin only.
            static: columns that say one thing of each series, of numbers or labels.
            progress: False for silence; by default a bar where standard error is a terminal, else a line.
            folder: for the checkpoints of the training; None for none.
            resume: go on from the newest checkpoint there.

        Raises:
            DataError: the table cannot be used (`read_table`), or has too few rows.
            OptionError: an argument of the constructor is out of its range.
            RunFolderError: a checkpoint cannot be written, or is one of other data or options.
        """
        start = time_.perf_counter()
        take_plainly(self)
        check_options(self)
        table = (
            frame
            if isinstance(frame, Table)
            else read_table(
                frame, target=target, time=time, series=series, known=known, observed=observed, static=static
            )
        )
        if self.strategy == "recursive" and table.past:
            raise OptionError(
                "Forecaster",
                "no observed columns with strategy='recursive', which would have to forecast them",
                ", ".join(table.past),
            )
        self.notes_ = list(table.notes)
        longest = int(np.diff(table.starts).max())
        learn = stops(table, held_back(longest, self.horizon))
        learned = learn - table.starts[:-1]
        self.features_, self.architecture_, models = decide(self, table, learn, self._note)
        shortest = None if len(learned) == 1 else min(SHORTEST, self.input_steps_)
        enough = np.isin(table.names, self.features_.series)

        def cut(length: int, first: Any = None, stop: Any = None) -> Windows:
            windows = Windows.of(table, self.features_, length, self.horizon, first, stop, shortest=shortest)
            return windows if enough.all() else windows.take(enough[windows.series])

        lengths = [self.architecture_.window]
        if self.input_steps is None and self.strategy == "vector":
            lengths = candidate_lengths(lengths[0], int(np.median(learned[learned > 0])))
        widest = cut(lengths[-1], stop=learned)
        if not len(widest):
            lengths, widest = lengths[:1], cut(lengths[0], stop=learned)
        if not len(widest):
            raise DataError(
                f"column {table.targets[0]!r}",
                "a window that ends on a value",
                "filled gaps only",
                "Give more rows.",
            )
        lines = fit_lines(widest, lengths)
        window = lines.weight.shape[2]
        self.architecture_ = dataclasses.replace(self.architecture_, window=window)
        self.tail_ = table.last(window)
        parts = cut(window, stop=learned), cut(window, first=learned), cut(window)
        self._learn(models, parts, lines, start, progress=progress, folder=folder, resume=resume)
        return self

    def _learn(
        self,
        models: Sequence[str],
        parts: tuple[Windows, Windows, Windows],
        lines: Lines,
        start: float,
        **options: Any,
    ) -> None:
        """Train without the last rows, choose among models and measure the intervals there; then train on all rows."""
        first, later, whole = parts
        folder, device = options.pop("folder"), self._device()
        options |= {"training": self.training, "seed": self.seed, "device": device}
        few = min(self.members, FIRST_MEMBERS)
        if self.budget is not None and self.training is None:
            left = self.budget - (time_.perf_counter() - start)
            counts = (few, self.members)
            steps = steps_within(
                left, self.architecture_, models, counts, first, lines, folder=folder, **options
            )
            options["steps"] = steps
            if steps < STEPS:
                kept = f"{steps:,} of {STEPS:,} steps"
                self._note(f"The budget of {self.budget:g} s leaves {kept}; another run may leave others.")
        self.seconds_ = {"prepare": time_.perf_counter() - start}
        begin = time_.perf_counter()
        stages = [folder and folder / name for name in ("stage-1", "stage-2")]
        found = train(self.architecture_, models, few, first, lines, later, folder=stages[0], **options)
        found = found.trusted(later, device)
        if len(found.networks) > 1 and len(later):
            models = found.best(later, device)
            found = found.only(models)
        self.ensemble_ = found
        measured = later if len(later) else first
        self.intervals_ = self._measure(measured)
        self.seconds_["first training"] = time_.perf_counter() - begin
        begin = time_.perf_counter()
        if not found.run.interrupted:
            each = -(-self.members // len(models))
            lines = fit_lines(whole, [self.window_], [lines.penalty])
            last = train(self.architecture_, models, each, whole, lines, folder=stages[1], **options)
            self.ensemble_ = last.pulled_back(found.shares)
        self.seconds_["training"] = time_.perf_counter() - begin
        if self.run_.interrupted:
            epochs = max(row["epoch"] for row in self.run_.history)
            self._note(f"Interrupted: goes on with what was learned in {count(epochs, 'epoch')}.")
        for failure in self.run_.failures.values():
            self._note(f"A member is left out. {failure}")

    def update(self, frame: Any) -> Self:
        """Let the forecaster see newer rows, without training: what `predict()` starts from afterwards.

        Args:
            frame: as for `fit`, with the same columns; rows already known may come again, and new series.

        Raises:
            DataError: the rows follow another calendar, or leave a hole behind those already known.
        """
        self._check_fitted()
        seen = self._seen(frame)
        if not {*seen.names} >= {*self.tail_.names}:
            seen = self.tail_.followed_by(seen)
        self.tail_ = seen.last(self.window_)
        return self

    def read(self, frame: Any, *, gaps: str = "fill") -> Table:
        """Read newer rows by the names and the calendar of the training data; otherwise as `read_table`.

        Raises:
            DataError: as `read_table`, or the rows follow another calendar.
        """
        return read_table(frame, gaps=gaps, like=self.tail_)

    @repeatable()
    def predict(self, frame: Any = None, future: Any = None, *, series: Sequence[str] | None = None) -> Any:
        """Forecast the `horizon` steps after the last row of each series.

        Args:
            frame: newer rows, as for `update`; by default the end of what was seen last.
            future: a frame or a path with the times to forecast and their known columns (`make_future_frame`);
                by default from rows of the data that have them but no target yet.
            series: names of those to forecast; by default all of `frame`, or all that were seen.

        Returns:
            A frame of the kind that was given (pandas or polars), a row for each step: series,
            target, origin (the last observed time), step (from 1), time, mean, and lo-80, hi-80 …
            for each level, in the units of the data.

        Raises:
            DataError: as `update`, or a known column lacks a value, or there is no such series.
        """
        windows, table = self._ahead(frame, future, series)
        return forecast_frame(table, windows, *self.forecast(windows))

    def predict_members(self, frame: Any = None, future: Any = None) -> NDArray[np.float64]:
        """Return the forecast of each member, (members, rows of `predict`), in the units of the data."""
        windows, _ = self._ahead(frame, future, None)
        made = np.concatenate(list(self.ensemble_.each(windows, self._device()).values()))
        made = made[..., 0] if self.architecture_.quantiles else made
        units = np.stack([windows.in_units(one) for one in made])
        return units.transpose(0, 1, 3, 2).reshape(len(units), -1)

    def make_future_frame(self, frame: Any = None) -> Any:
        """Return the rows that `predict` needs: the times to forecast, and the known columns to fill in.

        Args:
            frame: newer rows, as for `update`; by default the end of what was seen last.
        """
        self._check_fitted()
        return future_frame(self.tail_ if frame is None else self._seen(frame), self.horizon)

    @repeatable()
    def backtest(
        self,
        frame: Any,
        first_origin: Any = None,
        last_origin: Any = None,
        stride: int = 1,
        refit: str | int = "never",
        *,
        statistical: bool = False,
    ) -> Backtest:
        """Forecast from each origin of a period that lies behind us, and score it beside the baselines.

        The model and the baselines read the same windows. Filled gaps are no
        origins, and are not scored.

        Args:
            frame: as for `fit`, the rows before the first origin included.
            first_origin: the last observed time of the first forecast; by default the first that
                lies a window after the beginning.
            last_origin: that of the last forecast; by default the last whose steps are all in the frame.
            stride: rows from one origin to the next.
            refit: "never", and the model stays as it is; "always", it is trained anew for each origin, on the
                rows up to it; or a number of origins after which it is.
            statistical: whether SARIMA and ETS stand among the baselines, of a single series. They take seconds, and
                are fitted anew three times at most.

        Raises:
            DataError: no origin is left.
            OptionError: `stride` or `refit` is out of its range.
        """
        from unrolled.estimators.rolling import check_rolling, origin_rows, roll

        self._check_fitted()
        every = check_rolling(stride, refit)
        table = (frame if isinstance(frame, Table) else self.read(frame)).complete()
        rows = origin_rows(self, table, first_origin, last_origin)
        return roll(self, table, *rows, stride=stride, every=every, with_statistical=statistical)

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
        """Steps before a forecast that the line reads; the network reads the last `input_steps_`."""
        return self.architecture_.window

    @property
    def input_steps_(self) -> int:
        """Steps that the networks read."""
        return self.architecture_.length

    @property
    def lag_(self) -> int:
        """Steps of a season that a window has before them; 0 for none."""
        return self.architecture_.lag

    @property
    def season_(self) -> int:
        """Steps of a season; 1 for none."""
        return self.architecture_.season

    @property
    def frequency_(self) -> Frequency:
        """The calendar."""
        return self.tail_.frequency

    @property
    def run_(self) -> TrainingRun:
        """What the last training gave."""
        return self.ensemble_.run

    @property
    def networks_(self) -> list[torch.nn.Module]:
        """All members of all models."""
        return [network for group in self.ensemble_.networks.values() for network in group]

    @property
    def linear_(self) -> Lines:
        """The ridge baseline of each target."""
        return self.ensemble_.lines

    @property
    def models_(self) -> tuple[str, ...]:
        """The models whose members are averaged."""
        return self.ensemble_.models

    def forecast(self, windows: Windows) -> tuple[NDArray[np.float64], list[Bounds]]:
        """Return the mean forecast (windows, horizon, targets), and each target's bounds, in scaled units."""
        made = self.ensemble_.forecast(windows, self._device())
        mean, bounds = made, []
        if self.architecture_.quantiles:
            mean, raw = made[..., 0], bounds_of_quantiles(made, self.levels)
        for number, intervals in enumerate(self.intervals_):
            known = (raw[number],) if isinstance(intervals, Widened) else ()
            bounds.append(intervals.bounds(mean[..., number], *known))
        if not np.isfinite(mean).all():
            raise DataError(
                "the rows to forecast from",
                "values of the size of those of training",
                "a forecast that is no number",
            )
        return mean, bounds

    def _measure(self, windows: Windows) -> list[Conformal | Widened]:
        """Return the intervals of each target, in scaled units, from errors on windows that training did not see."""
        counted, targets = windows.counted, windows.targets.astype(np.float64)
        least = int(counted.sum(axis=0).min())
        narrow = [f"{level:g} %" for level in self.levels if (least + 1) * level > 100 * least]
        if narrow:
            self._note(
                f"Only {least} held-back windows measure the intervals: that of {' and '.join(narrow)} is no wider "
                "than the largest error among them."
            )
        made, numbers = self.ensemble_.forecast(windows, self._device()), range(targets.shape[-1])
        if self.architecture_.quantiles:
            raw = bounds_of_quantiles(made, self.levels)
            return [Widened.fit(raw[n], targets[..., n], counted[..., n]) for n in numbers]
        return [
            Conformal.fit((targets - made)[..., n], counted[..., n], self.levels, clock=windows.clock)
            for n in numbers
        ]

    def _ahead(self, frame: Any, future: Any, series: Sequence[str] | None) -> tuple[Windows, Table]:
        """Return the last window of each series with what is known ahead of it, and the table of them."""
        self._check_fitted()
        table = self.tail_ if frame is None else self._seen(frame)
        if series is not None:
            wanted = [series] if isinstance(series, str) else list(map(str, series))
            strange = [name for name in wanted if name not in table.names]
            if strange:
                raise DataError(
                    "predict", "names of series", some_names(strange), "Look at the series column."
                )
            table = table.of([table.names.index(name) for name in wanted])
        rows = np.diff(table.starts)
        if len(self.features_.series) == 1 and rows[0] < self.window_:
            raise DataError(
                f"column {table.targets[0]!r}",
                f"at least {self.window_:,} rows, the window of this model",
                f"{len(table):,}",
                "Give more of the rows before.",
            )
        ahead = known_ahead(table, self.horizon, future)
        strangers = [name for name in table.names if name not in self.features_.series]
        if strangers and (table.series or len(table.names) > 1):
            logger.warning(
                "%s not seen in training (%s): scaled by their own rows.",
                count(len(strangers), "series"),
                some_names(strangers),
            )
        for line in dict.fromkeys([*self.features_.unseen(table), *self.features_.unseen(ahead)]):
            logger.warning("%s", line)
        table = table.last(self.window_)
        return Windows.of(table, self.features_, self.window_, self.horizon, ahead=ahead, shortest=1), table

    def _note(self, sentence: str) -> None:
        self.notes_.append(sentence)
        logger.warning("%s", sentence)

    def _check_fitted(self) -> None:
        if not hasattr(self, "intervals_"):
            raise OptionError(
                "Forecaster", "a fitted forecaster", "one that has seen no data", "Call fit first."
            )

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def _seen(self, frame: Any) -> Table:
        """Return the rows that a forecast of a frame's series starts from, with older ones where it has too few."""
        newer = frame if isinstance(frame, Table) else self.read(frame)
        if (np.diff(newer.starts) >= self.window_).all():
            return newer.complete()
        names = newer.names if newer.series else self.tail_.names
        joined = self.tail_.followed_by(newer)
        return joined.of([joined.names.index(name) for name in names]).complete()
