"""Options that are NumPy's numbers, as a grid of np.arange gives them, are as good as Python's."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
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
        {
            "horizon": 3,
            "input_steps": 9,
            "season": 7,
            "members": 2,
            "levels": [80, 95],
            "seed": 3,
            "units": 4,
            "depth": 1,
        },
        {"model": "gru"},
        (SERIES,),
        lambda made: made.predict(),
    ),
    (
        ur.Forecaster,
        {"horizon": 2, "input_steps": 16, "members": 2, "levels": [80, 95], "units": 4},
        {"model": "wavenet", "intervals": "quantile", "calendar": False},
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
        {
            "units": 4,
            "layers": 1,
            "steps": 8,
            "members": 2,
            "seed": 1,
            "embedding_size": 3,
            "dropout": 0.25,
            "filters": [4],
        },
        {},
        (["so it goes, and so it went "] * 4,),
        lambda made: np.array(
            list(made.generate("so", n=np.int8(9), seed=2, top_k=np.uint8(5), temperature=np.float16(0.5)))
        ),
    ),
    (
        ur.Transcriber,
        {
            "units": 4,
            "layers": 1,
            "members": 2,
            "seed": 1,
            "valid_size": 0.25,
            "embedding_size": 3,
            "dropout": 0.25,
        },
        {},
        (["ab", "ba"] * 15, ["a", "b"] * 15),
        lambda made: np.array(made.predict(["ab", "bb"], beam=np.int8(2), max_length=np.uint8(4))),
    ),
]


def as_numpy(value, whole=np.int64, broken=np.float64):
    if isinstance(value, tuple | list):
        return np.array(value, whole)
    return whole(value) if isinstance(value, int) else broken(value)


@pytest.mark.parametrize(("whole", "broken"), [(np.int64, np.float64), (np.uint8, np.float32)])
@pytest.mark.parametrize(
    ("kind", "numbers", "others", "data", "answer"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_the_same_model_and_file(kind, numbers, others, data, answer, whole, broken, tmp_path):
    plain = kind(**numbers, **others, training=FEW).fit(*data)
    given = {name: as_numpy(value, whole, broken) for name, value in numbers.items()}
    made = clone(kind(**given, **others, training=FEW)).fit(*data)
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
    for name, least in {
        "units": 1,
        "depth": 1,
        "members": 1,
        "horizon": 1,
        "season": 1,
        "input_steps": 2,
    }.items():
        with pytest.raises(OptionError, match=f"{name} of at least {least}"):
            ur.Forecaster(**{name: wrong}).fit(SERIES)
    with pytest.raises(OptionError, match="seed of at least 0"):
        ur.Forecaster(seed=wrong - 1 if wrong == 0 else wrong).fit(SERIES)


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
    with pytest.raises(OptionError, match=r"units to be a whole number ≥ 1, got (np\.)?True"):
        ur.nn.Dense(3, np.True_)


def test_rates_and_flags_of_layers():
    for layer in (
        ur.nn.LSTM(3, 2, dropout=np.float32(0.25), recurrent_dropout=np.int64(0)),
        ur.nn.GRU(3, 2, dropout=np.float32(0.25)),
    ):
        assert (layer.dropout, type(layer.dropout)) == (0.25, float)
    assert type(ur.nn.Dropout(np.float16(0.5)).rate) is float
    plain, made = (
        ur.nn.GRU(
            3, 2, return_sequences=true, return_state=true, go_backwards=true, reset_after=true, stateful=true
        )
        for true in (True, np.True_)
    )
    made.load_state_dict(plain.state_dict())
    x = torch.ones(1, 2, 3)
    assert all(map(torch.equal, made(x), plain(x)))
    assert repr(made) == repr(plain)


def test_a_cell_of_ones_own():
    class Leaky(torch.nn.Module):
        state_size = np.int64(1)

        def forward(self, x_t, state):
            return state, state + x_t.sum(-1, keepdim=True)

    assert ur.nn.RNN(Leaky())(torch.ones(1, 3, 2)).item() == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"learning_rate": np.array(0.01), "epochs": np.array(3), "seed": np.array([1])},
            "seed of at least 0",
        ),
        ({"learning_rate": torch.tensor(0.01)}, "a learning_rate above 0"),
        ({"learning_rate": None}, "a learning_rate above 0"),
        ({"momentum": np.array([0.5])}, "a momentum"),
        ({"weight_decay": "1"}, "a weight_decay"),
        ({"nesterov": 1}, "nesterov True or False"),
        ({"loss": "pinball", "levels": 0.5}, "levels in a list"),
        ({"loss": "pinball", "levels": np.array([[0.5]])}, "levels in "),
        ({"loss": "cross-entropy", "class_weights": np.array([[1, 2]])}, "class_weights above 0"),
        ({"metrics": "mae"}, r"metrics in a list, got 'mae'. Pass \['mae'\]"),
    ],
)
def test_what_is_no_number_is_refused_at_once(given, said):
    with pytest.raises(OptionError, match=said):
        ur.Training(**given)


@pytest.mark.parametrize("levels", [80, np.array([[80, 95]]), (True,), "80"])
def test_levels_that_are_none(levels):
    with pytest.raises(OptionError, match="levels between 1 and 100 percent"):
        ur.Forecaster(levels=levels).fit(SERIES)


def test_ends_is_a_truth_value():
    with pytest.raises(OptionError, match="ends True, False or None"):
        ur.SequenceGenerator(ends=np.int64(1)).fit(["so it goes"] * 3)
