"""Numbers, times and names as a reader wants to see them.

Minus signs and thousands separators are typographic (−1,234.5); figures of one table share their decimals, so
that they line up; a number that cannot be shown is a dash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "count_steps",
    "format_errors",
    "format_percent",
    "format_times",
    "format_values",
    "name_of",
    "step_unit",
]

NOTHING = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_DAY = 86_400


def format_values(values: Iterable[float], digits: int = 3) -> list[str]:
    """Format numbers of one kind together, with as many decimals as their spread asks for.

    Args:
        values: any finite or missing numbers.
        digits: how many significant digits the spread (largest − smallest) keeps, at least 1.

    Returns:
        One string for each value; `–` where it is not finite.

    >>> format_values([371.6234, 368.1, 374.25])
    ['371.62', '368.10', '374.25']
    >>> format_values([650_000, 612_345.6, float("nan")])
    ['650,000', '612,346', '–']
    >>> format_values([-0.0000012, 0.0000034])
    ['−1.20×10⁻⁶', '3.40×10⁻⁶']
    """
    numbers = [float(value) for value in values]
    finite = [number for number in numbers if math.isfinite(number)]
    spread = max(finite) / 2 - min(finite) / 2 if finite else 0.0
    return _format(numbers, 2 * spread if math.isfinite(2 * spread) else spread, digits)


def format_errors(values: Iterable[float], digits: int = 3) -> list[str]:
    """Format errors (none negative) together, so that the smallest keeps its significant digits.

    Args:
        values: errors of any size; missing ones are not finite.
        digits: how many significant digits the smallest keeps, at least 1. One that is more than a thousand
            times smaller than the largest has fewer: it is as good as zero beside it.

    Returns:
        One string for each value; `–` where it is not finite.

    >>> format_errors([0.31234, 1.2])
    ['0.312', '1.200']
    >>> format_errors([23_456.7, 31_000])
    ['23,457', '31,000']
    """
    numbers = [float(value) for value in values]
    sizes = [abs(number) for number in numbers if math.isfinite(number) and number]
    return _format(numbers, max(min(sizes), max(sizes) / 1000) if sizes else 0.0, digits)


def _format(numbers: list[float], resolution: float, digits: int) -> list[str]:
    """Format with decimals such that `resolution` has `digits` significant digits."""
    scale = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    power = 0
    if scale and not 1e-3 <= scale < 1e10:
        power = 3 * math.floor(math.log10(scale) / 3)
    decimals = digits - 1
    if resolution:
        decimals -= math.floor(math.log10(resolution)) - power
    elif scale:
        decimals -= math.floor(math.log10(scale)) - power
    decimals = min(max(decimals, 0), 6)
    suffix = f"×10{str(power).translate(_SUPERSCRIPT)}" if power else ""
    return [_one(number, power, decimals, suffix) for number in numbers]


def _one(number: float, power: int, decimals: int, suffix: str) -> str:
    if not math.isfinite(number):
        return NOTHING
    # 10 ** power underflows where the numbers themselves are subnormal
    scaled = number * 10.0**-power if -300 < power < 300 else number / 10.0**power
    text = f"{scaled:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−") + suffix


def format_percent(share: float, *, signed: bool = False) -> str:
    """Format a share of one as a percentage, with one decimal where it is below 10 %.

    Args:
        share: 0.25 is 25 %.
        signed: write a plus sign too, for a change.

    Returns:
        The percentage with a space that does not break, or `–` if `share` is not finite.

    >>> format_percent(0.812), format_percent(-0.0324, signed=True), format_percent(0.2, signed=True)
    ('81\\xa0%', '−3.2\\xa0%', '+20\\xa0%')
    """
    if not math.isfinite(share):
        return NOTHING
    decimals = 0 if abs(share) >= 0.0995 else 1
    text = f"{100 * share:{'+' if signed else ''},.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−") + "\N{NO-BREAK SPACE}%"


def format_times(times: np.ndarray, *, weekday: bool = False) -> list[str]:
    """Format times as ISO 8601, without the parts that all of them lack.

    Args:
        times: shape (n,), datetime64 or integers.
        weekday: put the day of the week in front of a date.

    Returns:
        One string for each time.

    >>> import numpy as np
    >>> format_times(np.array(["2020-02-28", "2020-02-29"], "M8[ns]"), weekday=True)
    ['Fri 2020-02-28', 'Sat 2020-02-29']
    >>> format_times(np.array(["2020-02-29T06:30", "2020-02-29T07:00"], "M8[s]"))
    ['2020-02-29 06:30', '2020-02-29 07:00']
    >>> format_times(np.array([1999, 2000]))
    ['1999', '2000']
    """
    import numpy as np

    times = np.asarray(times)
    if times.dtype.kind != "M":
        return [str(time).replace("-", "−") for time in times.tolist()]
    known = times[~np.isnat(times)]
    unit = next(
        (unit for unit in ("D", "m", "s", "ms") if np.all(known == known.astype(f"M8[{unit}]"))), "us"
    )
    texts = [NOTHING if text == "NaT" else text.replace("T", " ") for text in _iso(times, unit)]
    if weekday and unit == "D":
        # 1970-01-01 was a Thursday
        days = times.astype("M8[D]").astype(np.int64)
        names = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")
        texts = [
            text if text == NOTHING else f"{names[day % 7]} {text}"
            for text, day in zip(texts, days, strict=True)
        ]
    return texts


def _iso(times: np.ndarray, unit: str) -> list[str]:
    import numpy as np

    return [str(text) for text in np.datetime_as_string(times.astype(f"M8[{unit}]"))]


def step_unit(times: np.ndarray) -> str:
    """Name the unit of time between neighbours, in the singular.

    Args:
        times: shape (n,), ascending, datetime64 or integers.

    Returns:
        second, minute, hour, day, business day, week, month, quarter or year; `step` for anything else.

    >>> import numpy as np
    >>> step_unit(np.arange("2020-01", "2020-09", dtype="M8[M]").astype("M8[ns]"))
    'month'
    >>> step_unit(np.array(["2020-02-27", "2020-02-28", "2020-03-02"], "M8[D]"))
    'business day'
    >>> step_unit(np.arange(5))
    'step'
    """
    import numpy as np

    times = np.asarray(times)
    if times.dtype.kind != "M" or len(times) < 2:
        return "step"
    gaps = np.diff(times.astype("M8[s]")).astype(np.int64)
    smallest, largest = int(gaps.min()), int(gaps.max())
    for name, seconds in _SECONDS.items():
        if smallest == largest == seconds:
            return name
    for name, shortest, longest in (("month", 28, 31), ("quarter", 89, 92), ("year", 365, 366)):
        if shortest * _DAY <= smallest and largest <= longest * _DAY:
            return name
    # 1970-01-01 was a Thursday, so that Saturday and Sunday are the days 2 and 3 of each seven
    if smallest == _DAY and largest <= 5 * _DAY:
        days = times.astype("M8[D]").astype(np.int64) % 7
        if not np.any((days == 2) | (days == 3)):
            return "business day"
    return "step"


def count_steps(count: int, unit: str) -> str:
    """Write a number of steps in words.

    >>> count_steps(1, "day"), count_steps(1500, "step")
    ('1 day', '1,500 steps')
    """
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def name_of(key: str) -> str:
    """Write the key of a baseline as a name.

    >>> name_of("constant_velocity"), name_of("seasonal_naive_7"), name_of("sarima")
    ('constant velocity', 'seasonal naive (7 steps)', 'SARIMA')
    """
    season = key.removeprefix("seasonal_naive_")
    if season != key and season.isdecimal():
        return f"seasonal naive ({season} steps)"
    return {"sarima": "SARIMA", "ets": "ETS"}.get(key, key.replace("_", " "))
