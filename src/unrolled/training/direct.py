"""The gradients of a plain stack of our layers without autograd: one call of C++ for all members (csrc/stack.cpp).

Around a small network, autograd and a module's calls cost more than its kernels. What a stack needs for batches of
one shape is laid out once, and then only filled: outputs, what is saved, and slopes. There is one such memory for each
thread, not for each member: a thread takes a member through all layers and back before the next one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.data.windows import Batch
from unrolled.kernels import native
from unrolled.nn import Dense
from unrolled.nn.recurrent import GRU, LSTM, SimpleRNN
from unrolled.nn.validation import check_input
from unrolled.training.objectives import LOSSES, check_counted, check_shapes, no_such_class
from unrolled.training.options import Training

__all__ = ["Direct", "direct_layers", "has_hooks"]

RECURRENT = (SimpleRNN, LSTM, GRU)
WEIGHTS = ("weight_ih", "weight_hh", "bias", "bias_hh", "norm_weight", "norm_bias")
LOSS_NUMBERS = {name: number for number, name in enumerate(LOSSES)}


def direct_layers(network: nn.Module, dtype: torch.dtype) -> dict[str, nn.Module] | None:
    """The layers of a stack that can go without autograd, by their paths; None where it cannot.

    >>> list(direct_layers(nn.Sequential(LSTM(3, 4), Dense(4, 1)), torch.float32) or "built without kernels")[:1]
    ['0.']
    """
    if not native.AVAILABLE or dtype not in (torch.float32, torch.float64):
        return None
    children = list(network._modules.items()) if type(network) is nn.Sequential else [("", network)]
    used_twice = len({id(layer) for _, layer in children}) < len(children)
    if used_twice or has_hooks(network) or any(has_hooks(layer) for _, layer in children):
        return None
    layers = {f"{name}." if name else "": layer for name, layer in children if type(layer) is not nn.Identity}
    if not layers or not all(map(_is_direct, layers.values())):
        return None
    return layers


def has_hooks(module: Any) -> bool:
    """Whether something is to happen when a module is called, besides its own forward."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _is_direct(layer: Any) -> bool:
    if type(layer) is Dense:
        return True
    return (
        type(layer) in RECURRENT
        and not (layer.stateful or layer.return_state or layer.dropout)
        and layer.implementation in (None, "native")
    )


