"""Our layers against Keras 3, from the files that `tests/golden/make_keras.py` wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled as ur

GOLDEN = Path(__file__).parents[1] / "golden"
LAYERS = {"simple_rnn": ur.nn.SimpleRNN, "lstm": ur.nn.LSTM, "gru": ur.nn.GRU}
FEATURES, UNITS = 5, 4


def cases(name):
    with np.load(GOLDEN / f"keras_{name}.npz") as file:
        data = dict(file)
    description = json.loads(str(data.pop("description")))
    assert description["versions"]["keras"].startswith("3.")
    for i, case in enumerate(description["cases"]):
        arrays = {key.removeprefix(f"{i}/"): a for key, a in data.items() if key.startswith(f"{i}/")}
        yield pytest.param(case, arrays, id=f"{name} {i}: {case['label']}")


def numbered(arrays, letter):
    return [arrays[f"{letter}{i}"] for i in range(99) if f"{letter}{i}" in arrays]


def compare(layer, case, arrays):
    x = torch.as_tensor(arrays["x"])
    states = [torch.as_tensor(s) for s in numbered(arrays, "state")]
    mask = torch.as_tensor(arrays["mask"]) if "mask" in arrays else None
    for _ in range(case["calls"]):
        result = layer(x, tuple(states) or None, mask)
    results = result if isinstance(result, tuple) else (result,)
    for got, expected in zip(results, numbered(arrays, "y"), strict=True):
        np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("case", "arrays"), [c for kind in LAYERS for c in cases(kind)])
def test_recurrent_layers(case, arrays):
    layer = LAYERS[case["kind"]](FEATURES, UNITS, **case["options"]).double()
    weights = numbered(arrays, "w")
    assert ur.nn.from_keras(layer, weights) is layer
    assert sum(p.numel() for p in layer.parameters()) == sum(w.size for w in weights)
    for got, expected in zip(ur.nn.to_keras(layer), weights, strict=True):
        np.testing.assert_array_equal(got, expected)
    compare(layer, case, arrays)
    layer.implementation = "reference"
    layer.reset_state()
    compare(layer, case, arrays)


@pytest.mark.parametrize(("case", "arrays"), list(cases("bidirectional")))
def test_bidirectional(case, arrays):
    layer = ur.nn.Bidirectional(
        LAYERS[case["kind"]](FEATURES, UNITS, **case["options"]), case["merge_mode"]
    ).double()
    weights = numbered(arrays, "w")
    ur.nn.from_keras(layer, weights)
    for got, expected in zip(ur.nn.to_keras(layer), weights, strict=True):
        np.testing.assert_array_equal(got, expected)
    compare(layer, case, arrays)
    layer.implementation = "reference"
    compare(layer, case, arrays)


@pytest.mark.parametrize(("case", "arrays"), list(cases("others")))
def test_the_other_layers(case, arrays):
    weights = numbered(arrays, "w")
    if case["kind"] == "LayerNorm":
        layer = ur.nn.SimpleRNN(*case["arguments"], layer_norm=True, return_sequences=True)
        plain = ur.nn.from_keras(ur.nn.SimpleRNN(*case["arguments"]).double(), weights[:3])
        named = {"norm_weight": torch.as_tensor(weights[3]), "norm_bias": torch.as_tensor(weights[4])}
        layer.double().load_state_dict({**plain.state_dict(), **named})
    else:
        layer = getattr(ur.nn, case["kind"])(*case["arguments"], **case["options"]).double()
        if weights:
            ur.nn.from_keras(layer, weights)
            for got, expected in zip(ur.nn.to_keras(layer), weights, strict=True):
                np.testing.assert_array_equal(got, expected)
    mask = () if "mask" not in arrays else (torch.as_tensor(arrays["mask"]),)
    y = layer(torch.as_tensor(arrays["x"]), *mask)
    np.testing.assert_allclose(y.detach().numpy(), arrays["y0"], rtol=1e-9, atol=1e-11)
