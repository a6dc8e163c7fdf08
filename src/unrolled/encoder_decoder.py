"""The network from a sequence to one of another length: an encoder, a decoder that starts from its state, attention."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unrolled.encoders import CELLS, Embedding, remember
from unrolled.kernels.product import product
from unrolled.nn import Bidirectional, Dense, Dropout

__all__ = ["ATTENTION", "Attention", "CoderArchitecture", "EncoderDecoder", "Memory"]

ATTENTION = ("additive", "dot")


@dataclass(frozen=True)
class CoderArchitecture:
    """What an encoder-decoder is made of; JSON can hold it.

    Attributes:
        input_size: features of a step of the source; where it is of symbols, the numbers that stand for them.
        outputs: numbers that a step of the target may be: the end of the sequence first, then its symbols.
        cell: "rnn", "lstm" or "gru".
        units: of each recurrent layer.
        layers: of the encoder, and as many of the decoder.
        bidirectional: whether the encoder reads in both directions.
        attention: "additive", "dot", or None.
        embedding: size of a symbol's vector.
        symbols: whether the source is of symbols, not of numbers.
        dropout: share dropped of what is read from embeddings, and before the answer.
        memory: steps over which the encoder's gates remember before training; 0 for the usual biases.
    """

    input_size: int
    outputs: int
    cell: str = "lstm"
    units: int = 64
    layers: int = 1
    bidirectional: bool = True
    attention: str | None = "dot"
    embedding: int = 32
    symbols: bool = True
    dropout: float = 0.0
    memory: int = 0


class Memory(NamedTuple):
    """What the decoder has of a source: its first state, and where there is attention what it looks at.

    `state` has h, or h and c, of each layer, (…, batch, units); `values` and `keys` are (…, batch, time, size), `mask`
    (…, batch, time).
    """

    state: tuple[Tensor, ...]
    values: Tensor | None = None
    keys: Tensor | None = None
    mask: Tensor | None = None

    def take(self, index: Int[Tensor, "kept"]) -> "Memory":
        """Those of some rows of the batch (of a single network)."""
        parts = (None if t is None else t[index] for t in self[1:])
        return Memory(tuple(s[index] for s in self.state), *parts)


class EncoderDecoder(nn.Module):
    """Reads a whole sequence, then writes another one, symbol by symbol, each time given the symbol before.

        a(1) … a(S) = encoder(source)                              in both directions, side by side
        h(0) = tanh(V a_end + e), and of an LSTM c(0) = V' c_end + e'          from the encoder's last states
        h(t) = decoder(h(t-1), vector of y(t-1))
        p(y(t)) = softmax(head(h(t))),  with attention softmax(head(tanh(C [h(t), context(t)])))

    In training y(t-1) is the right symbol (teacher forcing), so that the decoder runs over all steps in one call of its
    kernel. For this, attention reads the state after each step and acts on the answer, as in Luong et al.
    (arXiv:1508.04025, equation 5), for either kind of score; it is not fed back into the recurrence.

    Args:
        a: what it is made of.

    Source: Sutskever, Vinyals and Le (arXiv:1409.3215); Cho et al. (arXiv:1406.1078); of the bidirectional encoder and
    the decoder's first state Bahdanau et al. (arXiv:1409.0473).

    >>> network = EncoderDecoder(CoderArchitecture(input_size=10, outputs=7, units=8))
    >>> network(torch.ones(5, 4, dtype=int), future=torch.ones(5, 6, dtype=int)).shape
    torch.Size([5, 6, 7])
    """

    takes_members = True  # with stacked weights (members first), so are its inputs

    def __init__(self, a: CoderArchitecture):
        super().__init__()
        self.a = a
        both = 1 + a.bidirectional
        self.source = Embedding(a.input_size, a.embedding) if a.symbols else None
        self.target = Embedding(a.outputs + 2, a.embedding)  # padding and start come before what is answered
        self.encoder = nn.Sequential()  # as lists: their layers are called one by one
        self.decoder = nn.Sequential()
        for number in range(a.layers):
            below = a.units * both if number else a.embedding if a.symbols else a.input_size
            layer = CELLS[a.cell](below, a.units, return_sequences=True, return_state=True)
            layer = Bidirectional(layer) if a.bidirectional else layer
            for direction in (layer.forward_layer, layer.backward_layer) if a.bidirectional else (layer,):
                remember(direction, a.memory)
            self.encoder.append(layer)
            below = a.units if number else a.embedding
            self.decoder.append(CELLS[a.cell](below, a.units, return_sequences=True, return_state=True))
        self.states = 2 if a.cell == "lstm" else 1  # of a layer
        self.bridge = nn.Sequential(*(Dense(a.units * both, a.units) for _ in range(a.layers * self.states)))
        self.attention = Attention(a.units, a.units * both, a.attention) if a.attention else None
        self.join = Dense(a.units * (1 + both), a.units, activation="tanh") if a.attention else None
        self.dropout = Dropout(a.dropout)
        self.head = Dense(a.units, a.outputs)

    def forward(
        self,
        past: Float[Tensor, "..."] | Int[Tensor, "*members batch time"],
        *,
        future: Int[Tensor, "*members batch steps"],
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Float[Tensor, "*members batch steps outputs"]:
        """Return the logits of each step of the target.

        Args:
            past: the source: numbers of symbols, or (…, batch, time, features).
            future: the target's symbols, each a step late: the start's number first.
            mask: False in the source's padding.
        """
        memory = self.encode(past, mask)
        h, _ = self._over(self.target(future), memory.state)
        return self._answer(h, memory)[0]

    def encode(self, past: Tensor, mask: Tensor | None = None) -> Memory:
        """Read sources; the arguments are those of `forward`."""
        x = past if self.source is None else self.dropout(self.source(past))
        ends: list[Tensor] = []
        for layer in self.encoder:
            x, *states = layer(x, mask=mask)
            ends += states if not self.a.bidirectional else [
                torch.cat(pair, -1) for pair in zip(states[: self.states], states[self.states :], strict=True)
            ]  # fmt: skip
        state = []
        for number, (dense, end) in enumerate(zip(self.bridge, ends, strict=True)):
            first = dense(end)
            state.append(first if number % self.states else torch.tanh(first))  # c may be of any size
        if self.attention is None:
            return Memory(tuple(state))
        return Memory(tuple(state), x, self.attention.keys(x), mask)

    def step(
        self, symbols: Int[Tensor, "batch beams"], memory: Memory, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """One symbol more of several beginnings (beams) of each target, by a single network.

        Args:
            symbols: the numbers of the symbols before.
            memory: of the sources.
            state: of the decoder, each (batch · beams, units).

        Returns:
            The logits (batch, beams, outputs), the state, and with attention its weights (batch, beams, time).
        """
        h, state = self._over(self.target(symbols.reshape(-1, 1)), state)
        answer, weights = self._answer(h.reshape(*symbols.shape, -1), memory)
        return answer, state, weights

    def _over(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The decoder's layers over steps, from a state to a state."""
        x, after = self.dropout(x), []
        for number, layer in enumerate(self.decoder):
            x, *ends = layer(x, state[number * self.states : (number + 1) * self.states])
            after += ends
        return x, tuple(after)

    def _answer(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        weights = None
        if self.attention is not None:
            assert self.join is not None
            context, weights = self.attention(h, memory)
            h = self.join(torch.cat([h, context], -1))
        return self.head(self.dropout(h)), weights


class Attention(nn.Module):
    """How much each step of the source counts for a state of the decoder, and their mean by that.

        w(t, s) = softmax over s of the score;   context(t) = Σ w(t, s) a(s)
        additive: v·tanh(W h(t) + U a(s) + b)         Bahdanau, Cho and Bengio (ICLR 2015, arXiv:1409.0473)
        dot:      h(t)·(U a(s) + b)                   Luong, Pham and Manning (EMNLP 2015, arXiv:1508.04025), "general"

    Padding has no weight.

    Args:
        units: of h.
        size: of a.
        kind: "additive" or "dot".

    >>> attention, a = Attention(4, 6, "dot"), torch.randn(2, 3, 6)
    >>> mask = torch.tensor([[True, True, False], [True, True, True]])
    >>> context, weights = attention(torch.randn(2, 5, 4), Memory((), a, attention.keys(a), mask))
    >>> context.shape, weights.shape, weights[0, 0, 2].item()
    (torch.Size([2, 5, 6]), torch.Size([2, 5, 3]), 0.0)
    """

    takes_members = True

    def __init__(self, units: int, size: int, kind: str):
        super().__init__()
        self.kind = kind
        self.keys = Dense(size, units)
        if kind == "additive":
            self.query, self.score = Dense(units, units), Dense(units, 1)

    def forward(
        self, h: Float[Tensor, "*members batch steps units"], memory: Memory
    ) -> tuple[Float[Tensor, "*members batch steps size"], Float[Tensor, "*members batch steps time"]]:
        """Return the contexts and the weights."""
        keys: Any = memory.keys
        values: Any = memory.values
        if self.kind == "dot":
            scores = product(h, keys.mT)
        else:
            scores = self.score(torch.tanh(self.query(h).unsqueeze(-2) + keys.unsqueeze(-3))).squeeze(-1)
        if memory.mask is not None:
            scores = scores.masked_fill(~memory.mask.unsqueeze(-2), -torch.inf)
        weights = scores.softmax(-1)
        return product(weights, values), weights
