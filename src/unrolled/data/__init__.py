"""From files and frames to windows: tables checked once, scaled on their training part, cut by index."""

from unrolled.data.ahead import future_frame, known_ahead
from unrolled.data.datasets import load_co2, load_ridership
from unrolled.data.frequency import Frequency, infer_frequency
from unrolled.data.scaling import Scaler
from unrolled.data.table import Table, read_table
from unrolled.data.windows import Batch, Samples, Windows, make_windows, timeseries_dataset_from_array

__all__ = [
    "Batch",
    "Frequency",
    "Samples",
    "Scaler",
    "Table",
    "Windows",
    "future_frame",
    "infer_frequency",
    "known_ahead",
    "load_co2",
    "load_ridership",
    "make_windows",
    "read_table",
    "timeseries_dataset_from_array",
]
