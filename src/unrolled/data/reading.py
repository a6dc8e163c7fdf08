"""From a file or a data frame to columns: separators, encodings, numbers and dates."""

import csv
import difflib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled.data.frequency import usual
from unrolled.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns", "categories", "is_numeric", "numbers", "read_columns", "times"]

logger = logging.getLogger("unrolled")

DATES = (
    "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y", "%m-%d-%Y", "%d-%m-%Y", "%Y/%m/%d",
    "%Y.%m.%d", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%b %Y", "%B %Y", "%b-%y",
)  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
POINTS_AND_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?")

OFFSET = r"(?<=\d)(Z|[+-]\d\d:?\d\d)$"  # of a clock from UTC, at the end of an ISO time
DAILY = 20 * 3_600_000_000  # microseconds: no day is shorter, not even where clocks change


@dataclass(frozen=True)
class Columns:
    """The columns of a table as they stand, with what messages need to point at a cell."""

    frame: "pd.DataFrame"
    source: str  # the file's name, or "the data frame"
    first_row: int  # the number of the first row: 2 in a file with a header, else 0
    kind: Literal["pandas", "polars"]  # "pandas" or "polars": what the caller works with
    separator: str = ""

    def where(self, row: int, column: str) -> str:
        """Name a cell as a person finds it.

        >>> import pandas as pd
        >>> Columns(pd.DataFrame({"y": [1]}), "sales.csv", 2, "pandas").where(0, "y")
        "sales.csv, line 2, column 'y'"
        """
        word = "line" if self.first_row else "row"
        return f"{self.source}, {word} {row + self.first_row}, column {column!r}"

    def check(self, names: Iterable[str]) -> None:
        """Raise a `DataError` for the first of `names` that is not a column."""
        have = list(self.frame.columns)
        for name in names:
            if name not in have:
                near = difflib.get_close_matches(
                    name.lower(), [str(column).lower() for column in have], 1, 0.5
                )
                likely = next((column for column in have if near and str(column).lower() == near[0]), None)
                cure = f"Did you mean {likely!r}?" if likely is not None else "Name one of the columns."
                listed = ", ".join(map(repr, have[:12])) + (", …" if len(have) > 12 else "")
                raise DataError(self.source, f"a column {name!r}", f"the columns {listed}", cure)


def read_columns(source: Any, *, as_texts: bool = False) -> Columns:
    """Read a CSV or Parquet file, or take a pandas or polars frame.

    Args:
        source: a path (`.csv`, `.tsv`, `.txt`, each also `.gz`; `.parquet`), a pandas DataFrame or
            Series, a polars DataFrame. A pandas index of times becomes a column.
        as_texts: whether a file's cells are taken as they stand: "NA" and "None" are texts, only "" is missing.

    Raises:
        DataError: the file is missing, empty or not a table.
    """
    columns = _read_file(Path(source), as_texts) if isinstance(source, str | Path) else _take_frame(source)
    if not len(columns.frame):
        raise DataError(
            columns.source, "rows of data", "a header and no row", "Check how the data was written."
        )
    return columns


def _read_file(path: Path, as_texts: bool) -> Columns:
    import pandas as pd

    if not path.exists():
        raise DataError(str(path), "a file", "no such file", "Check the path.")
    if path.is_dir():
        raise DataError(str(path), "a CSV or Parquet file", "a folder", "Name a file inside it.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return _take_frame(pd.read_parquet(path), str(path.name))
        if path.stat().st_size == 0:
            raise DataError(path.name, "a table with a header", "an empty file", "Check how it was written.")
        try:
            return _read_csv(path, "utf-8-sig", as_texts)
        except UnicodeDecodeError:
            logger.warning("%s is no UTF-8: read as Latin-1.", path.name)
            return _read_csv(path, "latin-1", as_texts)
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(
            str(path), "a readable file", "no permission", "Change the file's permissions."
        ) from error
    except (OSError, ValueError, EOFError) as error:  # pandas' and pyarrow's parsers raise ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise DataError(path.name, "a CSV or Parquet table", reason, "Check the file.") from error


def _read_csv(path: Path, encoding: str, as_texts: bool) -> Columns:
    import gzip

    import pandas as pd

    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding=encoding) as file:
        header = next((line for line in file if line.strip()), "")
        sample = header + "".join(line for line, _ in zip(file, range(20), strict=False))
    if not header:
        raise DataError(path.name, "a table with a header", "an empty file", "Check how it was written.")
    if "\0" in sample:
        raise DataError(path.name, "text", "binary data", "Give a CSV or a Parquet file (named .parquet).")
    counts = {mark: len(next(csv.reader([header], delimiter=mark))) for mark in (",", ";", "\t")}
    separator = max(counts, key=lambda mark: counts[mark])
    heading = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
    _check_once([name for name in heading if name], path.name)
    frame = pd.read_csv(
        path, sep=separator, encoding=encoding, dtype=str, skip_blank_lines=False, index_col=False,
        on_bad_lines="error", skipinitialspace=True, keep_default_na=not as_texts, na_values=[""] if as_texts else None,
    )  # fmt: skip
    frame.columns = [str(name).strip() for name in frame.columns]
    unnamed = [name for name in frame.columns if name.startswith("Unnamed: ") and frame[name].isna().all()]
    frame = frame.drop(columns=unnamed).dropna(how="all")
    return Columns(frame, path.name, 2, "pandas", separator)


