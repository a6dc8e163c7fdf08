"""Truncated backpropagation through time: pieces of a sequence, with the state carried."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from networks import bits, environment
from torch import nn

import unrolled as ur
from unrolled.errors import OptionError
from unrolled.training.members import Members

X = np.random.default_rng(0).normal(size=(6, 20, 2)).astype(np.float32)
EACH = np.cumsum(X[..., :1], 1).astype(np.float32)  # a target at each step
LAST = EACH[:, -1]


def each_step():
    return nn.Sequential(ur.nn.LSTM(2, 4, return_sequences=True), ur.nn.Dense(4, 1))


def to_one():
    return nn.Sequential(ur.nn.GRU(2, 4), ur.nn.Dense(4, 1))


def training(**options):
    return ur.Training("mse", "sgd", 0.05, **({"epochs": 2, "batch_size": 6, "clip_norm": None} | options))


@pytest.mark.parametrize(("network", "target"), [(each_step, EACH), (to_one, LAST)])
def test_pieces_as_long_as_the_sequence_are_the_whole(network, target):
    whole = ur.fit(network, (X, target), training=training(), progress=False)
    for steps in (20, 99):
        run = ur.fit(network, (X, target), training=training(bptt_steps=steps), progress=False)
        assert [row["loss"] for row in run.history] == pytest.approx([row["loss"] for row in whole.history])
        for mine, theirs in zip(run.members[0].parameters(), whole.members[0].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("network", "target"), [(each_step, EACH), (to_one, LAST)])
@pytest.mark.parametrize("steps", [5, 8])
def test_pieces_as_a_loop_by_hand(network, target, steps):
    run = ur.fit(network, (X, target), training=training(bptt_steps=steps), progress=False)
    torch.manual_seed(0)
    layer, head = network()
    layer.return_state = True
    optimizer = torch.optim.SGD([*layer.parameters(), *head.parameters()], 0.05, momentum=0.9)
    order, losses = np.random.default_rng(0), []
    for _ in range(2):
        index = order.permutation(6)
        x, y = torch.from_numpy(X[index]), torch.from_numpy(target[index])
        state, total = None, 0.0
        for start in range(0, 20, steps):
            out, *state = layer(x[:, start : start + steps], state)
            state = [s.detach() for s in state]
            if target is LAST and start + steps < 20:
                continue
            aim = y if target is LAST else y[:, start : start + steps]
            loss = (head(out) - aim).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * (1 if target is LAST else aim.shape[1] / 20)
        losses.append(total)
    assert [row["loss"] for row in run.history] == pytest.approx(losses, rel=1e-5)
    for ours, theirs in zip(
        run.members[0].parameters(), [*layer.parameters(), *head.parameters()], strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_members_with_pieces_have_the_bits_of_their_lone_runs_and_others_go_on(monkeypatch):
    options = {"bptt_steps": 6, "batch_size": 4}
    sound = ur.fit(each_step, (X, EACH), training=training(members=3, **options), progress=False)
    for m in range(3):
        alone = ur.fit(each_step, (X, EACH), training=training(seed=m, **options), progress=False)
        assert bits(alone.members[0]) == bits(sound.members[m])
    original, calls = Members.step, []

    def step(self, batch):
        losses, norms = original(self, batch)
        calls.append(len(losses))
        if len(calls) == 2:  # the second of four pieces
            losses[1] = torch.nan
        return losses, norms

    monkeypatch.setattr(Members, "step", step)
    run = ur.fit(each_step, (X, EACH), training=training(members=3, **options), progress=False)
    assert list(run.failures) == [1] and calls[:4] == [3, 3, 2, 2]
    assert [bits(m) for m in run.members] == [bits(sound.members[0]), bits(sound.members[2])]


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = to_one()

    def forward(self, past):
        return self.layers(past)


def test_a_users_module_with_our_layers(caplog):
    run = ur.fit(Wrapped, (X, LAST), training=training(members=2, bptt_steps=5), progress=False)
    for m in range(2):
        alone = ur.fit(to_one, (X, LAST), training=training(seed=m, bptt_steps=5), progress=False)
        for ours, theirs in zip(run.members[m].parameters(), alone.members[0].parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_cut():
    cases = {
        "got none. Use unrolled.nn": lambda: nn.Sequential(nn.Flatten(), nn.Linear(40, 1)),
        "got one that reads backwards. Leave bptt_steps out.": lambda: nn.Sequential(
            ur.nn.GRU(2, 3, go_backwards=True), ur.nn.Dense(3, 1)
        ),
        "got one that reads": lambda: nn.Sequential(ur.nn.Bidirectional(ur.nn.GRU(2, 3)), ur.nn.Dense(6, 1)),
    }
    for message, network in cases.items():
        for members in (1, 2):
            with pytest.raises(OptionError, match=f"that go forwards, for bptt_steps, {message}"):
                ur.fit(network, (X, LAST), training=training(bptt_steps=5, members=members), progress=False)


@pytest.mark.slow
def test_memory_grows_with_the_piece_not_with_the_sequence():
    script = (
        "import resource, sys, numpy as np, torch, unrolled as ur\nfrom torch import nn\n"
        "length, steps = int(sys.argv[1]), int(sys.argv[2])\n"
        "x = np.zeros((8, length, 1), np.float32)\n"
        "t = ur.Training('mse', epochs=1, batch_size=8, bptt_steps=steps or None)\n"
        "net = lambda: nn.Sequential(ur.nn.LSTM(1, 16, return_sequences=True), ur.nn.Dense(16, 1))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "ur.fit(net, (x, x), training=t, progress=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )

    def peak(length, steps):
        done = subprocess.run([sys.executable, "-c", script, str(length), str(steps)], env=environment(), text=True,
                              capture_output=True, check=True)  # fmt: skip
        return int(done.stdout)

    short, long, whole = peak(10_000, 100), peak(100_000, 100), peak(100_000, 0)
    assert long < short + 30_000, (short, long, whole)  # KiB: the numbers themselves, and copies of them
    assert whole > 5 * long, (short, long, whole)
