"""What the arguments of a forecaster may be, one by one and together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from unrolled.data.scaling import TRANSFORMS
from unrolled.errors import OptionError
from unrolled.estimators.ensemble import MODELS

if TYPE_CHECKING:
    from unrolled.estimators.forecaster import Forecaster

__all__ = ["check_options"]

CHOICES: dict[str, Sequence[str | None]] = {
    "model": ("auto", *MODELS),
    "strategy": ("vector", "sequence", "recursive"),
    "base": ("ridge", "last", "season"),
    "transform": (None, *TRANSFORMS),
    "intervals": ("conformal", "quantile"),
}


def check_options(forecaster: "Forecaster") -> None:
    """Raise an `OptionError` for the first argument of a forecaster that is out of its range."""
    if not isinstance(forecaster.horizon, int | np.integer) or forecaster.horizon < 1:
        raise OptionError("Forecaster", "a horizon of at least 1 step", repr(forecaster.horizon))
    for name, among in CHOICES.items():
        if getattr(forecaster, name) not in among:
            got = repr(getattr(forecaster, name))
            raise OptionError("Forecaster", f"{name} one of {', '.join(map(str, among))}", got)
    if forecaster.input_steps is not None and forecaster.input_steps < 2:
        raise OptionError("Forecaster", "input_steps of at least 2", repr(forecaster.input_steps))
    if forecaster.season is not None and forecaster.season < 1:
        raise OptionError("Forecaster", "a season of at least 1 step", repr(forecaster.season))
    for name in ("members", "units", "depth"):
        if getattr(forecaster, name) < 1:
            raise OptionError("Forecaster", f"at least 1 for {name}", repr(getattr(forecaster, name)))
    if not all(1 <= level < 100 for level in forecaster.levels):
        raise OptionError("Forecaster", "levels between 1 and 100 percent", repr(tuple(forecaster.levels)))
    if forecaster.budget is not None and not forecaster.budget > 0:
        raise OptionError("Forecaster", "a budget of more than 0 seconds", repr(forecaster.budget))
    plain = not (forecaster.bidirectional or forecaster.layer_norm) and forecaster.depth == 1
    if forecaster.model == "wavenet" and not plain:
        got = f"depth={forecaster.depth}, bidirectional={forecaster.bidirectional}, layer_norm={forecaster.layer_norm}"
        raise OptionError("Forecaster", "for a wavenet, none of the options of recurrent layers", got)
    if forecaster.strategy == "sequence" and (
        forecaster.bidirectional or forecaster.normalise or forecaster.intervals == "quantile"
    ):
        raise OptionError("Forecaster", "strategy='sequence' by itself",
                          "with bidirectional, normalise or intervals='quantile'")  # fmt: skip
    if forecaster.intervals == "quantile" and forecaster.model == "linear":
        raise OptionError("Forecaster", "a network for intervals='quantile'", "model='linear'")
    if forecaster.strategy == "sequence" and forecaster.model in ("conv-gru", "wavenet"):
        raise OptionError("Forecaster", "rnn, lstm or gru for strategy='sequence'", repr(forecaster.model))
    if forecaster.device not in ("auto", "cpu") and not torch.cuda.is_available():
        raise OptionError(
            "Forecaster", "a device of this machine", repr(forecaster.device), "Use device='auto'."
        )
