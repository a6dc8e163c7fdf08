"""Recurrent layers: a cell over a whole sequence, to an output of its last step or of each."""

from collections.abc import Sequence
from typing import Any, cast

from jaxtyping import Bool, Float
from torch import Tensor, nn

from unrolled.errors import OptionError
from unrolled.kernels import dispatch, reference
from unrolled.kernels.recurrence import STATE_NAMES, Activation, Recurrence
from unrolled.nn.cells import RecurrentWeights
from unrolled.nn.dropout import draw_kept
from unrolled.nn.validation import check_finite, check_input, check_mask, check_rate, check_state, is_count

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN"]


class OverTime(nn.Module):
    """What every recurrent layer has: what it returns, its direction, and a state kept between calls."""

    state: tuple[Tensor, ...] | None

    def set_options(
        self, return_sequences: bool, return_state: bool, go_backwards: bool, stateful: bool
    ) -> None:
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful = bool(go_backwards), bool(stateful)
        self.state = None

    def reset_state(self) -> None:
        """Forget the state kept by a `stateful` layer: the next call starts from zeros."""
        self.state = None

    def start(
        self, given: Any, names: tuple[str, ...], shapes: Sequence[tuple[int, ...]], like: Tensor
    ) -> tuple[Tensor, ...]:
        """The state to start from: the one given, else the one kept, else an empty one, which means zeros."""
        kept = given is None and self.stateful
        if kept:
            given = self.state
        if given is None:
            return ()
        state = check_state(type(self).__name__, given, names, shapes, kept)
        return tuple(s.to(like.device, like.dtype) for s in state)

    def finish(self, y: Tensor, state: tuple[Tensor, ...]) -> Any:
        """What the call returns; a `stateful` layer keeps the state, cut off from its gradient."""
        if self.stateful:
            self.state = tuple(s.detach() for s in state)
        return (y, *state) if self.return_state else y


