"""Networks that tell each next step from those before it, and how they go on from their own answers.

Letters: M members, B batch, T time, S streams, V numbers of a stream, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.encoders import CELLS, Embedding
from unrolled.kernels.stepping import OneStep
from unrolled.nn import Conv1D, Dense, Dropout

__all__ = ["Autoregression", "AutoregressiveNetwork", "State", "Stepper"]

NEVER = -1e9  # the logit of a class that a stream has not: finite, so that its slope is zero and not NaN
State = tuple[
    tuple[Tensor, ...], tuple[tuple[Tensor, ...], ...]
]  # the convolutions' last inputs, the layers' states


@dataclass(frozen=True)
class Autoregression:
    """What such a network is made of; JSON can hold it.

    Attributes:
        features: values of a step, read and told; 0 where steps are symbols.
        numbers: of each stream, how many numbers its symbols have (`Symbols`: three stand for none).
        voices: streams that take turns in one: each step also reads whose turn it is; 1 for none.
        cell: "rnn", "lstm" or "gru".
        units: of each recurrent layer.
        layers: recurrent layers, one on top of the other.
        activation: of the cells.
        embedding: size of a symbol's vector.
        filters: of each causal convolution (relu) in front, dilated by 1, 2, 4, …; empty for none.
        kernel_size: of the convolutions, in steps.
        dropout: share dropped of what each recurrent layer and the answer reads, but of no values.
        recurrent_dropout: share dropped of the state.
        context: size of the vector that sets the initial state; 0 for none.
        context_hidden: units of a dense layer (relu) between it and the state; 0 for none.
    """

    features: int = 0
    numbers: tuple[int, ...] = ()
    voices: int = 1
    cell: str = "lstm"
    units: int = 128
    layers: int = 1
    activation: str = "tanh"
    embedding: int = 16
    filters: tuple[int, ...] = ()
    kernel_size: int = 2
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    context: int = 0
    context_hidden: int = 0

    @property
    def classes(self) -> int:
        """Classes that are told of a stream: the end of a sequence (0) and its symbols; the most of any stream."""
        return max(self.numbers) - 2 if self.numbers else 0

    @property
    def columns(self) -> tuple[int, ...]:
        """How many numbers each column that is read has."""
        return (*self.numbers, self.voices) if self.voices > 1 else self.numbers


class AutoregressiveNetwork(nn.Module):
    """[vectors of symbols] → [causal convolutions] → recurrent layers → dense: of each step, the next.

        ŷ(t+1) = W h(t) + b,   h(t) = f(h(t-1), x(t)),   h(0) = tanh(V c + d) for a context c, else 0

    Args:
        a: what it is made of.

    Attributes:
        absent: (S, C), 0 or, for a class that a stream has not, a large negative number; None where there is none.

    >>> network = AutoregressiveNetwork(Autoregression(numbers=(8, 5), units=4))
    >>> network(torch.ones(2, 7, 2, dtype=int)).shape
    torch.Size([2, 7, 2, 6])
    >>> AutoregressiveNetwork(Autoregression(features=3, filters=(6, 6)))(torch.zeros(2, 7, 3)).shape
    torch.Size([2, 7, 3])
    """

    takes_members = True  # with stacked weights (members first), so are its inputs

    def __init__(self, a: Autoregression):
        super().__init__()
        self.a = a
        self.embeddings = nn.Sequential(*(Embedding(count, a.embedding) for count in a.columns))
        size = a.features or a.embedding * len(a.columns)
        self.convolutions = nn.Sequential()
        for number, filters in enumerate(a.filters):
            self.convolutions.append(
                Conv1D(size, filters, a.kernel_size, dilation_rate=2**number, activation="relu")
            )
            size = filters
        self.dropout = Dropout(a.dropout)
        self.recurrent = nn.Sequential()
        for _ in range(a.layers):
            self.recurrent.append(
                CELLS[a.cell](
                    size, a.units, activation=a.activation, recurrent_dropout=a.recurrent_dropout,
                    return_sequences=True, return_state=True,
                )
            )  # fmt: skip
            size = a.units
        self.head = Dense(size, a.features or a.classes * len(a.numbers))
        self.hidden = Dense(a.context, a.context_hidden, activation="relu") if a.context_hidden else None
        states = a.layers * (2 if a.cell == "lstm" else 1)
        self.begin = (
            Dense(a.context_hidden or a.context, states * a.units, activation="tanh") if a.context else None
        )
        self.absent = None
        if len(set(a.numbers)) > 1:
            known = torch.arange(a.classes) < torch.tensor(a.numbers)[:, None] - 2
            self.absent = torch.where(known, 0.0, NEVER)

    def forward(
        self,
        past: Float[Tensor, "*members batch time features"] | Int[Tensor, "*members batch time columns"],
        *,
        static: Float[Tensor, "*members batch context"] | None = None,
    ) -> Float[Tensor, "..."]:
        """Of each step the next: values (B, T, features), or logits (B, T, S, C), of each stream's END and symbols."""
        return self.read(past, self.start(past, static))[0]

    def start(self, like: Tensor, static: Tensor | None = None) -> State:
        """The state before the first step of sequences like these, (B, T, …)."""
        a, rows = self.a, like.shape[:-2]
        weight = self.head.weight
        tails = tuple(
            weight.new_zeros((*rows, 2**number * (a.kernel_size - 1), convolution.in_channels))
            for number, convolution in enumerate(cast(Any, self.convolutions))
        )
        each = 2 if a.cell == "lstm" else 1
        if self.begin is None or static is None:
            return tails, ((),) * a.layers  # which the layers take for zeros
        context = static if self.hidden is None else self.hidden(static)
        parts = self.begin(context).split(a.units, -1)
        return tails, tuple(tuple(parts[i * each : (i + 1) * each]) for i in range(a.layers))

    def read(self, past: Tensor, state: State) -> tuple[Tensor, State]:
        """Go on from a state over some steps: what is told of each, and the state after the last."""
        tails, states, x = [], [], self.embed(past)
        for convolution, tail in zip(self.convolutions, state[0], strict=True):
            x = torch.cat([tail, x], -2)
            tails.append(x[..., x.shape[-2] - tail.shape[-2] :, :])
            x = convolution(x)
        for number, (layer, before) in enumerate(zip(self.recurrent, state[1], strict=True)):
            x = x if number == 0 and self.a.features and not self.a.filters else self.dropout(x)
            x, *after = layer(x, before or None)
            states.append(tuple(after))
        return self.answer(self.head(self.dropout(x))), (tuple(tails), tuple(states))

    def embed(self, past: Tensor) -> Tensor:
        """The vectors of symbols, one after the other; values as they are."""
        if self.a.features:
            return past
        columns = [embedding(past[..., i]) for i, embedding in enumerate(self.embeddings)]
        return columns[0] if len(columns) == 1 else torch.cat(columns, -1)

    def answer(self, outputs: Tensor) -> Tensor:
        """What the last layer gives, by streams."""
        if self.a.features:
            return outputs
        logits = outputs.unflatten(-1, (len(self.a.numbers), self.a.classes))
        return logits if self.absent is None else logits + self.absent.to(logits)


