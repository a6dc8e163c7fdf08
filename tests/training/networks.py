"""Networks, data and comparisons that the tests of training share, and the processes that they start."""

import os
import sys

import numpy as np
import torch
from torch import nn

import unrolled as ur

X = np.random.default_rng(0).normal(size=(70, 9, 6)).astype(np.float32)
Y = (2 * X[:, -1, :2] + X[:, 0, :2]).astype(np.float32)
DATA, VALID = (X[:50], Y[:50]), (X[50:], Y[50:])


def plain():
    return nn.Sequential(ur.nn.GRU(6, 5), ur.nn.Dense(5, 2))


def rich():
    """A stack with every kind of dropout, and torch's own Linear and Dropout."""
    return nn.Sequential(
        ur.nn.LSTM(6, 5, return_sequences=True, recurrent_dropout=0.2, layer_norm=True),
        nn.Dropout(0.1), ur.nn.GRU(5, 7, dropout=0.2), nn.Linear(7, 11), nn.Tanh(), ur.nn.Dropout(0.1), nn.Linear(11, 2),
    )  # fmt: skip


def bits(module):
    return {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}


def rows(run, member):
    return [{k: v for k, v in row.items() if k != "member"} for row in run.history if row["member"] == member]


def environment(**more):
    """Of a process that finds this checkout and this folder."""
    here = [os.path.dirname(os.path.dirname(ur.__file__)), os.path.dirname(__file__), *sys.path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, here))} | more


class Own(nn.Module):
    """A user's module: a norm with buffers, a frozen parameter, and one parameter under two names."""

    def __init__(self):
        super().__init__()
        self.into, self.norm, self.out = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)
        self.again = nn.Linear(6, 6)
        self.again.weight = self.into.weight
        self.scale = nn.Parameter(torch.rand(6), requires_grad=False)

    def forward(self, past):
        x = self.norm(torch.tanh(self.into(past[:, -1])))
        return self.out(torch.tanh(self.again(x)) * self.scale)


class Branching(Own):
    """What vmap cannot take: its course depends on its numbers."""

    def forward(self, past):
        y = super().forward(past)
        return 2 * y if y.sum() > 0 else y


class Dropping(Own):
    """What vmap does not take: random numbers from nowhere."""

    def forward(self, past):
        return super().forward(torch.nn.functional.dropout(past, 0.2, self.training))
