"""Whole training steps of Keras on JAX, Keras on TensorFlow, torch.nn and ours, by turns in one run.

    python benchmarks/training.py [--repeats 30] [--threads 2 1] [--only lstm] [--without keras-tf] [--seconds 20]

Prints a table and appends its rows to benchmarks/results/training.csv. Whose loss does not fall, or whose model has
other weights, is not timed: the run ends with exit code 1. Who is not installed (`pip install -e .[bench]`) is left
out.

A time is that of a whole epoch over arrays in memory, from the end of one epoch to the end of the next, over the
number of its steps; the first epoch of each turn, with what a call sets up, does not count. Medians of all turns.

Keras fixes its backend when it is imported, so each competitor has a process, which sleeps while another has its turn.
On one thread that process is bound to one processor and the thread pools are of one; on two threads it is bound to
two, the pools of XLA and TensorFlow for operators and between them are of two, and each decides what it splits.

Keras is called as its fastest user would: jit_compile=True, 32 steps an execution, and for the single SimpleRNN the
faster of unroll=True and False, which are tried. For the others unroll=False: on JAX, the faster backend, compiling
them unrolled took up to 76 s and gave slower steps (LSTM(128) was not tried).
Nobody shuffles but ours, which always draws an order for each member. Eight members: milliseconds for each member;
the others train one network after another.
"""

import argparse
import csv
import datetime
import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

# What imports torch, JAX, TensorFlow or Keras stands in functions: a worker must set its threads before it.

RATE = 0.01
RESULTS = Path(__file__).parent / "results" / "training.csv"
NAMES = ("keras-jax", "keras-tf", "torch", "ours")


@dataclass(frozen=True)
class Case:
    """A model, its batches, and what we ask of one member and of eight: times the fastest competitor."""

    kind: str
    layers: int
    features: int
    units: int
    outputs: int
    time: int
    batch: int
    steps: int
    asked: dict[int, float]

    def __str__(self):
        layers = "" if self.layers == 1 else f"{self.layers} × "
        return f"{layers}{self.kind} {self.features}→{self.units}→{self.outputs}, {self.batch}×{self.time}"


CASES = [
    Case("SimpleRNN", 1, 1, 32, 1, 56, 32, 128, {1: 3.5, 8: 7}),
    Case("SimpleRNN", 3, 5, 32, 14, 56, 32, 128, {1: 4, 8: 7}),
    Case("LSTM", 1, 5, 32, 14, 56, 32, 128, {1: 3.5, 8: 6}),
    Case("GRU", 1, 5, 32, 14, 56, 32, 128, {1: 5, 8: 8}),
    Case("LSTM", 1, 8, 128, 14, 100, 64, 32, {1: 1.8, 8: 2}),
]


def arrays(case):
    """The same sequences for all; the targets have noise, so that there is always a gradient."""
    import numpy as np

    random = np.random.default_rng(0)
    count = case.batch * case.steps
    x = random.normal(size=(count, case.time, case.features)).astype(np.float32)
    noise = 0.1 * random.normal(size=(count, case.outputs))
    return x, (0.5 + x[:, -1, :1] + noise).astype(np.float32)


# A competitor is a function (case, members, threads) -> run; run(epochs) trains and returns the time.perf_counter() at
# the end of each epoch, the mean loss of each, and the number of weights, biases left out.


