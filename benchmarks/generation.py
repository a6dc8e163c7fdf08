"""Generators on real input, and how fast they go on: each figure beside what is asked for.

    UNROLLED_DATA=… python benchmarks/generation.py [--only series captions characters chorales speed] [--text FILE]

Figures are appended to benchmarks/results/generation.csv. Chorales take about half an hour on one core; with --folder
they go on where they were killed.
"""

import argparse
import csv
import datetime
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import unrolled as ur
from unrolled.autoregressive import Autoregression, AutoregressiveNetwork, Stepper
from unrolled.estimators.drawing import Drawing, mean_chances
from unrolled.estimators.ngrams import NGrams

RESULTS = Path(__file__).parent / "results" / "generation.csv"
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def series(options):
    """t·sin(t)/3 + 2·sin(5t): the loss at iterations 100, 400 and 10,000, and 300 steps on from 20."""

    def f(t):
        return t * np.sin(t) / 3 + 2 * np.sin(5 * t)

    def pieces(shift):  # at 18 offsets within a step: 5,040 windows, 101 batches of 50
        return [f(np.arange(offset, 30, 0.1)) for offset in (np.arange(18) + shift) / 180]

    def windows(parts):
        return [part[i : i + 21] for part in parts for i in range(len(part) - 20)]

    train, valid = pieces(0), pieces(0.5)
    for epochs, where, given, asked in (
        (1, "training, iteration 101", windows(train), 0.6),
        (4, "training, iteration 404", windows(train), 0.1),
        (99, "validation, iteration 9,999", windows(valid), 0.04),
    ):
        training = ur.Training(loss="mse", optimizer="adam", learning_rate=1e-3, batch_size=50, epochs=epochs)
        generator = ur.SequenceGenerator(
            "rnn", units=100, activation="relu", steps=20, stride=1, training=training
        )
        start = time.perf_counter()
        generator.fit(train, progress=False)
        yield f"series, MSE, {where}", generator.mse(given), asked, time.perf_counter() - start
    step, period = 0.1, 2 * np.pi / 5
    known = f(np.arange(20) * step)
    start = time.perf_counter()
    made = generator.generate(known, 300)
    seconds = time.perf_counter() - start
    t = np.arange(20, 50) * step
    back = period * np.ceil((t - 19 * step) / period)
    repeated = np.mean((f(t - back) - f(t)) ** 2)
    yield "series, MSE of the free run's first 30 steps", np.mean((made[:30] - f(t)) ** 2), repeated, seconds
    if options.plot:
        plot_series(f, known, made, options.plot)


def plot_series(f, known, made, path):
    """Draw what was made beside what is true."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(9, 3.6), layout="constrained").add_subplot()
    t = np.arange(20 + len(made)) * 0.1
    axes.plot(t, f(t), label="true", color="0.5", linewidth=1)
    axes.plot(t[20:], made, label=f"made, {len(made)} steps", linewidth=1.6)
    axes.plot(t[:20], known, label="read, 20 steps", linewidth=2.4)
    axes.legend()
    axes.figure.savefig(path, dpi=120)


def captions(options):
    """Digits to a phrase of their ink and their name; a third of each kind of ink, by the mean of all points."""
    images, digits = ur.data.load_digits_rows()
    ink = images.mean((1, 2))
    low, high = np.quantile(ink, [1 / 3, 2 / 3])
    kinds = np.where(ink < low, "thin", np.where(ink > high, "bold", "plain"))
    phrases = [["a", str(kind), NAMES[digit]] for kind, digit in zip(kinds, digits, strict=True)]
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1437], order[1437:]
    context = (
        np.concatenate([images.reshape(-1, 64), ink[:, None]], 1)
        if options.with_ink
        else images.reshape(-1, 64)
    )
    start = time.perf_counter()
    generator = ur.SequenceGenerator(
        "lstm", units=64, steps=8, context_hidden=128, dropout=0.2, members=3, epochs=40
    )
    generator.fit([phrases[n] for n in train], context=context[train], progress=False)
    seconds = time.perf_counter() - start
    made, ended = generator.generate(context=context[test], n=8, top_k=1, return_ended=True)
    right = [m == phrases[n] for m, n in zip(made, test, strict=True)]
    yield "captions, exact match of 360 held out", np.mean(right), 0.9, seconds
    yield (
        "captions, digit's name right",
        np.mean([m[-1] == phrases[n][-1] for m, n in zip(made, test, strict=True)]),
        "",
        0,
    )
    yield "captions, ended", np.mean(ended), "", 0


def characters(options):
    """A text of the user's; by default the GPL, which Debian carries."""
    text = Path(options.text).read_text("utf-8")
    cut = round(0.9 * len(text))
    known = set(text[:cut])
    train, test = text[:cut], "".join(c for c in text[cut:] if c in known)
    start = time.perf_counter()
    generator = ur.SequenceGenerator("lstm", units=128, steps=64, dropout=0.2, epochs=options.epochs)
    generator.fit(train, progress=False)
    seconds = time.perf_counter() - start
    alphabet = generator.reading_.alphabets[0]
    numbers = [(alphabet.numbers(part) - 3).tolist() for part in (train, test)]
    trigrams = NGrams(3, len(alphabet.symbols)).fit([numbers[0]])
    yield (
        f"characters, perplexity ({len(text):,} of {Path(options.text).name})",
        generator.perplexity(test),
        trigrams.score([numbers[1]])[0],
        seconds,
    )
    print(repr(generator.generate(test[:50], 200, temperature=0.7)), flush=True)


