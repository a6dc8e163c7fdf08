"""Members that train together: each is what it would be alone."""

import logging

import numpy as np
import pytest
import torch
from networks import DATA, VALID, Branching, Dropping, Own, bits, environment, plain, rich, rows
from torch import nn

import unrolled as ur
from unrolled.errors import TrainingError
from unrolled.training import course
from unrolled.training.members import Members

OPTIMIZERS = ["sgd", "adam", "adamw", "nadam", "rmsprop"]


def training(optimizer="adam", **options):
    return ur.Training("mse", optimizer, 1e-2, **({"epochs": 3, "batch_size": 16} | options))


def fit(network, training, **options):
    return ur.fit(network, DATA, VALID, training, progress=False, **options)


def twins(network, members=4, **options):
    """A run of members together, and their lone runs."""
    together = fit(network, training(members=members, **options))
    return together, [fit(network, training(seed=m, **options)) for m in range(members)]


def shared_linear():
    line = nn.Linear(5, 5)
    return nn.Sequential(ur.nn.SimpleRNN(6, 5), line, nn.Tanh(), line, nn.Linear(5, 2, bias=False))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip_norm", [None, 0.1], ids=["unclipped", "clipped"])
def test_a_member_has_the_bits_of_its_lone_run(optimizer, clip_norm):
    together, alone = twins(rich, optimizer=optimizer, clip_norm=clip_norm, epochs=2)
    for m, run in enumerate(alone):
        assert bits(run.members[0]) == bits(together.members[m])
        assert rows(run, 0) == rows(together, m)
    assert len({bits(member)["6.weight"] for member in together.members}) == 4


@pytest.mark.parametrize("schedule", ["one-cycle", "plateau"])
def test_members_that_stop_early_leave_the_others_bits_alone(schedule):
    options = {"optimizer": "sgd", "learning_rate": 0.3, "patience": 0, "epochs": 30, "schedule": schedule,
               "plateau_patience": 1}  # fmt: skip
    make = lambda **more: ur.Training("mse", **options, **more)  # noqa: E731
    together = fit(plain, make(members=4))
    lengths = [len(rows(together, m)) for m in range(4)]
    assert len(set(lengths)) > 1, lengths
    for m in range(4):
        run = fit(plain, make(seed=m))
        assert bits(run.members[0]) == bits(together.members[m])
        assert rows(run, 0) == rows(together, m)


def test_a_stopped_member_is_not_computed_any_more(monkeypatch):
    sizes, original = [], Members.step

    def step(self, batch):
        sizes.append((len(self.numbers), len(self.flat), batch.past.shape[0]))
        return original(self, batch)

    monkeypatch.setattr(Members, "step", step)
    run = fit(plain, ur.Training("mse", "sgd", 0.3, patience=0, epochs=30, members=4))
    one = sum(p.numel() for p in run.members[0].parameters())
    assert all(flat == count * one and batch == count for count, flat, batch in sizes)
    assert [count for count, *_ in sizes] == sorted((count for count, *_ in sizes), reverse=True)
    assert sizes[0][0] == 4 > sizes[-1][0]


def test_a_linear_used_twice():
    together, alone = twins(shared_linear, members=2)
    for m, run in enumerate(alone):
        assert bits(run.members[0]) == bits(together.members[m])
    assert torch.equal(together.members[0][1].weight, together.members[0][3].weight)


def test_a_users_module_goes_through_vmap(caplog):
    with caplog.at_level(logging.WARNING, "unrolled"):
        together, alone = twins(Own, members=3, optimizer="sgd")
    assert not caplog.records
    for m, run in enumerate(alone):
        theirs, ours = run.members[0].state_dict(), together.members[m].state_dict()
        for name in theirs:
            torch.testing.assert_close(
                ours[name], theirs[name], rtol=1e-4, atol=1e-5, msg=f"member {m}, {name}"
            )
        torch.manual_seed(m)
        start = Own()
        assert torch.equal(start.scale, ours["scale"])
        assert not torch.equal(start.into.weight, ours["into.weight"])
        assert ours["norm.num_batches_tracked"] > 0
        assert torch.equal(ours["again.weight"], ours["into.weight"])
        assert together.members[m].again.weight is together.members[m].into.weight


