"""Networks of one architecture that are trained together: their parameters stacked, members first.

Three ways to compute all of their losses and gradients, chosen once, the first that can:

- *direct*: a plain stack of our layers, forward and backward without autograd (`direct.py`);
- *stacked*: our layers take stacked weights; autograd sees one network;
- *vmap*: any other module, by torch.func; a single member needs none.

A module that vmap cannot take is trained one member after another: `fit` sees to it.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unrolled.data.windows import Batch
from unrolled.errors import OptionError, ShapeError
from unrolled.nn import Bidirectional, Conv1D, Dense, Dropout, convolution
from unrolled.nn.dropout import drawing_from
from unrolled.nn.recurrent import GRU, LSTM, OverTime, SimpleRNN
from unrolled.training.direct import Direct, direct_layers, has_hooks
from unrolled.training.objectives import member_losses
from unrolled.training.options import Training

__all__ = ["Members", "call", "each", "takes_members"]

# Layers, and containers whose children must be among these, that work with stacked weights and inputs.
STACKABLE = (
    SimpleRNN, LSTM, GRU, Bidirectional, Dense, Conv1D, Dropout, nn.Sequential, nn.Linear, nn.Dropout, nn.Identity,
    nn.Tanh, nn.ReLU, nn.Sigmoid, nn.GELU, nn.SiLU, convolution.MaxPooling1D, convolution.AveragePooling1D,
    convolution.GlobalMaxPooling1D, convolution.GlobalAveragePooling1D,
)  # fmt: skip


NAMES = tuple(field.name for field in fields(Batch))


def takes_members(network: nn.Module) -> bool:
    """Whether a network can be called with stacked weights and inputs: all of it is ours, or says that it can.

    >>> takes_members(nn.Sequential(LSTM(3, 4), nn.Linear(4, 1))), takes_members(nn.Sequential(nn.LSTM(3, 4)))
    (True, False)
    """
    known = type(network) in STACKABLE or getattr(type(network), "takes_members", False)
    return known and not has_hooks(network) and all(takes_members(child) for child in network.children())


def call(network: Callable[..., Any], batch: Batch) -> Tensor:
    """The network's outputs for a batch; what the batch does not have is not passed on."""
    given = {name: getattr(batch, name) for name in ("future", "static", "mask")}
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(network, nn.Sequential) and set(given) == {"mask"}:  # which would not take one
        x = batch.past
        for layer in network:
            x = layer(x, mask=batch.mask) if isinstance(layer, OverTime | Bidirectional) else layer(x)
        return x
    output = network(batch.past, **given)
    if not isinstance(output, Tensor):
        raise ShapeError(
            "fit",
            "a network that returns a tensor",
            f"a {type(output).__name__}",
            "Return its outputs alone.",
        )
    return output


