"""Estimators of sequences in folders: JSON for what they are, safetensors for what they learned. No code, no pickle."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.text import Vocabulary
from unrolled.encoders import Architecture
from unrolled.errors import OptionError
from unrolled.estimators.classifier import SequenceClassifier
from unrolled.estimators.learned import read_members, read_runs, read_tensors, write_folder
from unrolled.estimators.reading import Reading
from unrolled.estimators.regressor import SequenceRegressor
from unrolled.estimators.sequences import SequenceEstimator
from unrolled.training.options import Training

__all__ = ["ESTIMATORS", "FORMAT_VERSION", "read_sequence_estimator", "save_sequence_estimator"]

FORMAT_VERSION = 1
ESTIMATORS: dict[str, type[SequenceEstimator]] = {
    "SequenceClassifier": SequenceClassifier,
    "SequenceRegressor": SequenceRegressor,
}
OF_TARGETS = ("target_mean_", "target_scale_", "class_shares_")


def save_sequence_estimator(estimator: SequenceEstimator, folder: Path) -> None:
    """Write config.json, model.safetensors, history.jsonl and timing.jsonl into an existing folder.

    Raises:
        OptionError: the classes are of a kind that JSON does not hold, or the network is a user's own.
    """
    if callable(estimator.model):
        raise OptionError(
            "save",
            "a model of unrolled",
            "a function of your own",
            "Save its weights: torch.save(estimator.networks_[0].state_dict(), path).",
        )
    parameters = estimator.get_params(deep=False)
    training = parameters.pop("training")
    reading = estimator.reading_
    config = {
        "format_version": FORMAT_VERSION,
        "estimator": type(estimator).__name__,
        "parameters": {name: _plain(name, value) for name, value in parameters.items()},
        "training": None if training is None else asdict(training),
        "reading": {
            "kind": reading.kind,
            "shape": list(reading.shape),
            "most": reading.most,
            "lower": reading.lower,
            "drop_unknown": reading.drop_unknown,
        },
        "architecture": asdict(estimator.architecture_),
        "vocabulary": None if reading.vocabulary is None else list(reading.vocabulary.words),
        "notes": estimator.notes_,
        "columns": getattr(estimator, "columns_", None),
        "feature_names": list(getattr(estimator, "feature_names_in_", ())),
    }
    if isinstance(estimator, SequenceClassifier):
        config["classes"] = _write_classes(estimator.classes_)
    else:
        config["single"] = estimator.single_
    tensors = {name: getattr(estimator, name) for name in OF_TARGETS if hasattr(estimator, name)}
    if reading.mean is not None and reading.scale is not None:
        tensors |= {"mean": reading.mean, "scale": reading.scale}
    write_folder(estimator, folder, config, tensors)


def read_sequence_estimator(config: Mapping[str, Any], place: Path, device: str) -> SequenceEstimator:
    """Read what `save_sequence_estimator` wrote; `config` is its config.json.

    Raises:
        ValueError, KeyError, TypeError: the folder is damaged.
    """
    if config["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format {config['format_version']!r} instead of {FORMAT_VERSION}")
    parameters, training = dict(config["parameters"]), config["training"]
    if isinstance(parameters.get("class_weight"), list):
        parameters["class_weight"] = dict(parameters["class_weight"])
    estimator: Any = ESTIMATORS[config["estimator"]](
        **parameters | {"device": device}, training=None if training is None else Training(**training)
    )
    estimator.check_options()
    tensors = read_tensors(place)
    estimator.notes_, estimator.vectors_ = config["notes"], None
    if config["columns"] is not None:
        estimator.columns_ = config["columns"]
    if config["feature_names"]:
        estimator.feature_names_in_ = np.array([str(name) for name in config["feature_names"]], object)
        estimator.n_features_in_ = len(estimator.feature_names_in_)
    words, how = config["vocabulary"], config["reading"]
    reading = Reading(
        **how | {"shape": tuple(how["shape"])}, vocabulary=None if words is None else Vocabulary(tuple(words))
    )
    if words is None:
        size = () if reading.kind == "images" else reading.shape
        reading = replace(reading, mean=tensors["mean"].reshape(size), scale=tensors["scale"].reshape(size))
    estimator.reading_ = reading
    a = config["architecture"]
    estimator.architecture_ = Architecture(**a | {"image": tuple(a["image"]) if a["image"] else None})
    _check_consistent(estimator, config, tensors)
    for name in OF_TARGETS:
        if name in tensors:
            setattr(estimator, name, tensors[name])
    if "classes" in config:
        estimator.classes_ = _read_classes(config["classes"])
        if len(estimator.classes_) != estimator.architecture_.outputs or len(estimator.class_shares_) != len(
            estimator.classes_
        ):
            raise ValueError("classes that are not those of the network")
    else:
        estimator.single_ = config["single"]
    if words is not None and reading.words != estimator.architecture_.input_size:
        raise ValueError("a vocabulary that is not that of the network")
    estimator.networks_ = read_members(estimator.make_network, tensors, estimator.architecture_.layers)
    estimator.run_ = read_runs(place, estimator.networks_)
    return estimator


def _check_consistent(estimator: Any, config: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Raise a `ValueError` where parts of the folder contradict each other, or ask for a network it does not hold."""
    a, reading, columns = estimator.architecture_, estimator.reading_, config["columns"]
    held = sum(array.size for array in tensors.values())
    sizes = (a.layers, a.filters, a.hidden, a.embedding, a.outputs, a.units if a.cell else 0)
    for fine, what in (
        (max(sizes) <= held, "a network larger than its weights"),
        (a.per_step == bool(estimator.per_step), "per_step that is not that of the network"),
        (reading.kind in ("numbers", "images", "words"), f"sequences of the kind {reading.kind!r}"),
        ((reading.kind == "words") == (reading.vocabulary is not None), "a vocabulary without words"),
        ((reading.kind == "images") == (a.image is not None), "images that are not those of the network"),
        (reading.most is None or isinstance(reading.most, int), f"{reading.most!r} steps"),
        (reading.scale is None or bool((reading.scale > 0).all()), "a scale of 0"),
        (columns is None or isinstance(columns, dict), "columns that are none"),
        (isinstance(config["notes"], list), "notes that are none"),
    ):
        if not fine:
            raise ValueError(what)


def _write_classes(classes: Any) -> dict[str, Any]:
    labels = classes.tolist()
    strange = [label for label in labels if not isinstance(label, str | int | float | bool)]
    if strange:
        raise OptionError(
            "save",
            "classes that are texts, numbers or truth values",
            repr(strange[0]),
            "Fit on such labels, as str(label).",
        )
    return {"labels": labels, "dtype": "object" if classes.dtype == object else str(classes.dtype)}


def _read_classes(written: Mapping[str, Any]) -> Any:
    labels = written["labels"]
    if not all(isinstance(label, str | int | float) for label in labels) or len(set(labels)) < len(labels):
        raise ValueError("classes that are none, or one twice")
    if written["dtype"] != "object":
        return np.array(written["labels"], dtype=written["dtype"])
    classes = np.empty(len(written["labels"]), object)
    classes[:] = written["labels"]
    return classes


def _plain(name: str, value: Any) -> Any:
    """A parameter as JSON holds it; a dict of weights as pairs, since its keys may be numbers."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return [[key.item() if isinstance(key, np.generic) else key, float(w)] for key, w in value.items()]
    return value