class _Layer(OverTime, RecurrentWeights):
    """SimpleRNN, LSTM and GRU, which differ in their kind."""

    implementation: str | None = None

    def __init__(
        self,
        input_size: int,
        units: int,
        *,
        activation: Activation = "tanh",
        use_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        layer_norm: bool = False,
    ):
        """Take the arguments that the class describes."""
        super().__init__()
        self.dropout, self.recurrent_dropout = check_rate(
            type(self).__name__, dropout=dropout, recurrent_dropout=recurrent_dropout
        )
        self.set_options(return_sequences, return_state, go_backwards, stateful)
        self.make_weights(input_size, units, activation, use_bias, layer_norm)

    def forward(
        self,
        x: Float[Tensor, "*members batch time features"],
        initial_state: Any = None,
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Any:
        """The layer over the sequences of x.

        Args:
            x: the sequences. With stacked weights (members first), x has a leading axis of members as well.
            initial_state: (h,), or (h, c) for an LSTM, each (batch, units); a bare tensor will do for a
                single one.
            mask: False where a step is skipped: the state is carried and the output repeated.

        Returns:
            y, of shape (batch, units) or with `return_sequences` (batch, time, units); with `return_state` a
            tuple of y and the final states.

        Raises:
            ShapeError: an argument has the wrong shape or type.
            KernelError: `implementation` names one that cannot run this call.
            InputError: a finite input overflowed to NaN.
        """
        r = self.recurrence(x, initial_state, mask)
        y, state = dispatch.run(r, self.implementation)
        check_finite(type(self).__name__, y, x, self.parameters(), r.state, mask)
        return self.finish(y, state)

    def recurrence(self, x: Tensor, initial_state: Any = None, mask: Tensor | None = None) -> Recurrence:
        """The call as the kernels take it: arguments checked, dropout masks drawn."""
        where, own = type(self).__name__, self._parameters.get("weight_ih")
        weight = self.weight_ih if own is None else own  # it is not there if parametrized
        axes = ("batch", "time", "features") if weight.ndim == 2 else ("members", "batch", "time", "features")
        check_input(where, x, axes, self.input_size, weight.dtype)
        if mask is not None:
            check_mask(where, mask, tuple(x.shape[:-1]))
        if x.dtype is not weight.dtype:  # autocast: our kernels have no lower precision to gain by
            x = x.to(weight.dtype)
        names, shape = STATE_NAMES[self.kind], (*x.shape[:-2], self.units)
        state: tuple[Tensor, ...] = ()
        if initial_state is not None or self.stateful:
            state = self.start(initial_state, names, [shape] * len(names), weight)
        recurrent_mask = None
        if self.training and self.dropout:
            x = x * draw_kept(x, (*x.shape[:-2], 1, x.shape[-1]), x.dtype, self.dropout)
        if self.training and self.recurrent_dropout:
            recurrent_mask = draw_kept(x, shape, weight.dtype, self.recurrent_dropout)
        return self.as_recurrence(
            x,
            state,
            mask=mask,
            recurrent_mask=recurrent_mask,
            reverse=self.go_backwards,
            last_only=not self.return_sequences,
            needs_state=self.return_state or self.stateful,
        )

    def extra_repr(self) -> str:
        """The sizes, and the options that are not the default."""
        flags = (
            "return_sequences",
            "return_state",
            "go_backwards",
            "stateful",
            "dropout",
            "recurrent_dropout",
        )
        options = [f"{name}={getattr(self, name)}" for name in flags if getattr(self, name)]
        return ", ".join([super().extra_repr(), *options])


class SimpleRNN(_Layer):
    """The plain recurrent layer: h(t) = φ(W x(t) + U h(t-1) + b), y(t) = h(t).

    Args:
        input_size: I, the features of x.
        units: H, the size of h.
        activation: φ: "tanh", "relu", "linear" or "sigmoid".
        use_bias: whether there is b.
        return_sequences: return y(t) of all steps, not of the last alone.
        return_state: also return the final h.
        go_backwards: from the last step to the first; outputs come in the order in which they are computed.
        stateful: start from the state in which the last call ended, until `reset_state()`.
        dropout: share of the inputs to drop in training, in [0, 1): one mask a sequence and feature.
        recurrent_dropout: share of h(t-1) to drop in training where it enters the product with U: one mask a
            sequence and unit (Gal and Ghahramani, arXiv:1512.05287).
        layer_norm: normalise the summed pre-activation before φ (Ba, Kiros and Hinton, arXiv:1607.06450).

    Raises:
        OptionError: a size below 1, an unknown activation, a dropout outside [0, 1).

    Attributes:
        implementation: None (the first that covers the call; `explain` tells which), or the name of one:
            "native", "torch", "reference".

    Initial weights and the meaning of the arguments are Keras'. On the call see `forward`.

    >>> import torch
    >>> layer = SimpleRNN(8, 4, return_sequences=True, return_state=True)
    >>> y, h = layer(torch.randn(32, 10, 8))
    >>> y.shape, h.shape
    (torch.Size([32, 10, 4]), torch.Size([32, 4]))
    """

    kind = "simple_rnn"


class LSTM(_Layer):
    """Long short-term memory over a sequence (formulas: `LSTMCell`).

    Args:
        input_size: I, the features of x.
        units: H, the size of h and of c.
        activation: of the candidate g, and of c on its way out: "tanh", "relu", "linear" or "sigmoid".
        use_bias: whether there are biases; the forget gate's starts at 1.
        return_sequences: return y(t) of all steps, not of the last alone.
        return_state: also return the final h and c.
        go_backwards: from the last step to the first; outputs come in the order in which they are computed.
        stateful: start from the state in which the last call ended, until `reset_state()`.
        dropout: share of the inputs to drop in training, in [0, 1): one mask a sequence and feature.
        recurrent_dropout: share of h(t-1) to drop in training where it enters the product with U: one mask a
            sequence and unit, shared by the gates (Keras draws one a gate).
        layer_norm: normalise each gate's summed pre-activation, and c before its activation
            (arXiv:1607.06450).

    Raises:
        OptionError: a size below 1, an unknown activation, a dropout outside [0, 1).

    Attributes:
        implementation: None (the first that covers the call; `explain` tells which), or the name of one:
            "native", "torch", "reference".

    Initial weights and the meaning of the arguments are Keras'. On the call see `forward`.

    >>> import torch
    >>> x = torch.randn(32, 10, 8)
    >>> LSTM(8, 4)(x).shape
    torch.Size([32, 4])
    >>> y, h, c = LSTM(8, 4, return_sequences=True, return_state=True)(x)
    >>> y.shape, h.shape, c.shape
    (torch.Size([32, 10, 4]), torch.Size([32, 4]), torch.Size([32, 4]))
    """

    kind = "lstm"


class GRU(_Layer):
    """The gated recurrent unit over a sequence (formulas, and the letters of others: `GRUCell`).

    Args:
        input_size: I, the features of x.
        units: H, the size of h.
        activation: of the candidate n: "tanh", "relu", "linear" or "sigmoid".
        use_bias: whether there are biases.
        reset_after: the reset gate applies after the product with U (cuDNN, Keras), not before it (textbook).
        return_sequences: return y(t) of all steps, not of the last alone.
        return_state: also return the final h.
        go_backwards: from the last step to the first; outputs come in the order in which they are computed.
        stateful: start from the state in which the last call ended, until `reset_state()`.
        dropout: share of the inputs to drop in training, in [0, 1): one mask a sequence and feature.
        recurrent_dropout: share of h(t-1) to drop in training where it enters the product with U: one mask a
            sequence and unit, shared by the gates (Keras draws one a gate).
        layer_norm: normalise each gate's summed pre-activation (arXiv:1607.06450).

    Raises:
        OptionError: a size below 1, an unknown activation, a dropout outside [0, 1).

    Attributes:
        implementation: None (the first that covers the call; `explain` tells which), or the name of one:
            "native", "torch", "reference".

    Initial weights and the meaning of the arguments are Keras'. On the call see `forward`.

    >>> import torch
    >>> layer = GRU(8, 4, go_backwards=True)
    >>> layer(torch.randn(32, 10, 8)).shape
    torch.Size([32, 4])
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
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        layer_norm: bool = False,
    ):
        """Take the arguments that the class describes."""
        nn.Module.__init__(self)
        self.reset_after = bool(reset_after)
        self.dropout, self.recurrent_dropout = check_rate(
            "GRU", dropout=dropout, recurrent_dropout=recurrent_dropout
        )
        self.set_options(return_sequences, return_state, go_backwards, stateful)
        self.make_weights(input_size, units, activation, use_bias, layer_norm)


class RNN(OverTime):
    """Any cell over a sequence: `cell(x(t), state) -> (y(t), state)`, step by step.

    Args:
        cell: a module with `state_size`: an int (its state is a tensor) or a tuple of ints (a tuple of
            tensors).
        return_sequences: return y(t) of all steps, not of the last alone.
        return_state: also return the final states.
        go_backwards: from the last step to the first; outputs come in the order in which they are computed.
        stateful: start from the state in which the last call ended, until `reset_state()`.

    Raises:
        OptionError: the cell has no usable `state_size`.

    The initial state is zeros (batch, size) unless given. `mask` works as in the layers.

    >>> import torch
    >>> class Leaky(nn.Module):
    ...     state_size = 1
    ...     def forward(self, x_t, state):
    ...         state = 0.5 * state + x_t.sum(-1, keepdim=True)
    ...         return 10 * state, state
    >>> RNN(Leaky(), return_sequences=True)(torch.ones(1, 3, 2)).flatten().tolist()
    [20.0, 30.0, 35.0]
    """

    def __init__(
        self,
        cell: nn.Module,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
    ):
        """Take the arguments that the class describes."""
        super().__init__()
        size = getattr(cell, "state_size", None)
        sizes = size if isinstance(size, tuple) else (size,)
        if not sizes or not all(is_count(s, 1) for s in sizes):
            cure = "Give the cell state_size = 32, or (32, 32) for a state of two tensors."
            raise OptionError("RNN", "cell.state_size to be an int or a tuple of ints", repr(size), cure)
        self.cell = cell
        self.set_options(return_sequences, return_state, go_backwards, stateful)

    def forward(
        self,
        x: Float[Tensor, "*members batch time features"],
        initial_state: Any = None,
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Any:
        """The cell over x: y, or with `return_state` y and the states; the arguments are those of the layers."""
        weight_ih = getattr(self.cell, "weight_ih", None)
        members = (
            weight_ih.ndim - 2 if isinstance(self.cell, RecurrentWeights) and weight_ih is not None else 0
        )
        axes = ("members",) * members + ("batch", "time", "features")
        check_input("RNN", x, axes, None, None)
        if mask is not None:
            check_mask("RNN", mask, tuple(x.shape[:-1]))
            x = x.masked_fill(~mask[..., None], 0)
        size = cast(int | tuple[int, ...], self.cell.state_size)
        single = not isinstance(size, tuple)
        sizes = size if isinstance(size, tuple) else (size,)
        zeros = tuple(x.new_zeros(*x.shape[:-2], s) for s in sizes)
        names = tuple(f"state {i}" for i in range(len(sizes)))

        def step(x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            y, new = self.cell(x_t, state[0] if single else state)
            return y, (new,) if single else tuple(new)

        start = self.start(initial_state, names, [tuple(z.shape) for z in zeros], x) or zeros
        y, state = reference.unroll(
            step,
            x,
            start,
            mask=mask,
            reverse=self.go_backwards,
            last_only=not self.return_sequences,
        )
        check_finite("RNN", state[0], x, self.parameters(), start, mask)
        return self.finish(y, state)
