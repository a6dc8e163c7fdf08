"""Estimators in folders: a JSON file for what they are, safetensors for what they learned. No code, no pickle."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as write_tensors

from unrolled.data.features import Features
from unrolled.data.frequency import Frequency
from unrolled.data.scaling import Power, Scaler
from unrolled.data.table import Table
from unrolled.errors import RunFolderError, UnrolledError
from unrolled.estimators.ensemble import Architecture, Ensemble
from unrolled.estimators.forecaster import Forecaster
from unrolled.estimators.intervals import Conformal, Widened
from unrolled.estimators.lines import Lines
from unrolled.estimators.options import check_options
from unrolled.estimators.saving_generator import read_generator
from unrolled.estimators.saving_sequences import ESTIMATORS, read_sequence_estimator
from unrolled.estimators.saving_transcriber import read_transcriber
from unrolled.training.options import Training, TrainingRun

__all__ = ["load", "save_forecaster", "write_lines"]

FORMAT_VERSION = 3  # 1 and 2 were never released
TABLE = ("columns", "time", "kind", "series", "names", "targets", "known", "past", "blank", "zone")
INTERVALS: dict[type, tuple[str, ...]] = {
    Conformal: ("centre", "lower", "upper", "factors"),
    Widened: ("by",),
}


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(place, error) from error
    readers = dict.fromkeys(ESTIMATORS, read_sequence_estimator)
    readers |= {"SequenceGenerator": read_generator, "Transcriber": read_transcriber}
    if isinstance(estimator, str) and estimator in readers:
        try:
            return readers[estimator](config, place, device)
        except UnrolledError:
            raise
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RuntimeError,
            MemoryError,
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
    tail, features, ensemble = forecaster.tail_, forecaster.features_, forecaster.ensemble_
    ahead = tail.ahead
    config = {
        "format_version": FORMAT_VERSION,
        "estimator": "Forecaster",
        "parameters": parameters | {"levels": list(forecaster.levels)},
        "training": None if training is None else dataclasses.asdict(training),
        "architecture": dataclasses.asdict(ensemble.architecture),
        "line": {"penalty": ensemble.lines.penalty, "shared": ensemble.lines.shared},
        "models": {model: len(networks) for model, networks in ensemble.networks.items()},
        "frequency": dataclasses.asdict(forecaster.frequency_),
        "table": {name: getattr(tail, name) for name in TABLE},
        "times": str(tail.times.dtype),
        "labels": {name: labels.tolist() for name, labels in tail.labels.items()},
        "ahead": None
        if ahead is None
        else {"labels": {name: labels.tolist() for name, labels in ahead.labels.items()}},
        "static": {name: values.tolist() for name, values in tail.static.items()},
        "features": {
            name: getattr(features, name)
            for name in ("series", "categories", "names", "static", "kinds", "country")
        },
        "notes": forecaster.notes_,
    }
    tensors: dict[str, Any] = {
        "scaler.mean": features.scaler.mean,
        "scaler.scale": features.scaler.scale,
        "known.mean": features.known.mean,
        "known.scale": features.known.scale,
        "line.weight": ensemble.lines.weight,
        "line.bias": ensemble.lines.bias,
    }
    for name, table in (("tail", tail), ("ahead", ahead)):
        if table is not None:
            tensors |= {
                f"{name}.values": np.where(table.observed | (name == "tail"), table.values, 0.0),
                f"{name}.observed": table.observed,
                f"{name}.times": table.times.astype(np.int64),
                f"{name}.starts": table.starts,
            }
    if features.power is not None:
        tensors["power"] = features.power.exponents
    for number, intervals in enumerate(forecaster.intervals_):
        tensors |= {
            f"intervals.{number}.{name}": getattr(intervals, name) for name in INTERVALS[type(intervals)]
        }
    for model, networks in ensemble.networks.items():
        for number, network in enumerate(networks):
            for name, tensor in network.state_dict().items():
                tensors[f"{model}.{number}.{name}"] = tensor.cpu().numpy()
    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    (folder / "model.safetensors").write_bytes(
        write_tensors(whole)
    )  # save_file would hide it from other users
    (folder / "config.json").write_text(
        json.dumps(config, indent=1, allow_nan=False, default=lambda number: number.item()) + "\n", "utf-8"
    )
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
    check_options(forecaster)
    calendar = config["frequency"]
    frequency = Frequency(**(calendar | {"slots": tuple(calendar["slots"])}))
    forecaster.features_ = _read_features(config["features"], tensors)
    forecaster.tail_, forecaster.notes_ = _read_tail(config, tensors, frequency), config["notes"]
    shape = config["architecture"]
    architecture = Architecture(**(shape | {"quantiles": tuple(shape["quantiles"])}))
    forecaster.architecture_ = architecture
    lines = Lines(tensors["line.weight"], tensors["line.bias"], **config["line"])
    networks = {
        model: [
            _read_network(architecture.network(model, lines), tensors, f"{model}.{n}.")
            for n in range(members)
        ]
        for model, members in config["models"].items()
    }
    kind = Widened if architecture.quantiles else Conformal
    levels, numbers = tuple(parameters["levels"]), range(architecture.targets)
    forecaster.intervals_ = [
        kind(levels, **{name: tensors[f"intervals.{number}.{name}"] for name in INTERVALS[kind]})
        for number in numbers
    ]
    history, timing = ([json.loads(line) for line in (place / name).read_text("utf-8").splitlines()]
                       for name in ("history.jsonl", "timing.jsonl"))  # fmt: skip
    found = [network for group in networks.values() for network in group]
    forecaster.ensemble_ = Ensemble(architecture, lines, networks, TrainingRun(found, history, timing))
    forecaster.seconds_ = {}
    return forecaster


def _read_features(config: dict[str, Any], tensors: dict[str, Any]) -> Features:
    categories, kinds = (
        {name: tuple(labels) for name, labels in config[key].items()} for key in ("categories", "kinds")
    )
    return Features(
        tuple(config["series"]), Scaler(tensors["scaler.mean"], tensors["scaler.scale"]),
        Scaler(tensors["known.mean"], tensors["known.scale"]), categories, tuple(config["names"]),
        {name: (mean, scale) for name, (mean, scale) in config["static"].items()}, kinds,
        Power(tensors["power"]) if "power" in tensors else None, config["country"],
    )  # fmt: skip


def _read_tail(config: dict[str, Any], tensors: dict[str, Any], frequency: Frequency) -> Table:
    table: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config["table"].items()
    }
    ahead = None
    if config["ahead"] is not None:
        numeric = tuple(name for name in table["columns"] if name in table["known"])
        observed = tensors["ahead.observed"]
        ahead = Table(
            tensors["ahead.times"].astype(config["times"]),
            np.where(observed, tensors["ahead.values"], np.nan), observed, frequency=frequency,
            starts=tensors["ahead.starts"],
            labels={name: np.asarray(labels, object) for name, labels in config["ahead"]["labels"].items()},
            **(table | {"columns": numeric, "targets": (), "past": ()}),
        )  # fmt: skip
    return Table(
        tensors["tail.times"].astype(config["times"]), tensors["tail.values"], tensors["tail.observed"],
        frequency=frequency, starts=tensors["tail.starts"],
        labels={name: np.asarray(labels, object) for name, labels in config["labels"].items()},
        static={
            name: np.asarray(values, np.float64 if name in config["features"]["static"] else object)
            for name, values in config["static"].items()
        },
        ahead=ahead, **table,
    )  # fmt: skip


def _check_tensors(config: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Raise a ValueError where sizes disagree or a number is not finite, before anything is allocated by them."""
    shape, table = config["architecture"], config["table"]
    horizon, targets, window = shape["horizon"], shape["targets"], shape["window"]
    wide, rows, levels = (
        len(table["columns"]),
        len(tensors["tail.values"]),
        len(config["parameters"]["levels"]),
    )
    own = targets + len(table["past"])
    shapes: dict[str, tuple[int, ...]] = {
        "line.weight": (targets, horizon, window),
        "line.bias": (targets, horizon),
        "scaler.mean": (len(config["features"]["series"]), own),
        "scaler.scale": (len(config["features"]["series"]), own),
        "known.mean": (wide - own,),
        "known.scale": (wide - own,),
        "tail.values": (rows, wide),
        "tail.observed": (rows, wide),
        "tail.times": (rows,),
        "tail.starts": (len(table["names"]) + 1,),
    }
    steps = (levels, horizon)
    of_intervals = {"by": steps} if shape["quantiles"] else {
        "centre": (horizon,), "lower": steps, "upper": steps, "factors": (levels, 2)
    }  # fmt: skip
    for number in range(targets):
        shapes |= {f"intervals.{number}.{name}": expected for name, expected in of_intervals.items()}
    for name, expected in shapes.items():
        if tensors[name].shape != expected:
            raise ValueError(f"{name} of shape {tensors[name].shape} instead of {expected}")
    if config["ahead"] is not None:
        rows_ahead, numeric = len(tensors["ahead.times"]), wide - own
        shapes = {"ahead.values": (rows_ahead, numeric), "ahead.observed": (rows_ahead, numeric),
                  "ahead.starts": (len(table["names"]) + 1,)}  # fmt: skip
        if any(tensors[name].shape != expected for name, expected in shapes.items()):
            raise ValueError("rows ahead of another shape")
        if any(len(labels) != rows_ahead for labels in config["ahead"]["labels"].values()):
            raise ValueError("labels are not those of the rows ahead")
    broken = [
        name for name, array in tensors.items() if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    if broken:
        raise ValueError(f"{broken[0]} is not finite")
    starts, calendar = tensors["tail.starts"], config["frequency"]
    if config["times"] not in ("datetime64[us]", "int64"):
        raise ValueError("times of another type")
    if (
        starts[0] != 0
        or starts[-1] != rows
        or (np.diff(starts) < 1).any()
        or (np.diff(starts) > window).any()
    ):
        raise ValueError("tail.starts are not those of the rows")
    if any(len(labels) != rows for labels in config["labels"].values()):
        raise ValueError("labels are not those of the rows")
    if any(len(values) != len(table["names"]) for values in config["static"].values()):
        raise ValueError("static columns are not those of the series")
    if max(calendar["microseconds"], calendar["months"], calendar["count"]) < 1:
        raise ValueError("a frequency without a step")
    if not config["models"] or not all(members >= 1 for members in config["models"].values()):
        raise ValueError("no members")


def _read_network(network: Any, tensors: dict[str, Any], prefix: str) -> Any:
    import torch

    own = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    network.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    return network.eval()


def _damaged(place: Path, error: Exception) -> RunFolderError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    return RunFolderError(
        str(place), "a run folder of unrolled", f"a damaged or foreign one ({reason})", "Make it anew."
    )
