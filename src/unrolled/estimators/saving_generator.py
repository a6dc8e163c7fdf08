"""Generators in folders: JSON for what they are, safetensors for what they learned. No code, no pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from unrolled.autoregressive import Autoregression
from unrolled.data.symbols import Symbols
from unrolled.estimators.generator import SequenceGenerator
from unrolled.estimators.generator_options import check_generator
from unrolled.estimators.learned import write_folder
from unrolled.estimators.piece_reading import PieceReading
from unrolled.training.options import Training, TrainingRun

__all__ = ["read_generator", "save_generator"]

FORMAT_VERSION = 1
SCALES = ("mean", "scale", "change")
CONTEXT_SCALES = ("context_mean_", "context_scale_")


def save_generator(generator: SequenceGenerator, folder: Path) -> None:
    """Write config.json, model.safetensors, history.jsonl and timing.jsonl into an existing folder."""
    parameters = generator.get_params(deep=False)
    training, reading = parameters.pop("training"), generator.reading_
    plain = {
        name: value.item() if isinstance(value, np.generic) else value for name, value in parameters.items()
    }
    config = {
        "format_version": FORMAT_VERSION,
        "estimator": "SequenceGenerator",
        "parameters": plain | {"filters": [int(size) for size in generator.filters]},
        "training": None if training is None else asdict(training),
        "reading": {
            name: getattr(reading, name) for name in ("kind", "form", "flat", "width", "voices", "ends")
        },
        "alphabets": [alphabet.to_json() for alphabet in reading.alphabets],
        "architecture": asdict(generator.architecture_),
        "notes": generator.notes_,
        "columns": getattr(generator, "columns_", None),
    }
    tensors: dict[str, Any] = {
        name: getattr(reading, name) for name in SCALES if getattr(reading, name) is not None
    }
    tensors |= {name: getattr(generator, name) for name in CONTEXT_SCALES if hasattr(generator, name)}
    write_folder(generator, folder, config, tensors)


def read_generator(config: Mapping[str, Any], place: Path, device: str) -> SequenceGenerator:
    """Read what `save_generator` wrote; `config` is its config.json.

    Raises:
        ValueError, KeyError, TypeError: the folder is damaged.
    """
    if config["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format {config['format_version']!r} instead of {FORMAT_VERSION}")
    training = config["training"]
    generator = SequenceGenerator(
        **config["parameters"] | {"device": device},
        training=None if training is None else Training(**training),
    )
    check_generator(generator)
    tensors = load_file(place / "model.safetensors")
    broken = [n for n, array in tensors.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{broken[0]} is not finite")
    a = config["architecture"]
    generator.architecture_ = Autoregression(
        **a | {"numbers": tuple(a["numbers"]), "filters": tuple(a["filters"])}
    )
    alphabets = tuple(Symbols.from_json(written) for written in config["alphabets"])
    scales: dict[str, Any] = {name: tensors.get(name) for name in SCALES}
    generator.reading_ = PieceReading(**config["reading"], alphabets=alphabets, **scales)
    _check(generator)
    for name in CONTEXT_SCALES:
        if name in tensors:
            setattr(generator, name, tensors[name])
    generator.notes_ = config["notes"]
    if config["columns"] is not None:
        generator.columns_ = config["columns"]
    numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("member.")})
    if not numbers:
        raise KeyError("member.0")
    generator.networks_ = []
    for number in numbers:
        network, prefix = generator.make_network(), f"member.{number}."
        own = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        network.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
        generator.networks_.append(network.eval())
    history, timing = ([json.loads(line) for line in (place / f"{name}.jsonl").read_text("utf-8").splitlines()]
                       for name in ("history", "timing"))  # fmt: skip
    generator.run_ = TrainingRun(generator.networks_, history, timing)
    return generator


def _check(generator: SequenceGenerator) -> None:
    """Raise a ValueError where what is read and what the network takes are not of one size."""
    a, reading = generator.architecture_, generator.reading_
    if reading.kind == "values":
        fits = a.features == reading.width and not a.numbers
        scales = [reading.mean, reading.scale] + [reading.change] * (reading.change is not None)
        if not fits or any(scale is None or scale.shape != (reading.width,) for scale in scales):
            raise ValueError("scales that are not those of the network")
    elif a.numbers != tuple(map(len, reading.alphabets)) or a.voices != reading.voices:
        raise ValueError("alphabets that are not those of the network")
