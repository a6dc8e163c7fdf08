"""Estimators in folders: a JSON file for what they are, safetensors for what they learned. No code, no pickle."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from unrolled.data.features import Features
from unrolled.data.frequency import Frequency
from unrolled.data.scaling import Scaler
from unrolled.data.table import Table
from unrolled.errors import RunFolderError, UnrolledError
from unrolled.estimators.baselines import Linear
from unrolled.estimators.forecaster import Forecaster
from unrolled.estimators.saving_sequences import ESTIMATORS, read_sequence_estimator
from unrolled.training.options import Training, TrainingRun

__all__ = ["load", "save_forecaster", "write_lines"]

FORMAT_VERSION = 2  # 1: without covariates; its networks are no longer built


def load(folder: str | Path, device: str = "auto") -> Any:
    """Read an estimator from a run folder, or from one that its `save` wrote.

    Args:
        folder: the folder.
        device: "auto", "cpu" or "cuda".

    Raises:
        RunFolderError: the folder does not exist, is damaged, or is none of ours.
    """
    place = Path(folder)
    if not place.is_dir():
        raise RunFolderError(str(folder), "a run folder", "no such folder", "Check the path.")
    if not (place / "config.json").is_file() or not (place / "model.safetensors").is_file():
        raise RunFolderError(
            str(folder),
            "config.json and model.safetensors",
            "a folder without them",
            "Name a finished run's folder.",
        )
    try:
        config = json.loads((place / "config.json").read_text("utf-8"))
        version, estimator = config["format_version"], config["estimator"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(place, error) from error
    if estimator in ESTIMATORS:
        try:
            return read_sequence_estimator(config, place, device)
        except UnrolledError:
            raise
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RuntimeError,
            SafetensorError,
        ) as error:
            raise _damaged(place, error) from error
    if version != FORMAT_VERSION or estimator != "Forecaster":
        raise RunFolderError(
            str(folder), f"a Forecaster in format {FORMAT_VERSION}", f"{estimator!r} in format {version!r}",
            "Load it with the version of unrolled that wrote it.",
        )  # fmt: skip
    try:
        return _read_forecaster(config, load_file(place / "model.safetensors"), place, device)
    except UnrolledError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise _damaged(place, error) from error


def save_forecaster(forecaster: Forecaster, folder: Path) -> None:
    """Write config.json, model.safetensors, history.jsonl and timing.jsonl into an existing folder."""
    parameters = forecaster.get_params(deep=False)
    training = parameters.pop("training")
    tail = forecaster.tail_
    config = {
        "format_version": FORMAT_VERSION,
        "estimator": "Forecaster",
        "parameters": parameters | {"levels": list(forecaster.levels)},
        "training": None if training is None else dataclasses.asdict(training),
        "target": forecaster.target_,
        "time": forecaster.time_,
        "series": forecaster.series_,
        "kind": forecaster.kind_,
        "model": forecaster.model_,
        "season": forecaster.season_,
        "lag": forecaster.lag_,
        "input_steps": forecaster.input_steps_,
        "frequency": dataclasses.asdict(forecaster.frequency_),
        "columns": {"all": tail.columns, "past": tail.past, "known": tail.known},
        "features": {
            "categories": forecaster.features_.categories,
            "numeric": forecaster.features_.numeric,
            "names": forecaster.features_.names,
        },
        "tail_labels": {name: labels.tolist() for name, labels in tail.labels.items()},
        "tail_times": {"dtype": str(tail.times.dtype), "values": tail.times.astype(np.int64).tolist()},
        "notes": forecaster.notes_,
    }
    tensors: dict[str, Any] = {
        "scaler.mean": forecaster.features_.scaler.mean,
        "scaler.scale": forecaster.features_.scaler.scale,
        "linear.weight": forecaster.linear_.weight,
        "linear.bias": forecaster.linear_.bias,
        "widths": forecaster.widths_,
        "tail.values": tail.values,
        "tail.observed": tail.observed,
    }
    for number, network in enumerate(forecaster.networks_):
        for name, tensor in network.state_dict().items():
            tensors[f"member.{number}.{name}"] = tensor.cpu().numpy()
    save_file(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", "utf-8")
    write_lines(folder / "history.jsonl", forecaster.run_.history)
    write_lines(folder / "timing.jsonl", forecaster.run_.timing)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), "utf-8")


def _read_forecaster(config: dict[str, Any], tensors: dict[str, Any], place: Path, device: str) -> Forecaster:
    _check_tensors(config, tensors)
    parameters = config["parameters"] | {"levels": tuple(config["parameters"]["levels"]), "device": device}
    training = config["training"]
    forecaster = Forecaster(**parameters, training=None if training is None else Training(**training))
    forecaster.check_options()
    forecaster.target_, forecaster.time_, forecaster.series_ = (
        config["target"],
        config["time"],
        config["series"],
    )
    forecaster.kind_, forecaster.model_, forecaster.notes_ = config["kind"], config["model"], config["notes"]
    forecaster.season_, forecaster.lag_ = config["season"], config["lag"]
    forecaster.input_steps_ = config["input_steps"]
    calendar = config["frequency"]
    forecaster.frequency_ = Frequency(**(calendar | {"slots": tuple(calendar["slots"])}))
    features, columns = config["features"], config["columns"]
    forecaster.features_ = Features(
        Scaler(tensors["scaler.mean"], tensors["scaler.scale"]),
        {name: tuple(labels) for name, labels in features["categories"].items()},
        features["numeric"],
        tuple(features["names"]),
    )
    forecaster.linear_ = Linear(tensors["linear.weight"], tensors["linear.bias"])
    forecaster.widths_ = tensors["widths"]
    forecaster.tail_ = Table(
        np.asarray(config["tail_times"]["values"], np.int64).astype(config["tail_times"]["dtype"]),
        tensors["tail.values"],
        tensors["tail.observed"],
        tuple(columns["all"]),
        forecaster.frequency_,
        forecaster.time_,
        forecaster.series_,
        forecaster.kind_,
        (),
        tuple(columns["past"]),
        tuple(columns["known"]),
        {name: np.asarray(labels, object) for name, labels in config["tail_labels"].items()},
    )
    numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("member.")})
    forecaster.networks_ = [_read_network(forecaster, tensors, f"member.{number}.") for number in numbers]
    if not numbers:
        raise KeyError("member.0")
    history, timing = ([json.loads(line) for line in (place / name).read_text("utf-8").splitlines()]
                       for name in ("history.jsonl", "timing.jsonl"))  # fmt: skip
    forecaster.run_ = TrainingRun(forecaster.networks_, history, timing)
    return forecaster


def _check_tensors(config: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Raise a ValueError where sizes disagree or a number is not finite, before anything is allocated by them."""
    horizon, window = config["parameters"]["horizon"], config["input_steps"] + config["lag"]
    wide = len(config["columns"]["all"])
    shapes = {
        "linear.weight": (horizon, window),
        "linear.bias": (horizon,),
        "widths": (len(config["parameters"]["levels"]), horizon),
        "scaler.mean": (wide,),
        "scaler.scale": (wide,),
        "tail.values": (window, wide),
        "tail.observed": (window, wide),
    }
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} of shape {tensors[name].shape} instead of {shape}")
    broken = [
        name for name, array in tensors.items() if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    if broken:
        raise ValueError(f"{broken[0]} is not finite")
    times, calendar = config["tail_times"], config["frequency"]
    if times["dtype"] not in ("datetime64[us]", "int64") or len(times["values"]) != window:
        raise ValueError("tail_times are not the times of the window")
    if any(len(labels) != window for labels in config["tail_labels"].values()):
        raise ValueError("tail_labels are not those of the window")
    if max(calendar["microseconds"], calendar["months"], calendar["count"]) < 1:
        raise ValueError("a frequency without a step")


def _read_network(forecaster: Forecaster, tensors: dict[str, Any], prefix: str) -> Any:
    import torch

    network = forecaster.make_network()
    own = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    network.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    return network.eval()


def _damaged(place: Path, error: Exception) -> RunFolderError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    return RunFolderError(
        str(place), "a run folder of unrolled", f"a damaged or foreign one ({reason})", "Make it anew."
    )
