"""Transcription as it is measured: written dates to ISO dates, with and without attention.

    python benchmarks/transcription.py [--only dot additive none] [--pairs 20000]

Appends a row for each to benchmarks/results/transcription.csv: the share of 5,000 held-out dates that are exact, the
symbol error rate, seconds of training by the clock and of the processor, and the machine's load before. The default
`ur.Transcriber` has to reach 0.995 in under two minutes on two cores.
"""

import argparse
import csv
import datetime
import os
import time
from pathlib import Path

import numpy as np

import unrolled as ur

RESULTS = Path(__file__).parent / "results" / "transcription.csv"
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
FORMATS = (
    "{month} {d}, {y}", "{d} {month} {y}", "{short} {d}, {y}", "{d} {short} {y}", "{month} {d}{th}, {y}",
    "{m:02d}/{d:02d}/{y}", "{d:02d}.{m:02d}.{y}", "{y}/{m:02d}/{d:02d}",
)  # fmt: skip


def make_dates(count, seed):
    """Dates of the years 1000 to 9999, each in one of eight formats, and the same in ISO's; always the same ones.

    Months written in digits are told apart by their marks: 04/22/2019, 22.04.2019, 2019/04/22.
    """
    random = np.random.default_rng(seed)
    first, last = (
        datetime.date(year, month, day).toordinal() for year, month, day in ((1000, 1, 1), (9999, 12, 31))
    )
    sources, targets = [], []
    for number, form in zip(
        random.integers(first, last + 1, count), random.integers(len(FORMATS), size=count), strict=True
    ):
        date = datetime.date.fromordinal(int(number))
        month, day = MONTHS[date.month - 1], date.day
        th = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        sources.append(
            FORMATS[form].format(month=month, short=month[:3], m=date.month, d=day, th=th, y=date.year)
        )
        targets.append(date.isoformat())
    return sources, targets


def measure(pairs, **options):
    """Train on so many dates; score on 5,000 others."""
    train, (X, y) = make_dates(pairs, 0), make_dates(5_000, 1)
    seen = set(train[0])
    held = [number for number, source in enumerate(X) if source not in seen]
    X, y = [X[number] for number in held], [y[number] for number in held]
    load, clock, processor = os.getloadavg()[0], time.perf_counter(), time.process_time()
    transcriber = ur.Transcriber(**options).fit(*train)
    seconds, cpu = time.perf_counter() - clock, time.process_time() - processor
    start = time.perf_counter()
    told = transcriber.transcribe(X)
    answered = time.perf_counter() - start
    wrong = [(x, right, one.answer) for x, right, one in zip(X, y, told, strict=True) if one.answer != right]
    print(f"  wrong: {len(wrong)}, as {wrong[:5]}; {len(X) / answered:,.0f} answers a second", flush=True)
    return {
        "pairs": pairs, "held_out": len(X), "members": len(transcriber.networks_),
        "exact_match": f"{transcriber.score(X, y):.4f}",
        "symbol_error_rate": f"{transcriber.symbol_error_rate(X, y):.5f}", "asked": 0.995,
        "seconds": f"{seconds:.1f}", "cpu_seconds": f"{cpu:.1f}", "load": f"{load:.1f}",
        "answers_a_second": f"{len(X) / answered:.0f}",
    }  # fmt: skip


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
    names = ("dot", "additive", "none")
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--pairs", type=int, default=20_000)
    options = parser.parse_args()
    for name in options.only:
        print(name, flush=True)
        row = {"date": datetime.date.today().isoformat(), "what": f"dates, attention {name}"}
        row |= measure(options.pairs, attention=None if name == "none" else name)
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
        keep(row)


if __name__ == "__main__":
    main()
