"""A recurrent layer in both directions of time."""

import copy
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unrolled.errors import OptionError, ShapeError
from unrolled.kernels.recurrence import STATE_NAMES, Recurrence
from unrolled.nn.recurrent import RNN, OverTime
from unrolled.nn.validation import check_choice

__all__ = ["Bidirectional"]


class Bidirectional(nn.Module):
    """A layer that reads the sequence forwards beside one that reads it backwards, and their outputs merged.

    Args:
        layer: a recurrent layer that goes forwards; what it returns is returned here.
        merge_mode: "concat" (features side by side), "sum", "mul", "ave", or None: both outputs in a tuple.
        backward_layer: the layer that goes backwards; by default a copy of `layer` with fresh weights.

    Raises:
        OptionError: `layer` is not a recurrent layer or goes backwards, an unknown merge_mode, or no fresh
            weights for a cell without `reset_parameters`.

    Outputs of each step stand in the order of x, and are zero (not the last output) where a mask skips a
    step. The call is that of the layer, with the states of both: first those of the forward layer, then those
    of the backward layer. (Schuster and Paliwal 1997; Keras' semantics.)

    >>> from unrolled.nn import LSTM
    >>> layer = Bidirectional(LSTM(8, 4, return_sequences=True, return_state=True))
    >>> y, *states = layer(torch.zeros(32, 10, 8))
    >>> y.shape, len(states)
    (torch.Size([32, 10, 8]), 4)
    """

    def __init__(
        self, layer: nn.Module, merge_mode: str | None = "concat", *, backward_layer: nn.Module | None = None
    ):
        """Take the arguments that the class describes."""
        super().__init__()
        check_choice("Bidirectional", "merge_mode", merge_mode, ["concat", "sum", "mul", "ave", None])
        self.merge_mode = merge_mode
        self.forward_layer = _checked(layer, "layer", go_backwards=False)
        if backward_layer is None:
            backward_layer = _fresh_copy(self.forward_layer)
        self.backward_layer = _checked(backward_layer, "backward_layer", go_backwards=True)
        _check_alike(self.forward_layer, self.backward_layer)

    def forward(
        self,
        x: Float[Tensor, "*members batch time features"],
        initial_state: Any = None,
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Any:
        """Both layers over x; arguments, shapes and errors are those of the layer."""
        forward_state, backward_state = None, None
        if initial_state is not None:
            half = _states_of(self.forward_layer)
            if not isinstance(initial_state, tuple | list) or len(initial_state) != 2 * half:
                got = f"{len(initial_state)}" if isinstance(initial_state, tuple | list) else "one"
                raise ShapeError(
                    "Bidirectional",
                    expected=f"initial_state of {2 * half} tensors, the states of both layers",
                    got=got,
                    cure="Pass those of the forward layer, then those of the backward layer.",
                )
            forward_state, backward_state = tuple(initial_state[:half]), tuple(initial_state[half:])
        ahead = self.forward_layer(x, forward_state, mask)
        back = self.backward_layer(x, backward_state, mask)
        ahead, *states = ahead if self.forward_layer.return_state else (ahead,)
        back, *more = back if self.forward_layer.return_state else (back,)
        if self.forward_layer.return_sequences:
            back = back.flip(-2)
            if mask is not None:
                ahead, back = (y.masked_fill(~mask[..., None], 0) for y in (ahead, back))
        states += more
        if self.merge_mode is None:
            return ahead, back, *states
        y = _merge(ahead, back, self.merge_mode)
        return (y, *states) if states else y

    def reset_state(self) -> None:
        """Forget the states kept by `stateful` layers."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    @property
    def implementation(self) -> str | None:
        """The implementation asked for by name, of both layers."""
        return getattr(self.forward_layer, "implementation", None)

    @implementation.setter
    def implementation(self, name: str | None) -> None:
        self.forward_layer.implementation = name  # type: ignore[assignment]
        self.backward_layer.implementation = name  # type: ignore[assignment]

    def recurrence(self, x: Tensor, initial_state: Any = None, mask: Tensor | None = None) -> Recurrence:
        """The forward layer's call, as the kernels take it: for `explain`."""
        return self.forward_layer.recurrence(x, initial_state, mask)  # type: ignore[operator]

    def extra_repr(self) -> str:
        """The way of merging."""
        return f"merge_mode={self.merge_mode!r}"


def _states_of(layer: Any) -> int:
    """How many tensors the state of a layer is."""
    size: Any = layer.cell.state_size if isinstance(layer, RNN) else STATE_NAMES[layer.kind]
    return len(size) if isinstance(size, tuple) else 1


def _check_alike(ahead: OverTime, back: OverTime) -> None:
    for option in ("return_sequences", "return_state"):
        mine, its = getattr(ahead, option), getattr(back, option)
        if mine != its:
            raise OptionError(
                "Bidirectional",
                expected=f"both layers to have the same {option}",
                got=f"{mine} and {its}",
                cure=f"Give the backward layer {option}={mine}.",
            )


def _checked(layer: Any, name: str, go_backwards: bool) -> OverTime:
    if not isinstance(layer, OverTime) or layer.go_backwards != go_backwards:
        way = "backwards" if go_backwards else "forwards"
        raise OptionError(
            "Bidirectional",
            expected=f"{name} to be a recurrent layer that goes {way}",
            got=f"{layer!r}",
            cure=f"Pass an unrolled.nn layer with go_backwards={go_backwards}.",
        )
    return layer


def _fresh_copy(layer: OverTime) -> OverTime:
    other = copy.deepcopy(layer)
    other.go_backwards = True
    other.reset_state()
    for module in other.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        elif next(module.parameters(recurse=False), None) is not None:
            raise OptionError(
                "Bidirectional",
                expected=f"{type(module).__name__} to have reset_parameters()",
                got="none",
                cure="Add it, or pass backward_layer=RNN(your_cell, …, go_backwards=True).",
            )
    return other


def _merge(ahead: Tensor, back: Tensor, mode: str) -> Tensor:
    match mode:
        case "concat":
            return torch.cat((ahead, back), dim=-1)
        case "sum":
            return ahead + back
        case "mul":
            return ahead * back
        case _:
            return (ahead + back) / 2
