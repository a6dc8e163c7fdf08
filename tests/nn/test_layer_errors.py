"""What the layers refuse: a four-part error before any computation, and never a silent NaN."""

import contextlib

import numpy as np
import pytest
import torch

import unrolled as ur
from unrolled.errors import InputError, OptionError, ShapeError, UnrolledError

FUSED = [ur.nn.SimpleRNN, ur.nn.LSTM, ur.nn.GRU]
STATES = {"SimpleRNN": 1, "LSTM": 2, "GRU": 1}


@pytest.fixture(params=FUSED, ids=lambda layer: layer.__name__)
def layer(request, monkeypatch):
    """A layer whose kernels must not be reached."""
    made = request.param(3, 4)
    computed = []
    monkeypatch.setattr("unrolled.kernels.dispatch.run", lambda *_: computed.append(1))
    yield made
    assert not computed


def refused(call, error, where, *parts):
    with pytest.raises(error) as caught:
        call()
    e = caught.value
    assert isinstance(e, UnrolledError)
    assert e.where == where
    assert e.expected
    assert e.got
    assert e.cure.endswith(".")
    for part in parts:
        assert part in str(e), str(e)


@pytest.mark.parametrize(
    ("x", "parts"),
    [
        (torch.zeros(5, 3), ["x of shape (batch, time, features=3), got (5, 3)", "Add the missing axis"]),
        (torch.zeros(1, 2, 5, 3), ["x of shape (batch, time, features=3), got (1, 2, 5, 3)", "Reshape"]),
        (torch.zeros(32, 24, 5), ["features=3), got (32, 24, 5). Pass input_size=5, or select 3 columns."]),
        (torch.zeros(2, 0, 3), ["at least one time step, got (2, 0, 3)"]),
        (
            torch.zeros(2, 5, 3, dtype=torch.long),
            ["x of floating-point numbers, got torch.int64", "x.float()"],
        ),
        (torch.zeros(2, 5, 3, dtype=torch.bool), ["got torch.bool"]),
        (torch.zeros(2, 5, 3, dtype=torch.complex64), ["got torch.complex64"]),
        (torch.zeros(2, 5, 3, dtype=torch.float64), ["weights' type torch.float32, got torch.float64"]),
        (np.zeros((2, 5, 3)), ["x to be a torch.Tensor", "got a ndarray. Pass torch.as_tensor(x)."]),
    ],
    ids=str,
)
def test_inputs(layer, x, parts):
    refused(lambda: layer(x), ShapeError, type(layer).__name__, *parts)
    both = ur.nn.Bidirectional(layer)
    refused(lambda: both(x), ShapeError, type(layer).__name__, *parts)


def test_states(layer):
    name, count = type(layer).__name__, STATES[type(layer).__name__]
    x, good, bad = torch.zeros(2, 5, 3), torch.zeros(2, 4), torch.zeros(2, 5)
    call = lambda state: lambda: layer(x, state)  # noqa: E731
    refused(call((bad,) * count), ShapeError, name, "state h of shape (2, 4), got (2, 5)")
    refused(call((torch.zeros(1, 2, 4),) * count), ShapeError, name, "state h of shape (2, 4), got (1, 2, 4)")
    refused(
        call((good,) * (count + 1)), ShapeError, name, f"initial_state of {count} tensor", f"got {count + 1}"
    )
    refused(call(()), ShapeError, name, "got 0")
    refused(call(np.zeros((2, 4))), ShapeError, name, "got a ndarray")
    if count == 2:
        refused(call((good, bad)), ShapeError, name, "state c of shape (2, 4), got (2, 5)")
        refused(call(good), ShapeError, name, "initial_state of 2 tensors (h, c), got 1. Pass (h, c).")


def test_masks(layer):
    name, x = type(layer).__name__, torch.zeros(2, 5, 3)
    call = lambda mask: lambda: layer(x, None, mask)  # noqa: E731
    refused(call(torch.ones(2, 5)), ShapeError, name, "mask to be a tensor of torch.bool, got torch.float32")
    refused(call(torch.ones(2, 5, dtype=torch.int64)), ShapeError, name, "got torch.int64")
    refused(call(np.ones((2, 5), bool)), ShapeError, name, "got a ndarray")
    shape = "mask of shape (batch, time) = (2, 5), got "
    refused(call(torch.ones(5, 2, dtype=torch.bool)), ShapeError, name, shape + "(5, 2)")
    refused(call(torch.ones(2, 5, 1, dtype=torch.bool)), ShapeError, name, shape + "(2, 5, 1)")


