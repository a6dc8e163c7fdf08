"""Forward and backward of our recurrent layers beside torch.nn's, in one process, medians of many runs.

    python benchmarks/layers.py [--repeats 30] [--threads 1 2]

Appends a row a case to benchmarks/results/layers.csv. A case whose outputs or gradients are not torch's is not timed.
"""

import argparse
import csv
import datetime
import platform
import statistics
import subprocess
import time
from pathlib import Path

import torch

import unrolled as ur

CASES = [("SimpleRNN", "RNN", 5, 32, 32, 56), ("LSTM", "LSTM", 5, 32, 32, 56), ("GRU", "GRU", 5, 32, 32, 56)]
RESULTS = Path(__file__).parent / "results" / "layers.csv"


def pair(theirs, features, units):
    """Two layers with the same weights."""
    layer = getattr(torch.nn, theirs)(features, units, batch_first=True)
    return ur.nn.from_torch(layer), layer


def step(layer, x):
    """One forward and backward; return the last output and the gradient of x."""
    x = x.detach().requires_grad_()
    out = layer(x)
    out = out[0] if isinstance(out, tuple) else out
    last = out[:, -1]
    last.square().sum().backward()
    return last.detach(), x.grad


def medians(layers, x, repeats):
    """Milliseconds of each layer, taken in turns."""
    times = [[] for _ in layers]
    for turn in range(repeats + 3):
        for layer, found in zip(layers, times, strict=True):
            start = time.perf_counter()
            step(layer, x)
            if turn >= 3:
                found.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(found) for found in times]


def main():
    """Run the cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    rows = []
    for ours, theirs, features, units, batch, steps in CASES:
        layers = pair(theirs, features, units)
        x = torch.randn(batch, steps, features)
        for found, expected in zip(step(layers[0], x), step(layers[1], x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        for threads in options.threads:
            torch.set_num_threads(threads)
            mine, others = medians(layers, x, options.repeats)
            rows.append({
                "date": datetime.date.today().isoformat(), "commit": commit.stdout.strip(),
                "processor": platform.processor() or platform.machine(),
                "isa": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__, "threads": threads,
                "case": f"{ours} {features}→{units}, batch {batch}, {steps} steps",
                "implementation": ur.explain(layers[0], x).implementation,
                "unrolled_ms": round(mine, 3), "torch_ms": round(others, 3), "ratio": round(others / mine, 2),
            })  # fmt: skip
            print(*rows[-1].values(), sep="  ")
    new = not RESULTS.exists()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
