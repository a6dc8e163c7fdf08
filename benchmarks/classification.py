"""Classification as it is measured: digits by rows, sentences of film reviews, and what is remembered over 200 steps.

    python benchmarks/classification.py [--only digits first-step polarity published] [--folds 10]

Appends a row for each to benchmarks/results/classification.csv. Sentence polarity needs rt-polarity.pos and .neg in
$UNROLLED_DATA, or a network. Each line has the mean accuracy over the same folds, that of the baseline on them (a
logistic regression on the bag of words, or on all points; for the first step a SimpleRNN), and the seconds a fold.

published: one convolution of 250 filters over words' vectors of 300, learned; 2 epochs, batches of 32, Adam 0.001.
"""

import argparse
import csv
import datetime
import os
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

import unrolled as ur
from unrolled.data.text import Vocabulary, split_words
from unrolled.estimators.class_baselines import logistic_probabilities

RESULTS = Path(__file__).parent / "results" / "classification.csv"
PUBLISHED = {
    "model": "conv", "filters": 250, "hidden": 250, "dropout": 0.2, "embedding_size": 300, "bag_of_words": False,
    "members": 1, "min_count": 1, "training": ur.Training(epochs=2, batch_size=32, clip_norm=None),
}  # fmt: skip


def folds(X, y, count, most, **options):
    """Accuracies of the classifier and of the logistic regression on the same folds."""
    X = np.array(X, object) if isinstance(X, list) else X
    mine, theirs, seconds = [], [], []
    splits = StratifiedKFold(count, shuffle=True, random_state=0).split(np.zeros(len(y)), y)
    for number, (train, test) in enumerate(splits):
        if number == most:
            break
        start = time.perf_counter()
        classifier = ur.SequenceClassifier(**options).fit(X[train], y[train], progress=False)
        seconds.append(time.perf_counter() - start)
        mine.append(classifier.score(X[test], y[test]))
        if isinstance(X[0], str):  # all words, those too that the network takes for unknown
            texts = [split_words(X[part], "X") for part in (train, test)]
            bag = Vocabulary.of(texts[0])
            read, words = [bag.sequences(part) for part in texts], len(bag)
        else:
            read, words = [classifier.reading_.read(X[part]) for part in (train, test)], 0
        found = logistic_probabilities(read[0], y[train], read[1], words)
        theirs.append(float((found.argmax(1) == y[test]).mean()))
        print(f"  fold {number}: {mine[-1]:.4f}, baseline {theirs[-1]:.4f}, {seconds[-1]:.0f} s", flush=True)
    return np.mean(mine), np.mean(theirs), np.mean(seconds), len(mine)


def first_step(n, low, high, seed):
    """Sequences whose class is the sign of the first step; all others are noise."""
    random = np.random.default_rng(seed)
    X = [random.normal(0, 0.2, (k, 1)) for k in random.integers(low, high + 1, n)]
    y = random.integers(2, size=n)
    for x, sign in zip(X, y, strict=True):
        x[0] = 2 * sign - 1
    return X, y


def remembered():
    """LSTM and SimpleRNN, trained on 100 to 200 steps, told at 200."""
    train, test = first_step(1000, 100, 200, 0), first_step(500, 200, 200, 1)
    start = time.perf_counter()
    scores = []
    for model, rate in (("lstm", 1e-2), ("rnn", 3e-3)):
        training = ur.Training(optimizer="adam", learning_rate=rate, schedule="one-cycle", epochs=30)
        classifier = ur.SequenceClassifier(model, units=32, members=1, training=training)
        scores.append(classifier.fit(*train, progress=False).score(*test))
    return *scores, time.perf_counter() - start, 1


def keep(row):
    """Append a row."""
    RESULTS.parent.mkdir(exist_ok=True)
    known = RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if not known:
            writer.writeheader()
        writer.writerow(row)


def main():
    """Run what is asked for."""
    names = ("digits", "first-step", "polarity", "published")
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--folds", type=int, default=10, help="of polarity's ten, the first so many")
    options = parser.parse_args()
    for name in options.only:
        print(name, flush=True)
        if name == "digits":
            found, asked = folds(*ur.data.load_digits_rows(), 5, 5), 0.97
        elif name == "first-step":
            found, asked = remembered(), 0.99
        else:
            texts, classes = ur.data.load_sentence_polarity()
            chosen = PUBLISHED if name == "published" else {}
            found = folds(texts, classes, 10, options.folds, **chosen)
            asked = None if name == "published" else round(found[1], 4)
        accuracy, baseline, seconds, count = found
        row = {
            "date": datetime.date.today().isoformat(), "what": name, "accuracy": f"{accuracy:.4f}",
            "baseline": f"{baseline:.4f}", "asked": asked or "", "folds": count,
            "seconds_a_fold": f"{seconds:.1f}", "load": f"{os.getloadavg()[0]:.1f}",
        }  # fmt: skip
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
        keep(row)


if __name__ == "__main__":
    main()
