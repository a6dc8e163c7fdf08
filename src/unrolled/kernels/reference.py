"""The definition of every recurrence here, in plain PyTorch: one step per cell, and one loop over time.

Every other implementation is compared with this file. Nothing in it is fast; all of it is differentiable as
often as wanted, runs on any device and under `torch.func`, and takes a leading axis of members (letters: see
`recurrence.py`).

Three modifications need saying exactly:

- *Mask*: a skipped step leaves the state as it was and repeats the last output; before the first valid step
  the output is zero, whatever the initial state (Keras' semantics). What a skipped step holds, even NaN, has
  no effect.
- *Recurrent dropout*: one mask a sequence and unit multiplies h(t-1) where it enters a product with weights,
  the same for all gates, and never what is carried. (Gal and Ghahramani, arXiv:1512.05287; Keras draws one a
  gate.)
- *Layer norm* (Ba, Kiros and Hinton, arXiv:1607.06450, in the form that normalises each gate's *summed*
  pre-activation over its H units, biases included): gain and shift follow, then the activation. An LSTM also
  normalises c on its way to h, equation 22 there, and carries it unnormalised. In a GRU the candidate is
  normalised after the reset gate has been applied, in both conventions.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unrolled.kernels.product import product, project
from unrolled.kernels.recurrence import STATE_NAMES, Recurrence

__all__ = [
    "ACTIVATIONS",
    "NORM_EPSILON",
    "gru_step",
    "lstm_step",
    "run",
    "simple_rnn_step",
    "start",
    "unroll",
]

NORM_EPSILON = 1e-5

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "linear": lambda a: a,
    "sigmoid": torch.sigmoid,
}

State = tuple[Tensor, ...]


def run(r: Recurrence) -> tuple[Tensor, State]:
    """The whole recurrence: outputs (…, B, T, H), or (…, B, H) of the last step, and the final state.

    >>> w, u, b = torch.tensor([[1.0]]), torch.tensor([[0.5]]), torch.zeros(1)
    >>> x, h = torch.ones(1, 3, 1), torch.zeros(1, 1)
    >>> y, (h,) = run(Recurrence("simple_rnn", x, (h,), w, u, b, activation="linear"))
    >>> y.flatten().tolist()
    [1.0, 1.5, 1.75]
    """
    x = r.x if r.mask is None else r.x.masked_fill(~r.mask[..., None], 0)
    step = {"simple_rnn": simple_rnn_step, "lstm": lstm_step, "gru": gru_step}[r.cell]
    return unroll(
        lambda p, state: step(p, state, r),
        project(x, r.weight_ih, r.bias),
        start(r),
        mask=r.mask,
        reverse=r.reverse,
        last_only=r.last_only,
    )


def start(r: Recurrence) -> State:
    """The initial state: the one given, or zeros.

    >>> w, u = torch.ones(8, 3), torch.ones(8, 2)
    >>> [tuple(s.shape) for s in start(Recurrence("lstm", torch.ones(5, 4, 3), (), w, u))]
    [(5, 2), (5, 2)]
    """
    if r.state:
        return r.state
    shape = (*r.x.shape[:-2], r.weight_hh.shape[-1])
    return tuple(r.x.new_zeros(shape, dtype=r.weight_hh.dtype) for _ in STATE_NAMES[r.cell])


def unroll(
    step: Callable[[Tensor, Any], tuple[Tensor, Any]],
    x: Float[Tensor, "*M B T I"],
    state: State,
    *,
    mask: Bool[Tensor, "*M B T"] | None = None,
    reverse: bool = False,
    last_only: bool = False,
) -> tuple[Tensor, State]:
    """The loop over time: `step(x(t), state) -> (y(t), state)`, once for each step.

    >>> running_sum = lambda x_t, state: (state[0] + x_t, (state[0] + x_t,))
    >>> y, (total,) = unroll(running_sum, torch.ones(1, 3, 1), (torch.zeros(1, 1),))
    >>> y.flatten().tolist(), total.item()
    ([1.0, 2.0, 3.0], 3.0)
    """
    inputs = x.unbind(-2)
    masks = (None,) * len(inputs) if mask is None else mask[..., None].unbind(-2)
    outputs: list[Tensor] = []
    for t in reversed(range(len(inputs))) if reverse else range(len(inputs)):
        y, new = step(inputs[t], state)
        valid = masks[t]
        if valid is None:
            state = new
        else:
            y = torch.where(valid, y, outputs[-1] if outputs else torch.zeros_like(y))
            state = tuple(torch.where(valid, n, s) for n, s in zip(new, state, strict=True))
        if last_only:
            outputs = [y]
        else:
            outputs.append(y)
    return (outputs[-1] if last_only else torch.stack(outputs, dim=-2)), state


def simple_rnn_step(
    p: Float[Tensor, "*M B H"], state: State, r: Recurrence
) -> tuple[Float[Tensor, "*M B H"], State]:
    """h(t) = φ(W x(t) + b + U h(t-1)), with p = W x(t) + b given."""
    (h,) = state
    h = ACTIVATIONS[r.activation](normed(p + product(dropped(h, r), r.weight_hh.mT), r, 0))
    return h, (h,)


def lstm_step(
    p: Float[Tensor, "*M B GH"], state: State, r: Recurrence
) -> tuple[Float[Tensor, "*M B H"], State]:
    """i, f, o = σ(…), g = φ(…) of p + U h(t-1);  c(t) = f c(t-1) + i g;  h(t) = o φ(c(t))."""
    h, c = state
    act = ACTIVATIONS[r.activation]
    i, f, g, o = normed(p + product(dropped(h, r), r.weight_hh.mT), r, 0).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * act(g)
    h = torch.sigmoid(o) * act(normed(c, r, 4))
    return h, (h, c)


def gru_step(
    p: Float[Tensor, "*M B GH"], state: State, r: Recurrence
) -> tuple[Float[Tensor, "*M B H"], State]:
    """r, z = σ(…) of p + U h(t-1);  h(t) = (1 - z) n + z h(t-1), where n is

    φ(p + U (r h(t-1))) with the reset before the product, φ(p + r (U h(t-1) + b')) with the reset after it.
    """
    (h,) = state
    kept, gates = dropped(h, r), 2 * h.shape[-1]
    if r.reset_after:
        u = project(kept, r.weight_hh, r.bias_hh)
        reset, z = torch.sigmoid(normed(p[..., :gates] + u[..., :gates], r, 0)).chunk(2, -1)
        n = p[..., gates:] + reset * u[..., gates:]
    else:
        u = product(kept, r.weight_hh[..., :gates, :].mT)
        reset, z = torch.sigmoid(normed(p[..., :gates] + u, r, 0)).chunk(2, -1)
        n = p[..., gates:] + product(reset * kept, r.weight_hh[..., gates:, :].mT)
    h = (1 - z) * ACTIVATIONS[r.activation](normed(n, r, 2)) + z * h
    return h, (h,)


def dropped(h: Float[Tensor, "*M B H"], r: Recurrence) -> Float[Tensor, "*M B H"]:
    """h(t-1) as it enters a product."""
    return h if r.recurrent_mask is None else h * r.recurrent_mask


def normed(a: Float[Tensor, "*M B GH"], r: Recurrence, first: int) -> Float[Tensor, "*M B GH"]:
    """Layer norm of each gate in `a` over its units, with the gains and shifts of gates `first` and on."""
    if r.norm_weight is None or r.norm_bias is None:
        return a
    units = r.weight_hh.shape[-1]
    part = slice(first * units, first * units + a.shape[-1])
    a = F.layer_norm(a.unflatten(-1, (-1, units)), (units,), eps=NORM_EPSILON).flatten(-2)
    return a * r.norm_weight[..., None, part] + r.norm_bias[..., None, part]
