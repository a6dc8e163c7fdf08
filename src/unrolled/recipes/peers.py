"""What one seed of E5b takes in Keras on TensorFlow and on JAX, beside ours, on the same machine and data."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from torch import nn

import unrolled as ur
from unrolled.recipes import chicago
from unrolled.recipes.experiment import Found, Row, train

__all__ = ["peers"]

LISTING = Path(__file__).with_name("keras_listing.py")
MINUTES = 15


def peers(seeds: int, quick: bool) -> Found:
    """Seconds of one seed of E5b: ours, and Keras on the backends that are installed (the `bench` extra)."""
    what = "one seed of E5b"
    if quick:
        yield Row("E5b", f"{what}: Keras", "seconds", None, (), note="left out by --quick")
        return
    data = [
        p.next_day(chicago.column(p.rail), chicago.column(p.rail)) for p in (chicago.learn(), chicago.valid())
    ]
    make = lambda: nn.Sequential(ur.nn.SimpleRNN(1, 32), ur.nn.Dense(32, 1))  # noqa: E731
    run, seconds, _ = train(make, data, chicago.published(0.05, 1, quick))
    yield Row("E5b", f"{what}: ours", "seconds", None, (seconds,), note=_epochs(run))
    for backend, module in (("tensorflow", "tensorflow"), ("jax", "jax")):
        name = f"{what}: Keras on {backend}"
        if not all(importlib.util.find_spec(needed) for needed in ("keras", module)):
            yield Row("E5b", name, "seconds", None, (), note="not installed (the bench extra)")
            continue
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "data.npz"
            learn, valid = data
            np.savez(path, x=learn.windows, y=learn.targets, x_valid=valid.windows, y_valid=valid.targets)
            try:
                done = subprocess.run(
                    [sys.executable, str(LISTING), str(path)], capture_output=True, text=True, timeout=60 * MINUTES,
                    env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                yield Row("E5b", name, "seconds", None, (), note=f"failed: more than {MINUTES} minutes")
                continue
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]  # none where killed
            yield Row("E5b", name, "seconds", None, (), note=f"failed: {said[-1]}")
            continue
        took, error = map(float, done.stdout.split()[-2:])
        yield Row("E5b", name, "seconds", None, (took,), note=f"compiling included; its error {error:,.0f}")


def _epochs(run: ur.TrainingRun) -> str:
    return f"{max(row['epoch'] for row in run.history)} epochs"
