"""Transcribers in folders: JSON for what they are, safetensors for what they learned. No code, no pickle."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.pairs import SymbolReading
from unrolled.data.symbols import Symbols
from unrolled.encoder_decoder import ATTENTION, CoderArchitecture
from unrolled.estimators.learned import read_members, read_runs, read_tensors, write_folder
from unrolled.estimators.reading import Reading
from unrolled.estimators.transcriber import Transcriber
from unrolled.training.options import Training

__all__ = ["FORMAT_VERSION", "read_transcriber", "save_transcriber"]

FORMAT_VERSION = 1
KINDS = ("characters", "words", "symbols")


def save_transcriber(transcriber: Transcriber, folder: Path) -> None:
    """Write config.json, model.safetensors, history.jsonl and timing.jsonl into an existing folder."""
    parameters = transcriber.get_params(deep=False)
    training = parameters.pop("training")
    source = transcriber.source_
    config = {
        "format_version": FORMAT_VERSION,
        "estimator": "Transcriber",
        "parameters": parameters,
        "training": None if training is None else asdict(training),
        "source": _written(source),
        "target": _written(transcriber.target_),
        "longest": transcriber.longest_,
        "architecture": asdict(transcriber.architecture_),
        "notes": transcriber.notes_,
        "columns": getattr(transcriber, "columns_", None),
    }
    tensors: dict[str, Any] = {}
    if isinstance(source, Reading):
        tensors = {"mean": source.mean, "scale": source.scale}
    write_folder(transcriber, folder, config, tensors)


def read_transcriber(config: Mapping[str, Any], place: Path, device: str) -> Transcriber:
    """Read what `save_transcriber` wrote; `config` is its config.json.

    Raises:
        ValueError, KeyError, TypeError: the folder is damaged.
    """
    if config["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format {config['format_version']!r} instead of {FORMAT_VERSION}")
    training = config["training"]
    transcriber = Transcriber(
        **config["parameters"] | {"device": device},
        training=None if training is None else Training(**training),
    )
    transcriber.check_options()
    tensors = read_tensors(place)
    transcriber.notes_, transcriber.longest_ = config["notes"], config["longest"]
    if config["columns"] is not None:
        transcriber.columns_ = tuple(config["columns"])
    a = transcriber.architecture_ = CoderArchitecture(**config["architecture"])
    transcriber.target_ = _read(config["target"])
    if config["source"]["kind"] == "numbers":
        reading = Reading("numbers", tuple(config["source"]["shape"]))
        transcriber.source_ = replace(reading, mean=tensors["mean"], scale=tensors["scale"])
        size = reading.shape[0]
        if tensors["mean"].shape != (size,) or tensors["scale"].shape != (size,):
            raise ValueError("a scale that is not that of the features")
    else:
        transcriber.source_ = _read(config["source"])
        size = len(transcriber.source_.alphabet)
    if size != a.input_size or len(transcriber.target_.alphabet.symbols) + 1 != a.outputs:
        raise ValueError("an alphabet that is not that of the network")
    for fine, what in (
        (type(transcriber.longest_) is int and transcriber.longest_ >= 0, "a longest target of no length"),
        (a.attention in (None, *ATTENTION), f"attention by {a.attention!r}"),
        (a.symbols == isinstance(transcriber.source_, SymbolReading), "sources that are not the network's"),
        ((tensors.get("scale", np.ones(1)) > 0).all(), "a scale of 0"),
        (isinstance(config["notes"], list), "notes that are none"),
    ):
        if not fine:
            raise ValueError(what)
    transcriber.networks_ = read_members(transcriber.make_network, tensors, a.layers)
    transcriber.run_ = read_runs(place, transcriber.networks_)
    return transcriber


def _written(reading: Reading | SymbolReading) -> dict[str, Any]:
    if isinstance(reading, Reading):
        return {"kind": reading.kind, "shape": list(reading.shape)}
    return {"kind": reading.kind, "symbols": reading.alphabet.to_json()}


def _read(written: Mapping[str, Any]) -> SymbolReading:
    if written["kind"] not in KINDS:
        raise ValueError(f"symbols of the kind {written['kind']!r}")
    return SymbolReading(written["kind"], Symbols.from_json(written["symbols"]))
