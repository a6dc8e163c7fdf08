"""The loops over time that PyTorch brings along, for the cases which they cover exactly (letters:
`recurrence.py`).

`torch._VF` is what torch.nn.LSTM, GRU and RNN call themselves: oneDNN or a C++ loop on a CPU, cuDNN on CUDA.
"""

import torch
from torch import Tensor

from unrolled.kernels.recurrence import Recurrence
from unrolled.kernels.reference import start

__all__ = ["run"]


def run(r: Recurrence) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `reference.run`, for a `Recurrence` without mask, dropout, norm or members."""
    x = r.x.flip(1) if r.reverse else r.x
    state = [s[None].contiguous() for s in start(r)]
    weights = [r.weight_ih, r.weight_hh]
    if r.bias is not None:
        weights += [r.bias, torch.zeros_like(r.bias) if r.bias_hh is None else r.bias_hh]
    # biases, layers, dropout, train (cuDNN goes backward only in training), bidirectional, batch first
    options = (r.bias is not None, 1, 0.0, torch.is_grad_enabled(), False, True)
    if r.cell == "lstm":
        y, *last = torch._VF.lstm(x, state, weights, *options)
    else:
        loop = {"gru": torch._VF.gru, "tanh": torch._VF.rnn_tanh, "relu": torch._VF.rnn_relu}
        y, *last = loop["gru" if r.cell == "gru" else r.activation](x, state[0], weights, *options)
    return (y[:, -1] if r.last_only else y), tuple(s[0] for s in last)
