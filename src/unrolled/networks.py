"""The few architectures that the estimators train."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.kernels.product import project
from unrolled.nn import GRU, LSTM, Bidirectional, Conv1D, Dense, SimpleRNN

__all__ = ["CROSS", "SequenceToSequence", "SequenceToVector", "spread"]

RECURRENT = {"rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}
WIDTH = 16  # numbers that the state gives to each step of the horizon
KERNEL = 4  # steps that a convolution in front of a GRU reads
CROSS = 4  # channels read each other where there are no more than this; seven (ETTh1) gain nothing
FLOOR = 1e-2  # of a window's spread: what hardly moves is not blown up


class SequenceToVector(nn.Module):
    """All steps of the horizon at once: a line through the window, and what a network adds to it.

        ŷ(t+k) = y(t) + σ·(Aₖ·(y - y(t))/σ + bₖ + d·relu(C·[Pₖ h(t), f(t+k), s(t+k)] + e))        for each step k

    A reads the whole window. h(t) is the last state of a network over its last `length` steps,
    which reads the other features, the target less its last value, and the target less that of
    one season before; Pₖ gives each step a vector of its own. f(t+k) is what is known of the step to
    forecast; s(t+k) is what came one season before it, less the last value. e is of what does not change
    with time. The last value stands outside, so that a trend goes on beyond the range of the training
    data. σ is 1, or with `normalise` the window's spread. d starts at zero: before training the network
    is its line.

    Several targets are channels: each has A and b of its own, the rest is shared. Where they are at most `CROSS`, a
    channel reads the others as it reads itself, in the order of their numbers from its own on, and around.

    Args:
        input_size: features of `past`; the targets are the first of them.
        units: of the recurrent layers, or filters of the convolutions.
        horizon: steps to forecast.
        targets: features to forecast.
        length: steps that the network reads.
        season: steps of a season, which `past` then has beyond `length`; 0 for none.
        window: steps of `past`, all of which the line reads; by default no more than length + season.
        cell: "rnn", "lstm", "gru"; "conv-gru", a convolution of stride 2 in front of a GRU; "wavenet", dilated causal
            convolutions with residual connections; None leaves the line alone.
        known_size: features of `future`.
        static_size: features of `static`.
        depth: recurrent layers.
        bidirectional: whether the recurrent layers also read backwards.
        layer_norm: of the recurrent layers.
        normalise: divide each target's window by its spread (instance normalisation), and the line's with it.
        quantiles: forecasts for each step, all of them the line at first; 0 for one, without an axis of its own.

    Source: of the convolutions Oord et al. (arXiv:1609.03499); of `normalise` Kim et al. (ICLR 2022, RevIN).

    >>> SequenceToVector(1, 8, horizon=3, length=20, season=7)(torch.zeros(5, 27, 1)).shape
    torch.Size([5, 3, 1])
    """

    takes_members = True  # with stacked weights (members first), so are its inputs

    def __init__(
        self,
        input_size: int,
        units: int,
        horizon: int,
        *,
        targets: int = 1,
        length: int,
        season: int = 0,
        window: int | None = None,
        cell: str | None = "gru",
        known_size: int = 0,
        static_size: int = 0,
        depth: int = 1,
        bidirectional: bool = False,
        layer_norm: bool = False,
        normalise: bool = False,
        quantiles: int = 0,
    ):
        super().__init__()
        self.length, self.season, self.horizon, self.targets = length, season, horizon, targets
        self.normalise, self.quantiles = normalise, quantiles
        self.line = Lines(targets, window or length + season, horizon)
        self.encoder: nn.Module | None = None
        if cell is None:
            return
        cross = targets if targets <= CROSS else 1
        # Row c: which targets channel c reads, its own first.
        self.order = [[(c + j) % targets for j in range(cross)] for c in range(targets)]
        features = input_size - targets + cross * (1 + bool(season))
        if cell == "wavenet":
            self.encoder = WaveNet(features, units, length)
        else:
            self.encoder = Recurrent(cell, features, units, depth, bidirectional, layer_norm)
        self.project = Dense(units * (1 + bidirectional), horizon * WIDTH)
        self.hidden = Dense(WIDTH + known_size + bool(season), units)
        constant = static_size + (targets if targets > 1 else 0)
        self.about = Dense(constant, units) if constant else None
        self.head = Dense(units, max(quantiles, 1))
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def start_from(
        self, weight: Float[Tensor, "targets horizon time"], bias: Float[Tensor, "targets horizon"]
    ) -> None:
        """Set each target's line: A and b."""
        with torch.no_grad():
            self.line.weight.copy_(weight)
            self.line.bias.copy_(bias)

    def pull_back(
        self,
        share: float,
        weight: Float[Tensor, "targets horizon time"],
        bias: Float[Tensor, "targets horizon"],
    ) -> None:
        """Keep this share of what the network's forecasts have more than this line's, whose A and b are given."""
        with torch.no_grad():
            self.line.weight.mul_(share).add_((1 - share) * weight.to(self.line.weight))
            self.line.bias.mul_(share).add_((1 - share) * bias.to(self.line.bias))
            if self.encoder is not None:
                for parameter in self.head.parameters():
                    parameter.mul_(share)

    def forward(
        self,
        past: Float[Tensor, "*members batch time features"],
        *,
        future: Float[Tensor, "*members batch horizon known"] | None = None,
        static: Float[Tensor, "*members batch static"] | None = None,
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Float[Tensor, "..."]:
        """Return the forecasts of the targets from `window` steps.

        Args:
            past: the windows: targets, other features.
            future: what is known of the steps to forecast.
            static: what does not change with time.
            mask: False for the padding in front of a short series, its first value repeated: the line reads it,
                recurrent layers skip it, convolutions read zeros there.

        Returns:
            (…, batch, horizon, targets), and with `quantiles` one axis more.
        """
        window = past[..., : self.targets].mT.contiguous()  # each channel's steps side by side
        last = window[..., -1:]
        window = window - last
        if self.normalise:
            scale = spread(window, None if mask is None else mask.unsqueeze(-2))
            window = window / scale
        forecast = self.line(window)
        if self.quantiles:
            forecast = forecast.unsqueeze(-1).expand(*forecast.shape, self.quantiles)
            last = last.unsqueeze(-1)
        if self.encoder is not None:
            forecast = forecast + self._correction(window, past, future, static, mask)
        if self.normalise:
            forecast = forecast * (scale.unsqueeze(-1) if self.quantiles else scale)
        forecast = last + forecast
        return forecast.transpose(-3, -2) if self.quantiles else forecast.mT

    def _correction(
        self, window: Tensor, past: Tensor, future: Tensor | None, static: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """What is added to the line, (…, batch, targets, horizon); on the way, channels are rows of the batch."""
        targets, length, season = self.targets, self.length, self.season
        read = [window[..., -length:]]
        if season:
            before = read[0] - window[..., -length - season : -season]
            if mask is not None:  # nothing came before
                before = before.masked_fill(~mask[..., None, -length - season : -season], 0)
            read.append(before)
        inputs = [past[..., -length:, targets:].unsqueeze(-3).expand(*past.shape[:-2], targets, length, -1)]
        inputs += [series[..., self.order, :].mT for series in read]
        kept = None if mask is None else self._channels(mask[..., -length:], 2)
        assert self.encoder is not None
        state = self.encoder(torch.cat(inputs, dim=-1).flatten(-4, -3), kept)
        steps = [self.project(state).unflatten(-1, (self.horizon, WIDTH))]
        if future is not None:
            steps.append(self._channels(future, 3))
        if season:
            # All but the last step may be padding, where a window holds zero, not what was seen.
            seen = window if mask is None else window.masked_fill(~mask.unsqueeze(-2), 0)
            again = torch.arange(self.horizon, device=past.device) % season - season
            steps.append(seen[..., again].flatten(-3, -2).unsqueeze(-1))
        hidden = self.hidden(torch.cat(steps, dim=-1))
        if self.about is not None:
            hidden = hidden + self.about(self._constants(past, static)).unsqueeze(-2)
        added: Tensor = self.head(torch.relu(hidden)).unflatten(-3, (-1, targets))
        return added if self.quantiles else added.squeeze(-1)

    def _constants(self, past: Tensor, static: Tensor | None) -> Tensor:
        """What does not change with time: which channel it is, and `static`."""
        constants = [] if static is None else [self._channels(static, 2)]
        if self.targets > 1:
            which = torch.eye(self.targets, dtype=past.dtype, device=past.device)
            constants.append(which.expand(*past.shape[:-2], -1, -1).flatten(-3, -2))
        return torch.cat(constants, dim=-1)

    def _channels(self, t: Tensor, axes: int) -> Tensor:
        """The same for each channel of a window, whose axes are the last ones."""
        axis = -axes
        return t.unsqueeze(axis).expand(
            *t.shape[: axis + 1], self.targets, *t.shape[axis + 1 :]
        ).flatten(axis - 1, axis)  # fmt: skip


class SequenceToSequence(nn.Module):
    """The next steps at *every* step of the window, so that each of them is one to learn from.

        ŷ(t+k) = y(t) + Dₖ·[h(t), z] + G·relu(E f(t+k))        for each step t and k = 1 … horizon

    h(t) is the state of recurrent layers that have read the features up to t, the targets less the first of their
    window; f(t+k) is what is known of the step to forecast, z what does not change with time. The last features of
    `past` are what is known of the step after.

    Args:
        input_size: features of `past`; the targets are the first of them, what is known of tomorrow the last.
        units: of the recurrent layers.
        horizon: steps to forecast.
        targets: features to forecast.
        cell: "rnn", "lstm" or "gru".
        depth: recurrent layers.
        layer_norm: of the recurrent layers.
        known_size: features of `future`.
        static_size: features of `static`.

    Source: Géron, "Hands-On Machine Learning" (3rd ed.), chapter 15.

    >>> network = SequenceToSequence(1, 8, horizon=3)
    >>> network(torch.zeros(5, 20, 1)).shape, network.eval()(torch.zeros(5, 20, 1)).shape
    (torch.Size([5, 20, 3, 1]), torch.Size([5, 3, 1]))
    """

    takes_members = True

    def __init__(
        self,
        input_size: int,
        units: int,
        horizon: int,
        *,
        targets: int = 1,
        cell: str = "gru",
        depth: int = 1,
        layer_norm: bool = False,
        known_size: int = 0,
        static_size: int = 0,
    ):
        super().__init__()
        self.horizon, self.targets, self.known_size = horizon, targets, known_size
        self.encoder = Recurrent(cell, input_size, units, depth, False, layer_norm, return_sequences=True)
        self.head = Dense(units + static_size, horizon * targets)
        if known_size:
            self.known = nn.Sequential(Dense(known_size, units, activation="relu"), Dense(units, targets))

    def forward(
        self,
        past: Float[Tensor, "*members batch time features"],
        *,
        future: Float[Tensor, "*members batch horizon known"] | None = None,
        static: Float[Tensor, "*members batch static"] | None = None,
        mask: Bool[Tensor, "*members batch time"] | None = None,
    ) -> Float[Tensor, "..."]:
        """Return the forecasts at each step, (…, batch, time, horizon, targets); in eval mode of the last step only.

        The arguments are those of `SequenceToVector.forward`.
        """
        now = past[..., : self.targets]
        # Not less the last value: a state would learn from it what comes.
        inputs = torch.cat([now - now[..., :1, :], past[..., self.targets :]], dim=-1)
        states = self.encoder(inputs, mask)
        ahead = None
        if self.known_size:
            assert future is not None
            # Tomorrow's features at t are those of the step t+1; the last of them are the first of `future`.
            ahead = torch.cat([past[..., :-1, -self.known_size :], future], dim=-2)
        if not self.training:
            now, states = now[..., -1:, :], states[..., -1:, :]
            ahead = None if ahead is None else ahead[..., -self.horizon :, :]
        if static is not None:
            static = static.unsqueeze(-2).expand(*states.shape[:-1], -1)
            states = torch.cat([states, static], dim=-1)
        change = self.head(states).unflatten(-1, (self.horizon, self.targets))
        if ahead is not None:
            change = change + self.known(ahead).unfold(-2, self.horizon, 1).mT
        forecast = now.unsqueeze(-2) + change
        return forecast if self.training else forecast.squeeze(-3)


class Lines(nn.Module):
    """For each channel a line from its steps to the horizon, Aₖ·x + bₖ; zero at first."""

    takes_members = True

    def __init__(self, channels: int, steps: int, horizon: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, horizon, steps))
        self.bias = nn.Parameter(torch.zeros(channels, horizon))

    def forward(self, x: Float[Tensor, "*members batch channels steps"]) -> Tensor:
        """Return (…, batch, channels, horizon), by one batched product."""
        return project(x.transpose(-3, -2), self.weight, self.bias).transpose(-3, -2)


class Recurrent(nn.Module):
    """Recurrent layers one on another, for "conv-gru" on a convolution; the last state, or all of them."""

    takes_members = True

    def __init__(
        self,
        cell: str,
        input_size: int,
        units: int,
        depth: int = 1,
        bidirectional: bool = False,
        layer_norm: bool = False,
        return_sequences: bool = False,
    ):
        super().__init__()
        self.convolution = None
        if cell == "conv-gru":
            cell = "gru"
            self.convolution = Conv1D(input_size, units, KERNEL, strides=2, activation="relu")
            input_size = units
        layers: list[nn.Module] = []
        for number in range(depth):
            layer = RECURRENT[cell](
                input_size if number == 0 else units * (1 + bidirectional),
                units,
                layer_norm=layer_norm,
                return_sequences=return_sequences or number < depth - 1,
            )
            layers.append(Bidirectional(layer) if bidirectional else layer)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "*members batch time features"], mask: Tensor | None = None) -> Tensor:
        """Return the last state, (…, batch, units), or all of them; those of both directions side by side."""
        if self.convolution is not None:
            # Zeros in front, so that the last kernel ends on the last step.
            x = _padded(x, mask, max(KERNEL - x.shape[-2], 0) or x.shape[-2] % 2)
            mask = None if mask is None else _after_stride(mask, x.shape[-2])
            x = self.convolution(x)
        for layer in self.layers:
            x = layer(x, mask=mask)
        return x