class Stepper:
    """Members that go one step at a time, all of them in the same call, their state carried: no step is read twice.

    A step is one call of the kernel for each recurrent layer, with NumPy around it, whose operations on a few numbers
    take a tenth of PyTorch's time. Each convolution keeps a ring of its last inputs.

    Args:
        networks: of one architecture, in eval mode, on the CPU: a single step is too little work for another device.

    >>> network = AutoregressiveNetwork(Autoregression(numbers=(5,), units=4)).eval()
    >>> stepper = Stepper([network])
    >>> past = torch.tensor([[[3], [4], [3]]])
    >>> first = stepper.read(past[:, :2])
    >>> bool(abs(stepper.step(past[:, 2].numpy())[0] - network(past)[:, 2].detach().numpy()).max() < 1e-6)
    True
    """

    def __init__(self, networks: Sequence[AutoregressiveNetwork]):
        self.networks = list(networks)
        first = networks[0]
        self.a = first.a
        self.tables = [self._array(f"embeddings.{i}.weight") for i in range(len(first.embeddings))]
        self.kernels = []
        for i in range(len(first.convolutions)):
            weight, bias = (self._stacked(f"convolutions.{i}.{name}") for name in ("weight", "bias"))
            # (M, K·C, filters)
            self.kernels.append((weight.mT.flatten(-2).mT.contiguous().numpy(), bias[:, None].numpy()))
        self.layers = [
            cast(Any, layer)
            .as_recurrence(torch.empty(0), ())
            ._replace(
                **{name: self._stacked(f"recurrent.{i}.{name}") for name, _ in layer.named_parameters()}
            )
            for i, layer in enumerate(first.recurrent)
        ]
        self.head = self._stacked("head.weight").mT.contiguous().numpy(), self._array("head.bias")[:, None]
        self.absent = None if first.absent is None else first.absent.numpy()

    def _stacked(self, path: str) -> Tensor:
        return torch.stack([network.get_parameter(path).detach() for network in self.networks])

    def _array(self, path: str) -> NDArray[Any]:
        return self._stacked(path).numpy()

    @torch.inference_mode()
    def read(self, past: Tensor, static: Tensor | None = None) -> NDArray[Any]:
        """Start anew, and read steps (B, T, …) at once: what is told after the last, (M, B, …)."""
        found = [network.read(past, network.start(past, static)) for network in self.networks]
        tails, states = zip(*(state for _, state in found), strict=True)
        self.rings = [
            list(torch.stack(each).numpy().swapaxes(0, 2).swapaxes(1, 2)) for each in zip(*tails, strict=True)
        ]
        self.turn, self.steps = 0, []
        for layer, *each in zip(self.layers, *states, strict=True):
            state = tuple(torch.stack(parts) for parts in zip(*each, strict=True))
            shape = (len(self.networks), len(past), 1, layer.weight_ih.shape[-1])
            self.steps.append(OneStep(layer._replace(x=torch.empty(shape), state=state)))
        return torch.stack([answer[:, -1] for answer, _ in found]).numpy()

    def step(self, x: NDArray[Any]) -> NDArray[Any]:
        """Read one step more, (B, columns): what is told of the next, (M, B, …)."""
        if self.a.features:
            x = np.broadcast_to(x, (len(self.networks), *x.shape))
        else:
            columns = [table[:, x[:, i]] for i, table in enumerate(self.tables)]
            x = columns[0] if len(columns) == 1 else np.concatenate(columns, -1)
        for i, (ring, (weight, bias)) in enumerate(zip(self.rings, self.kernels, strict=True)):
            # of a ring of d·(K - 1) inputs the oldest lies where the newest is to be put
            taps = [ring[(self.turn + k * 2**i) % len(ring)] for k in range(self.a.kernel_size - 1)]
            if ring:
                ring[self.turn % len(ring)] = x
            x = np.maximum(np.concatenate([*taps, x], -1) @ weight + bias, 0)
        for step in self.steps:
            step.x[:] = x
            x = step()
        self.turn += 1
        weight, bias = self.head
        outputs = x @ weight + bias
        if self.a.features:
            return outputs
        logits = outputs.reshape(*outputs.shape[:-1], len(self.a.numbers), self.a.classes)
        return logits if self.absent is None else logits + self.absent