class Direct:
    """A stack for batches of one shape."""

    def __init__(
        self,
        layers: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        slopes: Mapping[str, Tensor],
        generators: Sequence[torch.Generator],
        batch: Batch,
        training: Training,
    ):
        assert batch.target is not None
        self.training, self.generators = training, generators
        self.weights, self.slopes = weights, slopes
        self.kept: list[Any] = []  # what C++ knows by its address
        self.dropped: list[tuple[Tensor, float]] = []
        self.members, self.dtype = len(batch.past), next(iter(weights.values())).dtype
        slots = min(self.members, native.threads())
        self.stack = native.new_stack(self.members, slots, self.dtype is torch.float64)
        y, dy = torch.empty((slots, *batch.past.shape[1:]), dtype=self.dtype), None
        for path, layer in layers.items():
            dense = type(layer) is Dense
            add = self._add_dense if dense else self._add_recurrence
            axes = ("…",) * (y.ndim - 2) + ("features",) if dense else ("batch", "time", "features")
            size, argument = (layer.in_features, "in_features") if dense else (layer.input_size, "input_size")
            check_input(type(layer).__name__, y[0], axes, size, self.dtype, argument=argument)
            y, dy = add(path, layer, y, dy)
        assert dy is not None
        check_shapes(training.loss, y[:1], batch.target[:1], training.levels)
        levels = torch.tensor(training.levels, dtype=torch.float64)
        outputs = batch.target[0].numel()
        sizes = (LOSS_NUMBERS[training.loss], outputs, y[0].numel() // max(outputs, 1))
        self.stack.set_loss(sizes, self._addresses(y, levels, dy))
        for slope in slopes.values():
            self.stack.add_slopes(slope.data_ptr(), slope[0].numel())

    def step(self, batch: Batch) -> tuple[list[float], list[float]]:
        """Compute the gradients, into the slopes; return each member's loss, and the norm of its gradient."""
        for mask, rate in self.dropped:
            for part, generator in zip(mask, self.generators, strict=True):
                part.bernoulli_(1 - rate, generator=generator)
            mask.div_(1 - rate)
        assert batch.target is not None
        dtype = torch.int64 if self.training.loss == "cross-entropy" else self.dtype
        past, target = (
            (t if t.dtype is wanted else t.to(wanted)).contiguous()
            for t, wanted in ((batch.past, self.dtype), (batch.target, dtype))
        )
        check_counted(batch.target, batch.target_mask)
        counted = None if batch.target_mask is None else batch.target_mask.contiguous()
        at = 0 if counted is None else counted.data_ptr()
        try:
            found: tuple[list[float], list[float]] = self.stack.step(
                past.data_ptr(), target.data_ptr(), at, native.threads()
            )
        except IndexError as error:
            raise no_such_class() from error
        return found

    def _addresses(self, *tensors: Tensor | None) -> tuple[int, ...]:
        self.kept += tensors
        return tuple(0 if t is None else t.data_ptr() for t in tensors)

    def _add_recurrence(self, path: str, layer: Any, x: Tensor, dx: Tensor | None) -> tuple[Tensor, Tensor]:
        r = layer.as_recurrence(x, (), reverse=layer.go_backwards, last_only=not layer.return_sequences)
        options, first = native.options(r), x[:1]
        mask = None
        if layer.recurrent_dropout:
            mask = torch.empty((self.members, x.shape[1], layer.units), dtype=x.dtype)
            self.dropped.append((mask, layer.recurrent_dropout))
        names = [path + name for name in WEIGHTS]
        w_ih, w_hh, bias, bias_hh, gain, shift = (_first(self.weights.get(name)) for name in names)
        tensors: Any = (first, w_ih, w_hh, bias, bias_hh, None, None, gain, shift, None, _first(mask))
        arguments = native.Arguments(*tensors)
        shape = (*x.shape[:-2], layer.units)
        y = torch.empty((*x.shape[:-1], layer.units) if layer.return_sequences else shape, dtype=x.dtype)
        h, c, dy = torch.empty(shape, dtype=x.dtype), torch.empty(shape, dtype=x.dtype), torch.empty_like(y)
        size = native.saved_size(arguments, options)
        saved = torch.empty(len(x) * size, dtype=x.dtype)
        sizes = (*options[:2], *first.shape, layer.units, *options[2:], 1)
        outputs = (y, h, c if r.cell == "lstm" else None, saved, size)
        into = [_first(self.slopes.get(name)) for name in names]
        gradients = (saved[:size], dy[:1], None, None, dx, None, None, *into, size)
        self.kept += [x, dx, mask, y, h, c, dy, saved]
        self.stack.add_recurrence(sizes, x.stride()[:3], arguments, outputs, gradients)
        return y, dy

    def _add_dense(self, path: str, layer: Dense, x: Tensor, dx: Tensor | None) -> tuple[Tensor, Tensor]:
        y = torch.empty((*x.shape[:-1], layer.units), dtype=x.dtype)
        dy = torch.empty_like(y)
        activation = native.ACTIVATIONS[layer.activation or "linear"]
        sizes = (x[0].numel() // x.shape[-1], x.shape[-1], layer.units, activation)
        weights = (self.weights[f"{path}weight"], self.weights.get(f"{path}bias"))
        slopes = (self.slopes[f"{path}weight"], self.slopes.get(f"{path}bias"))
        self.stack.add_dense(sizes, self._addresses(x, *weights, y, dy, dx, *slopes))
        return y, dy


def _first(t: Tensor | None) -> Tensor | None:
    return None if t is None else t[:1]
