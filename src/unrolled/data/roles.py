"""Which column is what: the targets, the times, the series, and what is known beside them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.calendar_rows import count, some_names
from unrolled.data.reading import Columns, categories, is_numeric, numbers
from unrolled.errors import DataError

__all__ = ["Roles", "find_roles", "listed", "series_numbers", "static_values", "values_of"]

TIME_NAMES = (
    "ds",
    "time",
    "date",
    "datetime",
    "timestamp",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "period",
)

DATE = (
    r"\d[-/.]\d+[-/.]\d|^\d{4}-\d\d$|^\d{4}-?Q[1-4]$|[A-Za-z]{3}.*\d{4}"  # what a column of times looks like
)

Names = str | Iterable[str] | None


@dataclass(frozen=True)
class Roles:
    """The names of columns by what they are for; "" where there is no such column."""

    targets: tuple[str, ...]
    time: str
    series: str
    known: tuple[str, ...]
    observed: tuple[str, ...]
    static: tuple[str, ...]


def find_roles(
    columns: Columns,
    target: Names,
    time: str | None,
    series: str | None,
    known: Names,
    observed: Names,
    static: Names,
) -> Roles:
    """Check the names that were given, and find the time, the series and the target where they were not.

    Raises:
        DataError: a name is no column, a column has two roles, or several could be the target.
    """
    targets = listed(target)
    beside = {"known": listed(known), "observed": listed(observed), "static": listed(static)}
    asked = [(name, "target") for name in targets]
    asked += [(name, role) for name, role in ((time, "time"), (series, "series")) if name]
    asked += [(name, role) for role, names in beside.items() for name in names]
    columns.check(name for name, _ in asked)
    if not series and "unique_id" in columns.frame.columns and not targets:
        series = "unique_id"
        asked.append((series, "series"))
    first: dict[str, str] = {}
    for name, role in asked:
        if name in first:
            got = (
                f"{name!r} twice as {role}"
                if first[name] == role
                else f"{name!r} as {first[name]} and {role}"
            )
            raise DataError(columns.source, "each column in one role", got, "Name it once.")
        first[name] = role
    time = time or _find_time(columns, [*first]) or ""
    if not targets:
        targets = (_find_target(columns, [*first, time]),)
    return Roles(targets, time, series or "", beside["known"], beside["observed"], beside["static"])


def listed(names: Names) -> tuple[str, ...]:
    """Return names that may be one, several or None as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names or ())


def _find_time(columns: Columns, exclude: list[str]) -> str | None:
    import pandas as pd

    names = [name for name in columns.frame.columns if name not in exclude]
    by_name = sorted((TIME_NAMES.index(name.lower()), name) for name in names if name.lower() in TIME_NAMES)
    if by_name:
        return str(by_name[0][1])
    typed = [name for name in names if pd.api.types.is_datetime64_any_dtype(columns.frame[name])]
    worded = [name for name in names if name.lower().endswith(("date", "time", "_at", "_day", "_month"))]
    for name in (*typed, *worded, *names):
        column = columns.frame[name]
        if name in typed:
            return str(name)
        if not pd.api.types.is_numeric_dtype(column) and column.astype("string").str.contains(DATE).all():
            return str(name)
    return None


def _find_target(columns: Columns, exclude: list[str]) -> str:
    names = [str(name) for name in columns.frame.columns if name not in exclude]
    if "y" in names:
        return "y"
    numeric = [name for name in names if _has_numbers(columns, name)]
    if len(numeric) == 1:
        return numeric[0]
    shown = ", ".join(map(repr, numeric[:12])) if numeric else "no numeric column"
    raise DataError(columns.source, "one column to forecast", shown, "Name it with target= (--target).")


def _has_numbers(columns: Columns, name: str) -> bool:
    try:
        return not np.isnan(numbers(columns, name, [])).all()
    except DataError:
        return False


