"""What the arguments of a forecaster may be, one by one and together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from unrolled.data.scaling import TRANSFORMS
from unrolled.errors import OptionError
from unrolled.estimators.ensemble import MODELS
from unrolled.nn.validation import is_count, is_number

if TYPE_CHECKING:
    from unrolled.estimators.forecaster import Forecaster

__all__ = ["check_options"]

LEAST = {"horizon": 1, "input_steps": 2, "season": 1, "members": 1, "seed": 0, "units": 1, "depth": 1}
CHOICES: dict[str, Sequence[str | None]] = {
    "model": ("auto", *MODELS),
    "strategy": ("vector", "sequence", "recursive"),
    "base": ("ridge", "last", "season"),
    "transform": (None, *TRANSFORMS),
    "intervals": ("conformal", "quantile"),
}


def check_options(forecaster: "Forecaster") -> None:
    """Raise an `OptionError` for the first argument of a forecaster that is out of its range."""
    for name, among in CHOICES.items():
        if getattr(forecaster, name) not in among:
            got = repr(getattr(forecaster, name))
            raise OptionError("Forecaster", f"{name} one of {', '.join(map(str, among))}", got)
    for name, least in LEAST.items():
        value = getattr(forecaster, name)
        if not is_count(value, least) and not (value is None and name in ("input_steps", "season")):
            raise OptionError("Forecaster", f"{name} of at least {least}", repr(value))
    levels = forecaster.levels
    if not isinstance(levels, list | tuple) or not all(is_number(v) and 1 <= v < 100 for v in levels):
        raise OptionError("Forecaster", "levels between 1 and 100 percent", repr(levels))
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
