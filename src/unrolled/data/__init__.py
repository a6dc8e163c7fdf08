"""From files and frames to windows: tables checked once, scaled on their training part, cut by index."""

from unrolled.data.ahead import future_frame, known_ahead
from unrolled.data.datasets import (
    load_co2,
    load_digits_rows,
    load_imdb,
    load_jsb_chorales,
    load_mnist,
    load_ridership,
    load_sentence_polarity,
)
from unrolled.data.frequency import Frequency, infer_frequency
from unrolled.data.scaling import Scaler
from unrolled.data.sequences import Sequences, SequenceSamples
from unrolled.data.symbols import Symbols
from unrolled.data.table import Table, read_table
from unrolled.data.vectors import WordVectors, read_vectors
from unrolled.data.windows import Batch, Samples, Windows, make_windows, timeseries_dataset_from_array

__all__ = [
    "Batch",
    "Frequency",
    "Samples",
    "Scaler",
    "SequenceSamples",
    "Sequences",
    "Symbols",
    "Table",
    "Windows",
    "WordVectors",
    "future_frame",
    "infer_frequency",
    "known_ahead",
    "load_co2",
    "load_digits_rows",
    "load_imdb",
    "load_jsb_chorales",
    "load_mnist",
    "load_ridership",
    "load_sentence_polarity",
    "make_windows",
    "read_table",
    "read_vectors",
    "timeseries_dataset_from_array",
]