@pytest.mark.parametrize("make", FUSED, ids=lambda layer: layer.__name__)
def test_options(make):
    name = make.__name__
    for rate in (1.0, -0.1, 2, float("nan"), "0.2", None, True):
        refused(lambda r=rate: make(3, 4, dropout=r), OptionError, name, f"dropout in [0, 1), got {rate!r}")
        refused(
            lambda r=rate: make(3, 4, recurrent_dropout=r), OptionError, name, "recurrent_dropout in [0, 1)"
        )
    refused(
        lambda: make(3, 4, activation="softsign"), OptionError, name, "activation to be one of", "'softsign'"
    )
    refused(lambda: make(3, 4, activation=torch.tanh), OptionError, name, "activation to be one of")
    for size in (0, -1, 2.0, True):
        refused(
            lambda s=size: make(s, 4), OptionError, name, f"input_size to be a whole number ≥ 1, got {size!r}"
        )
        refused(lambda s=size: make(3, s), OptionError, name, f"units to be a whole number ≥ 1, got {size!r}")


@pytest.mark.parametrize("make", [ur.nn.SimpleRNNCell, ur.nn.LSTMCell, ur.nn.GRUCell])
def test_cells(make):
    cell, name = make(3, 4), make.__name__
    refused(
        lambda: cell(torch.zeros(2, 5, 3)), ShapeError, name, "x of shape (batch, features=3), got (2, 5, 3)"
    )
    refused(lambda: cell(torch.zeros(2, 4)), ShapeError, name, "got (2, 4)")
    refused(lambda: cell(torch.zeros(2, 3), torch.zeros(2, 3)), ShapeError, name, "state")
    refused(lambda: make(3, 4, activation="x"), OptionError, name, "activation")
    refused(lambda: make(3, 0), OptionError, name, "units")


def test_rnn_of_a_cell():
    cure = "Give the cell state_size = 32"
    refused(
        lambda: ur.nn.RNN(torch.nn.Linear(3, 4)), OptionError, "RNN", "cell.state_size to be an int", cure
    )
    layer = ur.nn.RNN(ur.nn.LSTMCell(3, 4))
    refused(lambda: layer(torch.zeros(5, 3)), ShapeError, "RNN", "(batch, time, features)")
    refused(lambda: layer(torch.zeros(2, 0, 3)), ShapeError, "RNN", "at least one time step")
    refused(lambda: layer(torch.zeros(2, 5, 3), torch.zeros(2, 4)), ShapeError, "RNN", "initial_state of 2")
    refused(lambda: layer(torch.zeros(2, 5, 3), None, torch.ones(2, 5)), ShapeError, "RNN", "torch.bool")
    refused(lambda: layer(torch.zeros(2, 5, 9)), ShapeError, "LSTMCell", "features=3")


def test_bidirectional():
    where = "Bidirectional"
    make = ur.nn.Bidirectional
    refused(lambda: make(ur.nn.LSTM(3, 4), "max"), OptionError, where, "merge_mode to be one of", "'max'")
    refused(lambda: make(torch.nn.LSTM(3, 4)), OptionError, where, "a recurrent layer that goes forwards")
    refused(lambda: make(ur.nn.LSTM(3, 4, go_backwards=True)), OptionError, where, "that goes forwards")
    backward = ur.nn.LSTM(3, 4)
    refused(lambda: make(backward, backward_layer=backward), OptionError, where, "that goes backwards")
    layer = make(ur.nn.LSTM(3, 4))
    three = [torch.zeros(2, 4)] * 3
    refused(
        lambda: layer(torch.zeros(2, 5, 3), three),
        ShapeError,
        where,
        "4 tensors, the states of both layers, got 3",
    )
    refused(lambda: layer(torch.zeros(2, 5, 3), three[:2]), ShapeError, where, "of 4 tensors", "got 2")
    cell = make(ur.nn.RNN(ur.nn.GRUCell(3, 4)))
    refused(lambda: cell(torch.zeros(2, 5, 3), three), ShapeError, where, "of 2 tensors", "got 3")

    class Bare(torch.nn.Module):
        state_size = 4

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(4, 4))

    refused(lambda: make(ur.nn.RNN(Bare())), OptionError, where, "Bare to have reset_parameters()")


