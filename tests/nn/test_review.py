"""What a review found wrong in the layers, and must stay right."""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import unrolled as ur
from unrolled.errors import InputError, OptionError, ShapeError
from unrolled.kernels import native

X = torch.randn(2, 5, 3)


def tensors(result):
    return [result] if isinstance(result, torch.Tensor) else [t for part in result for t in tensors(part)]


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drop_in_output_is_laid_out_like_torchs(make, dtype):
    theirs = make(3, 5, bidirectional=True, dtype=dtype)
    ours, x = ur.accelerate(copy.deepcopy(theirs)), torch.randn(4, 6, 3, dtype=dtype)
    assert ours(x)[0].is_contiguous() == theirs(x)[0].is_contiguous()


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"use_bias": False}])
def test_to_torch_looks_at_the_backward_layer_too(options):
    back = ur.nn.LSTM(3, 4, return_sequences=True, go_backwards=True, **options)
    both = ur.nn.Bidirectional(ur.nn.LSTM(3, 4, return_sequences=True), backward_layer=back)
    try:
        theirs = ur.nn.to_torch(both)
    except OptionError:
        return
    torch.testing.assert_close(theirs(X)[0], both(X))


@pytest.mark.parametrize("options", [{"return_sequences": True}, {"return_state": True}])
def test_bidirectional_refuses_layers_that_return_differently(options):
    with pytest.raises(OptionError):
        ur.nn.Bidirectional(
            ur.nn.GRU(3, 4, **options), "sum", backward_layer=ur.nn.GRU(3, 4, go_backwards=True)
        )


def test_no_silent_nan_from_rnn_of_a_cell():
    cell = ur.nn.SimpleRNNCell(3, 4, activation="linear")
    with torch.no_grad():
        cell.weight_hh *= 100
    with pytest.raises(InputError):
        ur.nn.RNN(cell)(torch.randn(2, 200, 3))


def test_no_silent_nan_beside_nan_padding():
    layer = ur.nn.SimpleRNN(3, 4, activation="linear")
    with torch.no_grad():
        layer.weight_hh *= 100
    x, mask = torch.randn(2, 200, 3), torch.ones(2, 200, dtype=torch.bool)
    mask[0, 0], x[0, 0] = False, torch.nan
    with pytest.raises(InputError):
        layer(x, None, mask)


def test_a_nan_given_in_the_state_is_passed_on():
    assert ur.nn.GRU(3, 4)(X, torch.full((2, 4), torch.nan)).isnan().all()


def test_a_fresh_backward_layer_has_no_state():
    layer = ur.nn.LSTM(3, 4, stateful=True)
    layer(X)
    assert ur.nn.Bidirectional(layer).backward_layer.state is None


@pytest.mark.parametrize("make", [ur.nn.SimpleRNN, ur.nn.LSTM, ur.nn.GRU])
@pytest.mark.parametrize("grad", [True, False])
def test_fake_tensors_give_fake_results(make, grad):
    with FakeTensorMode(), torch.set_grad_enabled(grad):
        layer = make(3, 4, return_sequences=True, return_state=True)
        results = [*layer(torch.randn(2, 5, 3)), *tensors(ur.accelerate(nn.LSTM(3, 4))(torch.randn(5, 2, 3)))]
        cell = ur.nn.RNN(ur.nn.GRUCell(3, 4))(torch.randn(2, 5, 3))
    assert all(isinstance(t, FakeTensor) for t in [*results, cell])
    assert results[0].shape == (2, 5, 4)
    assert results[0].requires_grad == grad


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")
@pytest.mark.parametrize("device", ["fake", "meta"])
def test_weights_without_memory_are_refused(device):
    with FakeTensorMode() if device == "fake" else torch.device("meta"):
        layer = ur.nn.LSTM(3, 4)
    layer.implementation = "native"
    with pytest.raises(ShapeError, match="a tensor without memory|not on the CPU"):
        layer(X)
