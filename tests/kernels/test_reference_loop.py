"""The definition itself: against loops over single numbers in NumPy, and its gradients by `gradcheck`."""

from itertools import product

import numpy as np
import pytest
import torch
from recurrences import CELLS, make

from unrolled.kernels import reference
from unrolled.kernels.recurrence import GATE_NAMES

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "linear": lambda a: a,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
}
sigmoid = ACTIVATIONS["sigmoid"]


def twin(r):
    """The same recurrence, sequence by sequence and step by step, written from the formulas."""
    every_y, finals = [], []
    for b in range(len(r.x)):
        state = [s[b].numpy() for s in r.state]
        drop = 1.0 if r.recurrent_mask is None else r.recurrent_mask[b].numpy()
        order = range(r.x.shape[1])
        y, ys = np.zeros(r.weight_hh.shape[1]), []
        for t in reversed(order) if r.reverse else order:
            if r.mask is None or r.mask[b, t]:
                state = {"simple_rnn": rnn_twin, "lstm": lstm_twin, "gru": gru_twin}[r.cell](
                    r, r.x[b, t].numpy(), state, drop
                )
                y = state[0]
            ys.append(y)
        every_y.append(ys)
        finals.append(state)
    y = np.array(every_y)
    return (y[:, -1] if r.last_only else y), [np.array([f[k] for f in finals]) for k in range(len(r.state))]


def gate(r, name):
    """Weights of one gate: of x, of h, and their bias."""
    H, k = r.weight_hh.shape[1], GATE_NAMES[r.cell].index(name)
    rows = slice(k * H, (k + 1) * H)
    return r.weight_ih[rows].numpy(), r.weight_hh[rows].numpy(), r.bias[rows].numpy()


def norm(r, k, a):
    """The layer norm number k of the cell."""
    if r.norm_weight is None:
        return a
    rows = slice(k * len(a), (k + 1) * len(a))
    a = (a - a.mean()) / np.sqrt(a.var() + 1e-5)
    return a * r.norm_weight[rows].numpy() + r.norm_bias[rows].numpy()


def rnn_twin(r, x, state, drop):
    (h,) = state
    W, U, b = gate(r, "h")
    return [ACTIVATIONS[r.activation](norm(r, 0, W @ x + U @ (drop * h) + b))]


def lstm_twin(r, x, state, drop):
    h, c = state
    a = {}
    for k, name in enumerate("ifgo"):
        W, U, b = gate(r, name)
        a[name] = norm(r, k, W @ x + U @ (drop * h) + b)
    phi = ACTIVATIONS[r.activation]
    c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * phi(a["g"])
    return [sigmoid(a["o"]) * phi(norm(r, 4, c)), c]


def gru_twin(r, x, state, drop):
    (h,) = state
    H = len(h)
    seconds = np.zeros((3, H)) if r.bias_hh is None else r.bias_hh.numpy().reshape(3, H)
    (Wr, Ur, br), (Wz, Uz, bz), (Wn, Un, bn) = (gate(r, name) for name in "rzn")
    reset = sigmoid(norm(r, 0, Wr @ x + Ur @ (drop * h) + br + seconds[0]))
    update = sigmoid(norm(r, 1, Wz @ x + Uz @ (drop * h) + bz + seconds[1]))
    if r.reset_after:
        candidate = Wn @ x + bn + reset * (Un @ (drop * h) + seconds[2])
    else:
        candidate = Wn @ x + bn + Un @ (reset * drop * h)
    return [(1 - update) * ACTIVATIONS[r.activation](norm(r, 2, candidate)) + update * h]


MASK = [[1, 1, 0, 1, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("mask", "dropped", "norms"), list(product([None, MASK], [False, True], [False, True]))
)
@pytest.mark.parametrize(("cell", "options"), CELLS, ids=str)
def test_equals_numpy(cell, options, mask, dropped, norms, activation):
    for reverse, last_only in product([False, True], [False, True]):
        flags = {"reverse": reverse, "last_only": last_only}
        r = make(cell, mask=mask, dropped=dropped, norm=norms, activation=activation, **options, **flags)
        y, state = reference.run(r)
        expected_y, expected_state = twin(r)
        np.testing.assert_allclose(y, expected_y, rtol=1e-11, atol=1e-13)
        for got, expected in zip(state, expected_state, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("mask", "dropped", "norms"), list(product([None, MASK], [False, True], [False, True]))
)
@pytest.mark.parametrize(("cell", "options"), CELLS, ids=str)
def test_gradcheck(cell, options, mask, dropped, norms):
    r = make(cell, mask=mask, dropped=dropped, norm=norms, **options)
    names = ["x", "weight_ih", "weight_hh", "bias", "bias_hh", "norm_weight", "norm_bias"]
    names = [n for n in names if getattr(r, n) is not None]
    given = [getattr(r, n).clone().requires_grad_() for n in names]
    states = [s.clone().requires_grad_() for s in r.state]

    def call(*tensors):
        new = dict(zip(names, tensors, strict=False))
        y, state = reference.run(r._replace(state=tensors[len(names) :], **new))
        return y, *state

    assert torch.autograd.gradcheck(call, (*given, *states), fast_mode=True)


def test_second_derivatives():
    r = make("lstm", sizes=(2, 3, 2, 2))

    def call(x, weight_hh):
        return reference.run(r._replace(x=x, weight_hh=weight_hh))[0]

    given = r.x.clone().requires_grad_(), r.weight_hh.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(call, given)


@pytest.mark.parametrize(("cell", "options"), CELLS, ids=str)
def test_what_a_skipped_step_holds_has_no_effect_on_any_gradient(cell, options):
    r = make(cell, mask=MASK, **options)
    grads = []
    for fill in (0.0, float("nan")):
        x = r.x.masked_fill(~r.mask[..., None], fill).requires_grad_()
        weights = r.weight_ih.clone().requires_grad_(), r.weight_hh.clone().requires_grad_()
        y, state = reference.run(r._replace(x=x, weight_ih=weights[0], weight_hh=weights[1]))
        total = y.square().sum() + sum(s.square().sum() for s in state)
        grads.append([y, *state, *torch.autograd.grad(total, (x, *weights))])
    for without, with_nan in zip(*grads, strict=True):
        torch.testing.assert_close(with_nan, without, rtol=0, atol=0)
