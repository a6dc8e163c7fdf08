"""MNIST row by row: accuracy by epoch of the published networks, and seconds an epoch beside torch.nn and Keras on JAX.

    python benchmarks/mnist_rows.py accuracy [--only rnn] [--seeds 3] [--epochs 100] [--folder DIR]
        [--seed 0] [--clip 1] [--glorot] [--schedule cosine]
    python benchmarks/mnist_rows.py seconds [--only rnn] [--epochs 3]

Needs mnist.npz in $UNROLLED_DATA, or a network. `accuracy` appends a row for each network to
benchmarks/results/mnist_rows.csv: the mean test accuracy of the last five epochs, its median over the seeds and its
spread. The seeds are members that are trained together; with --folder a run that was stopped goes on from its last
checkpoint, with the same bits; --clip scales gradients down to a norm, --glorot draws the recurrent weights as
TensorFlow's BasicRNNCell does, with the inputs' as one matrix, --schedule lets the rate fall, which is not the
published protocol. `seconds` appends to benchmarks/results/mnist_seconds.csv: by turns in one run, the median of the
epochs after the first. Who is not installed is left out.

Protocol: 28 steps of 28 points in [0, 1], the first 55,000 images, batches of 150, Adam at 0.001, cross-entropy.
"""

import argparse
import csv
import datetime
import os
import statistics
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
BATCH = 150
# name -> cell, layers, units, asked: the accuracy to reach
NETWORKS = {
    "rnn": ("SimpleRNN", 1, 150, 0.978),
    "rnn3": ("SimpleRNN", 3, 100, 0.978),
    "lstm": ("LSTM", 1, 150, 0.987),
    "gru": ("GRU", 1, 150, 0.987),
}


def data(count=55_000):
    """Training and test images as float32 in [0, 1]."""
    import numpy as np

    from unrolled.data import load_mnist

    (x, y), (x_test, y_test) = load_mnist()
    images = [(part / 255).astype(np.float32) for part in (x[:count], x_test)]
    return images[0], y[:count].astype(np.int64), images[1], y_test.astype(np.int64)


def make(name, glorot=False):
    """Our network, as a plain stack."""
    from torch import nn

    import unrolled as ur

    cell, layers, units, _ = NETWORKS[name]
    sizes = [28] + [units] * (layers - 1)
    stack = [
        getattr(ur.nn, cell)(size, units, return_sequences=i < layers - 1) for i, size in enumerate(sizes)
    ]
    if glorot:
        for layer in stack:
            limit = (
                6 / (layer.weight_ih.shape[0] + layer.weight_ih.shape[1] + layer.weight_hh.shape[1])
            ) ** 0.5
            for weight in (layer.weight_ih, layer.weight_hh):
                nn.init.uniform_(weight, -limit, limit)
    return nn.Sequential(*stack, ur.nn.Dense(units, 10))


def accuracy(name, seeds, epochs, folder=None, clip=None, glorot=False, schedule="constant", seed=0):
    """Train so many members together; the test accuracy of each after each epoch, by `fit`'s own measure."""
    import numpy as np

    import unrolled as ur

    x, y, x_test, y_test = data()
    training = ur.Training(
        "cross-entropy", "adam", 1e-3, epochs=epochs, batch_size=BATCH, members=seeds, metrics=["accuracy"],
        clip_norm=clip, restore_best=False, schedule=schedule, seed=seed,
    )  # fmt: skip
    start = time.perf_counter()
    # the test images stand where validation does, to be measured after each epoch; nothing is chosen by them
    called = name + ("" if clip is None else f", clip {clip:g}") + ", glorot" * glorot
    called += "" if schedule == "constant" else f", {schedule}"
    called += "" if seed == 0 else f", seeds from {seed}"
    place = None if folder is None else folder / called.replace(", ", "-").replace(" ", "-")
    resume = place is not None and place.exists()
    run = ur.fit(lambda: make(name, glorot), (x, y), (x_test, y_test), training, folder=place, resume=resume)
    found = np.array(
        [[row["valid_accuracy"] for row in run.history if row["member"] == m] for m in range(seeds)]
    )
    last = found[:, -5:].mean(axis=1)
    return {
        "network": called, "epochs": epochs, "seeds": seeds, "first": f"{np.median(found[:, 0]):.4f}",
        "last_five": f"{np.median(last):.4f}", "lowest": f"{last.min():.4f}", "highest": f"{last.max():.4f}",
        "asked": NETWORKS[name][3], "met": bool(np.median(last) >= NETWORKS[name][3]),
        "minutes": "" if resume else f"{(time.perf_counter() - start) / 60:.1f}",
    }  # fmt: skip


