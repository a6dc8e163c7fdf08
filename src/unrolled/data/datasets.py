"""Public data sets: from the folder of `$UNROLLED_DATA`, else the user's cache, else downloaded and checked."""

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.errors import MissingDataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_co2", "load_ridership"]

GERON = "https://github.com/ageron/data/raw/2ea73147454d2ff8c8a933913be4606f05b352ca"
SHA256 = {"ridership.tgz": "0ff99f3dddd886ddea161b68f25f90b56b0468f5c91949b75376fb494516c794"}


def load_ridership() -> "pd.DataFrame":
    """Return the daily boardings of Chicago's buses and trains, 2001-01-01 to 2021-11-30, as published.

    Returns:
        7,701 rows: service_date ("01/31/2001"), day_type (W, A, U), bus, rail_boardings,
        total_rides (persons a day). Two months stand in it twice.

    Raises:
        MissingDataError: the file is not on this machine, and cannot be downloaded.

    Source: Chicago Transit Authority, through github.com/ageron/data (117 kB).
    """
    import pandas as pd

    with tarfile.open(_fetch("ridership.tgz", GERON)) as archive:
        member = next(name for name in archive.getnames() if name.endswith(".csv") and "/." not in name)
        table = archive.extractfile(member)
        assert table is not None
        return pd.read_csv(table)


def load_co2() -> "pd.DataFrame":
    """Return the weekly carbon dioxide at Mauna Loa, 1958-03-29 to 2001-12-29, with its real gaps.

    Returns:
        2,284 rows: time (Saturdays), co2 (parts per million by volume; 59 are missing).

    Source: carried by statsmodels (Keeling and Whorf, 2004); needs no network.
    """
    from statsmodels.datasets import co2

    return co2.load().data.rename_axis("time").reset_index()


def _fetch(name: str, origin: str) -> Path:
    """Return where the file lies: `$UNROLLED_DATA`, the cache, or the cache after a download."""
    import pooch

    own = os.environ.get("UNROLLED_DATA")
    if own and (Path(own) / name).is_file():
        return Path(own) / name
    cache = pooch.os_cache("unrolled")
    try:
        return Path(
            pooch.retrieve(f"{origin}/{name}", known_hash=f"sha256:{SHA256[name]}", fname=name, path=cache)
        )
    except Exception as error:  # no network, a proxy's page, a full disk: pooch lets all of them through
        raise MissingDataError(
            f"data set {name}",
            f"the file in $UNROLLED_DATA or {cache}, or a network",
            f"{type(error).__name__} while downloading from {origin.split('/')[2]}",
            f"Download {origin}/{name} elsewhere, and set UNROLLED_DATA to the folder that holds it.",
        ) from error
