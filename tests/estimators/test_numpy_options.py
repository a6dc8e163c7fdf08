"""Options that are NumPy's numbers, as a grid of np.arange gives them, are as good as Python's."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

import unrolled as ur
from unrolled.errors import OptionError

FEW = ur.Training(epochs=2)
NUMBERS = np.random.default_rng(0)
SERIES = pd.DataFrame(
    {"day": pd.date_range("2020-01-01", periods=120), "n": NUMBERS.normal(size=120).cumsum()}
)
X = NUMBERS.normal(size=(30, 5, 2)).astype(np.float32)
KIND = (X[:, 0, 0] > 0).astype(int)

CASES = [
    (
        ur.Forecaster,
        {"horizon": 3, "input_steps": 9, "season": 7, "members": 2, "levels": (80,), "seed": 3, "units": 4},
        {"model": "gru"},
        (SERIES,),
        lambda made: made.predict(),
    ),
    (
        ur.SequenceClassifier,
        {"units": 4, "layers": 1, "hidden": 3, "max_steps": 4, "members": 2, "seed": 1, "dropout": 0.25},
        {},
        (X, KIND),
        lambda made: made.predict_proba(X),
    ),
    (
        ur.SequenceRegressor,
        {"units": 4, "filters": 4, "kernel_size": 2, "members": 2, "seed": 1},
        {"model": "conv"},
        (X, KIND * 1.5),
        lambda made: made.predict(X),
    ),
    (
        ur.SequenceGenerator,
        {"units": 4, "layers": 1, "steps": 8, "members": 2, "seed": 1},
        {},
        (["so it goes, and so it went "] * 4,),
        lambda made: np.array(list(made.generate("so", n=9, seed=2))),
    ),
    (
        ur.Transcriber,
        {"units": 4, "layers": 1, "members": 2, "seed": 1, "valid_size": 0.25},
        {},
        (["ab", "ba"] * 15, ["a", "b"] * 15),
        lambda made: np.array(made.predict(["ab", "bb"])),
    ),
]


def as_numpy(value):
    if isinstance(value, tuple):
        return np.array(value)
    return np.int64(value) if isinstance(value, int) else np.float64(value)


@pytest.mark.parametrize(
    ("kind", "numbers", "others", "data", "answer"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_the_same_model_and_file(kind, numbers, others, data, answer, tmp_path):
    plain = kind(**numbers, **others, training=FEW).fit(*data)
    made = kind(**{n: as_numpy(v) for n, v in numbers.items()}, **others, training=FEW).fit(*data)
    plain.save(tmp_path / "plain")
    made.save(tmp_path / "made")
    loaded = ur.load(tmp_path / "made")
    for found in (made, loaded):
        assert np.array_equal(np.asarray(answer(found)), np.asarray(answer(plain)))
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("plain", "made"))
    assert first == second


def test_a_grid():
    grid = {"units": np.array([3, 4]), "dropout": np.array([0.0, 0.5]), "seed": np.arange(1)}
    search = GridSearchCV(ur.SequenceClassifier(members=1, training=FEW), grid, cv=2, error_score="raise")
    assert search.fit(X, KIND).best_params_["units"] in (3, 4)


def test_a_plan_of_training():
    counts = {
        "epochs": 3,
        "batch_size": 8,
        "patience": 2,
        "members": 2,
        "seed": 5,
        "plateau_patience": 3,
        "bptt_steps": 4,
    }
    rates = {"learning_rate": 0.5, "clip_norm": 2.0, "momentum": 0.5, "weight_decay": 0.25}
    plain = ur.Training("pinball", **counts, **rates, levels=(0.25, 0.5), nesterov=True)
    made = {n: as_numpy(v) for n, v in (counts | rates).items()}
    made = ur.Training("pinball", **made, levels=np.array([0.25, 0.5]), nesterov=np.True_)
    assert repr(made) == repr(plain)
    assert made == plain


@pytest.mark.parametrize("wrong", [np.float64(3), np.True_, np.int64(0)])
def test_no_whole_number(wrong):
    with pytest.raises(OptionError, match="epochs of at least 1"):
        ur.Training(epochs=wrong)
    with pytest.raises(OptionError, match="units of at least 1"):
        ur.Forecaster(units=wrong).fit(SERIES)


def test_sizes_of_layers():
    size = np.int64(3)
    for layer in (
        ur.nn.LSTM(size, size),
        ur.nn.Dense(size, size),
        ur.nn.Conv1D(size, size, size),
        ur.nn.MaxPooling1D(size),
    ):
        assert "int64" not in repr(layer)
    assert type(ur.nn.GRU(size, size).units) is int
    with pytest.raises(OptionError, match="units to be a whole number ≥ 1, got np.True_"):
        ur.nn.Dense(3, np.True_)
