"""Weights in and out: Keras, torch.nn and ONNX, each with its own layout and order of gates.

Every layout here has a kernel of the input, one of the recurrence, and biases. They differ in the order of
the gates (`GATE_ORDERS`, the only place that says so), in which axis is the output's, and in how many biases
there are: Keras and we have one, but two in a GRU with `reset_after`; torch and ONNX always have two, of
which the sum counts unless the reset gate comes between them.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrolled.errors import OptionError, ShapeError
from unrolled.kernels.recurrence import GATE_NAMES
from unrolled.nn.basic import Dense
from unrolled.nn.bidirectional import Bidirectional
from unrolled.nn.cells import RecurrentWeights
from unrolled.nn.convolution import Conv1D
from unrolled.nn.recurrent import GRU, LSTM, RNN, SimpleRNN

__all__ = ["GATE_ORDERS", "from_keras", "from_onnx", "from_torch", "to_keras", "to_onnx", "to_torch"]

# "torch" is our own order too. Letters: LSTM input, forget, candidate g (c elsewhere), output; GRU reset,
# update z,
# candidate n (h elsewhere).
GATE_ORDERS: dict[str, dict[str, str]] = {
    "simple_rnn": {"torch": "h", "keras": "h", "onnx": "h"},
    "lstm": {"torch": "".join(GATE_NAMES["lstm"]), "keras": "ifgo", "onnx": "iofg"},
    "gru": {"torch": "".join(GATE_NAMES["gru"]), "keras": "zrn", "onnx": "zrn"},
}

Array = np.ndarray | Tensor
Layer = TypeVar("Layer", bound=nn.Module)


def from_keras(layer: Layer, weights: Sequence[Array]) -> Layer:
    """Fill a layer of ours with the weights of its Keras twin, and return it.

    Args:
        layer: SimpleRNN, LSTM, GRU or their cells, RNN(cell), Bidirectional, Dense or Conv1D, of the same
            sizes.
        weights: what the Keras layer's `get_weights()` gives.

    Raises:
        OptionError: a layer that Keras does not have, as one with layer norm.
        ShapeError: weights of another number or shape.

    >>> kernel, recurrent, bias = np.ones((3, 8)), np.ones((2, 8)), np.zeros(8)
    >>> layer = from_keras(LSTM(3, 2), [kernel, recurrent, bias])
    >>> layer.weight_ih.shape
    torch.Size([8, 3])
    """
    arrays = [torch.as_tensor(np.asarray(w)) for w in weights]
    if isinstance(layer, Dense | Conv1D):
        _check_count(arrays, 2)
        _fill(layer, {"weight": arrays[0].permute(*reversed(range(arrays[0].ndim))), "bias": arrays[1]})
        return layer
    cells = [_plain(module, "from_keras") for module in _directions(layer)]
    each = 2 + (cells[0].bias is not None)
    _check_count(arrays, each * len(cells))
    for i, cell in enumerate(cells):
        kernel, recurrent, *bias = arrays[i * each : (i + 1) * each]
        new = {"weight_ih": kernel.mT, "weight_hh": recurrent.mT}
        if bias and cell.bias_hh is not None:
            _check_shape("from_keras", "bias", bias[0], (2, *cell.bias_hh.shape))
            new["bias"], new["bias_hh"] = bias[0]
        elif bias:
            new["bias"] = bias[0]
        _fill(cell, new, "keras")
    return layer


def to_keras(layer: nn.Module) -> list[np.ndarray]:
    """The weights of a layer of ours, for `set_weights` of its Keras twin.

    Raises:
        OptionError: a layer that Keras does not have, as one with layer norm.

    >>> [w.shape for w in to_keras(GRU(3, 2))]
    [(3, 6), (2, 6), (2, 6)]
    """
    if isinstance(layer, Dense | Conv1D):
        return [_numpy(layer.weight.permute(*reversed(range(layer.weight.ndim)))), _numpy(layer.bias)]
    arrays = []
    for module in _directions(layer):
        cell = _plain(module, "to_keras")
        ordered = {name: _reordered(w, cell.kind, "torch", "keras") for name, w in cell.named_parameters()}
        arrays += [ordered["weight_ih"].mT, ordered["weight_hh"].mT]
        if cell.bias_hh is not None:
            arrays.append(torch.stack((ordered["bias"], ordered["bias_hh"])))
        elif cell.bias is not None:
            arrays.append(ordered["bias"])
    return [_numpy(a) for a in arrays]


def from_torch(module: nn.RNN | nn.LSTM | nn.GRU) -> nn.Module:
    """Layers of ours that compute what a torch.nn.RNN, LSTM or GRU does (batch first, all steps returned).

    Returns:
        One layer for one layer of torch's, a `Bidirectional` if it is, and a torch.nn.Sequential of these,
        with torch.nn.Dropout between them, if there are several.

    Raises:
        OptionError: another module, or one with `proj_size`.

    >>> theirs = nn.LSTM(3, 4, batch_first=True)
    >>> x = torch.randn(2, 5, 3)
    >>> torch.allclose(from_torch(theirs)(x), theirs(x)[0], atol=1e-6)
    True
    """
    if not isinstance(module, nn.RNN | nn.LSTM | nn.GRU) or module.proj_size:
        got = f"{module!r}"
        raise OptionError("from_torch", "a torch.nn.RNN, LSTM or GRU without proj_size", got, "Pass one.")
    layers: list[nn.Module] = []
    for depth in range(module.num_layers):
        directions = [_from_torch(module, f"_l{depth}", False)]
        if module.bidirectional:
            directions.append(_from_torch(module, f"_l{depth}_reverse", True))
            layers.append(Bidirectional(directions[0], backward_layer=directions[1]))
        else:
            layers += directions
        if module.dropout and depth < module.num_layers - 1:
            layers.append(nn.Dropout(module.dropout))
    whole = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    return whole.train(module.training)


def _from_torch(module: nn.RNN | nn.LSTM | nn.GRU, suffix: str, backwards: bool) -> SimpleRNN | LSTM | GRU:
    w = {name.removesuffix(suffix): p for name, p in module.named_parameters() if name.endswith(suffix)}
    units, size = w["weight_hh"].shape[1], w["weight_ih"].shape[1]
    layer: SimpleRNN | LSTM | GRU
    if isinstance(module, nn.LSTM):
        layer = LSTM(size, units, use_bias=module.bias, return_sequences=True, go_backwards=backwards)
    elif isinstance(module, nn.GRU):
        layer = GRU(size, units, use_bias=module.bias, return_sequences=True, go_backwards=backwards)
    else:
        activation = module.nonlinearity
        layer = SimpleRNN(
            size,
            units,
            activation=activation,
            use_bias=module.bias,
            return_sequences=True,
            go_backwards=backwards,
        )
    layer.to(w["weight_ih"].device, w["weight_ih"].dtype)
    _fill(layer, {"weight_ih": w["weight_ih"], "weight_hh": w["weight_hh"]})
    if module.bias:
        _fill(layer, _our_biases(layer, w["bias_ih"], w["bias_hh"]))
    return layer


def to_torch(layer: nn.Module) -> nn.RNN | nn.LSTM | nn.GRU:
    """A torch.nn.RNN, LSTM or GRU (batch first) that computes what a layer of ours does, without its
    dropouts.

    Args:
        layer: SimpleRNN, LSTM or GRU, or a `Bidirectional` of one that concatenates.

    Raises:
        OptionError: a layer that torch.nn does not have: with layer norm, another activation,
            `reset_after=False`, or a direction or merge_mode of its own.

    >>> to_torch(GRU(3, 4))
    GRU(3, 4, batch_first=True)
    """
    directions = _directions(layer)
    both = isinstance(layer, Bidirectional)
    if isinstance(layer, Bidirectional):
        _refuse_unless(
            layer.merge_mode == "concat", "to_torch", 'merge_mode="concat"', repr(layer.merge_mode)
        )
    first = _plain(directions[0], "to_torch")
    for other in directions[1:]:
        theirs_too = _plain(other, "to_torch")
        for name in ("kind", "input_size", "units", "activation"):
            mine, its = getattr(first, name), getattr(theirs_too, name)
            _refuse_unless(
                mine == its, "to_torch", f"the same {name} in both directions", f"{mine!r} and {its!r}"
            )
        alike = (first.bias is None) == (theirs_too.bias is None) and (first.bias_hh is None) == (
            theirs_too.bias_hh is None
        )
        _refuse_unless(alike, "to_torch", "the same biases in both directions", "different ones")
    _refuse_unless(
        isinstance(first, SimpleRNN | LSTM | GRU), "to_torch", "SimpleRNN, LSTM or GRU", repr(layer)
    )
    backwards = getattr(first, "go_backwards", False)
    _refuse_unless(not backwards, "to_torch", "go_backwards=False", "True")
    known = ("tanh", "relu") if first.kind == "simple_rnn" else ("tanh",)
    expected = f"activation {' or '.join(known)}"
    _refuse_unless(first.activation in known, "to_torch", expected, repr(first.activation))
    _refuse_unless(first.kind != "gru" or first.reset_after, "to_torch", "reset_after=True", "False")
    size, units, bias = first.input_size, first.units, first.bias is not None
    theirs: nn.RNN | nn.LSTM | nn.GRU
    if first.kind == "lstm":
        theirs = nn.LSTM(size, units, bias=bias, batch_first=True, bidirectional=both)
    elif first.kind == "gru":
        theirs = nn.GRU(size, units, bias=bias, batch_first=True, bidirectional=both)
    else:
        phi = first.activation
        theirs = nn.RNN(size, units, nonlinearity=phi, bias=bias, batch_first=True, bidirectional=both)
    theirs.to(first.weight_ih.device, first.weight_ih.dtype)
    for suffix, module in zip(("_l0", "_l0_reverse"), directions, strict=False):
        cell = _plain(module, "to_torch")
        new = {"weight_ih": cell.weight_ih, "weight_hh": cell.weight_hh}
        if cell.bias is not None:
            new["bias_ih"] = cell.bias
            new["bias_hh"] = torch.zeros_like(cell.bias) if cell.bias_hh is None else cell.bias_hh
        _fill(theirs, {name + suffix: value for name, value in new.items()})
    return theirs.train(layer.training)


def from_onnx(
    layer: Layer,
    W: Float[Array, "directions rows features"],
    R: Float[Array, "directions rows units"],
    B: Float[Array, "directions two_rows"] | None = None,
    P: Float[Array, "directions peepholes"] | None = None,
) -> Layer:
    """Fill a layer of ours with the weights of an ONNX RNN, LSTM or GRU node, and return it.

    Args:
        layer: SimpleRNN, LSTM or GRU (`reset_after` = the node's `linear_before_reset`), its cell, or a
            `Bidirectional` for two directions.
        W, R, B: the node's inputs of these names.
        P: its peepholes, which we do not have.

    Raises:
        OptionError: peepholes, or a layer with layer norm.
        ShapeError: weights of another shape.

    >>> layer = from_onnx(SimpleRNN(3, 2), np.ones((1, 2, 3)), np.ones((1, 2, 2)))
    >>> layer.bias.tolist()
    [0.0, 0.0]
    """
    if P is not None:
        cure = "Convert a model without peepholes."
        raise OptionError("from_onnx", "an LSTM without peepholes (P)", "peepholes", cure)
    directions = _directions(layer)
    for i, module in enumerate(directions):
        cell = _plain(module, "from_onnx")
        for name, array in {"W": W, "R": R, **({} if B is None else {"B": B})}.items():
            _check_shape("from_onnx", name, array, (len(directions), *array.shape[1:]))
        new = {"weight_ih": torch.as_tensor(W[i]), "weight_hh": torch.as_tensor(R[i])}
        _fill(cell, new, "onnx")
        if cell.bias is not None:
            both_biases = torch.zeros(2 * len(cell.bias)) if B is None else torch.as_tensor(B[i])
            _check_shape("from_onnx", "B", both_biases, (2 * len(cell.bias),))
            _fill(cell, _our_biases(cell, *both_biases.chunk(2)), "onnx")
        elif B is not None:
            raise OptionError("from_onnx", "a layer with biases", "use_bias=False", "Pass use_bias=True.")
    return layer


def to_onnx(layer: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, R and B of the ONNX RNN, LSTM or GRU node that computes what a layer of ours does.

    Raises:
        OptionError: a layer with layer norm.

    >>> W, R, B = to_onnx(LSTM(3, 2))
    >>> W.shape, R.shape, B.shape
    ((1, 8, 3), (1, 8, 2), (1, 16))
    """
    arrays = []
    for module in _directions(layer):
        cell = _plain(module, "to_onnx")
        zeros = torch.zeros_like(cell.weight_ih[:, 0])
        biases = [zeros if b is None else b for b in (cell.bias, cell.bias_hh)]
        parts = [_reordered(w, cell.kind, "torch", "onnx") for w in (cell.weight_ih, cell.weight_hh, *biases)]
        arrays.append((parts[0], parts[1], torch.cat(parts[2:])))
    W, R, B = (_numpy(torch.stack(same)) for same in zip(*arrays, strict=True))
    return W, R, B


def _directions(layer: nn.Module) -> list[nn.Module]:
    """The recurrence of a layer, or both of a bidirectional one; of RNN(cell), the cell."""
    if isinstance(layer, Bidirectional):
        return _directions(layer.forward_layer) + _directions(layer.backward_layer)
    return [layer.cell] if isinstance(layer, RNN) else [layer]


def _our_biases(cell: RecurrentWeights, bias_ih: Tensor, bias_hh: Tensor) -> dict[str, Tensor]:
    """Of two biases, the two or the one that we keep."""
    if cell.bias_hh is not None:
        return {"bias": bias_ih, "bias_hh": bias_hh}
    return {"bias": bias_ih + bias_hh}


def _plain(layer: nn.Module, where: str) -> RecurrentWeights:
    """A recurrence of ours without layer norm, which the others do not have."""
    _refuse_unless(
        isinstance(layer, RecurrentWeights), where, "a recurrent layer of unrolled.nn", repr(layer)
    )
    assert isinstance(layer, RecurrentWeights)
    _refuse_unless(layer.norm_weight is None, where, "layer_norm=False", "True")
    return layer


def _refuse_unless(right: bool, where: str, expected: str, got: str) -> None:
    if not right:
        raise OptionError(where, expected, got, "Convert a layer that both libraries have.")


def _reordered(w: Tensor, kind: str, source: str, target: str) -> Tensor:
    """The blocks of rows of w, one a gate, from the order of one library to that of another."""
    orders = GATE_ORDERS[kind]
    blocks = w.chunk(len(orders[source]))
    return torch.cat([blocks[orders[source].index(gate)] for gate in orders[target]])


@torch.no_grad()
def _fill(layer: nn.Module, new: dict[str, Tensor], source: str = "torch") -> None:
    """Copy the weights in, gates reordered, after checking every shape."""
    where = f"weights of {type(layer).__name__}"
    for name, w in new.items():
        _check_shape(where, name, w, tuple(layer.get_parameter(name).shape))
    for name, w in new.items():
        if isinstance(layer, RecurrentWeights):
            w = _reordered(w, layer.kind, source, "torch")
        layer.get_parameter(name).copy_(w)


def _check_count(arrays: Sequence[Tensor], wanted: int) -> None:
    if len(arrays) != wanted:
        cure = "Pass layer.get_weights() of a Keras layer with the same use_bias."
        raise ShapeError("from_keras", f"{wanted} arrays", str(len(arrays)), cure)


def _check_shape(where: str, name: str, got: Array, shape: tuple[int, ...]) -> None:
    if tuple(got.shape) != shape:
        cure = "Give our layer the sizes and options of the one that the weights come from."
        raise ShapeError(where, f"{name} of shape {shape}", str(tuple(got.shape)), cure)


def _numpy(w: Tensor) -> np.ndarray:
    return np.ascontiguousarray(w.detach().cpu().numpy())
