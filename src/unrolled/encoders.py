"""Networks that read a sequence and answer for it as a whole, or for each of its steps."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.nn import (
    GRU,
    LSTM,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    SimpleRNN,
)

__all__ = ["Architecture", "Embedding", "ImageFeatures", "SequenceEncoder", "make_encoder", "remember"]

CELLS: dict[str, Any] = {"rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}


@dataclass(frozen=True)
class Architecture:
    """What a network for sequences is made of; JSON can hold it.

    Attributes:
        input_size: features of a step; where there are words, the numbers that stand for them.
        outputs: numbers that are answered.
        cell: "rnn", "lstm", "gru", or None for no recurrent layer.
        units: of each recurrent layer.
        layers: recurrent layers, one on top of the other.
        bidirectional: whether each reads in both directions.
        filters: of a convolution before them; 0 for none.
        kernel_size: of the convolution, in steps.
        pooling: what is made of all steps: "last", "max" or "mean".
        hidden: units of a dense layer (relu) before the answer; 0 for none.
        dropout: share dropped before the answer, and of what is read from an embedding.
        embedding: size of a word's vector; 0 where steps are numbers already.
        frozen: whether the vectors of words stay as they are given.
        line: whether each word adds a number of its own to each output, as in a bag of words.
        image: height and width of each step; None where steps are vectors.
        per_step: whether each step is answered.
        memory: steps over which the gates of LSTM and GRU remember before training; 0 for the usual biases.
    """

    input_size: int
    outputs: int
    cell: str | None = "lstm"
    units: int = 64
    layers: int = 1
    bidirectional: bool = False
    filters: int = 0
    kernel_size: int = 3
    pooling: str = "last"
    hidden: int = 0
    dropout: float = 0.0
    embedding: int = 0
    frozen: bool = False
    line: bool = False
    image: tuple[int, int] | None = None
    per_step: bool = False
    memory: int = 0


def make_encoder(a: Architecture) -> nn.Module:
    """Make the network: a plain `Sequential` where it can be one, which trains fastest.

    >>> make_encoder(Architecture(3, 2, "gru", 8))
    Sequential(
      (0): GRU(3, 8)
      (1): Dense(8, 2)
    )
    >>> words = Architecture(100, 2, None, filters=16, pooling="max", embedding=8)
    >>> make_encoder(words)(torch.ones(5, 7, dtype=int)).shape
    torch.Size([5, 2])
    """
    pooled = a.pooling != "last" and not a.per_step
    if a.cell and not (a.filters or a.embedding or a.image or pooled or a.dropout):
        head = [Dense(a.units * (1 + a.bidirectional), a.hidden, activation="relu")] if a.hidden else []
        last = a.hidden or a.units * (1 + a.bidirectional)
        return nn.Sequential(*_recurrent(a, a.input_size, a.per_step), *head, Dense(last, a.outputs))
    return SequenceEncoder(a)


def _recurrent(a: Architecture, size: int, sequences: bool) -> list[nn.Module]:
    """The recurrent layers; the last one returns all steps where `sequences` says so."""
    layers: list[nn.Module] = []
    for number in range(a.layers):
        assert a.cell is not None
        layer = CELLS[a.cell](size, a.units, return_sequences=sequences or number < a.layers - 1)
        layer = Bidirectional(layer) if a.bidirectional else layer
        if a.memory:
            for direction in (layer.forward_layer, layer.backward_layer) if a.bidirectional else (layer,):
                remember(direction, a.memory)
        layers.append(layer)
        size = a.units * (1 + a.bidirectional)
    return layers


def remember(layer: Any, steps: int) -> None:
    """Set the biases of an LSTM or a GRU so that its units remember over 2 to `steps` steps, each over its own span.

    A gate that lets a share f of the state through forgets it over about 1/(1 - f) steps: the bias of the forget gate
    is log(u) with u uniform in [1, steps - 1], that of the input gate its negative (Tallec and Ollivier,
    arXiv:1804.11188). A plain recurrent layer has no gates, and stays as it is.

    >>> layer = LSTM(1, 4)
    >>> remember(layer, 200)
    >>> bool(layer.bias[4:8].min() >= 0), torch.equal(layer.bias[:4], -layer.bias[4:8])
    (True, True)
    """
    if layer.kind == "simple_rnn" or steps < 3:
        return
    with torch.no_grad():
        span = torch.empty(layer.units).uniform_(1, steps - 1).log()
        if layer.kind == "lstm":  # input, forget, candidate, output
            layer.bias[: layer.units], layer.bias[layer.units : 2 * layer.units] = -span, span
        else:  # reset, update: what the update gate keeps is the old state
            layer.bias[layer.units : 2 * layer.units] = span


class SequenceEncoder(nn.Module):
    """[word vectors | a small convolution of each image] → [convolution] → [recurrent layers] → pooling → dense.

    Without recurrent layers it is the network of Kim (arXiv:1408.5882) with one width of kernel, and that of the
    published sentiment listing: Conv1D, global maximum, dense. Convolutions keep the number of steps. What a mask
    leaves out changes nothing.

    Args:
        a: what it is made of.

    >>> network = SequenceEncoder(Architecture(3, 5, "gru", 8, filters=16, pooling="max"))
    >>> mask = torch.tensor([[True, True, False], [True, True, True]])
    >>> network(torch.zeros(2, 3, 3), mask=mask).shape
    torch.Size([2, 5])
    """

    takes_members = True  # with stacked weights (members first), so are its inputs

    def __init__(self, a: Architecture):
        super().__init__()
        self.a, size = a, a.input_size
        self.embedding = self.line = self.image = self.convolution = self.pool = None
        if a.embedding:
            self.embedding, size = Embedding(a.input_size, a.embedding), a.embedding
            self.embedding.weight.requires_grad_(not a.frozen)
        if a.line:
            self.line = Embedding(a.input_size, a.outputs)
            nn.init.zeros_(self.line.weight)
        if a.image:
            self.image, size = ImageFeatures(*a.image, a.filters or 16), a.filters or 16
        elif a.filters:
            self.convolution = Conv1D(size, a.filters, a.kernel_size, padding="same", activation="relu")
            size = a.filters
        pooled = a.pooling != "last" and not a.per_step
        self.recurrent = nn.Sequential(*(_recurrent(a, size, a.per_step or pooled) if a.cell else []))
        size = a.units * (1 + a.bidirectional) if a.cell else size
        if pooled:
            self.pool = GlobalMaxPooling1D() if a.pooling == "max" else GlobalAveragePooling1D()
        self.dropout = Dropout(a.dropout)
        self.hidden = Dense(size, a.hidden, activation="relu") if a.hidden else None
        self.head = Dense(a.hidden or size, a.outputs)

    def forward(
        self,
        past: Float[Tensor, "..."] | Int[Tensor, "*members batch time"],
        *,
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Float[Tensor, "..."]:
        """Return (batch, outputs), or (batch, time, outputs) where each step is answered."""
        x = past
        if self.embedding is not None:
            x = self.dropout(self.embedding(past))
        elif self.image is not None:
            x = self.image(past)
        if self.convolution is not None:
            x = x if mask is None else x.masked_fill(~mask[..., None], 0)  # as the zeros beyond both ends
            x = self.convolution(x)
        for layer in self.recurrent:
            x = layer(x, mask=mask)
        if self.pool is not None:
            x = self.pool(x, mask=mask)
        if self.hidden is not None:
            x = self.hidden(self.dropout(x))
        answer: Tensor = self.head(self.dropout(x))
        if self.line is not None:
            each = self.line(past)
            if not self.a.per_step:
                each = (each if mask is None else each.masked_fill(~mask[..., None], 0)).sum(-2)
            answer = answer + each
        return answer


class Embedding(nn.Module):
    """A vector of its own for each whole number below `count`; number 0 is padding, and 1 a word that is not known.

    Both start at zero, the others from a normal distribution of standard deviation 0.1; `weight` is (count, size).

    >>> Embedding(10, 4)(torch.tensor([[0, 3, 9]])).shape
    torch.Size([1, 3, 4])
    """

    takes_members = True

    def __init__(self, count: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, size))
        nn.init.normal_(self.weight, std=0.1)
        with torch.no_grad():
            self.weight[:2] = 0

    def forward(self, x: Int[Tensor, "*members batch time"]) -> Float[Tensor, "*members batch time size"]:
        """The vectors of the numbers."""
        weight: Tensor = self.weight
        if weight.ndim == 3:  # members first: their tables below one another
            members, count = weight.shape[:2]
            offsets = torch.arange(members, device=x.device).view(-1, *[1] * (x.ndim - 1)) * count
            x, weight = x + offsets, weight.flatten(0, 1)
        return F.embedding(x, weight)

    def extra_repr(self) -> str:
        """The sizes."""
        return ", ".join(map(str, self.weight.shape))


class ImageFeatures(nn.Module):
    """Two 3 × 3 convolutions (relu, each followed by the maximum of 2 × 2) and a dense layer, for each step's image.

    Args:
        height: of the images, at least 4.
        width: of the images, at least 4.
        features: that come of each.

    >>> ImageFeatures(16, 16, 8)(torch.zeros(2, 5, 16, 16)).shape
    torch.Size([2, 5, 8])
    """

    takes_members = True

    def __init__(self, height: int, width: int, features: int):
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.empty(*shape, 3, 3)) for shape in ((8, 1), (16, 8)))
        self.first_bias, self.second_bias = (nn.Parameter(torch.zeros(size)) for size in (8, 16))
        for weight in (self.first, self.second):
            nn.init.kaiming_uniform_(weight, nonlinearity="relu")
        self.dense = Dense(16 * (height // 4) * (width // 4), features, activation="relu")

    def forward(
        self, x: Float[Tensor, "*members batch time height width"]
    ) -> Float[Tensor, "*members batch time features"]:
        """The features of each image."""
        stacked = self.first.ndim == 5
        shape = x.shape[:-2]
        members = shape[0] if stacked else 1
        # channels of all members side by side: one convolution with a group for each
        y = x.reshape(members, -1, *x.shape[-2:]).transpose(0, 1)
        for weight, bias in ((self.first, self.first_bias), (self.second, self.second_bias)):
            kernel = weight.flatten(0, 1) if stacked else weight
            y = F.max_pool2d(F.relu(F.conv2d(y, kernel, bias.flatten(), padding=1, groups=members)), 2)
        y = y.unflatten(1, (members, -1)).transpose(0, 1).flatten(2)
        features: Tensor = self.dense(y if stacked else y[0])
        return features.unflatten(-2, shape[1:] if stacked else shape)
