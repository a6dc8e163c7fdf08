"""A leading axis of members equals the members one by one, called directly and under `torch.vmap`."""

import pytest
import torch
from torch.func import functional_call, stack_module_state

import unrolled as ur

MEMBERS, BATCH, TIME, FEATURES, UNITS = 2, 3, 6, 5, 4
LAYERS = {
    "simple_rnn": lambda: ur.nn.SimpleRNN(FEATURES, UNITS, return_sequences=True),
    "lstm": lambda: ur.nn.LSTM(FEATURES, UNITS, return_sequences=True, layer_norm=True),
    "gru": lambda: ur.nn.GRU(FEATURES, UNITS),
    "gru, reset before": lambda: ur.nn.GRU(FEATURES, UNITS, reset_after=False, go_backwards=True),
    "dense": lambda: ur.nn.Dense(FEATURES, UNITS, activation="relu"),
    "stack": lambda: torch.nn.Sequential(
        ur.nn.GRU(FEATURES, UNITS), ur.nn.RepeatVector(2), ur.nn.LSTM(UNITS, 3), ur.nn.Dense(3, 2)
    ),
}


@pytest.fixture(params=LAYERS)
def members(request):
    torch.manual_seed(3)
    layers = [LAYERS[request.param]().double() for _ in range(MEMBERS)]
    for p in (
        p for layer in layers for p in layer.parameters()
    ):  # biases and norms too: their start is the same
        torch.nn.init.normal_(p, std=0.7)
    return layers


def test_stacked_weights_equal_the_members_one_by_one(members):
    x = torch.randn(MEMBERS, BATCH, TIME, FEATURES, dtype=torch.float64)
    alone = [m(x_m) for m, x_m in zip(members, x, strict=True)]
    weight = torch.randn_like(alone[0])
    for y in alone:
        (y * weight).sum().backward()

    stacked, _ = stack_module_state(members)
    y = functional_call(members[0], stacked, (x,))
    torch.testing.assert_close(y, torch.stack(alone))
    gradients = torch.autograd.grad((y * weight).sum(), list(stacked.values()))
    for name, gradient in zip(stacked, gradients, strict=True):
        expected = torch.stack([m.get_parameter(name).grad for m in members])
        torch.testing.assert_close(gradient, expected)


def test_vmap_equals_the_members_one_by_one(members):
    x = torch.randn(MEMBERS, BATCH, TIME, FEATURES, dtype=torch.float64)
    stacked, _ = stack_module_state(members)
    y = torch.vmap(lambda p, x_m: functional_call(members[0], p, (x_m,)))(stacked, x)
    torch.testing.assert_close(y, torch.stack([m(x_m) for m, x_m in zip(members, x, strict=True)]))


def test_a_mask_and_states_have_the_axis_of_members_too():
    layers = [ur.nn.LSTM(FEATURES, UNITS, return_state=True) for _ in range(MEMBERS)]
    x = torch.randn(MEMBERS, BATCH, TIME, FEATURES)
    mask = torch.rand(MEMBERS, BATCH, TIME) < 0.6
    h, c = torch.randn(2, MEMBERS, BATCH, UNITS)
    stacked, _ = stack_module_state(layers)
    together = functional_call(layers[0], stacked, (x, (h, c), mask))
    for i, layer in enumerate(layers):
        for got, expected in zip(together, layer(x[i], (h[i], c[i]), mask[i]), strict=True):
            torch.testing.assert_close(got[i], expected)


@pytest.mark.parametrize("randomness", ["different", "same"])
def test_vmap_over_weights_with_a_shared_input_draws_dropout(randomness):
    layers = [ur.nn.GRU(FEATURES, UNITS, dropout=0.4, recurrent_dropout=0.3) for _ in range(MEMBERS)]
    for layer in layers[1:]:
        layer.load_state_dict(layers[0].state_dict())
    stacked, _ = stack_module_state(layers)
    x = torch.randn(BATCH, TIME, FEATURES)
    call = lambda p, x: functional_call(layers[0], p, (x,))  # noqa: E731
    y = torch.vmap(call, (0, None), randomness=randomness)(stacked, x)
    assert torch.equal(y[0], y[1]) == (randomness == "same")


def test_dropout_draws_what_torch_draws():
    layer, x = ur.nn.GRU(FEATURES, UNITS, dropout=0.4), torch.randn(BATCH, TIME, FEATURES)
    torch.manual_seed(1)
    kept = torch.nn.functional.dropout(torch.ones(BATCH, 1, FEATURES), 0.4)
    torch.manual_seed(1)
    y = layer(x)
    assert torch.equal(y, layer.eval()(x * kept))
