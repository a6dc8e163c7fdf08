"""The few architectures that the estimators train."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unrolled.nn import GRU, LSTM, Dense, SimpleRNN

__all__ = ["SequenceToVector"]

CELLS: dict[str, Callable[..., nn.Module]] = {"rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}


class SequenceToVector(nn.Module):
    """All steps of the horizon at once: a line through the window, and what a recurrent layer adds to it.

        ŷ(t+1 … t+horizon) = y(t) + A·(y - y(t)) + b + D·h(t)

    where h(t) is the last state of a recurrent layer that reads, at each step, the other features,
    the target less its last value, and the target's change since one season before. The last value
    stands outside, so that a trend goes on beyond the range of the training data. D starts at zero:
    before training the network is its linear part.

    Args:
        input_size: features of `past`; the target is feature 0.
        units: of the recurrent layer.
        horizon: steps to forecast.
        length: steps of `past`.
        season: steps of a season; from 2 to `length` - 1 it gives one more input.
        cell: "rnn", "lstm" or "gru"; None leaves the linear part alone.

    >>> SequenceToVector(1, 8, horizon=3, length=20, season=7)(torch.zeros(5, 20, 1)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self, input_size: int, units: int, horizon: int, *, length: int, season: int = 1, cell: str | None = "lstm"
    ):
        super().__init__()
        self.season = season if 1 < season < length else 0
        self.line = nn.Linear(length, horizon)
        self.recurrent = CELLS[cell](input_size + bool(self.season), units) if cell else None
        self.head = Dense(units, horizon) if cell else None
        with torch.no_grad():
            self.line.weight.zero_()
            self.line.bias.zero_()
            if self.head is not None:
                for parameter in self.head.parameters():
                    parameter.zero_()

    def start_from(self, weight: Float[Tensor, "horizon length"], bias: Float[Tensor, " horizon"]) -> None:
        """Set the linear part."""
        with torch.no_grad():
            self.line.weight.copy_(weight)
            self.line.bias.copy_(bias)

    def forward(
        self,
        past: Float[Tensor, "batch time features"],
        *,
        future: Any = None,
        static: Any = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch horizon"]:
        """Return the forecast of feature 0. `future` and `static` are not used."""
        target = past[..., 0]
        last = target[:, -1:]
        forecast = last + self.line(target - last)
        if self.recurrent is None or self.head is None:
            return forecast
        inputs = [(target - last).unsqueeze(-1), past[..., 1:]]
        if self.season:
            before = torch.cat([target[:, : self.season], target[:, : -self.season]], dim=1)
            inputs.append((target - before).unsqueeze(-1))
        return forecast + self.head(self.recurrent(torch.cat(inputs, dim=-1), mask=mask))
