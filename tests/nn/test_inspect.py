"""Summaries, drawings and gradient flow."""

import re
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import unrolled as ur
from unrolled.nn.inspect import parameter_formula

LAYERS = [
    ur.nn.SimpleRNN(8, 4),
    ur.nn.SimpleRNN(8, 4, use_bias=False),
    ur.nn.LSTM(8, 4),
    ur.nn.LSTM(8, 4, layer_norm=True),
    ur.nn.GRU(8, 4),
    ur.nn.GRU(8, 4, reset_after=False),
    ur.nn.GRU(8, 4, use_bias=False, layer_norm=True),
    ur.nn.Bidirectional(ur.nn.GRU(8, 4)),
    ur.nn.RNN(ur.nn.LSTMCell(8, 4)),
    ur.nn.Dense(8, 4),
    ur.nn.Conv1D(8, 4, 3),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_the_formula_gives_the_number_of_parameters(layer):
    formula = parameter_formula(layer)
    assert re.fullmatch(r"[\d·+() ]+", formula)
    assert eval(formula.replace("·", "*")) == sum(p.numel() for p in layer.parameters())


def test_summary_of_a_model():
    model = nn.Sequential(
        nn.Embedding(50, 8),
        ur.nn.Bidirectional(ur.nn.LSTM(8, 4, return_sequences=True, return_state=False)),
        nn.Sequential(ur.nn.GRU(8, 3, stateful=True, dropout=0.5), nn.Dropout(0.1)),
        ur.nn.Dense(3, 1),
    )
    model[0].weight.requires_grad_(False)
    before = torch.get_rng_state()
    table = ur.nn.summary(model, (10,), dtype=torch.long)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert model[2][0].state is None
    assert [(s.name, s.layer, s.output_shape, s.parameters) for s in table.layers] == [
        ("0", "Embedding", "(batch, 10, 8)", 400),
        ("1", "Bidirectional", "(batch, 10, 8)", 416),
        ("2.0", "GRU", "(batch, 3)", 117),
        ("2.1", "Dropout", "(batch, 3)", 0),
        ("3", "Dense", "(batch, 1)", 4),
    ]
    assert (table.parameters, table.trainable) == (937, 537)
    assert "937 parameters, 537 of them trainable" in str(table)
    layer = ur.nn.LSTM(8, 4, return_sequences=True, return_state=True)
    assert ur.nn.summary(layer, (10, 8)).layers[0].output_shape == "(batch, 10, 4), (batch, 4), (batch, 4)"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("simple_rnn", ["h(t-1)", "x(t)", "h(t)", "y(t) = h(t)"]),
        ("lstm", ["forget gate f", "input gate i", "candidate g", "output gate o", "c(t-1)", "c(t)",
                  "h(t-1)", "h(t)", "x(t)", "long-term state c", "short-term state h"]),
        ("gru", ["reset gate r", "update gate z", "candidate n", "h(t-1)", "h(t)", "x(t)"]),
    ],
)  # fmt: skip
def test_drawings_name_gates_and_states(kind, names):
    root = ElementTree.fromstring(ur.nn.draw_cell(kind))
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert set(names) <= set(texts)
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    for e in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 < float(e.get("x")) < width
        assert 0 < float(e.get("y")) < height


@pytest.mark.parametrize("make", [ur.nn.SimpleRNN, ur.nn.LSTM, ur.nn.GRU])
@pytest.mark.parametrize("options", [{}, {"go_backwards": True}, {"return_sequences": True}], ids=str)
def test_gradient_flow_equals_differences(make, options):
    """∂loss/∂h(t), by moving h(t) and running the rest of the sequence on from there."""
    torch.manual_seed(0)
    layer = make(3, 2, **options).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    y = torch.randn(*((2, 5, 2) if layer.return_sequences else (2, 2)), dtype=torch.float64)
    flow = ur.nn.gradient_flow(layer, x, y)
    states = ["h", "c"] if make is ur.nn.LSTM else ["h"]
    assert list(flow) == [f"{make.__name__}.{s}" for s in states]

    inner = make(3, 2, return_sequences=True, return_state=True).double()
    inner.load_state_dict(layer.state_dict())
    xs = x.flip(1) if layer.go_backwards else x

    def loss_when_moved(t, k, move):
        head, *state = inner(xs[:, : t + 1])
        if k == 1:
            # c moves h(t) = o·tanh(c) with it.
            state[0] = state[0] / state[1].tanh() * (state[1] + move).tanh()
        state[k] = state[k] + move
        head = torch.cat((head[:, :-1], state[0][:, None]), 1)
        outputs = [head] if t == 4 else [head, inner(xs[:, t + 1 :], tuple(state))[0]]
        outputs = torch.cat(outputs, 1)
        return nn.functional.mse_loss(outputs if layer.return_sequences else outputs[:, -1], y)

    for k, name in enumerate(states):
        for t in range(5):
            move = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
            expected = torch.autograd.grad(loss_when_moved(t, k, move), move, allow_unused=True)[0]
            at = 4 - t if layer.go_backwards else t
            got = flow[f"{make.__name__}.{name}"][at]
            torch.testing.assert_close(got, torch.zeros_like(got) if expected is None else expected.norm())


def test_gradient_flow_of_a_model_leaves_it_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(
        ur.nn.Bidirectional(ur.nn.GRU(3, 4, return_sequences=True, dropout=0.5)),
        ur.nn.RNN(ur.nn.LSTMCell(8, 4), return_sequences=True),
        ur.nn.LSTM(4, 2),
    )
    x, y = torch.randn(2, 6, 3), torch.randn(2, 2)
    flow = ur.nn.gradient_flow(model, x, y)
    assert list(flow) == ["0.forward_layer.h", "0.backward_layer.h", "1.h", "1.c", "2.h", "2.c"]
    assert all(norms.shape == (6,) and (norms[:-1] > 0).all() for norms in flow.values())
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert "forward" not in vars(model[2])


def test_vanishing_and_exploding_can_be_seen():
    norms = {}
    for scale in (0.9, 1.1):
        layer = ur.nn.SimpleRNN(1, 8, activation="linear")
        with torch.no_grad():
            layer.weight_hh *= scale
        norms[scale] = ur.nn.gradient_flow(layer, torch.randn(4, 200, 1), torch.randn(4, 8))["SimpleRNN.h"]
        expected = torch.tensor(scale, dtype=torch.float64) ** torch.arange(199, -1, -1)
        torch.testing.assert_close(norms[scale].double() / norms[scale][-1], expected, rtol=1e-3, atol=0)
    axes = ur.nn.plot_gradient_flow({str(k): v for k, v in norms.items()}).axes[0]
    assert axes.get_yscale() == "log"
    assert len(axes.lines) == 2
