"""Our layers against ONNX: the published node cases, and random weights in ONNX's reference evaluator.

The published cases use constant weights and cannot see a swapped gate; the random ones do.
"""

import warnings
from itertools import product

import numpy as np
import pytest
import torch

import unrolled as ur

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import onnx
    from onnx.backend.test.case.node import collect_testcases
    from onnx.reference import ReferenceEvaluator

    PUBLISHED = [
        c for c in collect_testcases(None) if c.model.graph.node[0].op_type in ("RNN", "LSTM", "GRU")
    ]

LAYERS = {"RNN": ur.nn.SimpleRNN, "LSTM": ur.nn.LSTM, "GRU": ur.nn.GRU}
BATCH, TIME, FEATURES, UNITS = 2, 6, 3, 4


def run_node(node, inputs):
    """Our layer with the node's weights on the node's inputs: its outputs in ONNX's layout."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    given = dict(zip(node.input, (torch.as_tensor(np.array(i)) for i in inputs), strict=True))
    direction = attributes.get("direction", b"forward").decode()
    options = {"return_sequences": True, "return_state": True}
    if node.op_type == "GRU":
        options["reset_after"] = bool(attributes.get("linear_before_reset", 0))
    sizes = given["W"].shape[2], attributes["hidden_size"]
    if direction == "bidirectional":
        layer = ur.nn.Bidirectional(LAYERS[node.op_type](*sizes, **options), merge_mode=None)
    else:
        layer = LAYERS[node.op_type](*sizes, **options, go_backwards=direction == "reverse")
    layer.to(given["X"].dtype)
    assert ur.nn.from_onnx(layer, *(given.get(name) for name in "WRBP")) is layer

    x = given["X"] if attributes.get("layout") else given["X"].transpose(0, 1)
    states = [given[name] for name in ("initial_h", "initial_c") if name in given]
    states = [s.transpose(0, 1) if attributes.get("layout") else s for s in states]
    flat = tuple(s[d] for d in range(len(given["W"])) for s in states) or None
    results = layer(x, flat)
    directions = len(given["W"])
    ys, last = results[:directions], results[directions:]
    if direction == "reverse":
        ys = (ys[0].flip(1),)
    y = torch.stack(ys, 1).permute(2, 1, 0, 3)
    per = len(last) // directions
    finals = [torch.stack([last[d * per + k] for d in range(directions)]) for k in range(per)]
    if attributes.get("layout"):
        y, finals = y.permute(2, 0, 1, 3), [s.transpose(0, 1) for s in finals]
    every = [y, *finals]
    return [t.detach().numpy() for t, name in zip(every, node.output, strict=False) if name], layer


@pytest.mark.parametrize("case", PUBLISHED, ids=[c.name for c in PUBLISHED])
def test_published_cases(case):
    node = case.model.graph.node[0]
    for inputs, outputs in case.data_sets:
        if "P" in node.input:
            with pytest.raises(ur.errors.OptionError, match="expected an LSTM without peepholes"):
                run_node(node, inputs)
            continue
        got, _ = run_node(node, inputs)
        for a, b in zip(got, outputs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_all_eighteen_published_cases_are_there():
    assert len(PUBLISHED) == 18
    assert sum("P" in c.model.graph.node[0].input for c in PUBLISHED) == 1


RANDOM = [
    (op, direction, bias, state, linear)
    for (op, linear), direction, bias, state in product(
        [("RNN", 0), ("LSTM", 0), ("GRU", 0), ("GRU", 1)],
        ["forward", "reverse", "bidirectional"],
        [True, False],
        [True, False],
    )
]


@pytest.mark.parametrize(("op", "direction", "bias", "state", "linear"), RANDOM)
def test_random_weights(op, direction, bias, state, linear):
    random = np.random.default_rng(4)
    gates, directions = {"RNN": 1, "LSTM": 4, "GRU": 3}[op], 2 if direction == "bidirectional" else 1
    inputs = {
        "X": random.normal(size=(TIME, BATCH, FEATURES)),
        "W": random.normal(size=(directions, gates * UNITS, FEATURES)),
        "R": random.normal(size=(directions, gates * UNITS, UNITS)),
    }
    if bias:
        inputs["B"] = random.normal(size=(directions, 2 * gates * UNITS))
    if state:
        inputs["initial_h"] = random.normal(size=(directions, BATCH, UNITS))
        if op == "LSTM":
            inputs["initial_c"] = random.normal(size=(directions, BATCH, UNITS))
    node = make_node(op, inputs, direction, linear)
    expected = evaluate(node, inputs)
    got, layer = run_node(make_node(op, inputs, direction, linear, skip=False), list(inputs.values()))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    exported = dict(zip("WRB", ur.nn.to_onnx(layer), strict=True))
    node = make_node(op, inputs | exported, direction, linear)
    for a, b in zip(evaluate(node, inputs | exported), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def make_node(op, inputs, direction, linear, skip=True):
    """The node; with `skip`, inputs left out are named "" as ONNX wants, else they are left out."""
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c"]
    used = [n if n in inputs else "" for n in names] if skip else list(inputs)
    while used and not used[-1]:
        used.pop()
    attributes = {"linear_before_reset": linear} if op == "GRU" else {}
    outputs = ["Y", "Y_h", *(["Y_c"] if op == "LSTM" else [])]
    return onnx.helper.make_node(op, used, outputs, hidden_size=UNITS, direction=direction, **attributes)


def evaluate(node, inputs):
    info = onnx.helper.make_tensor_value_info
    double = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        [node],
        "recurrence",
        [info(name, double, inputs[name].shape) for name in node.input if name],
        [info(name, double, None) for name in node.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])
    return ReferenceEvaluator(model).run(None, {name: inputs[name] for name in node.input if name})