def test_convolution_pooling_and_the_rest():
    conv = ur.nn.Conv1D(3, 4, 5, dilation_rate=2)
    refused(lambda: conv(torch.zeros(2, 8, 3)), ShapeError, "Conv1D", "at least 9 time steps, got (2, 8, 3)")
    refused(lambda: conv(torch.zeros(2, 9, 4)), ShapeError, "Conv1D", "Pass in_channels=4")
    refused(lambda: conv(torch.zeros(9, 3)), ShapeError, "Conv1D", "(batch, time, features=3)")
    refused(lambda: ur.nn.Conv1D(3, 4, 0), OptionError, "Conv1D", "kernel_size")
    refused(
        lambda: ur.nn.Conv1D(3, 4, 2, padding="full"), OptionError, "Conv1D", "padding to be one of", "'full'"
    )
    refused(lambda: ur.nn.Conv1D(3, 4, 2, activation="gelu"), OptionError, "Conv1D", "activation")
    for pool in (ur.nn.MaxPooling1D, ur.nn.AveragePooling1D):
        name = pool.__name__
        refused(lambda p=pool: p(3)(torch.zeros(2, 2, 3)), ShapeError, name, "at least 3 time steps")
        refused(lambda p=pool: p(0), OptionError, name, "pool_size")
        refused(lambda p=pool: p(2, padding="causal"), OptionError, name, "padding")
        refused(lambda p=pool: p(2)(torch.zeros(2, 2)), ShapeError, name, "(batch, time, features)")
    for pool in (ur.nn.GlobalMaxPooling1D(), ur.nn.GlobalAveragePooling1D()):
        name = type(pool).__name__
        refused(lambda p=pool: p(torch.zeros(2, 3)), ShapeError, name, "(batch, time, features)")
        refused(lambda p=pool: p(torch.zeros(2, 0, 3)), ShapeError, name, "at least one time step")
        refused(lambda p=pool: p(torch.zeros(2, 5, 3), torch.ones(2, 5)), ShapeError, name, "torch.bool")
    refused(lambda: ur.nn.Dense(3, 4)(torch.zeros(2, 5)), ShapeError, "Dense", "Pass in_features=5")
    refused(lambda: ur.nn.Dense(3, 4)(torch.zeros(2, 3).long()), ShapeError, "Dense", "floating-point")
    refused(lambda: ur.nn.Dense(3, 4, activation="softmax"), OptionError, "Dense", "activation")
    refused(lambda: ur.nn.RepeatVector(0), OptionError, "RepeatVector", "n to be a whole number")
    refused(lambda: ur.nn.RepeatVector(2)(torch.zeros(3)), ShapeError, "RepeatVector", "(batch, features)")
    where = "lengths_to_mask"
    refused(lambda: ur.nn.lengths_to_mask(torch.tensor([1.0])), ShapeError, where, "a tensor of integers")
    refused(lambda: ur.nn.lengths_to_mask([1, 2]), ShapeError, where, "got a list")
    refused(
        lambda: ur.nn.lengths_to_mask(torch.tensor([1, 5]), 3), ShapeError, where, "from 0 to 3, got 1 to 5"
    )
    refused(lambda: ur.nn.lengths_to_mask(torch.tensor([-1])), ShapeError, where, "got -1 to -1")


def test_weights():
    lstm = ur.nn.LSTM(3, 4)
    kernel, recurrent, bias = ur.nn.to_keras(lstm)
    refused(lambda: ur.nn.from_keras(lstm, [kernel, recurrent]), ShapeError, "from_keras", "3 arrays, got 2")
    wrong = [kernel[:2], recurrent, bias]
    refused(
        lambda: ur.nn.from_keras(lstm, wrong),
        ShapeError,
        "weights of LSTM",
        "weight_ih of shape (16, 3), got (16, 2)",
    )
    assert torch.equal(torch.as_tensor(kernel.T), lstm.weight_ih)
    normed = ur.nn.LSTM(3, 4, layer_norm=True)
    for name, call in {
        "from_keras": lambda: ur.nn.from_keras(normed, [kernel, recurrent, bias]),
        "to_keras": lambda: ur.nn.to_keras(normed),
        "to_torch": lambda: ur.nn.to_torch(normed),
        "to_onnx": lambda: ur.nn.to_onnx(normed),
    }.items():
        refused(call, OptionError, name, "layer_norm=False, got True")
    to_torch = {
        "reset_after=True": ur.nn.GRU(3, 4, reset_after=False),
        "go_backwards=False": ur.nn.GRU(3, 4, go_backwards=True),
        "activation tanh": ur.nn.LSTM(3, 4, activation="relu"),
        "activation tanh or relu": ur.nn.SimpleRNN(3, 4, activation="linear"),
        "SimpleRNN, LSTM or GRU": ur.nn.LSTMCell(3, 4),
        "a recurrent layer of unrolled.nn": ur.nn.Dense(3, 4),
        'merge_mode="concat"': ur.nn.Bidirectional(ur.nn.LSTM(3, 4), "sum"),
    }
    for expected, bad in to_torch.items():
        refused(lambda b=bad: ur.nn.to_torch(b), OptionError, "to_torch", f"expected {expected}, got")
    projected = torch.nn.LSTM(3, 4, proj_size=2)
    refused(lambda: ur.nn.from_torch(projected), OptionError, "from_torch", "without proj_size")
    W, R, B = ur.nn.to_onnx(lstm)
    plain = ur.nn.LSTM(3, 4, use_bias=False)
    refused(lambda: ur.nn.from_onnx(plain, W, R, B), OptionError, "from_onnx", "a layer with biases")
    refused(
        lambda: ur.nn.from_onnx(ur.nn.Bidirectional(lstm), W, R, B), ShapeError, "from_onnx", "W of shape (2,"
    )
    refused(lambda: ur.nn.from_onnx(lstm, W, R, B[:, :-1]), ShapeError, "from_onnx", "B of shape (32,)")


