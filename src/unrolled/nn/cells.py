"""Recurrent cells: one step of time, h(t) = f(h(t-1), x(t)), and the weights that cells and layers share.

The protocol of a cell, the user's own included: `cell(x_t, state) -> (y_t, state)`, with `cell.state_size`
an int (the state is one tensor) or a tuple of ints (the state is a tuple of tensors).
"""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrolled.kernels import reference
from unrolled.kernels.recurrence import GATE_NAMES, STATE_NAMES, Activation, Cell, Recurrence
from unrolled.nn.validation import check_activation, check_input, check_positive, check_state

__all__ = ["GRUCell", "LSTMCell", "RecurrentWeights", "SimpleRNNCell"]


WEIGHTS = Recurrence._fields[3:9]


class RecurrentWeights(nn.Module):
    """The parameters of a recurrence, in torch's layout and order of gates, with Keras' initial values.

    `weight_ih` (G·H, I), `weight_hh` (G·H, H), `bias` (G·H); in a GRU with `reset_after` also `bias_hh`
    (3H); with layer norm also `norm_weight` and `norm_bias` (G·H, and H more in an LSTM for c).
    """

    kind: ClassVar[Cell]
    activation: Activation
    reset_after: bool = False
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    bias_hh: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None

    def make_weights(
        self, input_size: int, units: int, activation: Activation, use_bias: bool, layer_norm: bool
    ) -> None:
        """Register the parameters and draw their initial values."""
        input_size, units = check_positive(type(self).__name__, input_size=input_size, units=units)
        check_activation(type(self).__name__, activation)
        self.input_size, self.units, self.activation = input_size, units, activation
        gates = len(GATE_NAMES[self.kind])
        norms = gates + (self.kind == "lstm")
        shapes: dict[str, tuple[int, ...] | None] = {
            "weight_ih": (gates * units, input_size),
            "weight_hh": (gates * units, units),
            "bias": (gates * units,) if use_bias else None,
            "bias_hh": (gates * units,) if use_bias and self.kind == "gru" and self.reset_after else None,
            "norm_weight": (norms * units,) if layer_norm else None,
            "norm_bias": (norms * units,) if layer_norm else None,
        }
        for name, shape in shapes.items():
            self.register_parameter(name, None if shape is None else nn.Parameter(torch.empty(shape)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw initial weights as Keras does, from torch's global generator.

        Glorot uniform for the input and orthogonal for the recurrence, both for all gates at once; zero
        biases, but 1 for the forget gate (after the layer norm if there is one, which would take it away).
        """
        bound = math.sqrt(6 / (self.input_size + self.weight_ih.shape[0]))
        nn.init.uniform_(self.weight_ih, -bound, bound)
        self.weight_hh.copy_(nn.init.orthogonal_(torch.empty_like(self.weight_hh.T)).T)
        for bias in (self.bias, self.bias_hh, self.norm_bias):
            if bias is not None:
                nn.init.zeros_(bias)
        if self.norm_weight is not None:
            nn.init.ones_(self.norm_weight)
        forget = self.bias if self.norm_bias is None else self.norm_bias
        if self.kind == "lstm" and forget is not None:
            nn.init.ones_(forget[self.units : 2 * self.units])

    def as_recurrence(
        self,
        x: Tensor,
        state: tuple[Tensor, ...],
        mask: Tensor | None = None,
        recurrent_mask: Tensor | None = None,
        reverse: bool = False,
        last_only: bool = False,
        needs_state: bool = True,
    ) -> Recurrence:
        """These weights with an input and what modifies the loop: what the kernels take."""
        own = self._parameters  # without those parametrized; an attribute of a module costs a microsecond
        weights: list[Any] = [own[n] if n in own else getattr(self, n) for n in WEIGHTS]
        modifiers = (mask, recurrent_mask, self.activation, self.reset_after, reverse, last_only, needs_state)
        return Recurrence(self.kind, x, state, *weights, *modifiers)  # type: ignore[call-arg]

    def extra_repr(self) -> str:
        """The sizes, and the options that are not the default."""
        parts = [str(self.input_size), str(self.units)]
        if self.activation != "tanh":
            parts.append(f"activation={self.activation!r}")
        if self.kind == "gru" and not self.reset_after:
            parts.append("reset_after=False")
        parts += ["use_bias=False"] * (self.bias is None) + ["layer_norm=True"] * (
            self.norm_weight is not None
        )
        return ", ".join(parts)


class _Cell(RecurrentWeights):
    def __init__(
        self,
        input_size: int,
        units: int,
        *,
        activation: Activation = "tanh",
        use_bias: bool = True,
        layer_norm: bool = False,
    ):
        """Take the arguments that the class describes."""
        super().__init__()
        self.make_weights(input_size, units, activation, use_bias, layer_norm)

    @property
    def state_size(self) -> int | tuple[int, ...]:
        """The size of the state: an int, or a tuple of two for an LSTM."""
        return (self.units, self.units) if self.kind == "lstm" else self.units

    def _step(self, x_t: Tensor, state: Tensor | tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        where, members = type(self).__name__, self.weight_ih.ndim - 2
        axes = ("members",) * members + ("batch", "features")
        check_input(where, x_t, axes, self.input_size, self.weight_ih.dtype)
        given: tuple[Tensor, ...] = ()
        if state is not None:
            names = STATE_NAMES[self.kind]
            given = check_state(where, state, names, [(*x_t.shape[:-1], self.units)] * len(names))
        r = self.as_recurrence(x_t.unsqueeze(-2), given, last_only=True)
        return reference.run(r)[1]


class SimpleRNNCell(_Cell):
    """One step of the plain recurrence.

    h(t) = φ(W x(t) + U h(t-1) + b), and y(t) = h(t). With `layer_norm`, φ(LN(W x(t) + U h(t-1) + b)) (Ba,
    Kiros and Hinton, arXiv:1607.06450).

    Args:
        input_size: I, the features of x(t).
        units: H, the size of h.
        activation: φ: "tanh", "relu", "linear" or "sigmoid".
        use_bias: whether there is b.
        layer_norm: normalise the summed pre-activation over the units, before φ.

    Raises:
        OptionError: a size below 1 or an unknown activation.
        ShapeError: on the call, x(t) or the state of another shape or type.

    >>> cell = SimpleRNNCell(3, 4)
    >>> y, h = cell(torch.zeros(2, 3), torch.zeros(2, 4))
    >>> y.shape, y is h, cell.state_size
    (torch.Size([2, 4]), True, 4)
    """

    kind = "simple_rnn"

    def forward(
        self,
        x_t: Float[Tensor, "*members batch features"],
        state: Float[Tensor, "*members batch units"] | None = None,
    ) -> tuple[Float[Tensor, "*members batch units"], Float[Tensor, "*members batch units"]]:
        """One step: y(t) = h(t), and h(t) as the state. Without a state, from zeros."""
        (h,) = self._step(x_t, state)
        return h, h


class LSTMCell(_Cell):
    """One step of the long short-term memory.

    i, f, o = σ(W x(t) + U h(t-1) + b), one each; g = φ(W x(t) + U h(t-1) + b);
    c(t) = f ⊙ c(t-1) + i ⊙ g (long-term); h(t) = o ⊙ φ(c(t)) (short-term); y(t) = h(t).

    With `layer_norm` each of the four summed pre-activations is normalised over the units, and c(t) on its
    way to h, while c(t) itself is carried as it is (Ba, Kiros and Hinton, arXiv:1607.06450, equations 20–22,
    in the form that normalises the sum). Gates lie in the order i f g o. Source: Hochreiter and Schmidhuber
    1997, with the forget gate of Gers, Schmidhuber and Cummins 2000.

    Args:
        input_size: I, the features of x(t).
        units: H, the size of h and of c.
        activation: φ, by default "tanh".
        use_bias: whether there is b; the forget gate's starts at 1.
        layer_norm: as said above.

    Raises:
        OptionError: a size below 1 or an unknown activation.
        ShapeError: on the call, x(t) or the state of another shape or type.

    >>> cell = LSTMCell(3, 4)
    >>> y, (h, c) = cell(torch.zeros(2, 3), (torch.zeros(2, 4), torch.ones(2, 4)))
    >>> y.shape, y is h, cell.state_size
    (torch.Size([2, 4]), True, (4, 4))
    """

    kind = "lstm"

    def forward(
        self,
        x_t: Float[Tensor, "*members batch features"],
        state: tuple[Float[Tensor, "*members batch units"], Float[Tensor, "*members batch units"]]
        | None = None,
    ) -> tuple[
        Float[Tensor, "*members batch units"],
        tuple[Float[Tensor, "*members batch units"], Float[Tensor, "*members batch units"]],
    ]:
        """One step: y(t) = h(t), and (h(t), c(t)) as the state. Without a state, from zeros."""
        h, c = self._step(x_t, state)
        return h, (h, c)


class GRUCell(_Cell):
    """One step of the gated recurrent unit, in either convention of its reset gate.

    r, z = σ(W x(t) + U h(t-1) + b), one each; h(t) = (1 - z) ⊙ n + z ⊙ h(t-1); y(t) = h(t), where

    - n = φ(W x(t) + b + r ⊙ (U h(t-1) + b')) with `reset_after` (cuDNN's and Keras' form, the default here),
      and
    - n = φ(W x(t) + b + U (r ⊙ h(t-1))) without (the textbook's and the paper's: Cho et al.,
      arXiv:1406.1078v1).

    The textbook writes h(t) = (1 - z) h(t-1) + z h̃: its z is 1 - z here, its h̃ is n here, its r is the
    same. torch, Keras and ONNX use z as here. Gates lie in the order r z n.

    With `layer_norm` the summed pre-activations of r, of z and of n (after the reset, in both forms) are
    normalised over the units before σ or φ (Ba, Kiros and Hinton, arXiv:1607.06450).

    Args:
        input_size: I, the features of x(t).
        units: H, the size of h.
        activation: φ, by default "tanh".
        use_bias: whether there are b and, with `reset_after`, b'.
        reset_after: whether the reset gate applies after the product with U.
        layer_norm: as said above.

    Raises:
        OptionError: a size below 1 or an unknown activation.
        ShapeError: on the call, x(t) or the state of another shape or type.

    >>> cell = GRUCell(3, 4, reset_after=False)
    >>> y, h = cell(torch.zeros(2, 3), torch.zeros(2, 4))
    >>> y.shape, y is h, cell.state_size
    (torch.Size([2, 4]), True, 4)
    """

    kind = "gru"

    def __init__(
        self,
        input_size: int,
        units: int,
        *,
        activation: Activation = "tanh",
        use_bias: bool = True,
        reset_after: bool = True,
        layer_norm: bool = False,
    ):
        """Take the arguments that the class describes."""
        nn.Module.__init__(self)
        self.reset_after = reset_after
        self.make_weights(input_size, units, activation, use_bias, layer_norm)

    def forward(
        self,
        x_t: Float[Tensor, "*members batch features"],
        state: Float[Tensor, "*members batch units"] | None = None,
    ) -> tuple[Float[Tensor, "*members batch units"], Float[Tensor, "*members batch units"]]:
        """One step: y(t) = h(t), and h(t) as the state. Without a state, from zeros."""
        (h,) = self._step(x_t, state)
        return h, h