def keras(case, members, threads):
    """Keras, on the backend of this process."""
    import keras

    class Ends(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.times = []

        def on_epoch_end(self, epoch, logs=None):
            self.times.append(time.perf_counter())

    x, y = arrays(case)

    def make(unroll):
        layer = getattr(keras.layers, case.kind)
        last = case.layers - 1
        model = keras.Sequential(
            [
                keras.Input((case.time, case.features)),
                *(layer(case.units, return_sequences=i < last, unroll=unroll) for i in range(case.layers)),
                keras.layers.Dense(case.outputs),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.SGD(RATE, momentum=0.9),
            loss=keras.losses.Huber(),
            jit_compile=True,
            steps_per_execution=32,
        )
        weights = sum(w.value.numpy().size if hasattr(w.value, "numpy") else w.value.size
                      for w in model.trainable_weights if "bias" not in w.path)  # fmt: skip

        def run(epochs):
            ends = Ends()
            found = model.fit(
                x, y, batch_size=case.batch, epochs=epochs, shuffle=False, verbose=0, callbacks=[ends]
            )
            return ends.times, found.history["loss"], weights

        return run, model

    if case.kind != "SimpleRNN" or case.layers > 1:
        return make(unroll=False)[0]
    found = []
    for run, model in (make(unroll=False), make(unroll=True)):
        begin = model.get_weights()
        ends, _, _ = run(4)
        model.set_weights(begin)
        spans = [b - a for a, b in pairwise(ends)]
        found.append((statistics.median(spans), run))
    return min(found, key=lambda pair: pair[0])[1]


def torch_nn(case, members, threads):
    """A plain loop over torch.nn."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            layer = torch.nn.RNN if case.kind == "SimpleRNN" else getattr(torch.nn, case.kind)
            self.recurrent = layer(case.features, case.units, case.layers, batch_first=True)
            self.head = torch.nn.Linear(case.units, case.outputs)

        def forward(self, x):
            return self.head(self.recurrent(x)[0][:, -1])

    torch.manual_seed(0)
    x, y = map(torch.from_numpy, arrays(case))
    batches = torch.arange(len(x)).split(case.batch)
    model, criterion = Model(), torch.nn.HuberLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, fused=True)
    weights = sum(p.numel() for name, p in model.named_parameters() if "bias" not in name)

    def run(epochs):
        ends, losses = [], []
        for _ in range(epochs):
            total = torch.zeros(())
            for index in batches:
                optimizer.zero_grad()
                loss = criterion(model(x[index]), y[index])
                loss.backward()
                optimizer.step()
                total += loss.detach()
            losses.append(total.item() / len(batches))
            ends.append(time.perf_counter())
        return ends, losses, weights

    return run


def ours(case, members, threads):
    """`unrolled.fit`, a stack of our layers; each run begins anew, as `fit` does."""
    import torch

    import unrolled as ur

    ur.set_num_threads(threads)
    train = arrays(case)

    def network():
        layer, last = getattr(ur.nn, case.kind), case.layers - 1
        sizes = [case.features] + [case.units] * last
        layers = [layer(size, case.units, return_sequences=i < last) for i, size in enumerate(sizes)]
        return torch.nn.Sequential(*layers, ur.nn.Dense(case.units, case.outputs))

    def run(epochs):
        ends = []
        training = ur.Training(
            loss="huber", optimizer="sgd", momentum=0.9, learning_rate=RATE, epochs=epochs,
            batch_size=case.batch, members=members, clip_norm=None,
        )  # fmt: skip
        found = ur.fit(
            network, train, training=training, progress=False,
            callbacks=[lambda epoch: ends.append(time.perf_counter())],
        )  # fmt: skip
        sums = [0.0] * epochs
        for row in found.history:
            sums[row["epoch"] - 1] += row["loss"] / members
        parameters = found.members[0].named_parameters()
        return ends, sums, sum(p.numel() for name, p in parameters if "bias" not in name)

    return run


def bind(threads):
    """Bind this process to as many processors as threads, and set the pools that are set before an import."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def serve(pipe, name, threads):
    """Live as the process of a competitor: import, then run what the pipe asks for until it closes."""
    bind(threads)
    try:
        if name == "keras-jax":
            os.environ["KERAS_BACKEND"] = "jax"
            import jax  # noqa: F401
            import keras as _
        elif name == "keras-tf":
            os.environ["KERAS_BACKEND"] = "tensorflow"
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its notes would run into the table
            import tensorflow

            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
            import keras as _  # noqa: F401
        else:
            import torch

            torch.set_num_threads(threads)
            if name == "ours":
                import unrolled  # noqa: F401
    except ImportError as error:
        pipe.send(("missing", str(error)))
        return
    pipe.send(("ready", None))
    make = {"keras-jax": keras, "keras-tf": keras, "torch": torch_nn, "ours": ours}[name]
    runs = {}
    try:
        while (asked := pipe.recv()) is not None:
            case, members, epochs = asked
            if (case, members) not in runs:
                runs = {key: run for key, run in runs.items() if key[0] == case}
                runs[case, members] = make(CASES[case], members, threads)
            pipe.send(("done", runs[case, members](epochs)))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


class Worker:
    """A competitor in its process."""

    def __init__(self, name, threads):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, threads), daemon=True)
        self.process.start()
        theirs.close()
        state, self.missing = self.receive()
        if state == "missing":
            print(f"{name} is left out: {self.missing}")

    def receive(self):
        """What it answers."""
        try:
            state, value = self.pipe.recv()
        except EOFError:
            sys.exit(f"{self.name}: its process ended")
        if state == "failed":
            sys.exit(f"{self.name}: {value}")
        return state, value

    def run(self, case, members, epochs):
        """The ends of the epochs, their losses and the number of weights."""
        self.pipe.send((case, members, epochs))
        return self.receive()[1]

    def close(self):
        """End the process."""
        if self.process.is_alive() and not self.missing:
            self.pipe.send(None)
        self.process.join(10)


