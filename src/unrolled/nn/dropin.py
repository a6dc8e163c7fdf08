"""torch.nn.RNN, LSTM and GRU on our recurrences, in place: `accelerate`."""

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from unrolled.errors import OptionError
from unrolled.kernels import dispatch
from unrolled.kernels.packing import lengths_of, pack, pad
from unrolled.kernels.recurrence import Cell, Recurrence
from unrolled.nn.basic import lengths_to_mask

__all__ = ["GRU", "LSTM", "RNN", "accelerate"]

logger = logging.getLogger("unrolled")


def accelerate(module: nn.Module) -> nn.Module:
    """Swap every torch.nn.RNN, LSTM and GRU in `module` for a drop-in on our recurrences, in place.

    Args:
        module: any model, or such a layer itself.

    Returns:
        `module`, each of those layers now a drop-in: the same object with the same parameters, keys in
        `state_dict`, hooks, call and results. `isinstance(layer, torch.nn.LSTM)` stays true.

    Raises:
        OptionError: `module` is no torch.nn.Module.

    Under autocast on a CPU a drop-in computes in its weights' type, and returns the type that torch's layer would.
    Subclasses and layers with `proj_size` are left alone; the logger "unrolled" says so.

    >>> model = nn.Sequential(nn.LSTM(3, 4, num_layers=2, bidirectional=True))
    >>> type(accelerate(model)[0]).__module__
    'unrolled.nn.dropin'
    """
    if not isinstance(module, nn.Module):
        raise OptionError(
            "accelerate",
            expected="a torch.nn.Module",
            got=f"a {type(module).__name__}",
            cure="Pass a model, or a torch.nn.RNN, LSTM or GRU itself.",
        )
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.RNN | nn.LSTM | nn.GRU) or isinstance(layer, _DropIn):
            continue
        swap = {nn.RNN: RNN, nn.LSTM: LSTM, nn.GRU: GRU}.get(type(layer))
        what = f"accelerate: {name or 'the module'} ({type(layer).__name__}) is left alone"
        if swap is None:
            logger.info("%s: it is a subclass, whose forward may differ", what)
        elif layer.proj_size:
            logger.info("%s: proj_size=%d is not ours", what, layer.proj_size)
        else:
            layer.__class__ = swap
    return module


