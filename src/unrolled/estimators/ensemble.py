"""Networks that forecast together: how they are made, trained, chosen and averaged; all in scaled units."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.data.windows import Batch, Windows
from unrolled.estimators.lines import PENALTIES, Lines, trusted_share
from unrolled.networks import SequenceToSequence, SequenceToVector
from unrolled.training.loop import fit
from unrolled.training.options import Training, TrainingRun

__all__ = ["MODELS", "STEPS", "Architecture", "Ensemble", "fit_lines", "steps_within", "train"]

MODELS = ("rnn", "lstm", "gru", "conv-gru", "wavenet", "linear")
STEPS = 1200  # of the optimizer, for one member
BATCH = 64  # windows times targets
RIDGE_WINDOWS = 100_000  # that a line is fitted to, at most, evenly spread
CHUNK = 1024  # windows that are forecast at a time
PROBE = 8  # steps that tell how long one takes


@dataclass(frozen=True)
class Architecture:
    """What a network has to fit, whichever model it is.

    Attributes:
        features: of each step of a window, the targets first.
        known: features of each step that are known ahead.
        static: features of a series.
        targets: columns to forecast.
        horizon: steps to forecast.
        length: steps that the network reads.
        lag: steps of a season that a window has before them; 0 for none.
        window: steps that the line reads, no fewer than both; a forecast needs as many rows.
        season: steps of a season.
        units, depth, bidirectional, layer_norm, strategy, base, normalise: as the arguments of `Forecaster`.
        quantiles: in (0, 1), the median first; empty for one number a step.
    """

    features: int
    known: int
    static: int
    targets: int
    horizon: int
    length: int
    lag: int
    season: int
    window: int
    units: int = 32
    depth: int = 1
    bidirectional: bool = False
    layer_norm: bool = False
    strategy: str = "vector"
    base: str = "ridge"
    normalise: bool = False
    quantiles: tuple[float, ...] = ()

    @property
    def trusts(self) -> bool:
        """Whether a network's forecasts and those of the ridge can be mixed in the weights."""
        return self.strategy == "vector" and not (self.normalise or self.quantiles)

    def network(self, model: str, lines: Lines) -> nn.Module:
        """Return an untrained network, its line as `base` says."""
        cell = None if model == "linear" else model
        sizes = {"targets": self.targets, "known_size": self.known, "static_size": self.static}
        horizon = 1 if self.strategy == "recursive" else self.horizon
        if self.strategy == "sequence" and cell:
            return SequenceToSequence(
                self.features,
                self.units,
                horizon,
                cell=cell,
                depth=self.depth,
                layer_norm=self.layer_norm,
                **sizes,
            )
        network = SequenceToVector(
            self.features, self.units, horizon, length=self.length, season=self.lag,
            window=self.window, cell=cell, depth=self.depth,
            bidirectional=self.bidirectional, layer_norm=self.layer_norm, normalise=self.normalise,
            quantiles=len(self.quantiles), **sizes,
        )  # fmt: skip
        weight = np.zeros((self.targets, horizon, self.window), np.float32)
        bias = np.zeros((self.targets, horizon), np.float32)
        if self.base == "ridge" or model == "linear":
            weight[:] = lines.weight[:, :horizon]
            if not self.normalise:  # which has other units in every window
                bias[:] = lines.bias[:, :horizon]
        elif self.base == "season":
            weight[:, np.arange(horizon), self.window - self.season + np.arange(horizon) % self.season] = 1.0
        network.start_from(torch.from_numpy(weight), torch.from_numpy(bias))
        return network