def series_numbers(columns: Columns, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the number of each row's series, (rows,), and their names in the order of first appearance.

    Raises:
        DataError: a row names no series.
    """
    import pandas as pd

    if not name:
        return np.zeros(len(columns.frame), np.int64), ("",)
    text = categories(columns, name)
    if (text == "").any():
        row = int(columns.frame.index[int(np.argmax(text == ""))])
        raise DataError(
            columns.where(row, name),
            "the name of a series",
            "an empty cell",
            "Fill it in, or remove the row.",
        )
    numbers_, names = pd.factorize(text)
    return numbers_.astype(np.int64), tuple(map(str, names))


def static_values(
    columns: Columns, name: str, series: NDArray[np.int64], names: tuple[str, ...], notes: list[str]
) -> NDArray[Any]:
    """Return what column `name` says of each series: (series,), float64, or object where it is no number.

    Empty cells say nothing. A series for which there is no number gets the mean of the others, noted
    in `notes`; one for which there is no category gets "".

    Raises:
        DataError: the column says different things of one series, or nothing of any.
    """
    found: NDArray[Any] = np.zeros(0)
    if is_numeric(columns, name):
        codes = numbers(columns, name, notes)
    else:
        codes, found = _coded(categories(columns, name))
    order = np.argsort(series, kind="stable")
    starts = np.searchsorted(series[order], np.arange(len(names)))
    least, most = (pick.reduceat(codes[order], starts) for pick in (np.fmin, np.fmax))
    differ = np.flatnonzero(least < most)
    if len(differ):
        one = differ[0]
        pair = f"{least[one]:g} and {most[one]:g}"
        if len(found):
            pair = f"{found[int(least[one])]!r} and {found[int(most[one])]!r}"
        raise DataError(
            f"{columns.source}, column {name!r}",
            "one value for each series (static)",
            f"{pair} in series {names[one]!r}" if len(names) > 1 else pair,
            "Name it as known= or observed= if it changes with time.",
        )
    empty = np.isnan(least)
    if empty.all():
        raise DataError(f"column {name!r}", "values", "empty cells only", "Name another column.")
    if len(found):
        return np.where(empty, "", found[np.where(empty, 0, least).astype(np.int64)]).astype(object)
    if empty.any():
        missing = [names[number] for number in np.flatnonzero(empty)[:4]]
        notes.append(
            f"Column {name!r}: {count(int(empty.sum()), 'series')} without a value ({some_names(missing)}) "
            "got the mean of the others."
        )
    return np.where(empty, np.nanmean(least), least)


def values_of(
    columns: Columns,
    roles: Roles,
    notes: list[str],
    kinds: tuple[Collection[str], tuple[str, ...]] | None = None,
) -> tuple[NDArray[np.float64], tuple[str, ...], dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return the columns as numbers, the names of the numeric ones, and the categories of the others by name.

    An empty cell is NaN; but in a column of categories that is empty in most rows it is one of them:
    the names of those columns come last. `kinds` has both, the columns of categories and those that are empty in most
    rows, from an earlier table; then a column beside the targets may be empty.
    """
    labelled = [
        name for name in roles.known if (name in kinds[0] if kinds else not is_numeric(columns, name))
    ]
    numeric = (*roles.targets, *roles.observed, *(name for name in roles.known if name not in labelled))
    cells = [numbers(columns, name, notes) for name in numeric]
    found: dict[str, NDArray[Any]] = {}
    texts = {name: categories(columns, name) for name in labelled}
    blank = kinds[1] if kinds else tuple(name for name, text in texts.items() if np.mean(text == "") >= 0.5)
    for name, text in texts.items():
        codes, found[name] = _coded(text, blank=name in blank)
        cells.append(codes)
    for name, column in zip((*numeric, *labelled), cells, strict=True):
        if kinds and name not in roles.targets:
            continue
        if np.isnan(column).all() or (name in found and not any(found[name])):
            expected = "values" if name in found else "numbers"
            raise DataError(f"column {name!r}", expected, "empty cells only", "Name another column.")
    return np.stack(cells, axis=1), numeric, found, blank


def _coded(text: NDArray[Any], blank: bool = False) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the number of each cell's category, NaN for an empty one unless `blank` is one, and the categories."""
    import pandas as pd

    codes, found = pd.factorize(text)
    codes = codes.astype(np.float64)
    if not blank:
        codes[text == ""] = np.nan
    return codes, np.asarray(found, dtype=object)