def _take_frame(source: Any, name: str = "the data frame") -> Columns:
    import narwhals as nw
    import pandas as pd

    if isinstance(source, pd.Series):
        source = source.to_frame(source.name if source.name is not None else "y")
    if isinstance(source, pd.DataFrame):
        _check_once([str(column) for column in source.columns], name)
    try:
        frame = nw.from_native(source, eager_only=True)
    except TypeError as error:
        raise DataError(
            name, "a path, a pandas or a polars data frame", type(source).__name__, "Convert the data first."
        ) from error
    kind: Literal["pandas", "polars"] = "polars" if frame.implementation.is_polars() else "pandas"
    if kind == "pandas" and isinstance(source, pd.DataFrame):
        if isinstance(source.index, pd.PeriodIndex):
            source = source.set_axis(source.index.to_timestamp())
        if isinstance(source.index, pd.DatetimeIndex):
            source = source.reset_index(names=source.index.name or "time")
        data = source.reset_index(drop=True)
    else:
        data = frame.to_pandas()
    data.columns = [str(column) for column in data.columns]
    return Columns(data, name, 0, kind)


def _check_once(names: list[str], source: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(source, "each column name once", f"{twice!r} twice", "Rename one of them.")


def numbers(columns: Columns, name: str, notes: list[str]) -> NDArray[np.float64]:
    """Return column `name` as float64, missing cells as NaN; what was assumed is added to `notes`.

    Raises:
        DataError: a cell is no number, or infinite; the message names the first such cell.
    """
    import pandas as pd

    column = columns.frame[name]
    if not pd.api.types.is_numeric_dtype(column):
        column = _plain_numbers(column.astype("string").str.strip(), name, columns.separator, notes)
    values = np.asarray(pd.to_numeric(column, errors="coerce").astype("float64"), dtype=np.float64)
    present = columns.frame[name].notna().to_numpy()
    for bad, expected in ((np.isnan(values) & present, "a number"), (np.isinf(values), "a finite number")):
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                columns.where(int(columns.frame.index[row]), name),
                expected,
                repr(columns.frame[name].iloc[row]),
                f"Correct it, or leave it empty; such cells: {np.count_nonzero(bad):,}.",
            )
    return values


def _plain_numbers(text: "pd.Series[str]", name: str, separator: str, notes: list[str]) -> "pd.Series[str]":
    """Remove thousands' commas, or turn decimal commas into points, where a column has commas."""
    with_comma = text[text.str.contains(",", regex=False, na=False)]
    if with_comma.empty:
        return text
    if separator != ";" and with_comma.str.fullmatch(THOUSANDS.pattern).all():
        notes.append(f"Column {name!r}: read commas as thousands separators ({with_comma.iloc[0]}).")
        return text.str.replace(",", "", regex=False)
    if (
        text.str.contains(r"\.\d{3},", na=False).any()
        and text.dropna().str.fullmatch(POINTS_AND_COMMA.pattern).all()
    ):
        notes.append(f"Column {name!r}: read points as thousands separators and commas as decimal points.")
        return text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    if with_comma.str.fullmatch(DECIMAL_COMMA.pattern).all():
        notes.append(f"Column {name!r}: read commas as decimal points ({with_comma.iloc[0]}).")
        return text.str.replace(",", ".", regex=False)
    return text


