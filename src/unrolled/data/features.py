"""What a network reads beside the target: covariates as numbers, and the calendar."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.frequency import DAY, WEEK, Frequency
from unrolled.data.scaling import Power, Scaler
from unrolled.data.table import Table
from unrolled.errors import OptionError

__all__ = ["Features", "calendar_features", "holiday_features"]

YEAR = 365.25  # days
FEW = 30  # rows of a new series that tell its scale by themselves


@dataclass(frozen=True)
class Features:
    """Columns as numbers of about one in size, by what was found in the training part.

    Attributes:
        series: the names of the series of the training part.
        scaler: of the targets and the observed columns, a row for each of `series`.
        known: of the numeric columns that are known ahead, one row for all series.
        categories: of each known column of labels, those seen in training. A label beyond them is its own feature.
        names: of the features that the time alone gives (`calendar_features`).
        static: of the numeric static columns, by name: mean and scale.
        kinds: of each static column of labels, those seen in training.
        power: of each target, what it goes through before it is scaled; None for nothing.
        country: whose public holidays are told, as "US" or "US-IL"; "" for none.

    >>> one = Scaler(np.zeros((1, 1)), np.ones((1, 1)))
    >>> Features(("",), one, Scaler(np.zeros(0), np.ones(0)), {"day": ("U", "W")}).width
    3
    """

    series: tuple[str, ...]
    scaler: Scaler
    known: Scaler
    categories: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...] = ()
    static: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    power: Power | None = None
    country: str = ""

    @classmethod
    def fit(
        cls, table: Table, calendar: bool = True, transform: str | None = None, country: str | None = None
    ) -> "Features":
        """Look at the training part.

        Args:
            table: the training part.
            calendar: whether the time tells something.
            transform: of the targets: None, "log" or "box-cox".
            country: whose public holidays to tell, as "US" or "US-IL".

        Raises:
            OptionError: the country is unknown, or the package holidays is not installed.
            DataError: a target that is to be transformed has values of 0 or below.
        """
        table = table.nonempty()
        power = None if transform is None else Power.fit(table, transform)
        own = len(table.targets) + len(table.past)
        changed = table.values if power is None else power.transform(table.values)
        scaler = Scaler.fit(changed[:, :own], table.observed[:, :own], table.starts)
        known = Scaler.fit(table.values[:, own:], table.observed[:, own:])
        categories = {
            name: tuple(str(label) for label in np.unique(column[column != ""].astype(str)))
            for name, column in table.labels.items()
        }
        names: tuple[str, ...] = ()
        if calendar and np.issubdtype(table.times.dtype, np.datetime64) and len(table):
            days = (table.times.max() - table.times.min()) / np.timedelta64(1, "D")
            names = tuple(calendar_features(table.times[:1], table.frequency, days))
        if country and np.issubdtype(table.times.dtype, np.datetime64):
            names += tuple(holiday_features(table.times[:1], country))
        static: dict[str, tuple[float, float]] = {}
        kinds: dict[str, tuple[str, ...]] = {}
        for name, values in table.static.items():
            if values.dtype.kind == "f":
                one = Scaler.fit(values[:, None])
                static[name] = (float(one.mean[0]), float(one.scale[0]))
            else:
                kinds[name] = tuple(str(kind) for kind in np.unique(values.astype(str)))
        return cls(table.names, scaler, known, categories, names, static, kinds, power, country or "")

    @property
    def width(self) -> int:
        """Features of each step that are known ahead."""
        labels = sum(len(labels) + 1 for labels in self.categories.values())
        return self.known.mean.shape[-1] + labels + len(self.names)

    @property
    def static_width(self) -> int:
        """Features of each series that do not change."""
        return len(self.static) + sum(len(kinds) + 1 for kinds in self.kinds.values())

    def of(self, table: Table, seen: NDArray[np.int64] | None = None) -> Scaler:
        """Return the scaler of a table's series: as in training, and of others by their own rows.

        Args:
            table: of any series.
            seen: (series,), how many of a new series' first rows to look at; by default all.
        """
        import pandas as pd

        found = pd.Index(self.series).get_indexer(pd.Index(table.names))
        new = np.flatnonzero(found < 0)
        if len(self.series) == len(table.names) == 1 and not table.series:
            return self.scaler
        mean, scale = self.scaler.mean[found], self.scaler.scale[found]
        if len(new):
            strangers = table.of(new)
            if seen is not None:
                strangers = strangers.until(strangers.starts[:-1] + np.maximum(seen[new], 1))
            own = mean.shape[1]
            values = strangers.values if self.power is None else self.power.transform(strangers.values)
            fitted = Scaler.fit(values[:, :own], strangers.observed[:, :own], strangers.starts)
            mean[new], scale[new] = fitted.mean, self._likely(fitted, np.diff(strangers.starts))
        return Scaler(mean, scale)

    def _likely(self, fitted: Scaler, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scales of new series, (series, columns): the fewer the rows, the more by those of training."""
        relative = np.median(self.scaler.scale / np.maximum(np.abs(self.scaler.mean), 1e-12), axis=0)
        usual = relative * np.abs(fitted.mean)
        share = np.minimum(rows / FEW, 1.0)[:, None]
        return np.where(usual > 0, np.sqrt(share * fitted.scale**2 + (1 - share) * usual**2), fitted.scale)

    def known_ahead(self, table: Table) -> NDArray[np.float32]:
        """Return what is known ahead of each row, (rows, width), from a table or what `known_ahead` returned."""
        parts = []
        numeric = self.known.mean.shape[-1]
        if numeric:
            parts.append(self.known.transform(table.values[:, -numeric:]))
        for name, labels in self.categories.items():
            hot = table.labels[name][:, None] == np.asarray(labels, object)
            parts.append(np.concatenate([hot, ~hot.any(axis=1, keepdims=True)], axis=1).astype(np.float64))
        if self.names:
            clock = _wall_clock(table)
            found = calendar_features(clock, table.frequency, np.inf)
            if self.country:
                found |= holiday_features(clock, self.country)
            parts.append(np.stack([found[name] for name in self.names], axis=1))
        if not parts:
            return np.zeros((len(table), 0), np.float32)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def past(self, table: Table, scaler: Scaler) -> NDArray[np.float32]:
        """Return the targets and the observed columns, scaled, (rows, targets + observed)."""
        values = table.values if self.power is None else self.power.transform(table.values)
        mean, scale = scaler.mean, scaler.scale
        if len(mean) > 1:
            mean, scale = mean[table.owner], scale[table.owner]
        return np.ascontiguousarray((values[:, : mean.shape[1]] - mean) / scale, dtype=np.float32)

    def statics(self, table: Table) -> NDArray[np.float32] | None:
        """Return what does not change, (series, features); None where nothing is told."""
        parts = [
            ((table.static[name] - mean) / scale)[:, None] for name, (mean, scale) in self.static.items()
        ]
        for name, kinds in self.kinds.items():
            hot = table.static[name].astype(str)[:, None] == np.asarray(kinds)
            parts.append(np.concatenate([hot, ~hot.any(axis=1, keepdims=True)], axis=1).astype(np.float64))
        return np.concatenate(parts, axis=1).astype(np.float32) if parts else None

    def unseen(self, table: Table) -> list[str]:
        """Return a sentence for each column with labels that training did not see."""
        columns = [(name, table.labels[name], labels) for name, labels in self.categories.items()]
        columns += [
            (n, table.static[n].astype(str), kinds) for n, kinds in self.kinds.items() if n in table.static
        ]
        found = []
        for name, column, labels in columns:
            strange = sorted({str(label) for label in np.unique(column.astype(str))} - {*labels, ""})
            if strange:
                more = ", …" if len(strange) > 3 else ""
                found.append(
                    f"Column {name!r} has labels that training did not see: {', '.join(strange[:3])}{more}."
                )
        return found


