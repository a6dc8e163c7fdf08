"""Generators in folders: JSON for what they are, safetensors for what they learned. No code, no pickle."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.autoregressive import Autoregression
from unrolled.data.symbols import Symbols
from unrolled.estimators.generator import SequenceGenerator
from unrolled.estimators.generator_options import check_generator
from unrolled.estimators.learned import read_members, read_runs, read_tensors, write_folder
from unrolled.estimators.piece_reading import PieceReading
from unrolled.training.options import Training

__all__ = ["read_generator", "save_generator"]

FORMAT_VERSION = 1
SCALES = ("mean", "scale", "change")
CONTEXT_SCALES = ("context_mean_", "context_scale_")


def save_generator(generator: SequenceGenerator, folder: Path) -> None:
    """Write config.json, model.safetensors, history.jsonl and timing.jsonl into an existing folder."""
    parameters = generator.get_params(deep=False)
    training, reading = parameters.pop("training"), generator.reading_
    config = {
        "format_version": FORMAT_VERSION,
        "estimator": "SequenceGenerator",
        "parameters": parameters | {"filters": list(generator.filters)},
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
    tensors = read_tensors(place)
    a = config["architecture"]
    generator.architecture_ = Autoregression(
        **a | {"numbers": tuple(a["numbers"]), "filters": tuple(a["filters"])}
    )
    alphabets = tuple(Symbols.from_json(written) for written in config["alphabets"])
    scales: dict[str, Any] = {name: tensors.get(name) for name in SCALES}
    generator.reading_ = PieceReading(**config["reading"], alphabets=alphabets, **scales)
    _check(generator, config)
    for name in CONTEXT_SCALES:
        if name in tensors:
            setattr(generator, name, tensors[name])
    generator.notes_ = config["notes"]
    if config["columns"] is not None:
        generator.columns_ = config["columns"]
    context = generator.architecture_.context
    if any(getattr(generator, name, np.zeros(0)).shape != (context,) for name in CONTEXT_SCALES):
        raise ValueError("scales that are not those of the context")
    if not (tensors.get("context_scale_", np.ones(1)) > 0).all():
        raise ValueError("a scale of 0")
    generator.networks_ = read_members(generator.make_network, tensors, generator.architecture_.layers)
    generator.run_ = read_runs(place, generator.networks_)
    return generator


def _check(generator: SequenceGenerator, config: Mapping[str, Any]) -> None:
    """Raise a ValueError where parts of the folder contradict each other."""
    a, reading, columns = generator.architecture_, generator.reading_, config["columns"]
    values, whole = reading.kind == "values", (type(reading.width), type(reading.voices)) == (int, int)
    if values:
        scales = [reading.mean, reading.scale] + [reading.change] * (reading.change is not None)
        fits = a.features == reading.width and not a.numbers and (reading.voices, reading.ends) == (1, False)
        fits &= all(scale is not None and scale.shape == (reading.width,) for scale in scales)
        fits = fits and all((scale > 0).all() for scale in scales[1:])
    else:
        fits = a.numbers == tuple(map(len, reading.alphabets)) and a.voices == reading.voices
        fits &= (
            reading.voices in (1, reading.width) and len(reading.alphabets) * reading.voices == reading.width
        )
    named = isinstance(columns, dict) and {"columns", "id", "time", "kind"} <= set(columns)
    kinds = ("values",) if values else ("symbols", "text")
    for fine, what in (
        (reading.kind in ("values", "symbols"), f"pieces of the kind {reading.kind!r}"),
        (reading.form in ("text", "list", "array"), f"pieces of the form {reading.form!r}"),
        (whole and reading.width >= 1 and reading.voices >= 1, "pieces without columns"),
        (type(reading.flat) is bool and type(reading.ends) is bool, "flags that are none"),
        (reading.width == 1 or not reading.flat, "a bare value in several columns"),
        (reading.form != "text" or (reading.flat and not values), "a text of several columns"),
        (fits, "scales or alphabets that are not those of the network"),
        (isinstance(config["notes"], list), "notes that are none"),
        (columns is None or (named and _are_names(columns, reading.width, kinds)), "columns that are none"),
    ):
        if not fine:
            raise ValueError(what)


def _are_names(columns: Mapping[str, Any], width: int, kinds: tuple[str, ...]) -> bool:
    names = columns["columns"]
    fine = isinstance(names, list) and all(isinstance(name, str) for name in names)
    fine = fine and len(names) == (0 if columns["kind"] == "text" else width) and columns["kind"] in kinds
    return fine and all(columns[name] is None or isinstance(columns[name], str) for name in ("id", "time"))