def is_numeric(columns: Columns, name: str) -> bool:
    """Return whether column `name` holds numbers (finite or not), and is neither bool nor a pandas category."""
    import pandas as pd

    column = columns.frame[name]
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_datetime64_any_dtype(column):
        return False
    different = replace(columns, frame=column.drop_duplicates().to_frame())
    try:
        numbers(different, name, [])
    except DataError as error:
        return error.expected == "a finite number"
    return True


def categories(columns: Columns, name: str) -> NDArray[Any]:
    """Return column `name` as text, object (rows,), "" for empty cells; whole numbers without a point."""
    import pandas as pd

    column = columns.frame[name]
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").str.strip()
    return text.fillna("").to_numpy(dtype=object)


def times(
    columns: Columns,
    name: str,
    notes: list[str],
    series: NDArray[np.int64] | None = None,
    zone: str | None = None,
) -> tuple[NDArray[Any], str]:
    """Return column `name` as datetime64[us], or as int64 where it holds whole numbers; and its zone.

    ISO dates are tried first, then month/day/year, then the other usual forms; one form must fit
    the whole column. Times with an offset keep their clock; the zone is "" then. Where clocks change,
    times closer than a day are taken as UTC, and the zone is the one to show them in (of text:
    "UTC"). What was assumed is added to `notes`.

    Args:
        columns: the table.
        name: the column.
        notes: is added to.
        series: (rows,), the number of each row's series.
        zone: as an earlier table has it: times become UTC for a zone, and keep their clock for "".

    Raises:
        DataError: a cell is missing or no time; the message names the first such cell. Or the
            times have no zone, and must have one.
    """
    import pandas as pd

    column = columns.frame[name]
    missing = column.isna().to_numpy()
    if missing.any():
        row = int(columns.frame.index[int(np.argmax(missing))])
        raise DataError(columns.where(row, name), "a time", "an empty cell", "Fill it in, or remove the row.")
    if pd.api.types.is_datetime64_any_dtype(column):
        return _clock(_Clock.of(column), name, notes, series, zone)
    if pd.api.types.is_numeric_dtype(column):
        found = numbers(columns, name, notes)
        if (found == np.round(found)).all():
            return _whole_numbers(found.astype(np.int64), name, notes), ""
        row = int(columns.frame.index[int(np.argmax(found != np.round(found)))])
        raise DataError(
            columns.where(row, name), "a time or a whole number", "a fraction", "Name another column."
        )
    text = column.astype("string").str.strip()
    if text.str.fullmatch(r"[+-]?\d{1,18}").all():
        return _whole_numbers(text.astype("int64").to_numpy(), name, notes), ""
    return _clock(_parse(columns, name, text, notes), name, notes, series, zone)


def _parse(columns: Columns, name: str, text: "pd.Series[str]", notes: list[str]) -> "_Clock":
    import pandas as pd

    if text.str.fullmatch(r"\d{4}-?Q[1-4]").all():
        quarters = pd.PeriodIndex(text.str.replace("-", ""), freq="Q").to_timestamp()
        return _Clock.of(pd.Series(quarters))
    offsets = text.drop_duplicates().str.extract(OFFSET)[0]  # from UTC; several where clocks change
    several = offsets.nunique() > 1
    best, right = None, -1
    for form in ("ISO8601", *(date + clock for date in DATES for clock in CLOCKS)):
        if (
            form != "ISO8601"
            and pd.isna(pd.to_datetime(text.iloc[0], format=form, errors="coerce"))
            and right > 0
        ):
            continue
        found = pd.to_datetime(text, format=form, errors="coerce", utc=several)
        count = int(found.notna().sum())
        if count > right:
            best, right = found, count
        if count == len(text):
            if form.startswith(("%m/", "%d/")):
                order = "month/day/year" if form.startswith("%m") else "day/month/year"
                notes.append(f"Column {name!r}: read dates as {order} ({text.iloc[0]}).")
            if not several:
                return _Clock.of(found)
            local = pd.to_datetime(text.str.replace(OFFSET, "", regex=True), format=form)
            return _Clock(_microseconds(local), _microseconds(found.dt.tz_convert(None)), "UTC")
    assert best is not None
    row = int(np.argmax(best.isna().to_numpy()))
    raise DataError(
        columns.where(int(columns.frame.index[row]), name),
        "a date or time (2020-01-31, 01/31/2020, 2020-01-31 13:00) or a whole number",
        repr(columns.frame[name].iloc[row]),
        "Correct it, or name another column with --time.",
    )