class WaveNet(nn.Module):
    """Dilated causal convolutions: the last xₗ(t) = xₗ₋₁(t) + relu(Vₗ xₗ₋₁(t - 2ˡ⁻¹) + Wₗ xₗ₋₁(t) + bₗ), x₀ = W x."""

    takes_members = True

    def __init__(self, input_size: int, units: int, length: int):
        super().__init__()
        self.enter = Dense(input_size, units)
        count = max(length - 1, 1).bit_length()
        # The last step alone is wanted. What it reads of a layer lies two steps apart there, so that a stride
        # takes the place of a dilation, and each layer computes half as many steps as the one below.
        layers = [Conv1D(units, units, 2, strides=2, activation="relu") for _ in range(count)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "*members batch time features"], mask: Tensor | None = None) -> Tensor:
        """Return (…, batch, units)."""
        x = self.enter(_padded(x, mask, 2 ** len(self.layers) - x.shape[-2]))
        for layer in self.layers:
            x = x[..., 1::2, :] + layer(x)
        return x.squeeze(-2)


def spread(
    window: Float[Tensor, "*batch time"], mask: Bool[Tensor, "*batch_or_1 time"] | None = None
) -> Float[Tensor, "*batch 1"]:
    """Return the standard deviation of each window, of its valid steps, and at least `FLOOR`: √(variance + FLOOR²).

    >>> spread(torch.tensor([[9.0, 3.0, 5.0]]), torch.tensor([[False, True, True]])).round(decimals=3)
    tensor([[1.]])
    """
    if mask is None:
        centred = window - window.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
    else:
        count = mask.sum(-1, keepdim=True).clamp(min=1)
        mean = window.masked_fill(~mask, 0).sum(-1, keepdim=True) / count
        variance = (window - mean).masked_fill(~mask, 0).square().sum(-1, keepdim=True) / count
    return (variance + FLOOR**2).sqrt()


def _padded(x: Tensor, mask: Tensor | None, steps: int) -> Tensor:
    """Zeros where the mask is False, and in `steps` more steps in front."""
    x = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0)
    return F.pad(x, (0, 0, steps, 0))


def _after_stride(mask: Tensor, padded: int) -> Tensor:
    """Which outputs of the convolution end on a valid step."""
    return F.pad(mask, (padded - mask.shape[-1], 0))[..., KERNEL - 1 :: 2]
