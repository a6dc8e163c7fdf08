"""Data that says in which order it is read, and classes that weigh more than others."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import unrolled as ur
from unrolled.data import Sequences, SequenceSamples
from unrolled.errors import OptionError
from unrolled.training.members import Members
from unrolled.training.objectives import member_losses, slopes


def ragged(n=45):
    random = np.random.default_rng(0)
    parts = [random.normal(size=(k, 2)) for k in random.integers(2, 40, n)]
    return SequenceSamples(Sequences.of(parts), np.array([int(part.sum() > 0) for part in parts]))


def make():
    return nn.Sequential(ur.nn.GRU(2, 4), ur.nn.Dense(4, 2))


@pytest.mark.parametrize("number", [0, 2])
def test_members_on_ragged_data_are_those_of_a_lone_run(number):
    def training(**kwargs):
        return ur.Training("cross-entropy", epochs=3, batch_size=8, **kwargs)

    three = ur.fit(make, ragged(), training=training(members=3), progress=False)
    alone = ur.fit(make, ragged(), training=training(seed=number), progress=False)
    for name, weight in alone.members[0].state_dict().items():
        assert torch.equal(weight, three.members[number].state_dict()[name])


def test_a_run_on_ragged_data_goes_on_where_it_was(tmp_path):
    def training(epochs):
        return ur.Training("cross-entropy", epochs=epochs, batch_size=8)

    whole = ur.fit(make, ragged(), training=training(4), progress=False)
    ur.fit(make, ragged(), training=training(2), progress=False, folder=tmp_path)
    rest = ur.fit(make, ragged(), training=training(4), progress=False, folder=tmp_path, resume=True)
    for name, weight in whole.members[0].state_dict().items():
        assert torch.equal(weight, rest.members[0].state_dict()[name])


def test_an_order_of_its_own_is_followed():
    seen = []

    class InOrder(SequenceSamples):
        def orders(self, shuffles, epoch, batch_size):
            return np.tile(np.arange(len(self)), (len(shuffles), 1))

        def batch(self, index):
            seen.extend(np.asarray(index).ravel().tolist())
            return super().batch(index)

    data = ragged()
    ur.fit(
        make,
        InOrder(data.sequences, data.target),
        training=ur.Training("cross-entropy", epochs=1),
        progress=False,
    )
    assert seen == list(range(45))


def test_weights_of_classes_are_those_of_torch():
    torch.manual_seed(0)
    output, target = torch.randn(2, 6, 3, requires_grad=True), torch.randint(3, (2, 6))
    weights = (0.5, 2.0, 1.0)
    found = member_losses("cross-entropy", output, target, None, weights)
    for number in range(2):
        each = F.cross_entropy(output[number], target[number], torch.tensor(weights), reduction="none")
        torch.testing.assert_close(found[number], each.mean())
    (slope,) = torch.autograd.grad(found.sum(), output)
    torch.testing.assert_close(slopes("cross-entropy", output.detach(), target, None, weights), slope)


def test_training_with_weights_follows_them():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(200, 3, 2)), np.repeat([0, 1], [180, 20])

    def told(weights):
        training = ur.Training("cross-entropy", learning_rate=0.02, epochs=5, class_weights=weights)
        network = ur.fit(make, (x, y), training=training, progress=False).members[0]
        return (network(torch.tensor(x, dtype=torch.float32)).argmax(-1) == 1).float().mean().item()

    assert told(()) < 0.1
    assert told((1.0, 81.0)) > 0.8


def test_weights_leave_the_way_that_does_not_know_them():
    assert Members([make()], [0], ur.Training("cross-entropy")).layers is not None
    assert Members([make()], [0], ur.Training("cross-entropy", class_weights=(1.0, 2.0))).layers is None


@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, -1.0), (float("inf"), 1.0)])
def test_weights_that_cannot_be(weights):
    with pytest.raises(OptionError, match="class_weights above 0"):
        ur.Training("cross-entropy", class_weights=weights)
    with pytest.raises(OptionError, match="for the loss 'cross-entropy', and none for others"):
        ur.Training("mse", class_weights=(1.0, 2.0))


def test_as_many_weights_as_classes():
    with pytest.raises(ur.errors.ShapeError, match="classes=3"):
        member_losses(
            "cross-entropy", torch.zeros(1, 4, 2), torch.zeros(1, 4, dtype=int), None, (1.0, 1.0, 1.0)
        )
