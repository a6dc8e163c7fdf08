"""Rides of which each day can be told, in the place of Chicago's."""

import numpy as np
import pandas as pd
import pytest

from unrolled.recipes import chicago


def table(days="2019-06-30"):
    """Rides from 2016 on, of which each part can be told; the row of one day stands in it twice."""
    index = pd.date_range("2015-12-31", days)
    number = np.arange(len(index))
    frame = pd.DataFrame({
        "service_date": index.strftime("%m/%d/%Y"), "day_type": np.array(["W", "A", "U"])[number % 3],
        "bus": 1000 * number, "rail_boardings": 2000 * number, "total_rides": 3000 * number,
    })  # fmt: skip
    return pd.concat([frame, frame[40:41]]).sample(frac=1, random_state=0)


@pytest.fixture
def rides(monkeypatch):
    for cached in (chicago.rides, chicago.part):
        cached.cache_clear()
    monkeypatch.setattr(chicago, "load_ridership", table)
    yield
    for cached in (chicago.rides, chicago.part):
        cached.cache_clear()