def test_inspection():
    refused(lambda: ur.nn.draw_cell("peephole"), OptionError, "draw_cell", "'peephole'")
    model = torch.nn.Linear(3, 4)
    call = lambda: ur.nn.gradient_flow(model, torch.zeros(2, 3), torch.zeros(2, 4))  # noqa: E731
    refused(call, OptionError, "gradient_flow", "a recurrent layer of unrolled.nn")


@pytest.mark.parametrize("implementation", [None, "reference"])
@pytest.mark.parametrize("make", FUSED, ids=lambda layer: layer.__name__)
def test_an_overflow_is_no_silent_nan(make, implementation):
    torch.manual_seed(0)
    layer = make(64, 4, return_sequences=True)
    layer.implementation = implementation
    huge = torch.full((2, 5, 64), 3e38)
    huge[..., ::2] *= -1
    with contextlib.suppress(InputError):
        assert not layer(huge).isnan().any()
    exploding = ur.nn.SimpleRNN(3, 4, activation="linear", return_sequences=True)
    with torch.no_grad():
        exploding.weight_hh *= 100
    refused(
        lambda: exploding(torch.randn(2, 200, 3)), InputError, "SimpleRNN", "stay finite", "NaN from a finite"
    )


@pytest.mark.parametrize("make", FUSED, ids=lambda layer: layer.__name__)
@pytest.mark.parametrize("norm", [False, True])
def test_extreme_but_finite_inputs_give_finite_results_and_gradients(make, norm):
    torch.manual_seed(0)
    for scale in (1e-30, 1e4, 1e18):
        for values in (torch.randn(2, 5, 3) * scale, torch.full((2, 5, 3), scale)):
            layer = make(3, 4, layer_norm=norm)
            x = values.requires_grad_()
            y = layer(x)
            gradients = torch.autograd.grad(y.sum(), [x, *layer.parameters()])
            assert all(t.isfinite().all() for t in (y, *gradients))
    single = make(1, 1, layer_norm=True)
    assert single(torch.ones(2, 5, 1)).isfinite().all()


def test_a_nan_that_was_given_is_passed_on():
    layer = ur.nn.GRU(3, 4)
    x = torch.zeros(2, 5, 3)
    x[0, 1, 2] = torch.nan
    y = layer(x)
    assert y[0].isnan().all()
    assert y[1].isfinite().all()


def test_the_cure_fits_the_mistake(layer):
    name = type(layer).__name__
    refused(lambda: layer(torch.zeros(2, 3)), ShapeError, name, "give that one return_sequences=True")
    bad = (torch.zeros(3, 4),) * STATES[name]
    refused(
        lambda: layer(torch.zeros(2, 5, 3), bad), ShapeError, name, "the batch's size and the layer's units."
    )
    layer.stateful = True
    with pytest.raises(ShapeError) as caught:
        layer(torch.zeros(2, 5, 3), bad)
    assert "reset_state" not in str(caught.value)
    layer.state = bad
    refused(
        lambda: layer(torch.zeros(2, 5, 3)), ShapeError, name, "Call reset_state() before a batch of another"
    )


def test_explain_and_accelerate_say_what_they_take():
    x, one = (
        torch.zeros(2, 5, 3),
        "Pass one recurrent layer, as explain(model[0], x); RNN(cell) runs the cell's own loop",
    )
    for bad in (torch.nn.Sequential(ur.nn.GRU(3, 4)), ur.nn.RNN(ur.nn.GRUCell(3, 4)), torch.nn.GRU(3, 4)):
        refused(lambda b=bad: ur.explain(b, x), OptionError, "explain", f"got a {type(bad).__name__}", one)
    refused(lambda: ur.accelerate("x"), OptionError, "accelerate", "a torch.nn.Module, got a str")


@pytest.mark.parametrize("make", FUSED, ids=lambda layer: layer.__name__)
def test_help_says_what_can_be_set(make):
    assert "implementation: None (the first that covers the call" in make.__doc__
    assert make.__init__.__doc__ != torch.nn.Module.__init__.__doc__
