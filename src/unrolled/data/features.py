"""What a network reads beside the target: covariates as numbers, and the calendar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.frequency import DAY, WEEK, Frequency
from unrolled.data.scaling import Scaler
from unrolled.data.table import Table

__all__ = ["Features", "calendar_features"]

YEAR = 365.25  # days


@dataclass(frozen=True)
class Features:
    """Columns as numbers of about one in size, by what was found in the training part.

    Attributes:
        scaler: of the table's numeric columns, the target first.
        categories: of each known column of labels, those seen in training. A label beyond them is its own feature.
        numeric: known columns that are numbers.
        names: of the features that the time alone gives (`calendar_features`).

    >>> Features(Scaler(np.zeros(1), np.ones(1)), {"day": ("U", "W")}).width
    3
    """

    scaler: Scaler
    categories: Mapping[str, tuple[str, ...]]
    numeric: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def fit(cls, table: Table, calendar: bool = True) -> "Features":
        """Look at the training part."""
        scaler = Scaler.fit(table.values, table.observed)
        categories = {
            name: tuple(str(label) for label in np.unique(column[column != ""].astype(str)))
            for name, column in table.labels.items()
        }
        names: tuple[str, ...] = ()
        if calendar and np.issubdtype(table.times.dtype, np.datetime64):
            days = (table.times[-1] - table.times[0]) / np.timedelta64(1, "D") if len(table) else 0.0
            names = tuple(calendar_features(table.times[:1], table.frequency, days))
        return cls(scaler, categories, len(table.known) - len(categories), names)

    @property
    def width(self) -> int:
        """Features of each step that are known ahead."""
        return self.numeric + sum(len(labels) + 1 for labels in self.categories.values()) + len(self.names)

    def known(self, table: Table) -> NDArray[np.float32]:
        """Return what is known ahead of each row, (rows, width), from a table or what `known_ahead` returned."""
        parts = []
        if self.numeric:
            scale = slice(len(self.scaler.mean) - self.numeric, None)
            values = table.values[:, -self.numeric :]
            parts.append((values - self.scaler.mean[scale]) / self.scaler.scale[scale])
        for name, labels in self.categories.items():
            hot = table.labels[name][:, None] == np.asarray(labels, object)
            parts.append(np.concatenate([hot, ~hot.any(axis=1, keepdims=True)], axis=1).astype(np.float64))
        if self.names:
            found = calendar_features(table.times, table.frequency, np.inf)
            parts.append(np.stack([found[name] for name in self.names], axis=1))
        if not parts:
            return np.zeros((len(table), 0), np.float32)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def past(self, table: Table) -> NDArray[np.float32]:
        """Return the target and the observed columns, scaled, (rows, 1 + observed)."""
        wide = 1 + len(table.past)
        return np.ascontiguousarray(self.scaler.transform(table.values)[:, :wide], dtype=np.float32)


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
