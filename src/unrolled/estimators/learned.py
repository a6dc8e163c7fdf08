"""What estimators of sequences have in common once they have learned: notes, the device, and a folder of their own."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from unrolled.errors import OptionError
from unrolled.training.options import TrainingRun

__all__ = ["Learned", "write_folder"]

logger = logging.getLogger("unrolled")


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
    (folder / "config.json").write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", "utf-8")
    for name, rows in (("history", estimator.run_.history), ("timing", estimator.run_.timing)):
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
