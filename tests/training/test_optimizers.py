"""Optimizers and schedules, step by step against torch.optim; and that a place in the stack changes no bit."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

import unrolled as ur
from unrolled.training.optimizers import Optimizer, rate_and_momentum

RULES = {
    "sgd": (ur.Training("mse", "sgd", momentum=0.8), lambda p: torch.optim.SGD(p, 0.01, momentum=0.8)),
    "sgd, plain": (ur.Training("mse", "sgd", momentum=0.0), lambda p: torch.optim.SGD(p, 0.01)),
    "sgd, Nesterov": (
        ur.Training("mse", "sgd", nesterov=True), lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True)
    ),
    "adam": (ur.Training("mse", "adam"), lambda p: torch.optim.Adam(p, 0.01)),
    "adamw": (ur.Training("mse", "adamw", weight_decay=0.2), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.2)),
    "nadam": (ur.Training("mse", "nadam"), lambda p: torch.optim.NAdam(p, 0.01)),
    "rmsprop": (ur.Training("mse", "rmsprop"), lambda p: torch.optim.RMSprop(p, 0.01)),
}  # fmt: skip


def gradients(size, count=20):
    g = torch.Generator().manual_seed(5)
    return [torch.randn(size, generator=g) for _ in range(count)]


def momentum(training):
    return rate_and_momentum(training, 0, 20)[1]


@pytest.mark.parametrize("name", list(RULES))
def test_twenty_steps_as_torch_makes_them(name):
    training, make = RULES[name]
    start = torch.linspace(-1, 1, 37)
    theirs, ours = torch.nn.Parameter(start.clone()), start.clone()
    theirs_rule, rule = make([theirs]), Optimizer(training, ours)
    for gradient in gradients(37):
        theirs.grad = gradient.clone()
        theirs_rule.step()
        rule.step([(ours, gradient, rule.kept, 0.01)], momentum(training))
        torch.testing.assert_close(ours, theirs.detach(), rtol=2e-6, atol=1e-7)
    assert (ours - start).abs().min() > 0


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("size", [3, 13, 102])
def test_the_place_in_the_stack_changes_no_bit(name, size):
    training, _ = RULES[name]
    start = torch.linspace(-1, 1, size)
    alone, stack = start.clone(), start.repeat(4)
    rule, rules = Optimizer(training, alone), Optimizer(training, stack)
    for gradient in gradients(size, 100):
        gradient = gradient * 10 ** gradient.flip(0)
        rule.step([(alone, gradient, rule.kept, 0.01)], momentum(training))
        rules.step([(stack, gradient.repeat(4), rules.kept, 0.01)], momentum(training))
    assert all(torch.equal(row, alone) for row in stack.view(4, size))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("steps", [5, 40])
def test_one_cycle_is_that_of_torch(optimizer, steps):
    training = ur.Training("mse", optimizer, 0.3, "one-cycle")
    parameter = [torch.nn.Parameter(torch.zeros(1))]
    rule = (
        torch.optim.SGD(parameter, 1.0, momentum=0.9)
        if optimizer == "sgd"
        else torch.optim.Adam(parameter, 1.0)
    )
    theirs = OneCycleLR(rule, max_lr=0.3, total_steps=steps)
    rates = []
    for step in range(steps):
        group = rule.param_groups[0]
        expected = (group["lr"], group["momentum"] if optimizer == "sgd" else group["betas"][0])
        assert rate_and_momentum(training, step, steps) == pytest.approx(expected, rel=1e-9)
        rates.append(group["lr"])
        rule.step()
        if step < steps - 1:
            theirs.step()
    assert max(rates) > 20 * rates[-1]


def test_cosine_is_that_of_torch():
    training = ur.Training("mse", "sgd", 0.3, "cosine", momentum=0.7)
    rule = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
    theirs = CosineAnnealingLR(rule, T_max=30)
    for step in range(30):
        assert rate_and_momentum(training, step, 30) == pytest.approx(
            (rule.param_groups[0]["lr"], 0.7), rel=1e-9
        )
        rule.step()
        theirs.step()


def test_every_step_of_fit_has_its_rate(monkeypatch):
    rates, original = [], Optimizer.step

    def step(self, parts, momentum):
        rates.append((parts[0][3], momentum))
        original(self, parts, momentum)

    monkeypatch.setattr(Optimizer, "step", step)
    x = torch.randn(20, 4, 1).numpy()
    training = ur.Training("mse", "sgd", 0.1, "one-cycle", epochs=3, batch_size=8)
    ur.fit(
        torch.nn.Sequential(ur.nn.GRU(1, 2), ur.nn.Dense(2, 1)),
        (x, x[:, 0]),
        training=training,
        progress=False,
    )
    assert rates == [rate_and_momentum(training, step, 9) for step in range(9)]


def test_plateau_lowers_the_rate_of_the_member_that_stands_still():
    x = torch.randn(40, 4, 1, generator=torch.Generator().manual_seed(0)).numpy()
    training = ur.Training(
        "mse", "sgd", 0.3, "plateau", epochs=14, plateau_patience=1, members=3, momentum=0.0, batch_size=8
    )
    make = lambda: torch.nn.Sequential(ur.nn.SimpleRNN(1, 3), ur.nn.Dense(3, 1))  # noqa: E731
    run = ur.fit(make, (x, x[:, 0]), (x[:10], x[:10, 1]), training, progress=False)
    courses = []
    for member in range(3):
        rule = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
        theirs = ReduceLROnPlateau(rule, factor=0.1, patience=1, threshold=0.0)
        rows = [row for row in run.history if row["member"] == member]
        for row in rows:
            assert row["learning_rate"] == pytest.approx(rule.param_groups[0]["lr"])
            theirs.step(row["valid_loss"])
        courses.append(tuple(row["learning_rate"] for row in rows))
    assert len(set(courses)) > 1
    assert all(course[-1] < 0.3 for course in courses)
