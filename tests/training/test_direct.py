"""The way without autograd computes what autograd does, for every layer, loss and mask that it takes."""

import numpy as np
import pytest
import torch
from torch import nn

import unrolled as ur
from unrolled.data.windows import Batch
from unrolled.errors import ShapeError
from unrolled.kernels import native
from unrolled.training.direct import direct_layers
from unrolled.training.members import Members

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="built without kernels")


def deep():
    return nn.Sequential(
        ur.nn.SimpleRNN(3, 20, return_sequences=True, activation="relu"),
        ur.nn.SimpleRNN(20, 17, recurrent_dropout=0.3),
        ur.nn.Dense(17, 5, activation="tanh"),
        nn.Linear(5, 2),
    )


def each_step():
    return nn.Sequential(
        ur.nn.LSTM(3, 40, layer_norm=True, return_sequences=True),
        nn.Identity(),
        ur.nn.GRU(40, 8, reset_after=False, return_sequences=True),
        ur.nn.Dense(8, 2, activation="sigmoid"),
    )


def backwards():
    return nn.Sequential(ur.nn.GRU(3, 33, go_backwards=True, use_bias=False), nn.Linear(33, 2, bias=False))


def dense_alone():
    return nn.Sequential(
        ur.nn.Dense(3, 50, activation="relu"), ur.nn.LSTM(50, 3, activation="linear"), ur.nn.Dense(3, 2)
    )


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("loss", ["huber", "mse", "mae", "pinball", "cross-entropy", "binary-cross-entropy"])
@pytest.mark.parametrize("make", [deep, each_step, backwards, dense_alone])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_norms_and_gradients_are_those_of_autograd(make, loss, counted, dtype):
    torch.manual_seed(0)
    members, batch, time = 3, 7, 9
    training = ur.Training(loss=loss, members=members, levels=(0.2, 0.7) if loss == "pinball" else ())
    networks = [make().to(dtype) for _ in range(members)]
    shape = (members, batch, time) if make is each_step else (members, batch)
    if loss == "cross-entropy":
        target = torch.randint(0, 2, shape)
    else:
        target = torch.rand(shape if loss == "pinball" else (*shape, 2), dtype=dtype) * 3 - 1
    mask = torch.rand(target.shape) < 0.6 if counted else None
    given = Batch(torch.randn(members, batch, time, 3, dtype=dtype), target=target, target_mask=mask)
    direct, autograd = (Members(networks, range(members), training) for _ in range(2))
    assert direct.layers is not None
    autograd.layers = None
    for _ in range(2):  # the second time in memory that has been used
        mine, theirs = direct.step(given), autograd.step(given)
        bound = 1e-5 if dtype is torch.float32 else 1e-12
        for found, expected in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(found, expected, rtol=bound)
        scale = autograd.gradient.abs().max()
        assert (direct.gradient - autograd.gradient).abs().max() < bound * scale


def test_who_takes_the_direct_way():
    direct = [
        nn.Sequential(ur.nn.LSTM(2, 3), nn.Linear(3, 1)),
        ur.nn.GRU(2, 3),
        nn.Sequential(ur.nn.Dense(2, 2)),
    ]
    others = [
        nn.Sequential(ur.nn.LSTM(2, 3, dropout=0.1)), nn.Sequential(ur.nn.LSTM(2, 3, stateful=True)), nn.Linear(2, 3),
        nn.Sequential(ur.nn.Bidirectional(ur.nn.LSTM(2, 3))), nn.Sequential(nn.LSTM(2, 3)),
    ]  # fmt: skip
    hooked = ur.nn.GRU(2, 3)
    hooked.register_forward_hook(lambda *_: None)
    for network in direct:
        assert Members([network], [0], ur.Training()).layers is not None
    for network in [*others, hooked]:
        assert direct_layers(network, torch.float32) is None
    frozen = nn.Sequential(ur.nn.GRU(2, 3), ur.nn.Dense(3, 1))
    frozen[0].weight_ih.requires_grad_(False)
    assert Members([frozen], [0], ur.Training()).layers is None


def test_a_class_without_an_output_is_refused():
    x, y = np.zeros((4, 5, 2), np.float32), np.array([0, 1, 2, 3])
    network = nn.Sequential(ur.nn.GRU(2, 3), ur.nn.Dense(3, 3))
    with pytest.raises(ShapeError, match="classes from 0 to one less than the network's outputs"):
        ur.fit(network, (x, y), training=ur.Training("cross-entropy"), progress=False)


def test_outputs_of_another_shape_are_refused():
    network = nn.Sequential(ur.nn.GRU(2, 3), ur.nn.Dense(3, 3))
    with pytest.raises(ShapeError, match=r"outputs of the targets' shape \(batch, …\) = \(4, 1\)"):
        ur.fit(
            network,
            (np.zeros((4, 5, 2)), np.zeros((4, 1))),
            training=ur.Training("mse"),
            progress=False,
        )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_without_the_kernels_comes_to_the_same(optimizer, monkeypatch, without_native):
    x = np.random.default_rng(0).normal(size=(40, 6, 2)).astype(np.float32)
    training = ur.Training("mse", optimizer, 0.01, epochs=3, members=2, batch_size=16)
    make = lambda: nn.Sequential(ur.nn.GRU(2, 4), ur.nn.Dense(4, 2))  # noqa: E731
    monkeypatch.setattr(native, "AVAILABLE", False)
    slow = ur.fit(make, (x, x[:, 0]), training=training, progress=False)
    monkeypatch.undo()
    fast = ur.fit(make, (x, x[:, 0]), training=training, progress=False)
    for mine, theirs in zip(fast.members, slow.members, strict=True):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
