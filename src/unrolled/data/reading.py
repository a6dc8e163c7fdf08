"""From a file or a data frame to columns: separators, encodings, numbers and dates."""

import csv
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns", "codes_of", "labels_of", "numbers", "read_columns", "times"]

DATES = (
    "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y", "%m-%d-%Y", "%d-%m-%Y", "%Y/%m/%d",
    "%Y.%m.%d", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%b %Y", "%B %Y", "%b-%y",
)  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
POINTS_AND_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?")

OFFSET = r"\d:?\d\d(Z|[+-]\d\d:?\d\d)$"


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


def read_columns(source: Any) -> Columns:
    """Read a CSV or Parquet file, or take a pandas or polars frame.

    Args:
        source: a path (`.csv`, `.tsv`, `.txt`, each also `.gz`; `.parquet`), a pandas DataFrame or
            Series, a polars DataFrame. A pandas index of times becomes a column.

    Raises:
        DataError: the file is missing, empty or not a table.
    """
    columns = _read_file(Path(source)) if isinstance(source, str | Path) else _take_frame(source)
    if not len(columns.frame):
        raise DataError(
            columns.source, "rows of data", "a header and no row", "Check how the data was written."
        )
    return columns


def _read_file(path: Path) -> Columns:
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
            return _read_csv(path, "utf-8-sig")
        except UnicodeDecodeError:
            return _read_csv(path, "latin-1")
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(
            str(path), "a readable file", "no permission", "Change the file's permissions."
        ) from error
    except (OSError, ValueError, EOFError) as error:  # pandas' and pyarrow's parsers raise ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise DataError(path.name, "a CSV or Parquet table", reason, "Check the file.") from error


def _read_csv(path: Path, encoding: str) -> Columns:
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
        on_bad_lines="error", skipinitialspace=True,
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
                f"{np.count_nonzero(bad):,} such cells: correct them, or leave them empty.",
            )
    return values


def codes_of(
    columns: Columns, names: Sequence[str]
) -> tuple[list[NDArray[np.float64]], dict[str, NDArray[Any]]]:
    """Return each column of labels as numbers, NaN where a cell is empty, and the labels that they stand for."""
    import pandas as pd

    found: list[NDArray[np.float64]] = []
    categories: dict[str, NDArray[Any]] = {}
    for name in names:
        codes, labels = pd.factorize(columns.frame[name].astype("string").str.strip(), sort=True)
        found.append(np.where(codes < 0, np.nan, codes).astype(np.float64))
        categories[name] = np.append(np.asarray(labels, object), "")
    return found, categories


def labels_of(codes: NDArray[np.float64], categories: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what the columns of `codes` (rows, columns) stand for: "" for NaN."""
    return {
        name: labels[np.where(np.isnan(column), -1, column).astype(np.int64)]
        for column, (name, labels) in zip(codes.T, categories.items(), strict=True)
    }


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


def times(columns: Columns, name: str, notes: list[str]) -> NDArray[Any]:
    """Return column `name` as datetime64[us], or as int64 where it holds whole numbers.

    ISO dates are tried first, then month/day/year, then the other usual forms; one form must fit
    the whole column. Times with one offset keep their clock; with several they become UTC. What was
    assumed is added to `notes`.

    Raises:
        DataError: a cell is missing or no time; the message names the first such cell.
    """
    import pandas as pd

    column = columns.frame[name]
    missing = column.isna().to_numpy()
    if missing.any():
        row = int(columns.frame.index[int(np.argmax(missing))])
        raise DataError(columns.where(row, name), "a time", "an empty cell", "Fill it in, or remove the row.")
    if pd.api.types.is_datetime64_any_dtype(column):
        return _clock(column, name, notes)
    if pd.api.types.is_numeric_dtype(column):
        found = numbers(columns, name, notes)
        if (found == np.round(found)).all():
            return _whole_numbers(found.astype(np.int64), name, notes)
        row = int(columns.frame.index[int(np.argmax(found != np.round(found)))])
        raise DataError(
            columns.where(row, name), "a time or a whole number", "a fraction", "Name another column."
        )
    text = column.astype("string").str.strip()
    if text.str.fullmatch(r"[+-]?\d{1,18}").all():
        return _whole_numbers(text.astype("int64").to_numpy(), name, notes)
    return _parse(columns, name, text, notes)


def _parse(columns: Columns, name: str, text: "pd.Series[str]", notes: list[str]) -> NDArray[Any]:
    import pandas as pd

    if text.str.fullmatch(r"\d{4}-?Q[1-4]").all():
        return (
            pd.PeriodIndex(text.str.replace("-", ""), freq="Q")
            .to_timestamp()
            .to_numpy()
            .astype("datetime64[us]")
        )
    several = text.str.extract(OFFSET)[0].nunique() > 1  # offsets from UTC, as where clocks change
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
            return _clock(found, name, notes)
    assert best is not None
    row = int(np.argmax(best.isna().to_numpy()))
    raise DataError(
        columns.where(int(columns.frame.index[row]), name),
        "a date or time (2020-01-31, 01/31/2020, 2020-01-31 13:00)",
        repr(columns.frame[name].iloc[row]),
        "Correct it, or name another column with --time.",
    )


def _clock(found: "pd.Series[Any]", name: str, notes: list[str]) -> NDArray[Any]:
    if getattr(found.dt, "tz", None) is not None:
        local = found.dt.tz_localize(None)
        if local.is_unique or not found.is_unique:
            return local.to_numpy().astype("datetime64[us]")
        notes.append(f"Column {name!r}: the clock goes back, so the times were taken as UTC.")
        found = found.dt.tz_convert(None)
    return found.to_numpy().astype("datetime64[us]")


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
