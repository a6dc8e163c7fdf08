"""What a layer refuses, before it computes anything: one function for each kind of argument."""

import operator
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import InputError, OptionError, ShapeError
from unrolled.kernels import native
from unrolled.kernels.reference import ACTIVATIONS

__all__ = [
    "check_activation",
    "check_choice",
    "check_finite",
    "check_input",
    "check_mask",
    "check_positive",
    "check_rate",
    "check_state",
    "is_count",
    "is_number",
    "plain",
]


def plain(value: Any) -> Any:
    """NumPy's numbers, also in a list or a tuple, as Python's, and its arrays as lists; anything else as it is.

    >>> plain(np.int8(3)), plain((np.float32(0.5), 1)), plain(np.array([80, 95]))
    (3, (0.5, 1), [80, 95])
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        return float(value) if isinstance(value, np.floating) else value.item()
    if type(value) not in (list, tuple):
        return value
    found = [plain(part) for part in value]
    return value if all(map(operator.is_, found, value)) else type(value)(found)


def is_count(value: Any, least: int) -> bool:
    """Whether a value is a whole number, Python's or NumPy's, of at least so much."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether a value is a number, Python's or NumPy's, and none of the two truth values."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_positive(where: str, **sizes: int) -> list[int]:
    """Each size is a whole number of at least 1; they are returned as Python's."""
    for name, size in sizes.items():
        if not is_count(size, 1):
            raise OptionError(
                where, f"{name} to be a whole number ≥ 1", repr(size), f"Pass for instance {name}=32."
            )
    return [int(size) for size in sizes.values()]


def check_rate(where: str, **rates: float) -> list[float]:
    """Each rate of dropout lies in [0, 1); they are returned as Python's."""
    for name, rate in rates.items():
        if not is_number(rate) or not 0 <= rate < 1:
            raise OptionError(
                where, f"{name} in [0, 1)", repr(rate), "Pass the share to drop, for instance 0.2."
            )
    return [plain(rate) for rate in rates.values()]


def check_activation(where: str, activation: Any) -> None:
    """The activation is one that we know by name."""
    check_choice(where, "activation", activation, ACTIVATIONS)


def check_choice(where: str, name: str, got: Any, choices: Iterable[Any]) -> None:
    """`got` is one of the choices."""
    choices = list(choices)
    if got not in choices:
        raise OptionError(where, f"{name} to be one of {choices}", repr(got), "Choose one of them.")


def check_input(
    where: str,
    x: Any,
    axes: Sequence[str],
    features: int | None,
    dtype: torch.dtype | None,
    *,
    argument: str = "input_size",
) -> None:
    """x is a floating-point tensor with these axes, the last of which has as many features as the layer.

    `argument` is what the constructor calls the number of features; `dtype` is that of the weights.
    """
    if (
        isinstance(x, Tensor)
        and x.ndim == len(axes)
        and 0 not in x.shape
        and x.shape[-1] == features
        and x.dtype == dtype
        and x.is_floating_point()
    ):
        return  # the usual case, quickly
    shape = f"({', '.join(axes)}{'' if features is None else f'={features}'})"
    expected = f"x of shape {shape}"
    if not isinstance(x, Tensor):
        raise ShapeError(
            where,
            f"x to be a torch.Tensor of shape {shape}",
            f"a {type(x).__name__}",
            "Pass torch.as_tensor(x).",
        )
    got = str(tuple(x.shape))
    if x.ndim != len(axes):
        cure = f"Add the missing axis, as in x[None]: the axes are {', '.join(axes)}."
        if "time" in axes and x.ndim == len(axes) - 1:
            cure += " After another recurrent layer, give that one return_sequences=True."
        if x.ndim > len(axes):
            cure = f"Reshape to {len(axes)} axes: {', '.join(axes)}."
        raise ShapeError(where, expected, got, cure)
    if features is not None and x.shape[-1] != features:
        cure = f"Pass {argument}={x.shape[-1]}, or select {features} column{'s' * (features > 1)}."
        raise ShapeError(where, expected, got, cure)
    if "time" in axes and x.shape[axes.index("time")] == 0:
        raise ShapeError(where, "at least one time step", got, "Drop empty sequences before the call.")
    if not x.is_floating_point():
        raise ShapeError(where, "x of floating-point numbers", str(x.dtype), "Convert it: x.float().")
    if dtype is not None and x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        cure = f"Convert one of them: x.to({dtype}) or layer.to({x.dtype})."
        raise ShapeError(where, f"x of the weights' type {dtype}", str(x.dtype), cure)


def check_state(
    where: str, state: Any, names: Sequence[str], shapes: Sequence[tuple[int, ...]], kept: bool = False
) -> tuple[Tensor, ...]:
    """The state as a tuple, a tensor of its shape for each name; a bare tensor stands for a state of one.

    `kept`: it was not given, but kept by the layer from its last call.
    """
    states = (state,) if isinstance(state, Tensor) else state
    wanted = f"initial_state of {len(names)} tensor{'s' * (len(names) > 1)} ({', '.join(names)})"
    if not isinstance(states, tuple | list) or not all(isinstance(s, Tensor) for s in states):
        got = f"a {type(state).__name__}"
        raise ShapeError(where, wanted, got, f"Pass ({', '.join(names)}{',' * (len(names) == 1)}).")
    if len(states) != len(names):
        raise ShapeError(
            where, wanted, f"{len(states)}", f"Pass ({', '.join(names)}{',' * (len(names) == 1)})."
        )
    for name, s, shape in zip(names, states, shapes, strict=True):
        if tuple(s.shape) != tuple(shape):
            cure = "Pass one of the batch's size and the layer's units."
            if kept:
                cure = "Call reset_state() before a batch of another size."
            raise ShapeError(where, f"state {name} of shape {tuple(shape)}", str(tuple(s.shape)), cure)
    return tuple(states)


def check_mask(where: str, mask: Any, shape: tuple[int, ...]) -> None:
    """The mask is a boolean tensor of (batch, time)."""
    cure = "Pass True where a step counts and False where it is skipped, as lengths_to_mask does."
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = str(mask.dtype) if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
        raise ShapeError(where, "mask to be a tensor of torch.bool", got, cure)
    if tuple(mask.shape) != tuple(shape):
        raise ShapeError(where, f"mask of shape (batch, time) = {tuple(shape)}", str(tuple(mask.shape)), cure)


def check_finite(
    where: str,
    y: Tensor,
    x: Tensor,
    weights: Iterable[Tensor],
    start: tuple[Tensor, ...] = (),
    mask: Tensor | None = None,
) -> None:
    """Finite inputs (those not masked), initial states and weights gave no NaN: a NaN once made stays to the
    last step, so that of y, (batch, units) or (batch, time, units), is looked at.

    Skipped where looking would cost a synchronisation (CUDA) or cannot be done (a tensor without numbers, inside
    torch.func or torch.compile, or with an axis of members, one of which must not stop the others).
    """
    if (
        type(y) is not Tensor
        or not y.is_cpu
        or x.ndim != 3
        or torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or not native.ends_in_nan(y)
    ):
        return
    x = x if mask is None else x[mask]
    if all(t.isfinite().all() for t in (x, *start, *weights)):
        raise InputError(
            where,
            expected="numbers that stay finite over the sequence",
            got=f"NaN from a finite input (largest magnitude {x.abs().max():.3g}), after an overflow",
            cure="Scale the input, or use an activation that is bounded (tanh) or smaller recurrent weights.",
        )
