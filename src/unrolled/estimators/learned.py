"""What estimators of sequences have in common once they have learned: notes, the device, and a folder of their own."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from unrolled.errors import OptionError
from unrolled.nn.validation import plain
from unrolled.training.options import TrainingRun

__all__ = ["Learned", "read_members", "read_runs", "read_tensors", "take_plainly", "write_folder"]

logger = logging.getLogger("unrolled")


def take_plainly(estimator: BaseEstimator) -> None:
    """Make NumPy's numbers among the arguments of an estimator Python's, which are equal and never too narrow."""
    for name, value in estimator.get_params(deep=False).items():
        if (found := plain(value)) is not value:
            setattr(estimator, name, found)


class Learned(BaseEstimator):
    """The base of `SequenceClassifier`, `SequenceRegressor`, `SequenceGenerator` and `Transcriber`."""

    device: str
    run_: TrainingRun
    notes_: list[str]
    networks_: list[Any]

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the estimator into a folder, for `unrolled.load`: JSON and safetensors, no pickle.

        With `overwrite` a folder that already holds a run is replaced; anything else never is.

        Raises:
            RunFolderError: the folder exists, or cannot be written.
            OptionError: there are classes of a kind that JSON does not hold.
        """
        from unrolled.training.checkpoint import whole_folder

        self._check_fitted()
        with whole_folder(Path(folder), overwrite=overwrite) as partial:
            self.write(partial)

    def write(self, folder: Path) -> None:
        """Write the files of `save` into a folder that is there."""
        raise NotImplementedError

    def find_device(self) -> torch.device:
        """The device that `device` asks for.

        Raises:
            OptionError: it is not there.
        """
        wanted = self.device
        if wanted == "cuda" and not torch.cuda.is_available():
            raise OptionError(type(self).__name__, "a CUDA device", "none", "Pass device='cpu'.")
        if wanted == "auto":
            wanted = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(wanted)

    def _take(self, run: TrainingRun) -> None:
        """Keep what training gave, and note what went wrong in it."""
        self.run_, self.networks_ = run, run.members
        if run.interrupted:
            self._note("Interrupted: goes on with what was learned until then.")
        for failure in run.failures.values():
            self._note(f"A member is left out. {failure}")

    def _note(self, text: str) -> None:
        self.notes_.append(text)
        logger.warning(text)

    def _check_fitted(self) -> None:
        if not hasattr(self, "networks_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet. Call fit first.")


def write_folder(
    estimator: Learned, folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Any]
) -> None:
    """Write config.json, model.safetensors (these tensors and the members' weights), history.jsonl and timing.jsonl."""
    found = dict(tensors)
    for number, network in enumerate(estimator.networks_):
        for name, tensor in network.state_dict().items():
            found[f"member.{number}.{name}"] = tensor.cpu().numpy()
    whole = {name: np.array(array, copy=None, order="C", ndmin=1) for name, array in found.items()}
    (folder / "model.safetensors").write_bytes(save(whole))  # save_file would hide it from other users
    written = json.dumps(config, indent=1, allow_nan=False, default=lambda number: number.item())  # NumPy's
    (folder / "config.json").write_text(written + "\n", "utf-8")
    for name, rows in (("history", estimator.run_.history), ("timing", estimator.run_.timing)):
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")


def read_tensors(place: Path) -> dict[str, NDArray[Any]]:
    """What lies in model.safetensors.

    Raises:
        ValueError: a number is not finite.
    """
    tensors: dict[str, NDArray[Any]] = load_file(place / "model.safetensors")
    broken = [n for n, array in tensors.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{broken[0]} is not finite")
    return tensors


def read_members(
    make: Callable[[], torch.nn.Module], tensors: Mapping[str, NDArray[Any]], layers: int
) -> list[Any]:
    """The networks of a folder, each made by `make`, with no more memory than the weights that are there.

    Args:
        make: makes a network.
        tensors: of `read_tensors`.
        layers: how many the network is to have.

    Raises:
        ValueError, KeyError: the weights are those of another network, or there are none.
    """
    numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("member.")})
    if not numbers:
        raise KeyError("member.0")
    if not 1 <= layers <= len(tensors):
        raise ValueError(f"{layers!r} layers")
    with torch.device("meta"):  # which takes no memory
        wanted = {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}
    networks = []
    for number in numbers:
        prefix = f"member.{number}."
        own = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        if {name: array.shape for name, array in own.items()} != wanted:
            raise ValueError(f"weights of member {number} that are not those of the network")
        network = make()
        network.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
        networks.append(network.eval())
    return networks


def read_runs(place: Path, networks: list[Any]) -> TrainingRun:
    """What the training gave: its history and timing."""
    history, timing = (
        [json.loads(line) for line in (place / f"{name}.jsonl").read_text("utf-8").splitlines()]
        for name in ("history", "timing")
    )
    return TrainingRun(list(networks), history, timing)