def prepare(case, contestants):
    """Compile and warm up; refuse to go on where a loss does not fall, or the models are not the same."""
    sizes = {}
    for worker, members in contestants:
        who = f"{CASES[case]}: {worker.name}, members {members}"
        _, losses, sizes[who] = worker.run(case, members, 4)
        if not 0 < losses[-1] < losses[0]:
            sys.exit(f"{who}: the loss goes from {losses[0]:.3g} to {losses[-1]:.3g}; not timed")
    if len(set(sizes.values())) > 1:
        sys.exit(f"not the same model, not timed; weights of {sizes}")


def medians(case, contestants, options):
    """Milliseconds a step and member of each contestant. Turns are of some tens of milliseconds or of one epoch."""
    found = [[] for _ in contestants]
    spent, epochs = [0.0] * len(found), [1] * len(found)
    begin = [True] * len(found)
    while any(begin):
        for i, (worker, members) in enumerate(contestants):
            if not begin[i]:
                continue
            time.sleep(0.02)
            start = time.perf_counter()
            ends, losses, _ = worker.run(case, members, 1 + epochs[i])
            spent[i] += time.perf_counter() - start
            if not losses[-1] < 1e3:
                sys.exit(f"{CASES[case]}: {worker.name}: the loss is {losses[-1]:.3g}")
            spans = [b - a for a, b in pairwise(ends)]
            found[i] += [1e3 * span / CASES[case].steps / members for span in spans]
            epochs[i] = max(1, min(10, round(0.05 / statistics.median(spans))))
            enough = len(found[i]) >= options.repeats or spent[i] > options.seconds
            begin[i] = not enough or len(found[i]) < 3
    return [statistics.median(times) for times in found]


def measure(options, threads):
    """The rows of the table, on so many threads."""
    workers = [Worker(name, threads) for name in NAMES if name not in options.without]
    workers = [worker for worker in workers if not worker.missing]
    try:
        for number, case in enumerate(CASES):
            if options.only and options.only.lower() not in str(case).lower():
                continue
            contestants = [(w, m) for w in workers for m in (options.members if w.name == "ours" else [1])]
            prepare(number, contestants)
            times = medians(number, contestants, options)
            others = {w.name: ms for (w, _), ms in zip(contestants, times, strict=True) if w.name != "ours"}
            mine = {m: ms for (w, m), ms in zip(contestants, times, strict=True) if w.name == "ours"}
            for members in mine or [1]:
                row = {"case": str(case), "threads": threads, "members": members}
                row |= {f"{name}_ms": ms for name, ms in others.items()}
                if members in mine:
                    row["ours_ms"] = mine[members]
                    if others:
                        row["ratio"] = min(others.values()) / mine[members]
                row["asked"] = case.asked.get(members, "") if threads == 2 else ""
                if row["asked"] and "ratio" in row:
                    row["met"] = row["ratio"] >= row["asked"]
                yield row
    finally:
        for worker in workers:
            worker.close()


