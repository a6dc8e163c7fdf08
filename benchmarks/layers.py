"""Our recurrent layers beside torch.nn's, in one process, by turns, medians of at least 30 runs.

    python benchmarks/layers.py [--repeats 30] [--threads 1 2] [--only lstm]

Prints a table and appends its rows to benchmarks/results/layers.csv. A case whose outputs or gradients are not
those of torch is not timed: the run ends with exit code 1.
"""

import argparse
import csv
import datetime
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn.utils.rnn import pack_padded_sequence

import unrolled as ur
from unrolled.kernels import native

# ours, torch's, features, units, batch, steps; what we ask of one and of two threads, times torch.nn
CASES = [
    ("SimpleRNN", "RNN", 5, 32, 32, 56, 14, 20),
    ("GRU", "GRU", 5, 32, 32, 56, 14, 22),
    ("LSTM", "LSTM", 5, 32, 32, 56, 2.8, 4),
    ("SimpleRNN", "RNN", 28, 150, 150, 28, 1.6, 1.6),
    ("GRU", "GRU", 8, 128, 64, 100, 2.8, 4),
    ("LSTM", "LSTM", 8, 128, 64, 100, 1.9, 2.2),
    ("LSTM", "LSTM", 64, 512, 64, 100, 1.2, 1.4),
]
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
RESULTS = Path(__file__).parent / "results" / "layers.csv"


def medians(works, repeats):
    """Milliseconds of each work. They take turns of about 20 ms after a few runs that warm up, so that the threads of
    one, which wait in a loop for a while, are asleep when the other is timed."""
    times = [[] for _ in works]
    while min(map(len, times)) < repeats:
        for work, found in zip(works, times, strict=True):
            time.sleep(0.01)
            spent, turn = 0.0, 0
            while turn < 3 or (spent < 0.02 and turn < 30):
                start = time.perf_counter()
                work()
                taken = time.perf_counter() - start
                spent += taken
                turn += 1
                if turn > 1:
                    found.append(1e3 * taken)
    return [statistics.median(found) for found in times]


def step(layer, *inputs):
    """A forward and a backward through the layer, for the gradients of the weights, of which there are none before, as
    after an optimizer's zero_grad(): adding to them would leave torch's threads waiting in a loop beside ours."""
    parameters = list(layer.parameters())

    def output():
        y = layer(*inputs)
        y = y[0] if isinstance(y, tuple) else y
        return y if isinstance(y, torch.Tensor) else y.data

    gradient = torch.ones_like(output())

    def work():
        for p in parameters:
            p.grad = None
        output().backward(gradient)

    return work


def check(ours, theirs, x):
    """Refuse to go on where the outputs or the gradients differ."""
    mine, expected = {}, {}
    for layer, found, names in (
        (ours, mine, ("weight_ih", "weight_hh")),
        (theirs, expected, ("weight_ih_l0", "weight_hh_l0")),
    ):
        given = x.clone().requires_grad_()
        layer.zero_grad()
        y = layer(given)
        y = y[0] if isinstance(y, tuple) else y
        y.sin().sum().backward()
        weights = dict(layer.named_parameters())
        found.update(y=y.detach(), x=given.grad, ih=weights[names[0]].grad, hh=weights[names[1]].grad)
    for name, value in expected.items():
        error = (mine[name] - value).abs().max() / value.abs().max()
        if not error < 1e-4:
            sys.exit(f"{ours}: {name} is not torch's (relative error {error:.1g}); not timed")
    theirs.zero_grad()
    ours.zero_grad()


def check_reference(layer, *inputs):
    """The same for what torch.nn has not, beside the reference."""
    found = []
    for layer.implementation in (None, "reference"):
        torch.manual_seed(0)
        layer.zero_grad()
        y = layer(*inputs)
        y.sin().sum().backward()
        found.append([y.detach(), *(p.grad.clone() for p in layer.parameters())])
    layer.implementation = None
    layer.zero_grad()
    if not all((a - b).abs().max() < 1e-4 * b.abs().max() for a, b in zip(*found, strict=True)):
        sys.exit(f"{layer}: not what the reference computes; not timed")


