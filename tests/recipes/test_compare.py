"""Layers side by side: the tasks ask what they say, and the figures are those of the networks."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import unrolled as ur
from unrolled.cli import _run
from unrolled.recipes import compare as module
from unrolled.recipes.compare import Answers, adding, body, copying, error_of, kept


def test_what_is_asked_lies_far_back():
    x, y = adding(400, 30, 0)
    places = x[..., 1].argmax(axis=1)
    assert places.min() == 0 and places.max() == 14  # the first mark, in the first half
    assert np.mean((y - 1) ** 2) == pytest.approx(1 / 6, rel=0.2)
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
    assert _run(words) == 2 and "expected a new file" in capsys.readouterr().err
    for option, message in (
        ("--steps", "steps of at least 11, got 0"),
        ("--units", "units of at least 1"),
        ("--seeds", "seeds of at least 1"),
    ):
        assert _run(["compare", option, "0"]) == 2
        assert message in capsys.readouterr().err
