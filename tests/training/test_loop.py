"""The loop: what it minimises, what it keeps, when it stops."""

import io
import sys

import numpy as np
import pytest
import torch

import unrolled as ur
from unrolled.data import Windows
from unrolled.errors import OptionError, TrainingError
from unrolled.training import loop
from unrolled.training.objectives import LOSSES, masked_loss
from unrolled.training.progress import show_progress


def windows(rows=200, first=0, observed=None):
    values = np.sin(np.arange(rows) / 3).astype(np.float32)[:, None]
    observed = np.ones(rows, bool) if observed is None else observed
    return Windows(values, observed, np.arange(max(first, 9), rows - 1), 10, 1)


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(10, 1)

    def forward(self, past):
        return self.line(past[..., 0])


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("counted", [None, torch.rand(6, 3) > 0.4, torch.zeros(6, 3, dtype=torch.bool)])
def test_losses_count_only_what_is_asked_for(loss, counted):
    output, target = torch.randn(6, 3) * 2, torch.randn(6, 3)
    error = (output - target).abs()
    each = {"mae": error, "mse": error**2, "huber": torch.where(error < 1, error**2 / 2, error - 0.5)}[loss]
    used = each if counted is None else each[counted]
    expected = used.mean() if used.numel() else torch.tensor(0.0)
    torch.testing.assert_close(masked_loss(loss, output, target, counted), expected)


def test_uncounted_targets_have_no_influence_even_when_not_finite():
    output = torch.randn(4, 2, requires_grad=True)
    counted = torch.tensor([[True, False]] * 4)
    target = torch.where(counted, 0.0, torch.nan)
    masked_loss("mse", output, target, counted).backward()
    assert torch.isfinite(output.grad).all()
    assert (output.grad[:, 1] == 0).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_training_learns(optimizer, schedule):
    run = ur.fit(Line, windows(), windows(), ur.Training("mse", optimizer, 0.03, schedule, epochs=30))
    assert run.history[-1]["valid_loss"] < 0.02
    assert run.history[-1]["valid_loss"] < 0.3 * run.history[0]["valid_loss"]
    assert not run.members[0].training


def test_best_weights_come_back_and_patience_stops():
    training = ur.Training("mse", "sgd", 0.2, epochs=60, patience=3, clip_norm=None, batch_size=8)
    run = ur.fit(Line, windows(), windows(60), training)
    losses = [row["valid_loss"] for row in run.history]
    assert len(losses) < 60
    assert len(losses) - 1 - int(np.argmin(losses)) == 4
    with torch.no_grad():
        batch = windows(60).batch(np.arange(50))
        assert masked_loss("mse", run.members[0](batch.past), batch.target).item() == pytest.approx(
            min(losses)
        )
    last = ur.fit(
        Line,
        windows(),
        windows(60),
        ur.Training("mse", "sgd", 0.2, epochs=len(losses), clip_norm=None, batch_size=8, restore_best=False),
    )
    assert not torch.equal(last.members[0].line.weight, run.members[0].line.weight)


def test_clipping_bounds_a_step():
    before = Line()
    weight = before.line.weight.detach().clone()
    ur.fit(before, windows(11), None, ur.Training("mse", "sgd", 1.0, epochs=1, clip_norm=1e-3))
    assert 0 < (before.line.weight - weight).norm() < 2.1e-3


def test_history_has_no_clock():
    first, second = (ur.fit(Line, windows(), windows(), ur.Training(epochs=2, members=2)) for _ in range(2))
    assert first.history == second.history
    assert [(row["member"], row["epoch"]) for row in first.history] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert set(first.history[0]) == {"member", "epoch", "learning_rate", "loss", "valid_loss", "best"}
    assert all(row["seconds"] > 0 for row in first.timing)


def test_a_loss_that_is_no_number_stops_with_its_place():
    spoiled = windows()
    spoiled.values[150] = np.inf
    with pytest.raises(
        TrainingError, match=r"member 0, epoch 1, step \d+: expected a finite loss .* at learning rate 0.001"
    ):
        ur.fit(Line, spoiled)


def test_an_interrupt_keeps_what_is_best(monkeypatch):
    original = loop._Member._one_epoch

    def interrupted(self, epoch):
        if epoch == 3:
            raise KeyboardInterrupt
        return original(self, epoch)

    monkeypatch.setattr(loop._Member, "_one_epoch", interrupted)
    run = ur.fit(Line, windows(), windows(), ur.Training(epochs=5, members=2))
    assert run.interrupted
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert len(run.members) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"loss": "mape"}, "loss one of"), ({"optimizer": "lion"}, "optimizer one of"), ({"schedule": "x"}, "schedule one of"),
     ({"epochs": 0}, "epochs of at least 1"), ({"batch_size": 0}, "batch_size"), ({"members": 0}, "members"),
     ({"learning_rate": 0.0}, "learning_rate above 0"), ({"learning_rate": float("nan")}, "learning_rate above 0")],
)  # fmt: skip
def test_training_refuses(options, message):
    with pytest.raises(OptionError, match=message):
        ur.Training(**options)


def test_fit_refuses():
    with pytest.raises(OptionError, match="at least one training window"):
        ur.fit(Line, windows(5))
    with pytest.raises(OptionError, match="a function that makes a network"):
        ur.fit(Line(), windows(), None, ur.Training(members=2))


def test_the_bar_shows_on_a_terminal_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    row = {"member": 0, "epoch": 3, "loss": 0.25, "valid_loss": None}
    monkeypatch.setenv("TERM", "xterm")
    for stream, wanted, shown in (
        (Terminal(), None, True),
        (io.StringIO(), None, False),
        (Terminal(), False, False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with show_progress(5, wanted) as report:
            report(row)
        assert ("epoch 3, loss 0.2500" in stream.getvalue()) is shown