def set_threads(n):
    """For torch and for our kernels."""
    torch.set_num_threads(n)
    ur.set_num_threads(n)


def gemm_peak():
    """GFLOP/s of a large torch.mm on the threads in use."""
    a, b = torch.randn(2, 1024, 1024)
    (ms,) = medians([lambda: torch.mm(a, b)], 20)
    return 2 * 1024**3 / ms / 1e6


def flops(kind, features, units, batch, steps):
    """Of a forward and a backward that asks for the weights' gradients but not the input's."""
    return 2 * GATES[kind] * units * batch * steps * (2 * features + 3 * units)


def floors(options):
    """The cases of the table: times torch.nn, the share of the GEMM peak, the fixed cost of a call."""
    for kind, theirs, features, units, batch, steps, *asked in CASES:
        if options.only and options.only.lower() not in kind.lower():
            continue
        torch_layer = getattr(torch.nn, theirs)(features, units, batch_first=True)
        layer = ur.nn.from_torch(torch_layer)
        x, long = torch.randn(batch, steps, features), torch.randn(batch, 10 * steps, features)
        check(layer, torch_layer, x)
        for threads in options.threads:
            set_threads(threads)
            mine, other = medians([step(layer, x), step(torch_layer, x)], options.repeats)
            repeats = options.repeats if mine < 5 else 9 if mine < 100 else 3
            (longer,) = medians([step(layer, long)], repeats)
            speed = flops(kind, features, units, batch, 9 * steps) / (longer - mine) / 1e6
            yield {
                "case": f"{kind} {features}→{units}, {batch}×{steps}", "threads": threads,
                "ours_ms": mine, "other_ms": other,
                "ratio": other / mine, "asked": asked[min(threads, 2) - 1], "gflops": speed,
                "share_of_peak": speed / options.peaks[threads], "fixed_ms": mine - (longer - mine) / 9,
            }  # fmt: skip


def options_of_the_layer(options):
    """What masks, recurrent dropout, layer norm and members cost, beside the plain layer."""
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        make = getattr(ur.nn, kind)
        x = torch.randn(32, 56, 5)
        mask = torch.rand(32, 56) < 0.8
        plain = make(5, 32, return_sequences=True)
        stacked, _ = torch.func.stack_module_state([plain] * 8)
        eight = make(5, 32, return_sequences=True)
        for name in [n for n, _ in eight.named_parameters()]:
            setattr(eight, name, torch.nn.Parameter(stacked[name].detach()))
        dropped = make(5, 32, return_sequences=True, recurrent_dropout=0.2)
        normed = make(5, 32, return_sequences=True, layer_norm=True)
        calls = {
            "mask": (plain, (x, None, mask), 1.2),
            "recurrent dropout": (dropped, (x,), 1.2),
            "layer norm": (normed, (x,), 1.5),
            "8 members": (eight, (x.expand(8, -1, -1, -1),), None),
        }
        for layer, inputs, _ in calls.values():
            check_reference(layer, *inputs)
        works = {name: (step(layer, *inputs), most) for name, (layer, inputs, most) in calls.items()}
        alone = None  # one network on one thread
        for threads in options.threads:
            set_threads(threads)
            times = medians([step(plain, x), *(w for w, _ in works.values())], options.repeats)
            alone = times[0] if threads == 1 else alone
            for (name, (_, most)), ms in zip(works.items(), times[1:], strict=True):
                most = most or (8 if threads == 1 else 5)
                yield {
                    "case": f"{kind} 5→32, 32×56: {name}, × plain", "threads": threads,
                    "ours_ms": ms, "other_ms": times[0],
                    "ratio": ms / times[0], "asked": -most,
                }  # fmt: skip
            if alone is not None and threads > 1:
                yield {
                    "case": f"{kind} 5→32, 32×56: 8 members, × plain on one thread", "threads": threads,
                    "ours_ms": times[-1], "other_ms": alone, "ratio": times[-1] / alone, "asked": -5,
                }  # fmt: skip