@pytest.mark.parametrize("network", [Branching, Dropping])
def test_what_vmap_cannot_take_trains_one_after_another(network, caplog):
    with caplog.at_level(logging.WARNING, "unrolled"):
        together = fit(network, training(members=3))
    (record,) = caplog.records
    assert "Members are trained one after another: torch.vmap cannot take the network" in record.getMessage()
    assert "\n" not in record.getMessage()
    for m in range(3):
        run = fit(network, training(seed=m))
        assert bits(run.members[0]) == bits(together.members[m])
        assert rows(run, 0) == rows(together, m)


def spoiled(network, which):
    """A maker of networks of which some start with what gives no finite loss."""
    made = []

    def make():
        made.append(network())
        if len(made) - 1 in which:
            with torch.no_grad():
                next(made[-1].parameters()).fill_(torch.inf if network is Own else 3e38)
                list(made[-1].parameters())[-1].fill_(torch.nan)
        return made[-1]

    return make


@pytest.mark.parametrize("network", [plain, Own, Branching], ids=["stacked", "vmap", "one after another"])
def test_others_go_on_where_one_diverges(network, caplog):
    sound = fit(network, training(members=3))
    with caplog.at_level(logging.WARNING, "unrolled"):
        run = fit(spoiled(network, {1}), training(members=3))
    assert list(run.failures) == [1]
    assert run.failures[1].startswith(
        "training, member 1, epoch 1, step 1: expected a finite loss and gradient, got loss nan "
    )
    assert (
        "gradient norm nan at learning rate 0.01. Lower the learning rate, set clip_norm" in run.failures[1]
    )
    assert any(
        "member 1" in r.getMessage() and "The other members go on." in r.getMessage() for r in caplog.records
    )
    assert [row["member"] for row in run.history if row["epoch"] == 3] == [0, 2]
    assert len(run.members) == 2
    for place, m in enumerate((0, 2)):
        if network is Own:
            for name, tensor in sound.members[m].state_dict().items():
                torch.testing.assert_close(
                    run.members[place].state_dict()[name], tensor, rtol=1e-4, atol=1e-5
                )
        else:
            assert bits(run.members[place]) == bits(sound.members[m])
            assert rows(run, m) == rows(sound, m)


@pytest.mark.parametrize("network", [plain, Branching], ids=["stacked", "one after another"])
def test_where_none_is_left_training_fails(network):
    with pytest.raises(TrainingError, match="member 0, epoch 1, step 1: expected a finite loss"):
        fit(spoiled(network, {0, 1}), training(members=2))


def test_a_member_that_diverges_later_says_where(monkeypatch):
    original = course.Course._one_step

    def step(self, order):
        if (self.epoch, self.step) == (2, 1):
            self.members.views(self.members.flat)["1.weight"][2] = torch.inf
        return original(self, order)

    sound = fit(plain, training(members=3))
    monkeypatch.setattr(course.Course, "_one_step", step)
    run = fit(plain, training(members=3))
    assert run.failures[2].startswith("training, member 2, epoch 2, step 2: ")
    assert [row["epoch"] for row in run.history if row["member"] == 2] == [1]
    assert [bits(member) for member in run.members] == [bits(member) for member in sound.members[:2]]


@pytest.mark.slow
def test_the_same_bits_for_one_and_two_threads_and_in_a_fresh_process():
    import subprocess
    import sys

    script = (
        "import sys, hashlib, torch, unrolled as ur\nfrom networks import DATA, VALID, rich, bits\n"
        "torch.set_num_threads(int(sys.argv[1])); ur.set_num_threads(int(sys.argv[1]))\n"
        "run = ur.fit(rich, DATA, VALID, ur.Training('mse', epochs=2, members=2), progress=False)\n"
        "print(hashlib.sha256(repr([bits(m) for m in run.members] + run.history).encode()).hexdigest())\n"
    )
    found = {
        subprocess.run([sys.executable, "-c", script, str(n)], env=environment(), capture_output=True, text=True,
                       check=True).stdout
        for n in (1, 2)
    }  # fmt: skip
    import hashlib

    run = ur.fit(rich, DATA, VALID, ur.Training("mse", epochs=2, members=2), progress=False)
    here = hashlib.sha256(repr([bits(m) for m in run.members] + run.history).encode()).hexdigest()
    assert found == {here + "\n"}


def test_training_leaves_the_callers_random_numbers_and_threads_alone():
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    fit(rich, training(epochs=1))
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