def ours(name, x, y, epochs):
    """Seconds of each epoch of `unrolled.fit`, one member."""
    import unrolled as ur

    training = ur.Training("cross-entropy", "adam", 1e-3, epochs=epochs, batch_size=BATCH, clip_norm=None)
    run = ur.fit(lambda: make(name), (x, y), training=training, progress=False)
    return [row["seconds"] for row in run.timing]


def torch_nn(name, x, y, epochs):
    """Seconds of each epoch of a plain loop over torch.nn."""
    import torch

    cell, layers, units, _ = NETWORKS[name]
    cell = getattr(torch.nn, "RNN" if cell == "SimpleRNN" else cell)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = cell(28, units, layers, batch_first=True)
            self.head = torch.nn.Linear(units, 10)

        def forward(self, past):
            return self.head(self.recurrent(past)[0][:, -1])

    torch.manual_seed(0)
    x, y, model, criterion = torch.from_numpy(x), torch.from_numpy(y), Model(), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    spans = []
    for _ in range(epochs):
        start = time.perf_counter()
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            criterion(model(x[index]), y[index]).backward()
            optimizer.step()
        spans.append(time.perf_counter() - start)
    return spans


def keras_jax(name, x, y, epochs):
    """Seconds of each epoch of Keras on JAX, compiled, 20 steps an execution."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    cell, layers, units, _ = NETWORKS[name]
    stack = [getattr(keras.layers, cell)(units, return_sequences=i < layers - 1) for i in range(layers)]
    model = keras.Sequential([keras.Input((28, 28)), *stack, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, jit_compile=True, steps_per_execution=20)
    ends = []

    class Ends(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            ends.append(time.perf_counter())

    start = time.perf_counter()
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[Ends()])
    return [end - begin for begin, end in zip([start, *ends[:-1]], ends, strict=True)]


def seconds(name, epochs, images):
    """The median seconds of an epoch of each, by turns."""
    x, y, _, _ = data(images)
    found = {}
    for who, run in (("ours", ours), ("torch", torch_nn), ("keras-jax", keras_jax)):
        try:
            found[who] = statistics.median(run(name, x, y, epochs + 1)[1:])
        except ImportError as error:
            print(f"{who} is left out: {error}")
    row = {"network": name, "images": images} | {f"{who}_s": f"{found[who]:.2f}" if who in found else "" for who in
                                                   ("ours", "torch", "keras-jax")}  # fmt: skip
    others = [value for who, value in found.items() if who != "ours"]
    return row | {"ratio": f"{min(others) / found['ours']:.2f}" if others else ""}


def keep(row, file):
    """Append a row at once: the whole takes long, and may be interrupted."""
    import torch
    from layers import processor

    from unrolled.kernels import native

    row = {
        "date": datetime.date.today().isoformat(), "processor": processor(), "isa": native.instruction_set(),
        "threads": native.threads(), "torch": torch.__version__, "load": f"{os.getloadavg()[0]:.1f}", **row,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / file
    known = path.exists() and path.read_text().partition("\n")[0].split(",") == list(row)
    with path.open("a" if known else "w", newline="") as opened:
        writer = csv.DictWriter(opened, list(row))
        if not known:
            writer.writeheader()
        writer.writerow(row)


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("accuracy", "seconds"))
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="the first one, for accuracy")
    parser.add_argument("--epochs", type=int, help="by default 100, or 3 for seconds")
    parser.add_argument("--images", type=int, default=55_000, help="of an epoch, for seconds")
    parser.add_argument("--clip", type=float, help="norm of the gradient at most, for accuracy")
    parser.add_argument("--glorot", action="store_true", help="for accuracy")
    parser.add_argument("--schedule", default="constant", help="of the rate, for accuracy")
    parser.add_argument("--folder", type=Path, help="for checkpoints of accuracy")
    options = parser.parse_args()
    for name in options.only:
        if options.what == "accuracy":
            how = options.folder, options.clip, options.glorot, options.schedule, options.seed
            row, file = accuracy(name, options.seeds, options.epochs or 100, *how), "mnist_rows.csv"
        else:
            row, file = seconds(name, options.epochs or 3, options.images), "mnist_seconds.csv"
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
        keep(row, file)


if __name__ == "__main__":
    main()
