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
    """All steps of the horizon at once: a line through the window, and what a recurrent network adds to it.

        ŷ(t+1 … t+horizon) = y(t) + A·(y - y(t)) + b + D·relu(C·[h(t), s])

    A reads the whole window. h(t) is the last state of a recurrent layer over its last `length` steps,
    which reads the other features, the target less its last value, and the target less that of one
    season before; s is what came one season before the steps to forecast, less the last value. The
    last value stands outside, so that a trend goes on beyond the range of the training data. D starts
    at zero: before training the network is its line.

    Args:
        input_size: features of `past`; the target is feature 0.
        units: of the recurrent layer.
        horizon: steps to forecast.
        length: steps that the recurrent layer reads.
        season: steps of a season, which `past` then has beyond `length`; 0 for none.
        cell: "rnn", "lstm" or "gru"; None leaves the line alone.

    >>> SequenceToVector(1, 8, horizon=3, length=20, season=7)(torch.zeros(5, 27, 1)).shape
    torch.Size([5, 3])
    """

    takes_members = True  # with stacked weights (members first), so are its inputs

    def __init__(
        self,
        input_size: int,
        units: int,
        horizon: int,
        *,
        length: int,
        season: int = 0,
        cell: str | None = "lstm",
    ):
        super().__init__()
        self.length, self.season, self.horizon = length, season, horizon
        self.line = nn.Linear(length + season, horizon)
        self.recurrent = CELLS[cell](input_size + bool(season), units) if cell else None
        self.hidden = Dense(units + (horizon if season else 0), 2 * units, activation="relu")
        self.head = Dense(2 * units, horizon)
        for parameter in (*self.line.parameters(), *self.head.parameters()):
            nn.init.zeros_(parameter)

    def start_from(self, weight: Float[Tensor, "horizon time"], bias: Float[Tensor, " horizon"]) -> None:
        """Set the line: A and b."""
        with torch.no_grad():
            self.line.weight.copy_(weight)
            self.line.bias.copy_(bias)

    def forward(
        self,
        past: Float[Tensor, "*members batch time features"],
        *,
        future: Any = None,
        static: Any = None,
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Float[Tensor, "*members batch horizon"]:
        """Return the forecast of feature 0 from length + season steps. `future` and `static` are not used."""
        target = past[..., 0]
        last = target[..., -1:]
        forecast = last + self.line(target - last)
        if self.recurrent is None:
            return forecast
        recent = slice(-self.length, None)
        inputs = [(target - last)[..., recent, None], past[..., recent, 1:]]
        if self.season:
            before = target[..., -self.length - self.season : -self.season]
            inputs.append((target[..., recent] - before).unsqueeze(-1))
        seen = self.recurrent(torch.cat(inputs, dim=-1), mask=None if mask is None else mask[..., recent])
        if self.season:
            again = torch.arange(self.horizon, device=past.device) % self.season - self.season
            seen = torch.cat([seen, target[..., again] - last], dim=-1)
        return forecast + self.head(self.hidden(seen))