def ragged(options):
    """LSTM and GRU through the drop-in on a PackedSequence, beside torch's on it and torch's on the padded batch."""
    lengths = torch.linspace(20, 200, 64).round().long()
    lengths = lengths[torch.randperm(64)]
    padded = torch.randn(64, 200, 8)
    packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
    for kind in ("LSTM", "GRU"):
        theirs = getattr(torch.nn, kind)(8, 64, batch_first=True)
        ours = getattr(torch.nn, kind)(8, 64, batch_first=True)
        ours.load_state_dict(theirs.state_dict())
        ur.accelerate(ours)
        torch.testing.assert_close(ours(packed)[0].data, theirs(packed)[0].data, rtol=1e-4, atol=1e-5)
        for threads in options.threads:
            set_threads(threads)
            mine, other, plain = medians(
                [step(ours, packed), step(theirs, packed), step(theirs, padded)], options.repeats
            )
            for name, ms, least in (("PackedSequence", other, 8), ("padded", plain, 1.5)):
                yield {
                    "case": f"{kind} 8→64, 64×20–200 ragged, × torch {name}", "threads": threads, "ours_ms": mine,
                    "other_ms": ms, "ratio": ms / mine, "asked": least,
                }  # fmt: skip


@torch.no_grad()
def inference(options):
    """One sequence at a time, and one step of one sequence."""
    for kind, theirs, features, units, _, steps, *_ in CASES[:3]:
        torch_layer = getattr(torch.nn, theirs)(features, units, batch_first=True)
        layer = ur.nn.from_torch(torch_layer)
        for length in (steps, 1):
            x = torch.randn(1, length, features)
            torch.testing.assert_close(layer(x), torch_layer(x)[0], rtol=1e-4, atol=1e-5)
            set_threads(1)
            mine, other = medians(
                [lambda x=x, f=layer: f(x), lambda x=x, f=torch_layer: f(x)], 5 * options.repeats
            )
            yield {
                "case": f"{kind} {features}→{units}, 1×{length}, inference", "threads": 1, "ours_ms": mine,
                "other_ms": other, "ratio": other / mine, "asked": 2 if length > 1 else None,
            }  # fmt: skip


def main():
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", help="cases of this layer only, and only the first table")
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    options.peaks = {}
    for threads in options.threads:
        set_threads(threads)
        options.peaks[threads] = gemm_peak()
    fixed = {
        "date": datetime.date.today().isoformat(), "commit": commit.stdout.strip(), "processor": processor(),
        "isa": native.instruction_set(), "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip
    print(*fixed.values(), sep=", ")
    print(*(f"torch.mm on {n}: {peak:.0f} GFLOP/s" for n, peak in options.peaks.items()), sep=", ")
    print(f"{'case':58} threads    ours   other  ratio  asked  GFLOP/s  of peak  fixed ms")
    fields = [
        "case",
        "threads",
        "ours_ms",
        "other_ms",
        "ratio",
        "asked",
        "gflops",
        "share_of_peak",
        "fixed_ms",
    ]
    rows = []
    for table in [floors] if options.only else [floors, options_of_the_layer, ragged, inference]:
        for row in table(options):
            asked = row["asked"]
            met = asked is None or (row["ratio"] <= -asked if asked < 0 else row["ratio"] >= asked)
            bound = "" if asked is None else f"{'≤' if asked < 0 else '≥'}{abs(asked)}"
            line = f"{row['case']:58} {row['threads']:7} {row['ours_ms']:7.3f} {row['other_ms']:7.2f}"
            line += f" {row['ratio']:6.2f} {bound:>6}"
            if "gflops" in row:
                line += f"  {row['gflops']:7.0f}  {row['share_of_peak']:7.2f}  {row['fixed_ms']:8.3f}"
            print(line + ("" if met else "  missed"), flush=True)
            rows.append({**fixed, **{f: row.get(f, "") for f in fields}})
    RESULTS.parent.mkdir(exist_ok=True)
    known = RESULTS.exists() and RESULTS.read_text().partition("\n")[0].split(",") == [*fixed, *fields]
    with RESULTS.open("a" if known else "w", newline="") as file:
        writer = csv.DictWriter(file, [*fixed, *fields])
        if not known:
            writer.writeheader()
        writer.writerows(
            {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


def processor():
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