def split(case, members, threads):
    """Microseconds of a step of ours: in the call of C++ (forward, loss, backward), and all else."""
    from unrolled.kernels import native
    from unrolled.training.course import Course

    inside, whole = [], []

    class Timed:
        def __init__(self, *sizes):
            self.stack = new_stack(*sizes)

        def step(self, *given):
            start = time.perf_counter()
            found = self.stack.step(*given)
            inside.append(time.perf_counter() - start)
            return found

        def __getattr__(self, name):
            return getattr(self.stack, name)

    def timed(course, order):
        start = time.perf_counter()
        found = one_step(course, order)
        whole.append(time.perf_counter() - start)
        return found

    new_stack, native.new_stack = native.new_stack, Timed
    one_step, Course._one_step = Course._one_step, timed
    try:
        ours(case, members, threads)(6)
    finally:
        native.new_stack, Course._one_step = new_stack, one_step
    rest = [a - b for a, b in zip(whole, inside, strict=True)]
    return 1e6 * statistics.median(inside), 1e6 * statistics.median(rest)


def line(row):
    """A row as it is printed."""
    cells = [f"{row['case']:33} {row['threads']:3} {row['members']:3}"]
    for name in NAMES:
        ms = row.get(f"{name}_ms")
        cells.append("       –" if ms is None else f"{ms:8.3f}")
    cells.append(f"{row['ratio']:6.2f}" if "ratio" in row else "     –")
    cells.append(f"{'≥' + str(row['asked']) if row['asked'] else '':>5}")
    cells.append({True: "met", False: "missed", None: ""}[row.get("met")])
    return " ".join(cells).rstrip()


def version(package):
    """Of an installed package, or nothing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def main():
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=30, help="epochs that count, for each")
    parser.add_argument("--seconds", type=float, default=20, help="after which a slow one has had enough")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--only", help="cases with this in their name only")
    parser.add_argument("--without", nargs="+", choices=NAMES, default=[])
    options = parser.parse_args()
    from layers import processor

    from unrolled.kernels import native

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    fixed = {
        "date": datetime.date.today().isoformat(), "commit": commit.stdout.strip(), "processor": processor(),
        "isa": native.instruction_set(), "python": platform.python_version(), "torch": version("torch"),
        "keras": version("keras"), "jax": version("jax"), "tensorflow": version("tensorflow-cpu"),
        "load": f"{os.getloadavg()[0]:.1f}",
    }  # fmt: skip
    pairs = [f"{name} {value}" if name in list(fixed)[4:] else value for name, value in fixed.items()]
    print(*pairs[:4], sep=", ")
    print(*pairs[4:], sep=", ")
    print("milliseconds a step and member; ratio: the fastest competitor over ours")
    print(f"{'case':33} thr mem   k-jax    k-tf    torch     ours  ratio asked", flush=True)
    fields = ["case", "threads", "members", *(f"{name}_ms" for name in NAMES), "ratio", "asked", "met"]
    for threads in options.threads:
        for row in measure(options, threads):
            print(line(row), flush=True)
            keep({**fixed, **{f: row.get(f, "") for f in fields}})
    print("ours, microseconds a step: in C++, and all else (Python, feeding, optimizer)")
    for members in options.members:
        inside, rest = split(CASES[0], members, 1)
        print(f"{CASES[0]!s:33}   1 {members:3}  {inside:7.0f}  {rest:6.0f}")


def keep(row):
    """Append a row at once: the whole takes long, and may be interrupted."""
    RESULTS.parent.mkdir(exist_ok=True)
    known = RESULTS.exists() and RESULTS.read_text().partition("\n")[0].split(",") == list(row)
    with RESULTS.open("a" if known else "w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if not known:
            writer.writeheader()
        writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