@dataclass(frozen=True)
class Ensemble:
    """Trained networks of one or several models, whose forecasts are averaged: members first, then models.

    Attributes:
        architecture: of all of them.
        lines: the ridge of each target.
        networks: of each model, its members.
        run: of their training.
        shares: of each model, how much of what it adds to the ridge was borne out; empty where that was not asked.
    """

    architecture: Architecture
    lines: Lines
    networks: dict[str, list[nn.Module]]
    run: TrainingRun = field(default_factory=lambda: TrainingRun([]))
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are averaged."""
        return tuple(self.networks)

    def only(self, models: Sequence[str]) -> "Ensemble":
        """Return the networks of some of the models."""
        return replace(self, networks={model: self.networks[model] for model in models})

    def forecast(self, windows: Windows, device: torch.device) -> NDArray[np.float64]:
        """Return the mean forecast, (windows, horizon, targets), or with a last axis of quantiles."""
        means = [members.mean(0) for members in self.each(windows, device).values()]
        return np.asarray(np.mean(means, axis=0))

    @torch.no_grad()
    def each(self, windows: Windows, device: torch.device) -> dict[str, NDArray[np.float64]]:
        """Return the forecasts of each model's members, (members, windows, horizon, targets)."""
        found: dict[str, NDArray[np.float64]] = {}
        parts = np.array_split(np.arange(len(windows)), -(-len(windows) // CHUNK))
        for model, networks in self.networks.items():
            rows = []
            for part in parts:
                batch = windows.inputs(part).to(device)
                made = [self._one(network.to(device), batch) for network in networks]
                rows.append(torch.stack(made).double().cpu())
            found[model] = torch.cat(rows, dim=1).numpy()
        return found

    def _one(self, network: nn.Module, batch: Batch) -> Tensor:
        if self.architecture.strategy != "recursive":
            return _called(network, batch)
        steps, past, mask = [], batch.past, batch.mask
        for step in range(self.architecture.horizon):
            future = None if batch.future is None else batch.future[:, step : step + 1]
            steps.append(_called(network, replace(batch, past=past, future=future, mask=mask)))
            new = steps[-1][..., 0] if self.architecture.quantiles else steps[-1]
            if step + 1 == self.architecture.horizon:
                break
            if batch.future is not None:
                new = torch.cat([new, batch.future[:, step + 1 : step + 2]], dim=-1)
            past = torch.cat([past[:, 1:], new], dim=1)
            mask = None if mask is None else torch.cat([mask[:, 1:], torch.ones_like(mask[:, :1])], dim=1)
        return torch.cat(steps, dim=1)

    def trusted(self, windows: Windows, device: torch.device) -> "Ensemble":
        """Return the networks with as much of what they add to the ridge as windows they have not seen bear out."""
        if not self.architecture.trusts or not len(windows):
            return self
        windows = _by_time(windows)
        ridge = self.lines.predict(windows.pasts)
        missing = np.where(windows.counted, windows.targets - ridge, 0.0)
        shares = {
            model: trusted_share(missing, np.where(windows.counted, members.mean(0) - ridge, 0.0))
            for model, members in self.each(windows, device).items()
        }
        return self.pulled_back(shares)

    def pulled_back(self, shares: dict[str, float]) -> "Ensemble":
        """Return the networks, in place, with these shares of what they add to the ridge."""
        weight, bias = torch.from_numpy(self.lines.weight), torch.from_numpy(self.lines.bias)
        for model, share in shares.items():
            for network in self.networks.get(model, []):
                network.cpu().pull_back(share, weight, bias)  # type: ignore[operator]
        return replace(self, shares=shares)

    def best(self, windows: Windows, device: torch.device) -> tuple[str, ...]:
        """Return the models whose mean has the least absolute error on windows that training did not see."""
        counted, targets = windows.counted, windows.targets.astype(np.float64)
        if not counted.any():
            return self.models[:1]
        means = {model: members.mean(0) for model, members in self.each(windows, device).items()}
        if self.architecture.quantiles:
            means = {model: mean[..., 0] for model, mean in means.items()}
        groups = [group for size in range(1, len(means) + 1) for group in combinations(self.models, size)]
        errors = [
            np.abs(targets - np.mean([means[model] for model in group], axis=0))[counted].mean()
            for group in groups
        ]
        return groups[int(np.argmin(errors))]


def _called(network: nn.Module, batch: Batch) -> Tensor:
    output: Tensor = network(batch.past, future=batch.future, static=batch.static, mask=batch.mask)
    return output


def fit_lines(windows: Windows, lengths: Sequence[int], penalties: Sequence[float] = PENALTIES) -> Lines:
    """Return the ridge regression of each target on its own window, of one of the lengths."""
    windows = _by_time(windows.take(_spread(len(windows), RIDGE_WINDOWS)))
    together = len(np.unique(windows.series))
    return Lines.fit(windows.pasts, windows.targets, lengths, windows.counted, penalties, together)


def _by_time(windows: Windows) -> Windows:
    return windows.take(np.argsort(windows.times[windows.origins], kind="stable"))


def train(
    architecture: Architecture,
    models: Sequence[str],
    members: int,
    windows: Windows,
    lines: Lines,
    valid: Windows | None = None,
    *,
    training: Training | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool | None = None,
    folder: Path | None = None,
    resume: bool = False,
) -> Ensemble:
    """Train `members` networks of each model, which start from the lines.

    Args:
        architecture: of the networks.
        models: of `MODELS`.
        members: of each model.
        windows: to learn from.
        lines: ridge regression on the same windows.
        valid: for the history alone, where there are any.
        training: how; by default `steps` steps of the optimizer for each member, `STEPS` unless told.
        seed: of the first member.
        steps: where `training` is left out.
        device: of the networks.
        progress, folder, resume: as for `fit`; a folder in `folder` for each model.

    Raises:
        KeyboardInterrupt: it was interrupted before anything was learned.
    """
    if architecture.strategy == "recursive":
        windows, valid = replace(windows, horizon=1), valid and replace(valid, horizon=1)
    networks: dict[str, list[nn.Module]] = {}
    history: list[dict[str, Any]] = []
    timing: list[dict[str, Any]] = []
    failures: dict[int, str] = {}
    interrupted = False
    for model in models:

        def make(model: str = model) -> nn.Module:
            return architecture.network(model, lines)

        if model == "linear":
            networks[model] = [make().eval()]
            continue
        windows_, how = _plan(architecture, windows, training, STEPS if steps is None else steps)
        run = fit(
            make, windows_, valid if valid else None,
            replace(how, members=members, seed=seed),
            device=device, progress=progress, folder=folder and folder / model, resume=resume,
        )  # fmt: skip
        if run.interrupted and not run.history:
            raise KeyboardInterrupt
        networks[model] = run.members
        several = {"model": model} if sum(name != "linear" for name in models) > 1 else {}
        history += [several | row for row in run.history]
        timing += [several | row for row in run.timing]
        failures |= {len(failures) + number: failure for number, failure in run.failures.items()}
        interrupted |= run.interrupted
        if interrupted:
            break
    found = [network for group in networks.values() for network in group]
    return Ensemble(architecture, lines, networks, TrainingRun(found, history, timing, interrupted, failures))


def _plan(
    architecture: Architecture, windows: Windows, training: Training | None, steps: int
) -> tuple[Windows, Training]:
    """Return the windows to learn from, and how: of more than `steps` batches, an even spread of that many."""
    windows = replace(windows, every_step=architecture.strategy == "sequence")
    quantiles: dict[str, Any] = {}
    if architecture.quantiles:
        quantiles = {"loss": "pinball", "levels": architecture.quantiles}
    if training is not None:
        return windows, replace(training, **quantiles)
    batch = max(BATCH // architecture.targets, 8)
    windows = windows.take(_spread(len(windows), steps * batch))
    epochs = int(np.clip(steps * batch // len(windows), 1, 100))
    how = Training("mae", "adamw", 3e-3, "one-cycle", epochs, batch, restore_best=False)
    return windows, replace(how, **quantiles)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` numbers below `count`, evenly spread."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def steps_within(
    seconds: float,
    architecture: Architecture,
    models: Sequence[str],
    members: Sequence[int],
    windows: Windows,
    lines: Lines,
    *,
    folder: Path | None = None,
    resume: bool = False,
    **options: Any,
) -> int:
    """Return the steps for which some seconds suffice, by `PROBE` steps of each training; `STEPS` at most.

    Args:
        seconds: for a first training of all models, and a second one of one of them.
        architecture, models, windows, lines: as for `train`.
        members: of the first training, and of the second.
        folder: where the steps are written; a run that goes on (`resume`) must have as many.
        resume: read them from there.
        options: of `train`.
    """
    said = folder and folder / "stage-1" / "steps"
    if said and resume and said.is_file():
        return int(said.read_text("utf-8"))
    trained = [model for model in models if model != "linear"]
    if not trained:
        return STEPS
    cost, start = 0.0, time.perf_counter()
    quiet = options | {"progress": False}
    for model, count in [*((model, members[0]) for model in trained), (trained[0], members[1])]:
        train(architecture, [model], count, windows, lines, **(quiet | {"steps": 1}))
        begin = time.perf_counter()
        train(architecture, [model], count, windows, lines, **(quiet | {"steps": PROBE}))
        cost += (time.perf_counter() - begin) / PROBE
    left = seconds - (time.perf_counter() - start)
    steps = int(np.clip(left / max(cost, 1e-6), 10, STEPS))
    if said:
        said.parent.mkdir(parents=True, exist_ok=True)
        said.write_text(str(steps), "utf-8")
    return steps
