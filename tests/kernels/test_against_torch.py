"""Our layers against torch.nn's, live: outputs, states and every gradient, on each implementation."""

import pytest
import torch
from torch import nn

import unrolled as ur

BATCH, TIME, FEATURES, UNITS = 3, 7, 5, 4
GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


def pair(kind, activation="tanh", bias=True, dtype=torch.float64, **options):
    """Our layer and torch's module, with the same random weights."""
    torch.manual_seed(7)
    theirs = {
        "simple_rnn": lambda: nn.RNN(FEATURES, UNITS, nonlinearity=activation, bias=bias, batch_first=True),
        "lstm": lambda: nn.LSTM(FEATURES, UNITS, bias=bias, batch_first=True),
        "gru": lambda: nn.GRU(FEATURES, UNITS, bias=bias, batch_first=True),
    }[kind]().to(dtype)
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.7)
    layer = {"simple_rnn": ur.nn.SimpleRNN, "lstm": ur.nn.LSTM, "gru": ur.nn.GRU}[kind]
    ours = layer(
        FEATURES,
        UNITS,
        activation=activation,
        use_bias=bias,
        return_sequences=True,
        return_state=True,
        **options,
    )
    ours = ours.to(dtype)
    with torch.no_grad():
        ours.weight_ih.copy_(theirs.weight_ih_l0)
        ours.weight_hh.copy_(theirs.weight_hh_l0)
        if bias and kind == "gru":
            ours.bias.copy_(theirs.bias_ih_l0)
            ours.bias_hh.copy_(theirs.bias_hh_l0)
        elif bias:
            ours.bias.copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)
    return ours, theirs


def close(got, expected):
    """Largest and root mean square error, relative to the size of what was expected."""
    tolerance = TOLERANCE[expected.dtype]
    scale = max(1.0, expected.abs().max().item())
    error = (got - expected).abs()
    assert error.max().item() <= 5 * tolerance * scale
    assert error.square().mean().sqrt().item() <= tolerance * scale


CASES = [
    ("simple_rnn", "tanh", True),
    ("simple_rnn", "tanh", False),
    ("simple_rnn", "relu", True),
    ("lstm", "tanh", True),
    ("lstm", "tanh", False),
    ("gru", "tanh", True),
    ("gru", "tanh", False),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("implementation", ["torch", "reference"])
@pytest.mark.parametrize(("kind", "activation", "bias"), CASES)
def test_outputs_states_and_all_gradients(kind, activation, bias, implementation, with_state, dtype):
    ours, theirs = pair(kind, activation, bias, dtype)
    ours.implementation = implementation
    n_states = 2 if kind == "lstm" else 1
    x1, x2 = (
        torch.randn(BATCH, TIME, FEATURES, dtype=dtype, generator=torch.manual_seed(1)).requires_grad_()
        for _ in range(2)
    )
    state1, state2 = (
        [
            torch.randn(BATCH, UNITS, dtype=dtype, generator=torch.manual_seed(2 + i)).requires_grad_()
            for i in range(n_states)
        ]
        for _ in range(2)
    )
    y1, *last1 = ours(x1, tuple(state1) if with_state else None)
    hx = [s[None] for s in state2] if with_state else None
    y2, last2 = theirs(x2, hx if hx is None else tuple(hx) if kind == "lstm" else hx[0])
    last2 = [s[0] for s in (last2 if kind == "lstm" else [last2])]
    for got, expected in zip([y1, *last1], [y2, *last2], strict=True):
        close(got, expected)

    weight = torch.randn(BATCH, TIME, UNITS, dtype=dtype, generator=torch.manual_seed(9))
    for y, last in ((y1, last1), (y2, last2)):
        ((y * weight).sum() + sum((s * weight[:, i]).sum() for i, s in enumerate(last))).backward()
    close(x1.grad, x2.grad)
    close(ours.weight_ih.grad, theirs.weight_ih_l0.grad)
    close(ours.weight_hh.grad, theirs.weight_hh_l0.grad)
    if bias:
        close(ours.bias.grad, theirs.bias_ih_l0.grad)
        if kind == "gru":
            close(ours.bias_hh.grad, theirs.bias_hh_l0.grad)
    if with_state:
        for s1, s2 in zip(state1, state2, strict=True):
            close(s1.grad, s2.grad)


@pytest.mark.parametrize("kind", GATES)
def test_last_step_only_and_backwards(kind):
    ours, theirs = pair(kind, go_backwards=True)
    x = torch.randn(BATCH, TIME, FEATURES, dtype=torch.float64)
    expected = theirs(x.flip(1))[0]
    for implementation in ("torch", "reference"):
        ours.implementation = implementation
        ours.return_sequences = True
        close(ours(x)[0], expected)
        ours.return_sequences = False
        close(ours(x)[0], expected[:, -1])
