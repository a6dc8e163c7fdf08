"""Layers: torch modules on (batch, time, features), with Keras' argument names.

>>> import torch, unrolled as ur
>>> layers = ur.nn.SimpleRNN(3, 20, return_sequences=True), ur.nn.LSTM(20, 8), ur.nn.Dense(8, 1)
>>> model = torch.nn.Sequential(*layers)
>>> model(torch.zeros(2, 10, 3)).shape
torch.Size([2, 1])
"""

from unrolled.nn.basic import Dense, RepeatVector, lengths_to_mask
from unrolled.nn.cells import GRUCell, LSTMCell, SimpleRNNCell
from unrolled.nn.recurrent import GRU, LSTM, RNN, SimpleRNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Dense",
    "GRUCell",
    "LSTMCell",
    "RepeatVector",
    "SimpleRNN",
    "SimpleRNNCell",
    "lengths_to_mask",
]
