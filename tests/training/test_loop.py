"""The loop: what it minimises, what it keeps, when it stops."""

import io
import signal
import sys

import numpy as np
import pytest
import torch

import unrolled as ur
from unrolled.data import Windows
from unrolled.errors import OptionError, TrainingError
from unrolled.training import course
from unrolled.training.objectives import masked_loss
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


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "nadam", "rmsprop"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "plateau"])
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
    assert [(row["member"], row["epoch"]) for row in first.history] == [(0, 1), (1, 1), (0, 2), (1, 2)]
    assert set(first.history[0]) == {"member", "epoch", "learning_rate", "loss", "valid_loss", "best"}
    assert [(row["epoch"], row["steps"]) for row in first.timing] == [(1, 6), (2, 6)]
    assert all(row["seconds"] > 0 for row in first.timing)


def test_a_loss_that_is_no_number_stops_with_its_place():
    spoiled = windows()
    spoiled.values[150] = np.inf
    with pytest.raises(
        TrainingError, match=r"member 0, epoch 1, step \d+: expected a finite loss .* at learning rate 0.001"
    ):
        ur.fit(Line, spoiled)


@pytest.fixture
def heard():
    """Let interrupts be heard, which a shell takes from what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_at(monkeypatch, *moments):
    """Press Ctrl-C at the beginning of these steps, each (epoch, step)."""
    original = course.Course._one_step

    def step(self, order):
        for _ in range(moments.count((self.epoch, self.step))):
            signal.raise_signal(signal.SIGINT)
        return original(self, order)

    monkeypatch.setattr(course.Course, "_one_step", step)


def test_an_interrupt_keeps_what_is_best(monkeypatch, heard):
    training = ur.Training("mse", "sgd", 0.2, epochs=8, members=2, clip_norm=None, batch_size=8)
    whole = ur.fit(Line, windows(), windows(60), training, progress=False)
    press_at(monkeypatch, (6, 2))
    run = ur.fit(Line, windows(), windows(60), training, progress=False)
    assert run.interrupted and not whole.interrupted
    assert run.history == [row for row in whole.history if row["epoch"] < 6]
    batch = windows(60).batch(np.arange(50))
    for number, member in enumerate(run.members):
        best = min(row["valid_loss"] for row in run.history if row["member"] == number)
        with torch.no_grad():
            assert masked_loss("mse", member(batch.past), batch.target).item() == pytest.approx(best)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_in_the_first_epoch_gives_what_there_is(monkeypatch, heard):
    press_at(monkeypatch, (1, 2))
    torch.manual_seed(0)
    before = Line().line.weight.detach()
    run = ur.fit(Line, windows(), windows(), ur.Training(epochs=5), progress=False)
    assert run.interrupted and run.history == []
    assert not torch.equal(run.members[0].line.weight, before)


def test_a_second_interrupt_is_at_once(monkeypatch, heard):
    press_at(monkeypatch, (2, 1), (2, 1))
    with pytest.raises(KeyboardInterrupt):
        ur.fit(Line, windows(), windows(), ur.Training(epochs=5), progress=False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_callbacks_see_each_epoch_and_may_stop():
    seen = []

    def look(epoch):
        seen.append(
            (epoch.number, [row["member"] for row in epoch.rows], epoch.weights(1)["line.weight"].clone())
        )
        return epoch.number == 3

    training = ur.Training("mse", epochs=9, members=2, restore_best=False)
    run = ur.fit(Line, windows(), windows(), training, callbacks=[look, lambda epoch: None], progress=False)
    assert [(number, members) for number, members, _ in seen] == [(n, [0, 1]) for n in (1, 2, 3)]
    assert len(run.history) == 6 and not run.interrupted
    assert torch.equal(seen[-1][2], run.members[1].line.weight)
    assert not torch.equal(seen[0][2], seen[-1][2])


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
    told = "Trained 1 member: epoch 3, loss 0.25, best 0.25, "
    monkeypatch.setenv("TERM", "xterm")
    for stream, wanted, bar, line in (
        (Terminal(), None, True, False),
        (io.StringIO(), None, False, True),
        (io.StringIO(), True, False, True),
        (Terminal(), False, False, False),
        (io.StringIO(), False, False, False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with show_progress(5, wanted) as report:
            report([row], 7)
            before = stream.getvalue()
        assert ("epoch 3, loss 0.25, best 0.25, " in stream.getvalue()) is (bar or line)
        assert ("\x1b[" in stream.getvalue()) is bar
        assert stream.getvalue().startswith(told) is line
        if line:
            assert (
                before == ""
                and stream.getvalue().endswith(" steps/s\n")
                and stream.getvalue().count("\n") == 1
            )
        if not bar and not line:
            assert stream.getvalue() == ""


def test_fit_tells_one_line_or_nothing(capsys):
    training = ur.Training("mse", epochs=3, members=2)
    ur.fit(Line, windows(), windows(), training, progress=False)
    assert capsys.readouterr() == ("", "")
    run = ur.fit(Line, windows(), windows(), training)
    out, err = capsys.readouterr()
    best = min(row["valid_loss"] for row in run.history)
    assert out == ""
    assert err.startswith("Trained 2 members: epoch 3, valid_loss ") and f"best {best:.4g}, " in err
    assert err.count("\n") == 1
