"""Transcribers in folders: JSON for what they are, safetensors for what they learned. No code, no pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from unrolled.data.pairs import SymbolReading
from unrolled.data.symbols import Symbols
from unrolled.encoder_decoder import CoderArchitecture, EncoderDecoder
from unrolled.estimators.learned import write_folder
from unrolled.estimators.reading import Reading
from unrolled.estimators.transcriber import Transcriber
from unrolled.training.options import Training, TrainingRun

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
        "parameters": {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in parameters.items()
        },
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
    tensors = load_file(place / "model.safetensors")
    broken = [n for n, array in tensors.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{broken[0]} is not finite")
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
    if not isinstance(transcriber.longest_, int) or transcriber.longest_ < 0:
        raise ValueError("a longest target of no length")
    numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("member.")})
    if not numbers:
        raise KeyError("member.0")
    transcriber.networks_ = [_network(a, tensors, f"member.{number}.") for number in numbers]
    history, timing = ([json.loads(line) for line in (place / f"{name}.jsonl").read_text("utf-8").splitlines()]
                       for name in ("history", "timing"))  # fmt: skip
    transcriber.run_ = TrainingRun(list(transcriber.networks_), history, timing)
    return transcriber


def _network(a: CoderArchitecture, tensors: Mapping[str, Any], prefix: str) -> EncoderDecoder:
    network = EncoderDecoder(a)
    own = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    network.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    return network.eval()


def _written(reading: Reading | SymbolReading) -> dict[str, Any]:
    if isinstance(reading, Reading):
        return {"kind": reading.kind, "shape": list(reading.shape)}
    return {"kind": reading.kind, "symbols": reading.alphabet.to_json()}


def _read(written: Mapping[str, Any]) -> SymbolReading:
    if written["kind"] not in KINDS:
        raise ValueError(f"symbols of the kind {written['kind']!r}")
    return SymbolReading(written["kind"], Symbols.from_json(written["symbols"]))
