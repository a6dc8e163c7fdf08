"""The calendar of a table: which time stamp follows which."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError

__all__ = ["Frequency", "infer_frequency"]

SECOND = 1_000_000  # in microseconds, as every span of time here
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
DAY, WEEK = 24 * HOUR, 168 * HOUR
MONDAY = np.datetime64("1970-01-05", "us")  # numpy's epoch is a Thursday
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTH_ANCHORS = ("start", "end", "first business day", "last business day")
COVERED = 0.9  # a calendar covers at least this share of the stamps, or it is not theirs


@dataclass(frozen=True)
class Frequency:
    """A calendar that says what time follows a given time.

    Exactly one of three kinds: `count` for a table that has row numbers instead of times; `months`
    with its `anchor` inside the month; `microseconds`, with the `slots` of the week (since
    Monday 00:00) for calendars that leave some out, as business days and trading hours do.

    >>> Frequency(microseconds=DAY).label
    'daily'
    >>> Frequency(microseconds=DAY, slots=tuple(range(0, 5 * DAY, DAY))).after(
    ...     np.datetime64("2020-02-28", "us"), 2)
    array(['2020-03-02T00:00:00.000000', '2020-03-03T00:00:00.000000'],
          dtype='datetime64[us]')
    """

    microseconds: int = 0
    slots: tuple[int, ...] = ()
    months: int = 0
    anchor: str = ""  # one of MONTH_ANCHORS, or the day of the month ("15")
    clock: int = 0  # microseconds after midnight, for months
    count: int = 0

    @property
    def label(self) -> str:
        """The calendar in words, as the messages and the report say it."""
        if self.count:
            return "by row number" if self.count == 1 else f"every {self.count} numbers"
        if self.months:
            name = {1: "monthly", 3: "quarterly", 12: "yearly"}.get(
                self.months, f"every {self.months} months"
            )
            where = self.anchor if self.anchor in MONTH_ANCHORS else f"day {self.anchor}"
            return f"{name} ({where})"
        if self.slots and self.microseconds == DAY:
            days = [WEEKDAYS[slot // DAY].capitalize() for slot in self.slots]
            return "business days (Mon–Fri)" if len(days) == 5 and days[-1] == "Fri" else ", ".join(days)
        if self.slots:
            return f"{_every(self.microseconds)}, {len(self.slots)} slots a week (trading hours)"
        return _every(self.microseconds)

    @property
    def seasons(self) -> tuple[int, ...]:
        """Lengths in steps of the periods that people live by, shortest first."""
        if self.months:
            return (12 // self.months,) if self.months < 12 and 12 % self.months == 0 else ()
        if not self.microseconds:
            return ()
        if self.slots:
            per_week = len(self.slots)
            days = len({slot // DAY for slot in self.slots})
            per_day = (per_week // days,) if per_week > days else ()
            return (*per_day, per_week)
        lengths = [span // self.microseconds for span in (HOUR, DAY, WEEK) if span % self.microseconds == 0]
        if self.microseconds in (DAY, WEEK):
            lengths.append(round(365.25 * DAY / self.microseconds))
        return tuple(length for length in lengths if length > 1)

    def after(self, time: Any, n: int) -> NDArray[Any]:
        """Return the `n` stamps that follow `time`."""
        if self.count:
            return np.asarray(int(time) + self.count * np.arange(1, n + 1))
        start = np.datetime64(time, "us")
        if self.months:
            first = start.astype("datetime64[M]").astype(np.int64)
            return self._in_months(first + self.months * np.arange(1, n + 1))
        if not self.slots:
            return start + (self.microseconds * np.arange(1, n + 1)).astype("timedelta64[us]")
        week, second = divmod(int((start - MONDAY) // np.timedelta64(1, "us")), WEEK)
        ahead = np.searchsorted(np.asarray(self.slots), second, side="right") + np.arange(n)
        offsets = np.asarray(self.slots)[ahead % len(self.slots)]
        return MONDAY + ((week + ahead // len(self.slots)) * WEEK + offsets).astype("timedelta64[us]")

    def between(self, first: Any, last: Any) -> NDArray[Any]:
        """Return every stamp of the calendar from `first` to `last`, both included."""
        if self.count:
            return np.arange(int(first), int(last) + 1, self.count)
        start, stop = np.datetime64(first, "us"), np.datetime64(last, "us")
        if self.months:
            low, high = (stamp.astype("datetime64[M]").astype(np.int64) for stamp in (start, stop))
            return self._in_months(np.arange(low, high + 1, self.months))
        if not self.slots:
            return np.arange(start, stop + np.timedelta64(1, "us"), np.timedelta64(self.microseconds, "us"))
        weeks = int((stop - start) // np.timedelta64(WEEK, "us")) + 2
        stamps = self.after(start - np.timedelta64(1, "us"), weeks * len(self.slots))
        return stamps[stamps <= stop]

    def _in_months(self, months: NDArray[np.int64]) -> NDArray[Any]:
        starts = months.astype("datetime64[M]").astype("datetime64[D]")
        ends = (months + 1).astype("datetime64[M]").astype("datetime64[D]") - 1
        if self.anchor == "start":
            days = starts
        elif self.anchor == "end":
            days = ends
        elif self.anchor == "first business day":
            days = np.busday_offset(starts, 0, roll="forward")
        elif self.anchor == "last business day":
            days = np.busday_offset(ends, 0, roll="backward")
        else:
            days = np.minimum(starts + (int(self.anchor) - 1), ends)
        return days.astype("datetime64[us]") + np.timedelta64(self.clock, "us")


def infer_frequency(times: NDArray[Any], where: str = "times") -> Frequency:
    """Return the calendar that the increasing `times` follow.

    A calendar is accepted where it covers at least 90 % of the stamps; below that the times are
    irregular. Stamps may be missing: those are gaps, and the caller's business, as long as half of
    the steps are single steps of the calendar.

    Args:
        times: (rows,), datetime64[us] or int64, increasing, no value twice.
        where: what to name in an error.

    Raises:
        DataError: the times are irregular, or fewer than three.

    >>> infer_frequency(np.arange("2020-01", "2021-01", dtype="datetime64[M]").astype("datetime64[us]")).label
    'monthly (start)'
    """
    if len(times) < 3:
        raise DataError(where, "at least 3 different time stamps", str(len(times)), "Give more rows.")
    if np.issubdtype(times.dtype, np.integer):
        step = _most_common(np.diff(times))
        frequency = Frequency(count=int(step))
        on_grid = (times - _most_common(times % step)) % step == 0
        return _accept(frequency, times, on_grid, np.diff(times) == step, where)
    stamps = times.astype("datetime64[us]")
    steps = np.diff(stamps).astype(np.int64)
    step = _most_common(steps)
    constant = np.mean(steps == step) >= COVERED
    if step >= 27 * DAY and not constant:
        return _infer_months(stamps, where)
    return _infer_seconds(stamps, int(step), where)


def _infer_seconds(stamps: NDArray[Any], step: int, where: str) -> Frequency:
    since = (stamps - MONDAY).astype(np.int64)
    phase = int(_most_common(since % step))
    on_grid = (since - phase) % step == 0
    if WEEK % step == 0 and step < WEEK and WEEK // step <= 10_080:
        slots = _weekly_slots(since, step, phase, on_grid)
        if slots:
            return Frequency(microseconds=step, slots=slots)
    return _accept(Frequency(microseconds=step), stamps, on_grid, np.diff(since) == step, where)


def _weekly_slots(
    since: NDArray[np.int64], step: int, phase: int, on_grid: NDArray[np.bool_]
) -> tuple[int, ...]:
    """Return the slots of the week that the stamps keep to, or nothing where they keep to all or to none."""
    weeks = since // WEEK
    span = int(weeks[-1] - weeks[0]) + 1
    if span < 3:
        return ()
    slots, counts = np.unique(since[on_grid] % WEEK, return_counts=True)
    kept = slots[counts >= span / 2]
    if len(kept) in (0, WEEK // step):
        return ()
    covered = np.isin(since % WEEK, kept)
    whole = np.count_nonzero(covered) / (len(kept) * (since[-1] - since[0] + step) / WEEK)
    return tuple(int(slot) for slot in kept) if covered.mean() >= COVERED and whole >= COVERED else ()


def _infer_months(stamps: NDArray[Any], where: str) -> Frequency:
    months = stamps.astype("datetime64[M]").astype(np.int64)
    days = stamps.astype("datetime64[D]")
    clock = int(_most_common((stamps - days).astype(np.int64)))
    day_of_month = (days - stamps.astype("datetime64[M]").astype("datetime64[D]")).astype(int) + 1
    step = int(_most_common(np.diff(months)))
    anchors = (*MONTH_ANCHORS, str(_most_common(day_of_month)))
    found = [Frequency(months=step, anchor=anchor, clock=clock) for anchor in anchors] if step else []
    covered = [stamps == frequency._in_months(months) for frequency in found]
    if not found:
        raise _irregular(stamps, where)
    best = int(np.argmax([on_grid.mean() for on_grid in covered]))
    return _accept(found[best], stamps, covered[best], np.diff(months) == step, where)


def _accept(
    frequency: Frequency, times: NDArray[Any], on_grid: NDArray[Any], single: NDArray[Any], where: str
) -> Frequency:
    if on_grid.mean() < COVERED or single.mean() < 0.5:
        raise _irregular(times, where)
    return frequency


def _irregular(times: NDArray[Any], where: str) -> DataError:
    steps = np.diff(times.astype(np.int64))
    numbers = np.issubdtype(times.dtype, np.integer)
    shortest, longest = (str(s) if numbers else _every(int(s)) for s in (steps.min(), steps.max()))
    return DataError(
        where,
        "regular times (one calendar that covers at least 90 % of the stamps)",
        f"{len(np.unique(steps)):,} different steps, from {shortest} to {longest}",
        "Aggregate the rows to a regular step first, for example to days.",
    )


def _most_common(values: NDArray[Any]) -> Any:
    unique, counts = np.unique(values, return_counts=True)
    return unique[np.argmax(counts)]


def _every(step: int) -> str:
    names = {WEEK: "weekly", DAY: "daily", HOUR: "hourly", MINUTE: "every minute", SECOND: "every second"}
    if step in names:
        return names[step]
    for span, unit in ((WEEK, "weeks"), (DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if step % span == 0:
            return f"every {step // span} {unit}"
    return f"every {step / SECOND:g} seconds"