class Members:
    """Networks on their way together.

    Attributes:
        numbers: which members these are.
        flat: all parameters that are trained, one parameter of all members after the other.
        gradient: of the sum of the members' losses, laid out like `flat`.
        generators: for each member, where its masks of dropout come from.
        way: "stacked", "vmap" or "plain" (a single module as it is).
        layers: of a plain stack, which needs no autograd; else None.
    """

    def __init__(self, networks: Sequence[nn.Module], numbers: Sequence[int], training: Training):
        self.networks, self.numbers, self.training = list(networks), list(numbers), training
        first = networks[0]
        self.device = next((p.device for p in first.parameters()), torch.device("cpu"))
        self.generators = [torch.Generator().manual_seed(training.seed + number) for number in numbers]
        paths: dict[int, list[str]] = {}  # of a parameter that several modules share, all of its names
        for name, parameter in first.named_parameters(remove_duplicate=False):
            if parameter.requires_grad:
                paths.setdefault(id(parameter), []).append(name)
        self.paths = {names[0]: names for names in paths.values()}
        learned = list(self.paths)
        self.shapes = {name: first.get_parameter(name).shape for name in learned}
        types = {first.get_parameter(name).dtype for name in learned}
        if len(types) != 1:
            got = ", ".join(sorted(map(str, types))) or "none"
            raise OptionError(
                "fit", "parameters to train, of one type", got, "Convert the network: network.float()."
            )
        self.way = "stacked" if takes_members(first) else "vmap" if len(networks) > 1 else "plain"
        parts = [
            torch.stack([n.get_parameter(name).detach() for n in networks]).flatten() for name in learned
        ]
        self._lay_out(torch.cat(parts), [self._others(network) for network in networks])

    def _others(self, network: nn.Module) -> dict[str, Tensor]:
        """What belongs to a network and is not trained: buffers, and parameters that are frozen."""
        learned = {name for names in self.paths.values() for name in names}
        return {name: t.detach() for name, t in network.state_dict().items() if name not in learned}

    def _lay_out(self, flat: Tensor, others: Sequence[dict[str, Tensor]]) -> None:
        """Make the module that is called, its parameters views of `flat`."""
        self.flat, self.gradient = flat, torch.zeros_like(flat)
        weights, slopes = self.views(flat), self.views(self.gradient)
        stack = self.way in ("stacked", "vmap")
        self.leaves: dict[str, Tensor] = {}
        for name, weight in weights.items():
            leaf = nn.Parameter(weight if stack else weight[0])
            leaf.grad = slopes[name] if stack else slopes[name][0]
            self.leaves[name] = leaf
        self.module = copy.deepcopy(self.networks[0])
        if self.way == "stacked":
            self.module = _for_members(self.module)
        self.others = {name: torch.stack([o[name] for o in others]) if stack else others[0][name].clone()
                for name in others[0]}  # fmt: skip
        for name, tensor in self.leaves.items():
            for path in self.paths[name]:
                _put(self.module, path, tensor)
        if self.way != "vmap":
            for name, tensor in self.others.items():
                _put(self.module, name, tensor)
        if self.training.bptt_steps is not None:
            self._carry_state()
        tied = any(len(names) > 1 for names in self.paths.values())
        plain = not self.training.class_weights  # which C++ does not know
        whole = self.way == "stacked" and not self.others and not tied and self.device.type == "cpu" and plain
        self.layers = direct_layers(self.module, self.flat.dtype) if whole else None
        self.direct: dict[Any, Direct] = {}
        self.module.train()  # all of it, whatever its parts were set to

    def _carry_state(self) -> None:
        layers = self._recurrent()
        if not layers or any(layer.go_backwards for layer in layers):
            got = "one that reads backwards" if layers else "none"
            cure = (
                "Leave bptt_steps out." if layers else "Use unrolled.nn, or unrolled.accelerate the module."
            )
            raise OptionError(
                "fit", "recurrent layers of unrolled.nn that go forwards, for bptt_steps", got, cure
            )
        for layer in layers:
            layer.stateful = True

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Each parameter in a tensor laid out like `flat`, (members, …)."""
        found, at, count = {}, 0, len(self.numbers)
        for name, shape in self.shapes.items():
            size = count * shape.numel()
            found[name] = flat[at : at + size].view(count, *shape)
            at += size
        return found

    def rows(self, flat: Tensor, index: int) -> list[Tensor]:
        """The pieces of a tensor like `flat` that belong to one member."""
        return [view[index] for view in self.views(flat).values()]

    def keep(self, index: Sequence[int]) -> Callable[[Tensor], Tensor]:
        """Go on with some of the members; return a function that cuts tensors like `flat` to theirs."""
        count, sizes = len(self.numbers), [shape.numel() for shape in self.shapes.values()]

        def cut(flat: Tensor) -> Tensor:
            parts = [p.view(count, n)[list(index)].flatten() for p, n in zip(
                flat.split([count * n for n in sizes]), sizes, strict=True)]  # fmt: skip
            return torch.cat(parts)

        flat, gradient = cut(self.flat), cut(self.gradient)
        others = [self.others_of(i) for i in index]
        states = [layer.state for layer in self._recurrent()]
        self.numbers = [self.numbers[i] for i in index]
        self.generators = [self.generators[i] for i in index]
        self.networks = [self.networks[i] for i in index]
        self._lay_out(flat, others)
        self.gradient.copy_(gradient)
        if self.way == "stacked":
            for layer, state in zip(self._recurrent(), states, strict=True):
                layer.state = None if state is None else tuple(s[list(index)] for s in state)
        return cut

    def others_of(self, index: int) -> dict[str, Tensor]:
        """A member's buffers and frozen parameters, copied."""
        return {name: self._other(name, index).clone() for name in self.others}

    def _other(self, name: str, index: int) -> Tensor:
        return self.others[name] if self.way == "plain" else self.others[name][index]

    def state_dict(self, index: int, flat: Tensor | None = None) -> dict[str, Tensor]:
        """A member's parameters and buffers, copied; the parameters from `flat`, by default those of now."""
        weights = self.views(self.flat if flat is None else flat)
        found = {name: view[index].clone() for name, view in weights.items()}
        return found | self.others_of(index)

    def reset_state(self) -> None:
        """Forget the states that recurrent layers carry from one piece of a sequence to the next."""
        for layer in self._recurrent():
            layer.reset_state()

    def _recurrent(self) -> list[OverTime]:
        return [layer for layer in self.module.modules() if isinstance(layer, OverTime)]

    def step(self, batch: Batch) -> tuple[list[float], list[float]]:
        """Fill `gradient`; return each member's loss, and the norm of its gradient. The batch has members first."""
        if not self.module.training:
            self.module.train()
        direct = self._direct_for(batch)
        if direct is not None:
            return direct.step(batch)
        self.gradient.zero_()
        with torch.enable_grad():
            losses = self._losses(batch)
            losses.sum().backward()
        return losses.tolist(), self.norms()

    def norms(self) -> list[float]:
        """The norm of each member's gradient."""
        squares = [g.flatten(1).square().sum(1) for g in self.views(self.gradient).values()]
        # added up one by one, so that a member's norm does not depend on how many there are
        return [math.sqrt(sum(parts)) for parts in zip(*torch.stack(squares).tolist(), strict=True)]

    def _direct_for(self, batch: Batch) -> Direct | None:
        """The way without autograd, where the network and the batch allow it."""
        if (
            self.layers is None
            or batch.mask is not None
            or batch.target is None
            or batch.target_weight is not None
            or not batch.past.is_floating_point()
            or batch.past.ndim < 3
            or not batch.past.numel()
        ):
            return None
        shapes = (batch.past.shape, batch.target.shape)
        if shapes not in self.direct:
            if len(self.direct) == 4:  # each keeps memory: lengths that vary are not to fill it
                self.direct.pop(next(iter(self.direct)))
            weights = (self.views(self.flat), self.views(self.gradient))
            self.direct[shapes] = Direct(self.layers, *weights, self.generators, batch, self.training)
        return self.direct[shapes]

    @torch.no_grad()
    def advance(self, batch: Batch) -> None:
        """Carry the states over a piece of the sequences, and learn nothing from it."""
        self.module.train()
        self._call(batch)

    def answers_each_step(self, batch: Batch) -> bool:
        """Whether the outputs, and so the targets, are those of each step of the sequences."""
        self.reset_state()
        length, target = batch.past.shape[2], batch.target
        part = each(batch, lambda t: t[:, :, :1] if t.ndim > 2 and t.shape[2] == length else t)
        output = self.outputs(part)
        whole = target is not None and target.ndim > 2 and target.shape[2] == length
        return whole and output.ndim > 2 and output.shape[2] == 1 and length > 1

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Tensor:
        """What the members answer, without dropout: (members, batch, …)."""
        self.module.eval()
        return self._call(batch)

    def _losses(self, batch: Batch) -> Tensor:
        assert batch.target is not None
        t = self.training
        return member_losses(
            t.loss, self._call(batch), batch.target, batch.target_mask, t.loss_numbers, batch.target_weight
        )

    def _call(self, batch: Batch) -> Tensor:
        if batch.past.is_floating_point() and batch.past.dtype is not self.flat.dtype:
            batch = replace(batch, past=batch.past.to(self.flat.dtype))
        with drawing_from(self.generators, stacked=self.way == "stacked"):
            if self.way == "stacked":
                return call(self.module, batch)
            if self.way == "plain":
                return call(self.module, each(batch, lambda t: t[0])).unsqueeze(0)
            return self._mapped(batch)

    def _mapped(self, batch: Batch) -> Tensor:
        names = [name for name in NAMES if "target" not in name and getattr(batch, name) is not None]

        def one(weights: dict[str, Tensor], others: dict[str, Tensor], *tensors: Tensor) -> Tensor:
            given = Batch(**dict(zip(names, tensors, strict=True)))
            return call(lambda *a, **k: functional_call(self.module, {**weights, **others}, a, k), given)

        tensors = [getattr(batch, name) for name in names]
        mapped: Tensor = torch.vmap(one)(self.leaves, self.others, *tensors)
        return mapped


def each(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """A batch with each of its tensors changed."""
    return Batch(
        *(None if t is None else function(t) for t in (getattr(batch, name) for name in NAMES))  # type: ignore[arg-type]
    )


def _put(module: nn.Module, path: str, tensor: Tensor) -> None:
    *parents, name = path.split(".")
    owner = module.get_submodule(".".join(parents))
    table: Any = owner._parameters if name in owner._parameters else owner._buffers
    table[name] = tensor


def _for_members(module: nn.Module) -> nn.Module:
    """The module with torch's Linear and Dropout, which know nothing of members, replaced by ours."""
    if type(module) is nn.Dropout:
        return Dropout(module.p).train(module.training)
    if type(module) is nn.Linear:
        dense = Dense(module.in_features, module.out_features)
        dense._parameters.update(module._parameters)
        return dense
    for (
        name,
        child,
    ) in module._modules.items():  # named_children leaves out the second name of one that is shared
        if child is not None:
            setattr(module, name, _for_members(child))
    return module
