"""The few architectures that the estimators train."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unrolled.nn import GRU, LSTM, Dense, SimpleRNN

__all__ = ["SequenceToVector"]

CELLS: dict[str, Callable[..., nn.Module]] = {"rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}
WIDTH = 16  # numbers that the state gives to each step of the horizon


class SequenceToVector(nn.Module):
    """All steps of the horizon at once: a line through the window, and what a recurrent network adds to it.

        ŷ(t+k) = y(t) + Aₖ·(y - y(t)) + bₖ + d·relu(C·[Pₖ h(t), f(t+k), s(t+k)])        for each step k

    A reads the whole window. h(t) is the last state of a recurrent layer over its last `length` steps,
    which reads the other features, the target less its last value, and the target less that of
    one season before; Pₖ gives each step a vector of its own. f(t+k) is what is known of the step to
    forecast; s(t+k) is what came one season before it, less the last value. The last value stands outside,
    so that a trend goes on beyond the range of the training data. d starts at zero: before training the
    network is its line.

    Args:
        input_size: features of `past`; the target is feature 0.
        units: of the recurrent layer.
        horizon: steps to forecast.
        length: steps that the recurrent layer reads.
        season: steps of a season, which `past` then has beyond `length`; 0 for none.
        cell: "rnn", "lstm" or "gru"; None leaves the line alone.
        known_size: features of `future`.

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
        cell: str | None = "gru",
        known_size: int = 0,
    ):
        super().__init__()
        self.length, self.season, self.horizon = length, season, horizon
        self.line = nn.Linear(length + season, horizon)
        self.recurrent = CELLS[cell](input_size + bool(season), units) if cell else None
        self.project = Dense(units, horizon * WIDTH)
        self.hidden = Dense(WIDTH + known_size + bool(season), units, activation="relu")
        self.head = Dense(units, 1)
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
        future: Float[Tensor, "*members batch horizon known"] | None = None,
        static: Any = None,
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Float[Tensor, "*members batch horizon"]:
        """Return the forecast of feature 0 from length + season steps. `static` is not used."""
        target = past[..., 0]
        last = target[..., -1:]
        forecast = last + self.line(target - last)
        if self.recurrent is None:
            return forecast
        recent = slice(-self.length, None)
        inputs = [past[..., recent, 1:], (target - last)[..., recent, None]]
        if self.season:
            before = target[..., -self.length - self.season : -self.season]
            inputs.append((target[..., recent] - before).unsqueeze(-1))
        state = self.recurrent(torch.cat(inputs, dim=-1), mask=None if mask is None else mask[..., recent])
        steps = [self.project(state).unflatten(-1, (self.horizon, WIDTH))]
        if future is not None:
            steps.append(future)
        if self.season:
            again = torch.arange(self.horizon, device=past.device) % self.season - self.season
            steps.append((target[..., again] - last).unsqueeze(-1))
        return forecast + self.head(self.hidden(torch.cat(steps, dim=-1))).squeeze(-1)
