"""The C++ kernels, beyond the contract that holds every implementation: threads, forks, edges, what they refuse."""

import os
import threading

import pytest
import torch

import unrolled as ur
from unrolled.errors import KernelError
from unrolled.kernels import native

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built: `make kernels`")

LAYERS = [ur.nn.SimpleRNN, ur.nn.LSTM, ur.nn.GRU]


def layer_and_input(make, batch=70, dtype=torch.float32):
    torch.manual_seed(0)
    layer = make(3, 20, return_sequences=True).to(dtype)
    layer.implementation = "native"
    return layer, torch.randn(batch, 11, 3, dtype=dtype)


def results(layer, x):
    layer.zero_grad()
    x = x.clone().requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())]


@pytest.fixture(autouse=True)
def _threads():
    before = native.threads()
    yield
    native.set_num_threads(before)


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("batch", [1, 7, 70])
def test_same_bits_for_any_number_of_threads(make, batch):
    layer, x = layer_and_input(make, batch)
    found = []
    for threads in (1, 2, 7):
        native.set_num_threads(threads)
        found.append(results(layer, x))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_several_python_threads_at_once():
    native.set_num_threads(2)
    layer, x = layer_and_input(ur.nn.LSTM)
    with torch.no_grad():
        expected = layer(x)
        found = []
        threads = [threading.Thread(target=lambda: found.append(layer(x))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8
    assert all(torch.equal(y, expected) for y in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_computes_too():
    native.set_num_threads(2)
    layer, x = layer_and_input(ur.nn.GRU)
    with torch.no_grad():
        expected = layer(x)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(layer(x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_retained_graphs_give_the_same_gradient_twice():
    layer, x = layer_and_input(ur.nn.LSTM)
    loss = layer(x).sum()
    once = torch.autograd.grad(loss, layer.weight_hh, retain_graph=True)[0]
    assert torch.equal(once, torch.autograd.grad(loss, layer.weight_hh)[0])


def test_a_second_derivative_is_refused_with_its_cure():
    layer, x = layer_and_input(ur.nn.GRU)
    x.requires_grad_()
    with pytest.raises(
        KernelError, match="layer.implementation = 'reference', which can be differentiated twice"
    ):
        torch.autograd.grad(layer(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("make", LAYERS)
def test_large_inputs_saturate_and_nan_is_not_hidden(make):
    layer, x = layer_and_input(make)
    reference = make(3, 20, return_sequences=True).double()
    reference.load_state_dict(layer.state_dict())
    reference.implementation = "reference"
    with torch.no_grad():  # sums of 1e4 are rounded to 1e-3
        torch.testing.assert_close(layer(1e4 * x).double(), reference(1e4 * x.double()), atol=5e-3, rtol=0)
        x[3, 4, 1] = torch.nan
        assert layer(x)[3, 4:].isnan().any()
        assert layer(x)[4:].isfinite().all()


def test_an_unknown_instruction_set_is_refused():
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", "import unrolled.kernels.native"], env=os.environ | {"UNROLLED_ISA": "mmx"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "UNROLLED_ISA: expected one of" in done.stderr


def test_set_num_threads_refuses_none():
    with pytest.raises(KernelError, match="at least 1 thread, got 0"):
        native.set_num_threads(0)