class _DropIn(nn.RNNBase):
    """The forward of torch.nn.RNN, LSTM and GRU, layer by layer and direction by direction on ours."""

    kind: Cell
    weight_ih_l0: Tensor
    implementation: str | None = None

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """As torch's: (output, h_n), or (output, (h_n, c_n)) of an LSTM."""
        x, mask = self._batch_first(input)
        one = isinstance(input, Tensor) and input.dim() == 2
        states = self._states(input, hx, x, one)
        autocast = None
        if torch.is_autocast_enabled("cpu") and x.device.type == "cpu":
            autocast = self._autocast(x.dtype, states, isinstance(input, PackedSequence))
            weight = self.weight_ih_l0.dtype
            x, states = x.to(weight), [s.to(weight) for s in states]
        last = []
        for depth in range(self.num_layers):
            outputs = []
            for direction in range(2 if self.bidirectional else 1):
                k = depth * (2 if self.bidirectional else 1) + direction
                r = self._recurrence(x, tuple(s[k] for s in states), mask, depth, direction)
                y, state = dispatch.run(r, self.implementation)
                outputs.append(y.flip(1) if direction else y)
                last.append(state)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
            if self.training and self.dropout and depth < self.num_layers - 1:
                x = self._dropout(x, input)
        finals = [torch.stack(parts) for parts in zip(*last, strict=True)]
        if autocast is not None:
            x, finals = x.to(autocast), [s.to(autocast) for s in finals]
        output: Tensor | PackedSequence
        if isinstance(input, PackedSequence):
            data = pack(x, input.batch_sizes)
            output = PackedSequence(data, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
            finals = [self.permute_hidden(s, input.unsorted_indices) for s in finals]
        else:
            output = x[0] if one else x if self.batch_first else x.transpose(0, 1).contiguous()
            finals = [s[:, 0] for s in finals] if one else finals
        return output, tuple(finals) if self.kind == "lstm" else finals[0]

    def recurrence(self, x: Any, initial_state: Any = None, mask: Tensor | None = None) -> Recurrence:
        """The first layer's call, as the kernels take it: for `explain`. A PackedSequence brings its mask."""
        padded, mask = self._batch_first(x)
        states = self._states(x, initial_state, padded, isinstance(x, Tensor) and x.dim() == 2)
        if torch.is_autocast_enabled(padded.device.type):
            padded = padded.to(self.weight_ih_l0.dtype)
        return self._recurrence(padded, tuple(s[0] for s in states), mask, 0, 0)

    def _autocast(self, x: torch.dtype, states: list[Tensor], packed: bool) -> torch.dtype:
        """The type of torch's results under autocast on a CPU. Ours are computed in the weights' type all the same.

        A state takes part in the sums of a GRU and of a packed LSTM, and is not cast there.
        """
        if torch.float64 in (x, self.weight_ih_l0.dtype):  # which autocast leaves alone
            return self.weight_ih_l0.dtype
        lower = torch.get_autocast_dtype("cpu")
        if self.kind == "gru" or (self.kind == "lstm" and packed):
            return torch.promote_types(states[-1].dtype if states else x, lower)
        return lower

    def _batch_first(self, input: Any) -> tuple[Tensor, Tensor | None]:
        """The input batch first; of a PackedSequence also a mask, if its lengths differ."""
        if isinstance(input, PackedSequence):
            self.check_input(input.data, input.batch_sizes)
            x, sizes = pad(input.data, input.batch_sizes), input.batch_sizes  # in the order by length
            ragged = bool(sizes[-1] < sizes[0])
            return x, lengths_to_mask(lengths_of(sizes).to(x.device), x.shape[1]) if ragged else None
        if input.dim() not in (2, 3):
            where = type(self).__name__
            raise ValueError(f"{where}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        x = input[None] if input.dim() == 2 else input if self.batch_first else input.transpose(0, 1)
        self.check_input(x, None)
        return x, None

    def _states(self, input: Any, hx: Any, x: Tensor, one: bool) -> list[Tensor]:
        """The initial states, (layers · directions, batch, units) each, in the order of the batch in x; or none."""
        directions = 2 if self.bidirectional else 1
        shape = (self.num_layers * directions, x.shape[0], self.hidden_size)
        if hx is None:
            return []
        given = list(hx) if self.kind == "lstm" else [hx]
        if one:
            given = [s[:, None] if s.dim() == 2 else s for s in given]
        for s in given:
            self.check_hidden_size(s, shape)
        if isinstance(input, PackedSequence):
            given = [self.permute_hidden(s, input.sorted_indices) for s in given]
        return given

    def _recurrence(
        self, x: Tensor, state: tuple[Tensor, ...], mask: Tensor | None, depth: int, direction: int
    ) -> Recurrence:
        suffix = f"_l{depth}{'_reverse' if direction else ''}"
        bias, bias_hh = None, None
        if self.bias:
            bias, bias_hh = getattr(self, "bias_ih" + suffix), getattr(self, "bias_hh" + suffix)
            if self.kind != "gru":
                bias, bias_hh = bias + bias_hh, None
        return Recurrence(
            cell=self.kind,
            x=x,
            state=state,
            weight_ih=getattr(self, "weight_ih" + suffix),
            weight_hh=getattr(self, "weight_hh" + suffix),
            bias=bias,
            bias_hh=bias_hh,
            mask=mask,
            activation="relu" if self.mode == "RNN_RELU" else "tanh",
            reverse=direction == 1,
            time_major=mask is None and not self.batch_first,
        )

    def _dropout(self, x: Tensor, input: Any) -> Tensor:
        """Dropout between layers, in torch's layout in memory: one seed drops the same elements."""
        if isinstance(input, PackedSequence):
            return pad(F.dropout(pack(x, input.batch_sizes), self.dropout), input.batch_sizes)
        return F.dropout(x.transpose(0, 1).contiguous(), self.dropout).transpose(0, 1)


class RNN(_DropIn, nn.RNN):
    """torch.nn.RNN on our recurrence."""

    kind = "simple_rnn"


class LSTM(_DropIn, nn.LSTM):
    """torch.nn.LSTM on our recurrence."""

    kind = "lstm"

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """One state in another order of the batch (torch's own LSTM takes both at once)."""
        return nn.RNNBase.permute_hidden(self, hx, permutation)


class GRU(_DropIn, nn.GRU):
    """torch.nn.GRU on our recurrence."""

    kind = "gru"
