"""The calendar of a table: which time stamp follows which."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError

__all__ = ["Frequency", "infer_frequency", "show_time", "steps_of", "time_of", "usual"]

SECOND = 1_000_000  # in microseconds, as every span of time here
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
DAY, WEEK = 24 * HOUR, 168 * HOUR
MONDAY = np.datetime64("1970-01-05", "us")  # numpy's epoch is a Thursday
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTH_ANCHORS = ("start", "end", "first business day", "last business day")
COVERED = 0.9  # a calendar covers at least this share of the stamps, or it is not theirs
CHANGED = 6  # so many steps in a row that are all longer than the calendar's are no gaps


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
        """Return the `n` stamps that follow `time`, (n,); for times of the shape (…), (…, n)."""
        ahead = np.arange(1, n + 1)
        if self.count:
            return np.asarray(time, np.int64)[..., None] + self.count * ahead
        start = np.asarray(time, "datetime64[us]")[..., None]
        if self.months:
            return self._in_months(start.astype("datetime64[M]").astype(np.int64) + self.months * ahead)
        if not self.slots:
            return start + (self.microseconds * ahead).astype("timedelta64[us]")
        return self._in_slots(self._slots_up_to(start) + ahead - 1)

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
        ends = self._slots_up_to(np.array([start - np.timedelta64(1, "us"), stop]))
        return self._in_slots(np.arange(ends[0], ends[1]))

    def _slots_up_to(self, times: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many slots there are from Monday 1970-01-05 to each time, itself included."""
        week, second = np.divmod((times - MONDAY).astype(np.int64), WEEK)
        return week * len(self.slots) + np.searchsorted(np.asarray(self.slots), second, side="right")

    def _in_slots(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        week, slot = np.divmod(numbers, len(self.slots))
        return MONDAY + (week * WEEK + np.asarray(self.slots)[slot]).astype("timedelta64[us]")

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


def steps_of(
    times: NDArray[Any], calendar: Frequency, series: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of the calendar's step that is nearest to each time, and each row's phase.

    The phase is where in a step the series' own times stand (weeks may begin on any day), the one
    that most of them share. `time_of` goes back. For calendars that leave out parts of the week, the
    number is that of the last slot up to the time.

    Args:
        times: (rows,), datetime64[us] or int64.
        calendar: without a phase, as all calendars.
        series: (rows,), the number of each row's series, in rising order; by default one series.

    >>> numbers, phase = steps_of(np.array([3, 13, 22, 33]), Frequency(count=10))
    >>> numbers.tolist(), time_of(numbers, phase, Frequency(count=10)).tolist()
    ([0, 1, 2, 3], [3, 13, 23, 33])
    """
    series = np.zeros(len(times), np.int64) if series is None else series
    if calendar.slots:
        return calendar._slots_up_to(times.astype("datetime64[us]")) - 1, np.zeros(len(times), np.int64)
    if calendar.months:
        near = times.astype("datetime64[M]").astype(np.int64)[:, None] + np.array([-1, 0, 1])
        off = np.abs((calendar._in_months(near) - times[:, None]).astype(np.int64))
        whole, step = near[np.arange(len(times)), np.argmin(off, axis=1)], calendar.months
    else:
        whole, step = times.astype(np.int64), calendar.count or calendar.microseconds
    phase = usual(whole % step, series)
    return (whole - phase + step // 2) // step, phase


def time_of(numbers: NDArray[np.int64], phase: NDArray[np.int64], calendar: Frequency) -> NDArray[Any]:
    """Return the times of steps by their numbers and phases, as `steps_of` gave them."""
    if calendar.slots:
        return calendar._in_slots(numbers)
    if calendar.months:
        return calendar._in_months(numbers * calendar.months + phase)
    whole = numbers * (calendar.count or calendar.microseconds) + phase
    return whole if calendar.count else whole.astype("datetime64[us]")


def show_time(time: Any) -> str:
    """Return a time as people write it: the day, and the clock where it is not midnight.

    >>> show_time(np.datetime64("2020-01-31T00:00")), show_time(np.datetime64("2020-01-31T13:30")), show_time(7)
    ('2020-01-31', '2020-01-31 13:30', '7')
    """
    if not isinstance(time, np.datetime64):
        return str(time)
    text = str(time.astype("datetime64[us]")).replace("T", " ").removesuffix(".000000").removesuffix(":00")
    return text.removesuffix(" 00:00")


@dataclass(frozen=True)
class _Stamps:
    """The times of one or more series, with what an error names."""

    times: NDArray[Any]
    series: NDArray[np.int64]
    names: tuple[str, ...]
    where: str

    def steps(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the differences of `numbers` within the series, (steps,)."""
        return np.diff(numbers)[self.inside]

    @property
    def inside(self) -> NDArray[np.bool_]:
        return self.series[1:] == self.series[:-1]

    def only(self, number: int) -> "_Stamps":
        rows = self.series == number
        where = f"{self.where}, series {self.names[number]!r}" if len(self.names) > 1 else self.where
        return _Stamps(self.times[rows], np.zeros(int(rows.sum()), np.int64), ("",), where)


def infer_frequency(
    times: NDArray[Any],
    where: str = "times",
    series: NDArray[np.int64] | None = None,
    names: tuple[str, ...] = ("",),
) -> Frequency:
    """Return the calendar that the increasing `times` follow, one for all series.

    A calendar is accepted where it covers at least 90 % of the stamps; below that the times are
    irregular. Stamps may be missing: those are gaps, and the caller's business, as long as half of
    the steps are single steps of the calendar, and longer ones do not follow each other for long.

    Args:
        times: (rows,), datetime64[us] or int64, in each series increasing, no value twice.
        where: what to name in an error.
        series: (rows,), the number of each row's series, in rising order; by default one series.
        names: of the series, for errors.

    Raises:
        DataError: the times are irregular, fewer than three, those of one series follow another
            calendar than the rest, or change theirs.

    >>> infer_frequency(np.arange("2020-01", "2021-01", dtype="datetime64[M]").astype("datetime64[us]")).label
    'monthly (start)'
    """
    numbers = np.issubdtype(times.dtype, np.integer)
    series = np.zeros(len(times), np.int64) if series is None else series
    stamps = _Stamps(times if numbers else times.astype("datetime64[us]"), series, names, where)
    steps = stamps.steps(stamps.times).astype(np.int64)
    if len(steps) < 2:
        got = str(len(times)) if len(names) == 1 else f"{len(times)} in {len(names)} series"
        raise DataError(where, "at least 3 different time stamps", got, "Give more rows.")
    step = int(_most_common(steps))
    if numbers:
        return _accept(Frequency(count=step), stamps, _on_grid(stamps, step), steps == step)
    if step >= 27 * DAY and not np.mean(steps == step) >= COVERED:
        return _infer_months(stamps)
    return _infer_seconds(stamps, step)


def _on_grid(stamps: _Stamps, step: int) -> NDArray[np.bool_]:
    rest = stamps.times.astype(np.int64) % step
    return rest == usual(rest, stamps.series)


def _infer_seconds(stamps: _Stamps, step: int) -> Frequency:
    since = (stamps.times - MONDAY).astype(np.int64)
    if WEEK % step == 0 and step < WEEK and WEEK // step <= 10_080:
        slots = _weekly_slots(stamps, since, step)
        if slots:
            frequency = Frequency(microseconds=step, slots=slots)
            single = stamps.steps(steps_of(stamps.times, frequency)[0]) == 1
            return _accept(frequency, stamps, np.isin(since % WEEK, slots), single)
    return _accept(Frequency(microseconds=step), stamps, _on_grid(stamps, step), stamps.steps(since) == step)


def _weekly_slots(stamps: _Stamps, since: NDArray[np.int64], step: int) -> tuple[int, ...]:
    """Return the slots of the week that the stamps keep to, or nothing where they keep to all or to none."""
    first = np.flatnonzero(np.append(True, ~stamps.inside))
    last = np.append(first[1:], len(since)) - 1
    spans = since[last] // WEEK - since[first] // WEEK + 1
    long = spans >= 3  # shorter series tell nothing of weeks
    if not long.any():
        return ()
    rows = np.repeat(long, last - first + 1)
    since, span = since[rows], int(spans[long].sum())
    on_grid = since % step == _most_common(since % step)
    slots, counts = np.unique(since[on_grid] % WEEK, return_counts=True)
    kept = slots[counts >= span / 2]
    if len(kept) in (0, WEEK // step):
        return ()
    covered = np.isin(since % WEEK, kept)
    weeks = float(np.sum((stamps.times[last] - stamps.times[first]).astype(np.int64)[long] + step)) / WEEK
    whole = np.count_nonzero(covered) / (len(kept) * weeks)
    return tuple(int(slot) for slot in kept) if covered.mean() >= COVERED and whole >= COVERED else ()


def _infer_months(stamps: _Stamps) -> Frequency:
    months = stamps.times.astype("datetime64[M]").astype(np.int64)
    days = stamps.times.astype("datetime64[D]")
    clock = int(_most_common((stamps.times - days).astype(np.int64)))
    day_of_month = (days - stamps.times.astype("datetime64[M]").astype("datetime64[D]")).astype(int) + 1
    step = int(_most_common(stamps.steps(months)))
    anchors = (*MONTH_ANCHORS, str(_most_common(day_of_month)))
    found = [Frequency(months=step, anchor=anchor, clock=clock) for anchor in anchors] if step else []
    covered = [stamps.times == frequency._in_months(months) for frequency in found]
    if not found:
        raise _irregular(stamps)
    best = int(np.argmax([on_grid.mean() for on_grid in covered]))
    return _accept(found[best], stamps, covered[best], stamps.steps(months) == step)


def _accept(
    frequency: Frequency, stamps: _Stamps, on_grid: NDArray[np.bool_], single: NDArray[np.bool_]
) -> Frequency:
    """Return `frequency` where all series follow it from their first time to their last."""
    count = len(stamps.names)
    owner = stamps.series[1:][stamps.inside]
    rows, steps = (np.bincount(numbers, minlength=count) for numbers in (stamps.series, owner))
    strange = (np.bincount(stamps.series, on_grid, count) < COVERED * rows) & (steps >= 3)
    least = max(CHANGED, np.log(1e-5 / count) / np.log(np.clip(1 - single.mean(), 1e-9, 0.9)))
    strange |= (np.bincount(owner, single, count) < 0.1 * steps) & (steps >= least)  # no chance gaps
    strangers = np.flatnonzero(strange)
    if count > 1 and len(strangers):
        raise _stranger(frequency, stamps.only(int(strangers[0])), len(strangers))
    if on_grid.mean() < COVERED or single.mean() < 0.5:
        raise _irregular(stamps)
    _check_unchanged(frequency, stamps)
    return frequency


def _stranger(frequency: Frequency, stamps: _Stamps, others: int) -> DataError:
    row = _row_of_change(stamps.times)
    if row:
        return _changed(stamps, row)
    try:
        got = infer_frequency(stamps.times, stamps.where).label
    except DataError as error:
        got = error.got
    more = f" ({others - 1:,} other series as well)" if others > 1 else ""
    return DataError(
        stamps.where,
        f"the calendar that the series share ({frequency.label})",
        f"{got}{more}",
        "Bring all series to one step first, or leave that series out.",
    )


def _check_unchanged(frequency: Frequency, stamps: _Stamps) -> None:
    """Raise where one series takes longer steps for so long that chance gaps do not explain it."""
    long = np.append(False, np.diff(steps_of(stamps.times, frequency, stamps.series)[0]) > 1)
    long[1:] &= stamps.inside
    if not long.any():
        return
    edges = np.flatnonzero(np.diff(np.concatenate([[0], long.view(np.int8), [0]])))
    first, stop = edges[::2], edges[1::2]  # runs of rows that come after longer steps; in one series each
    owner, length = stamps.series[first], stop - first
    rows = np.bincount(stamps.series, minlength=len(stamps.names))
    longs = np.bincount(stamps.series, long, len(stamps.names))
    share = (longs[owner] - length + 1) / (rows[owner] - length + 1)  # of longer steps outside the run
    least = np.log(1e-5 / len(long)) / np.log(np.clip(share, 1e-9, 0.9))
    changed = np.flatnonzero(length >= np.maximum(CHANGED, least))
    if not len(changed):
        return
    run = changed[0]
    own, begin = stamps.only(int(owner[run])), int(first[run] - np.argmax(stamps.series == owner[run]))
    raise _changed(own, begin - 1 if begin > 1 else begin + int(length[run]) - 1)


def _changed(stamps: _Stamps, row: int) -> DataError:
    """Return the error for one series that has another step before `row` than after it."""
    labels = []
    for part in (stamps.times[: row + 1], stamps.times[row:]):
        try:
            labels.append(infer_frequency(part).label)
        except DataError:
            labels.append("other steps")
    return DataError(
        stamps.where,
        "one calendar from the first row to the last",
        f"{labels[0]} up to {show_time(stamps.times[row])}, {labels[1]} from there on",
        "Give the rows of one of the two, or aggregate all to the longer step first.",
    )


def _irregular(stamps: _Stamps) -> DataError:
    for number in range(len(stamps.names)) if len(stamps.names) <= 10 else ():
        own = stamps.only(number)
        row = _row_of_change(own.times)
        if row:
            return _changed(own, row)
    steps = stamps.steps(stamps.times.astype(np.int64))
    numbers = np.issubdtype(stamps.times.dtype, np.integer)
    shortest, longest = (str(s) if numbers else _every(int(s)) for s in (steps.min(), steps.max()))
    return DataError(
        stamps.where,
        "regular times (one calendar that covers at least 90 % of the stamps)",
        f"{len(np.unique(steps)):,} different steps, from {shortest} to {longest}",
        "Aggregate the rows to a regular step first, for example to days.",
    )


def _row_of_change(times: NDArray[Any]) -> int:
    """Return the row up to which nearly all steps are like the first ones, and then like the last; 0 for none."""
    steps = np.diff(times.astype(np.int64)).astype(np.float64)
    part = max(len(steps) // 8, 3)
    if len(steps) < 2 * part:
        return 0
    early, late = np.median(steps[:part]), np.median(steps[-part:])
    if max(early, late) < 1.5 * min(early, late):
        return 0
    like_early, like_late = (np.abs(steps - usual) <= 0.12 * usual for usual in (early, late))
    right = np.cumsum(like_early) + np.append(np.cumsum(like_late[::-1])[-2::-1], 0)
    row = int(np.argmax(right)) + 1
    return row if right[row - 1] >= COVERED * len(steps) and row < len(steps) else 0


def _most_common(values: NDArray[Any]) -> Any:
    unique, counts = np.unique(values, return_counts=True)
    return unique[np.argmax(counts)]


def usual(values: NDArray[np.int64], series: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each row the most common of its series' values, the least where several are."""
    order = np.lexsort((values, series))
    values, series = values[order], series[order]
    first = np.flatnonzero(np.append(True, (values[1:] != values[:-1]) | (series[1:] != series[:-1])))
    counts = np.diff(np.append(first, len(values)))
    best = np.lexsort((-counts, series[first]))  # stable: of equal counts the least value
    best = best[np.append(True, np.diff(series[first][best]) > 0)]
    usual = np.empty_like(values)
    usual[order] = np.repeat(values[first][best], np.bincount(series)[series[first][best]])
    return usual


def _every(step: int) -> str:
    names = {WEEK: "weekly", DAY: "daily", HOUR: "hourly", MINUTE: "every minute", SECOND: "every second"}
    if step in names:
        return names[step]
    for span, unit in ((WEEK, "weeks"), (DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if step % span == 0:
            return f"every {step // span} {unit}"
    return f"every {step / SECOND:g} seconds"