def chorales(options):
    """Bach's chorales, four notes in turn: the share of next notes told rightly in the test part.

    Learned from the training part in twelve keys, each piece moved by -6 to 5 semitones.
    """
    pieces = ur.data.load_jsb_chorales()
    learn = [np.where(piece > 0, piece + key, 0) for key in range(-6, 6) for piece in pieces["train"]]
    training = ur.Training(
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="one-cycle",
        epochs=options.epochs or 4,
        batch_size=32,
    )
    generator = ur.SequenceGenerator(
        "lstm", units=256, embedding_size=5, filters=(32, 48, 64, 96), in_turn=True, ends=False, steps=32,
        dropout=0.05, members=options.members, training=training,
    )  # fmt: skip
    folder = None if options.folder is None else Path(options.folder)
    generator.fit(learn, progress=False, folder=folder, resume=folder is not None)
    seconds = sum(epoch["seconds"] for epoch in generator.run_.timing)
    for part, asked in (("valid", ""), ("test", 0.82)):
        yield (
            f"chorales, next note of the {part} part, {options.members} member(s)",
            generator.accuracy(pieces[part]),
            asked,
            seconds,
        )


def speed(options):
    """1,000 symbols by an LSTM(256) at batch 1, ours beside the same loop over torch.nn.LSTM: medians, one thread."""
    torch.set_num_threads(1)
    ur.set_num_threads(1)
    symbols, size, units = 60, 32, 256
    embedding, layer = torch.nn.Embedding(symbols, size), torch.nn.LSTM(size, units, batch_first=True)
    head = torch.nn.Linear(units, symbols)

    @torch.inference_mode()
    def torchs():
        random, x, state = torch.Generator().manual_seed(0), torch.zeros(1, 1, dtype=torch.long), None
        for _ in range(1000):
            y, state = layer(embedding(x), state)
            x = torch.multinomial(head(y[:, -1]).softmax(-1), 1, generator=random)
            x.item()

    network = AutoregressiveNetwork(
        Autoregression(numbers=(symbols + 3,), units=units, embedding=size)
    ).eval()
    stepper, drawing = Stepper([network]), Drawing()

    def ours():
        random = np.random.default_rng(0)
        told = stepper.read(torch.full((1, 1, 1), 3))
        for _ in range(1000):
            chances = mean_chances(told, whole=False)
            chances[:, :, 0] = 0
            told = stepper.step(drawing.draw(chances[:, 0], random)[:, None] + 2)

    taken = {(name, clock): [] for name in ("torch", "ours") for clock in ("wall", "processor")}
    for _ in range(options.repeats):
        for name, run in (("torch", torchs), ("ours", ours)):
            start = time.perf_counter(), time.process_time()
            run()
            taken[name, "wall"].append(time.perf_counter() - start[0])
            taken[name, "processor"].append(time.process_time() - start[1])
    for clock in ("wall", "processor"):  # the processor's does not count who else is at work
        theirs, mine = (statistics.median(taken[name, clock]) for name in ("torch", "ours"))
        print(
            clock,
            {name: [round(1e3 * t) for t in sorted(taken[name, clock])] for name in ("torch", "ours")},
            "ms",
        )
        yield f"speed, torch / ours, medians of {options.repeats}, {clock} time", theirs / mine, 5, mine


def main():
    """Run what is asked for, and keep the figures."""
    parts = {f.__name__: f for f in (series, captions, characters, chorales, speed)}
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--text", default="/usr/share/common-licenses/GPL-3", help="of characters")
    parser.add_argument("--epochs", type=int, help="of characters and chorales")
    parser.add_argument("--members", type=int, default=1, help="of chorales")
    parser.add_argument("--folder", help="for checkpoints of chorales")
    parser.add_argument("--repeats", type=int, default=15, help="of speed")
    parser.add_argument("--plot", help="PNG file for the series' free run")
    parser.add_argument("--with-ink", action="store_true", help="tell captions the mean of all points, too")
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    for name in options.only:
        for what, figure, asked, seconds in parts[name](options):
            row = {
                "date": datetime.date.today().isoformat(), "what": what, "figure": f"{figure:.4f}",
                "asked": asked if isinstance(asked, str) else f"{asked:.4g}", "seconds": f"{seconds:.1f}",
                "load": f"{os.getloadavg()[0]:.1f}",
            }  # fmt: skip
            print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
            known = RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                if not known:
                    writer.writeheader()
                writer.writerow(row)


if __name__ == "__main__":
    main()