@dataclass(frozen=True)
class _Clock:
    """Times as the clock on the wall shows them, and in UTC; without a zone both are the same."""

    local: NDArray[Any]
    utc: NDArray[Any]
    zone: str = ""
    changes: bool = False  # in the year after the times, if not within them

    @classmethod
    def of(cls, found: "pd.Series[Any]") -> "_Clock":
        import pandas as pd

        if getattr(found.dt, "tz", None) is None:
            return cls(_microseconds(found), _microseconds(found))
        utc = found.dt.tz_convert("UTC")
        later = pd.Series(pd.date_range(utc.max(), periods=14, freq="30D").tz_convert(found.dt.tz))
        offsets = later.dt.tz_localize(None) - later.dt.tz_convert(None)
        zone = str(found.dt.tz)
        try:
            pd.Timestamp(0, tz=zone)
        except (KeyError, ValueError, TypeError):  # a zone without a public name
            zone = "UTC"
        return cls(_microseconds(found.dt.tz_localize(None)), _microseconds(utc), zone, offsets.nunique() > 1)


def _microseconds(found: "pd.Series[Any]") -> NDArray[Any]:
    naive = found if getattr(found.dt, "tz", None) is None else found.dt.tz_convert(None)
    return naive.to_numpy().astype("datetime64[us]")


def _clock(
    clock: _Clock, name: str, notes: list[str], series: NDArray[np.int64] | None, wanted: str | None
) -> tuple[NDArray[Any], str]:
    """Return the times and their zone: those of the wall, or UTC where clocks change within a day's rows."""
    if not clock.zone:
        if wanted:
            raise DataError(
                f"column {name!r}",
                f"times with a zone or an offset, as before ({wanted})",
                "times without",
                "Write them as 2020-01-31T13:00+01:00, or give the column a time zone.",
            )
        return clock.local, ""
    if wanted is not None:
        return (clock.utc, wanted) if wanted else (clock.local, "")
    if len(np.unique(clock.local - clock.utc)) == 1 and not clock.changes:
        return clock.local, ""
    owner = np.zeros(len(clock.utc), np.int64) if series is None else series
    order = np.lexsort((clock.utc, owner))
    steps = np.diff(clock.utc[order].astype(np.int64))[np.diff(owner[order]) == 0]
    steps = steps[steps > 0]
    if not len(steps):
        return clock.local, ""
    lengths, counts = np.unique(steps, return_counts=True)
    step = int(lengths[np.argmax(counts)])
    if step >= DAILY or _regular(clock.utc, owner, step) < 0.9 <= _regular(clock.local, owner, step):
        return clock.local, ""
    notes.append(
        f"Column {name!r}: clocks change, so the times were taken as UTC (and shown in {clock.zone})."
    )
    return clock.utc, clock.zone


def _regular(stamps: NDArray[Any], owner: NDArray[np.int64], step: int) -> float:
    """Return the share of the times that stand at the usual point of a step."""
    order = np.argsort(owner, kind="stable")
    rest = stamps[order].astype(np.int64) % step
    return float(np.mean(rest == usual(rest, owner[order])))


def _whole_numbers(found: NDArray[np.int64], name: str, notes: list[str]) -> NDArray[Any]:
    """Take 20200131 for a date and 1,600,000,000 for seconds since 1970; other numbers stay what they are."""
    import pandas as pd

    if found.min() >= 19_000_101 and found.max() <= 21_001_231:
        dates = pd.to_datetime(pd.Series(found).astype("string"), format="%Y%m%d", errors="coerce")
        if dates.notna().all():
            return dates.to_numpy().astype("datetime64[us]")
    for unit, factor in (("seconds", 1_000_000), ("milliseconds", 1_000)):
        scale = 1_000_000 // factor
        if 100_000_000 * scale <= found.min() and found.max() <= 4_000_000_000 * scale:
            notes.append(f"Column {name!r}: read the numbers as {unit} since 1970-01-01.")
            return (found * factor).astype("datetime64[us]")
    return found
