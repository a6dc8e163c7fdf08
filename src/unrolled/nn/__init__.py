"""Layers: torch modules on (batch, time, features), with Keras' argument names.

>>> import torch, unrolled as ur
>>> layers = ur.nn.SimpleRNN(3, 20, return_sequences=True), ur.nn.LSTM(20, 8), ur.nn.Dense(8, 1)
>>> model = torch.nn.Sequential(*layers)
>>> model(torch.zeros(2, 10, 3)).shape
torch.Size([2, 1])
"""

from unrolled.nn.basic import Dense, RepeatVector, lengths_to_mask
from unrolled.nn.bidirectional import Bidirectional
from unrolled.nn.cells import GRUCell, LSTMCell, SimpleRNNCell
from unrolled.nn.convolution import (
    AveragePooling1D,
    Conv1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
)
from unrolled.nn.drawing import draw_cell
from unrolled.nn.dropout import Dropout
from unrolled.nn.inspect import gradient_flow, plot_gradient_flow, summary
from unrolled.nn.recurrent import GRU, LSTM, RNN, SimpleRNN
from unrolled.nn.weights import from_keras, from_onnx, from_torch, to_keras, to_onnx, to_torch

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AveragePooling1D",
    "Bidirectional",
    "Conv1D",
    "Dense",
    "Dropout",
    "GRUCell",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "LSTMCell",
    "MaxPooling1D",
    "RepeatVector",
    "SimpleRNN",
    "SimpleRNNCell",
    "draw_cell",
    "from_keras",
    "from_onnx",
    "from_torch",
    "gradient_flow",
    "lengths_to_mask",
    "plot_gradient_flow",
    "summary",
    "to_keras",
    "to_onnx",
    "to_torch",
]