def _wall_clock(table: Table) -> NDArray[Any]:
    """Return the times as people read them there: days and hours go by the zone, not by UTC."""
    if not table.zone:
        return table.times
    return np.asarray(table.local(table.times).tz_localize(None).to_numpy(), "datetime64[us]")


def calendar_features(times: NDArray[Any], frequency: Frequency, days: float) -> dict[str, NDArray[Any]]:
    """Return what the time alone tells, a name and (rows,) for each: the hour, the day of the week, the season.

    Args:
        times: (rows,), datetime64.
        frequency: their calendar: what does not change from row to row is left out.
        days: that the training part lasts. What was not seen twice in it is left out.

    >>> week = np.arange("2024-01-01", "2024-01-08", dtype="datetime64[D]").astype("datetime64[us]")
    >>> found = calendar_features(week, Frequency(microseconds=DAY), days=30)
    >>> list(found)[:2], found["Mon"].tolist()
    (['Mon', 'Tue'], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """
    found: dict[str, NDArray[Any]] = {}
    stamps = times.astype("datetime64[us]")
    date = stamps.astype("datetime64[D]")
    step = frequency.microseconds

    def waves(name: str, turn: NDArray[Any], count: int) -> None:
        for k in range(1, count + 1):
            found[f"{name} sin {k}"] = np.sin(2 * np.pi * k * turn)
            found[f"{name} cos {k}"] = np.cos(2 * np.pi * k * turn)

    if frequency.months:
        if frequency.months < 12 and days >= 2 * YEAR:
            month = stamps.astype("datetime64[M]").astype(np.int64) % 12
            for number in range(0, 12, 1 if frequency.months == 1 else frequency.months):
                found[f"month {number + 1}"] = (month // frequency.months == number // frequency.months) * 1.0
        return found
    if not step or step > WEEK:
        return found
    if step < DAY and days >= 2:
        waves("day", (stamps - date).astype(np.int64) / DAY, 3)
    if step <= DAY and days >= 14:
        weekday = (date.astype(np.int64) + 3) % 7
        for number, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")):
            found[name] = (weekday == number) * 1.0
    if days >= 2 * YEAR:
        day = (date - date.astype("datetime64[Y]")).astype(np.int64)
        waves("year", day / YEAR, 3)
        if step <= DAY:  # the days that differ from their week nearly everywhere
            turn = (date - (date.astype("datetime64[Y]").astype("datetime64[D]"))).astype(np.int64)
            length = ((date.astype("datetime64[Y]") + 1).astype("datetime64[D]") - date).astype(np.int64)
            for number in range(-9, 3):
                near = length == -number if number < 0 else turn == number
                found[f"new year {number:+d}"] = near * 1.0
    return found


def holiday_features(times: NDArray[Any], country: str) -> dict[str, NDArray[Any]]:
    """Return whether the day before, the day itself and the day after are public holidays, (rows,) each.

    Args:
        times: (rows,), datetime64.
        country: its code, with that of a subdivision if wanted: "US", "US-IL".

    Raises:
        OptionError: the country is unknown, or the package holidays is not installed.

    Source: the package holidays.
    """
    try:
        import holidays
    except ImportError as error:
        raise OptionError(
            "holidays", "the package holidays", "none installed", "pip install 'unrolled[holidays]'."
        ) from error
    dates = times.astype("datetime64[D]")
    years = range(int(dates.min().astype(object).year) - 1, int(dates.max().astype(object).year) + 2)
    nation, _, part = country.partition("-")
    try:
        free = holidays.country_holidays(nation, subdiv=part or None, years=years)
    except NotImplementedError as error:
        raise OptionError("holidays", "a country such as US or US-IL", repr(country)) from error
    found = np.array(sorted(free), "datetime64[D]")
    return {f"holiday {day:+d}": np.isin(dates + day, found) * 1.0 for day in (-1, 0, 1)}
