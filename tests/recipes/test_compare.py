"""Layers side by side: the tasks ask what they say, and the figures are those of the networks."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import unrolled as ur
from unrolled.cli import _run
from unrolled.recipes import compare as module
from unrolled.recipes.compare import NETWORKS, Answers, adding, body, compare, copying, error_of, kept


def test_what_is_asked_lies_far_back():
    x, y = adding(400, 30, 0)
    places = x[..., 1].argmax(axis=1)
    assert places.min() == 0 and places.max() == 14  # the first mark, in the first half
    assert np.mean((y - 1) ** 2) == pytest.approx(1 / 6, rel=0.2)
    assert (x[:, :15, 1].sum(axis=1) == 1).all() and (x[:, 15:, 1].sum(axis=1) == 1).all()
    x, y = copying(400, 30, 0)
    assert (x.sum(axis=-1) == 1).all() and (x[:, 5:25, 4] == 1).all() and (x[:, :5, 4:] == 0).all()
    assert np.bincount(y.ravel()).min() > 400
    assert not np.array_equal(copying(5, 30, 1)[1], copying(5, 30, 2)[1])


def test_errors():
    class Said(nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, past):
            return self.answer

    x = np.zeros((2, 11, 6), np.float32)
    right = torch.eye(4)[torch.tensor([[0, 1, 2, 3, 0], [1, 1, 1, 1, 1]])]
    assert error_of(Said(right), (x, np.array([[0, 1, 2, 3, 3], [1, 1, 1, 1, 1]])), "copy") == pytest.approx(
        0.1
    )
    assert error_of(Said(torch.tensor([[1.0], [2.0]])), (x, np.array([[1.0], [0.0]])), "adding") == 2.0


@pytest.mark.parametrize("steps", [11, 50, 64])
def test_convolutions_see_every_step(steps):
    torch.manual_seed(0)
    network = body("Conv1D, dilated", 2, 32, steps)
    x = torch.randn(64, steps, 2, requires_grad=True)
    network(x)[:, -1].sum().backward()
    assert (x.grad.abs().sum((0, 2)) > 0)[[0, -1]].all()


def test_what_is_kept_for_the_backward_pass_grows_with_the_steps():
    sizes = [
        kept(Answers(ur.nn.LSTM(2, 16, return_sequences=True), 16, 1, 1), np.ones((8, steps, 2), np.float32))
        for steps in (50, 100)
    ]
    assert 1.8 < sizes[1] / sizes[0] < 2.2
    assert sizes[0] > 8 * 50 * 16 * 4 * 4 / 1e6  # four gates


def test_weights_are_not_counted_as_kept():
    """A dense layer keeps its input; the second one its weights, too, for the gradient of the first."""
    network, x = (
        nn.Sequential(*(nn.Linear(300, 300, bias=False) for _ in "12")),
        np.ones((8, 20, 300), np.float32),
    )
    assert kept(network, x) == pytest.approx(2 * x.nbytes / 1e6)


def test_figures_are_those_of_the_networks(monkeypatch):
    """Of five members the middle error, on sequences that were not learned; seconds of epochs but the first."""
    learned = []

    def fit(make, learn, training, progress):
        torch.manual_seed(0)
        networks = [make().eval() for _ in range(training.members)]
        learned.append((learn, training))
        timing = [{"seconds": seconds} for seconds in (9.0, 1.0, 5.0, 2.0)]
        return ur.TrainingRun(networks, timing=timing)

    def error(network, test, task):
        (x, _), _ = learned[-1]
        assert not np.array_equal(x[: len(test[0])], test[0])
        assert task == "copy" or not np.isin(x[:, 0, 0], test[0][:, 0, 0]).any()
        return next(errors)

    errors = iter([0.5, 0.1, 0.4, 0.2, 0.9] * 8)
    monkeypatch.setattr(ur, "fit", fit)
    monkeypatch.setattr(module, "error_of", error)
    found = list(compare([30], units=8, epochs=7, seeds=5))
    assert [(one.task, one.network) for one in found] == [
        (task, name) for task in ("adding", "copy") for name in NETWORKS
    ]
    assert {one.error for one in found} == {0.4} and {one.seconds for one in found} == {2.0}
    assert [one.chance for one in found] == pytest.approx([1 / 6] * 4 + [3 / 4] * 4)
    rnn, convolution = (lambda f: 8 * (f + 8 + 1)), (lambda f: 8 * (2 * f + 1) + 4 * 8 * (2 * 8 + 1))
    assert [one.parameters for one in found] == [
        cell(features) + answer
        for features, answer in ((2, 8 + 1), (6, 4 * (8 + 1)))
        for cell in (rnn, lambda f: 4 * rnn(f), lambda f: 3 * (rnn(f) + 8), convolution)
    ]
    trainings = [training for _, training in learned]
    assert {(t.optimizer, t.learning_rate, t.batch_size, t.clip_norm) for t in trainings} == {
        ("adam", 0.002, 50, 1.0)
    }
    assert [(t.epochs, t.members) for t in trainings[:2]] == [
        (7, 5),
        (4, 1),
    ]  # one network alone tells the seconds
    assert {t.loss for t in trainings[:8]} == {"mse"} and {t.loss for t in trainings[8:]} == {"cross-entropy"}


@pytest.mark.parametrize("call", [0, 1])
def test_an_interrupt_ends_it(monkeypatch, tmp_path, capsys, call):
    """`fit` takes it for the end of training; what stands beside the others must not be of a network half trained."""
    runs = []

    def fit(make, *_, training, **__):
        runs.append(
            ur.TrainingRun([make().eval()], timing=[{"seconds": 1.0}] * 4, interrupted=len(runs) == call)
        )
        return runs[-1]

    monkeypatch.setattr(ur, "fit", fit)
    assert (
        _run(["compare", "--steps", "11", "--units", "4", "--out", str(tmp_path / "out.csv"), "--json"])
        == 130
    )
    assert len(runs) == call + 1 and not list(tmp_path.iterdir()) and not capsys.readouterr().out


def test_what_cannot_be_written_is_said_before_anything_is_trained(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(ur, "fit", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for words, message in (
        ([str(tmp_path / "folder"), "--overwrite"], "expected a file that can be written, got a folder"),
        ([str(tmp_path / "file" / "out.csv")], "which is no folder"),
        ([str(tmp_path / "file")], "expected a new file, got one that exists"),
    ):
        assert _run(["compare", "--steps", "11", "--out", *words]) == 2
        assert message in capsys.readouterr().err


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "TRAIN", 100)
    monkeypatch.setattr(module, "TEST", 20)
    out = tmp_path / "compared.csv"
    words = ["compare", "--steps", "11", "12", "--units", "4", "--epochs", "2", "--json", "--out", str(out)]
    assert _run(words) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)["compared"]
    assert [(row["task"], row["steps"]) for row in rows[::4]] == [
        ("adding", 11),
        ("adding", 12),
        ("copy", 11),
        ("copy", 12),
    ]
    assert (
        rows[0]["parameters"] == (2 * 4 + 4 * 4 + 4) + (4 + 1)
        and rows[1]["parameters"] == 4 * (2 * 4 + 4 * 4 + 4) + 5
    )
    assert max(map(len, printed.err.splitlines())) <= 80 and out.read_text().count("\n") == 17
    assert "0.167 by chance" in printed.err and {row["chance"] for row in rows} == {1 / 6, 3 / 4}
    assert _run(words) == 2 and "expected a new file" in capsys.readouterr().err
    for option, message in (
        ("--steps", "steps of at least 11, got 0"),
        ("--units", "units of at least 1"),
        ("--seeds", "seeds of at least 1"),
    ):
        assert _run(["compare", option, "0"]) == 2
        assert message in capsys.readouterr().err
    for option in ("--steps", "--units", "--epochs", "--seeds"):
        assert _run(["compare", option, "99999999999999999999"]) == 2
        assert f"{option[2:]} of at most" in capsys.readouterr().err
