"""Recurrent and convolutional models of sequences: from a table, a text or a series to an answer.

>>> import unrolled as ur
>>> ur.errors.UnrolledError.__name__
'UnrolledError'

Everything heavy is imported where it is first used, so that `import unrolled` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unrolled import errors

if TYPE_CHECKING:
    from unrolled import data, nn
    from unrolled.estimators.classifier import SequenceClassifier
    from unrolled.estimators.forecaster import Forecaster
    from unrolled.estimators.generator import SequenceGenerator
    from unrolled.estimators.regressor import SequenceRegressor
    from unrolled.estimators.saving import load
    from unrolled.estimators.transcriber import Transcriber
    from unrolled.kernels.dispatch import explain
    from unrolled.kernels.native import set_num_threads
    from unrolled.nn.dropin import accelerate
    from unrolled.training.loop import fit
    from unrolled.training.options import Training, TrainingRun

__version__ = "0.1.0"

_WHERE = {
    "Forecaster": "unrolled.estimators.forecaster",
    "SequenceClassifier": "unrolled.estimators.classifier",
    "SequenceGenerator": "unrolled.estimators.generator",
    "SequenceRegressor": "unrolled.estimators.regressor",
    "Training": "unrolled.training.options",
    "TrainingRun": "unrolled.training.options",
    "Transcriber": "unrolled.estimators.transcriber",
    "accelerate": "unrolled.nn.dropin",
    "explain": "unrolled.kernels.dispatch",
    "fit": "unrolled.training.loop",
    "load": "unrolled.estimators.saving",
    "set_num_threads": "unrolled.kernels.native",
}
_MODULES = ("data", "nn")

__all__ = [
    "Forecaster",
    "SequenceClassifier",
    "SequenceGenerator",
    "SequenceRegressor",
    "Training",
    "TrainingRun",
    "Transcriber",
    "accelerate",
    "data",
    "errors",
    "explain",
    "fit",
    "load",
    "nn",
    "set_num_threads",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name in _MODULES:
        return import_module(f"unrolled.{name}")
    raise AttributeError(f"module 'unrolled' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
