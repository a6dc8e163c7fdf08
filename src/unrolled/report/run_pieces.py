"""One run of a generator from a file to a folder: hold out, train, score, go on, report."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import __version__
from unrolled.data.piece_files import PieceFile
from unrolled.errors import DataError, OptionError
from unrolled.estimators.generator import SequenceGenerator, check_steps, r_squared
from unrolled.estimators.ngrams import NGrams
from unrolled.estimators.saving_generator import save_generator
from unrolled.report.piece_page import PiecePage, piece_label, render_pieces, standing

__all__ = ["PieceRun", "made_frame", "run_generation"]

LEAD = 200  # steps to read before the part held out
ORDER = 3  # of the baseline's n-grams
SHOWN = 60  # steps of a seed on the page


@dataclass(frozen=True)
class PieceRun:
    """What a run gave.

    Attributes:
        metrics: what `metrics.json` holds: "kind", "model", "baselines", "held_out", "interrupted", "seconds".
        verdict: that in a sentence or two.
        notes: what was done to the data.
    """

    metrics: dict[str, Any]
    verdict: str
    notes: list[str]


def run_generation(
    file: PieceFile,
    generator: SequenceGenerator,
    folder: Path,
    *,
    test_size: float = 0.1,
    length: int = 200,
    title: str = "Generation",
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
    resume: bool = False,
) -> PieceRun:
    """Train on a part of the pieces, score on the rest, go on from its beginning, and write the run folder's files.

    Args:
        file: what was read.
        generator: not yet fitted.
        folder: an existing folder, for config.json, model.safetensors, history.jsonl, timing.jsonl, metrics.json,
            continuation.csv (or .txt) and report.html.
        test_size: share to hold out, above 0 and below 1: of the pieces, or the end of a single one.
        length: steps to make for the report.
        title: of the report.
        command: the command line to show in the report.
        say: is told what is done, a line at a time.
        resume: go on from the checkpoints that an earlier run has left in `folder`.

    Raises:
        OptionError: `test_size` is out of its range.
        DataError: there is too little to hold a part out.
    """
    if not 0 < test_size < 1:
        raise OptionError("--test-size", "a share between 0 and 1", str(test_size))
    check_steps(length, "--length")
    learn, held, notes = _part(file, test_size, generator.seed)
    start = time.perf_counter()
    say(f"Training on {sum(map(len, learn)):,} steps; {sum(map(len, held)):,} are held out.")
    single = len(file.pieces) == 1
    generator.fit(learn, folder=folder, resume=resume)
    trained = time.perf_counter()
    # the end of a single piece is told by what came before it, which is not counted again
    lead = min(len(learn[0]), LEAD) if single else 1
    told = [_join(learn[0][-lead:], held[0])] if single else held
    model = _score(generator, told, lead - 1)
    scored = time.perf_counter()
    baselines = _baselines(generator, learn, told, lead - 1)
    done = time.perf_counter()
    seconds = {"train": trained - start, "score": scored - trained, "baselines": done - scored}
    metrics: dict[str, Any] = {
        "kind": generator.reading_.kind,
        "model": model,
        "baselines": baselines,
        "held_out": {"steps": sum(map(len, held)), "pieces": len(held)},
        "interrupted": generator.run_.interrupted,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
    sentence = _verdict(metrics)
    count = lead if single else max(1, min(generator.steps, len(told[0]) // 2))
    seed = told[0][:count]
    made = generator.generate(seed, length, seed=generator.seed)
    save_generator(generator, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", "utf-8")
    if file.kind == "text":
        (folder / "continuation.txt").write_text(made, "utf-8")
    else:
        made_frame(made, file.columns).to_csv(folder / "continuation.csv", index=False)
    page = PiecePage(
        title=title,
        metrics=metrics,
        verdict=sentence,
        columns=file.columns or ("character",),
        seed=seed[-SHOWN:] if file.kind == "text" else seed,
        actual=told[0][count : count + length],
        made=made,
        training=generator.run_.history,
        settings=_settings(generator, file, test_size),
        notes=[*file.notes, *notes, *generator.notes_],
        command=command,
    )
    (folder / "report.html").write_text(render_pieces(page), "utf-8")
    return PieceRun(metrics, sentence, notes)


def made_frame(made: Any, columns: tuple[str, ...]) -> Any:
    """A pandas frame of made steps, a row for each.

    >>> made_frame([("a", 1), ("b", 2)], ("letter", "digit")).shape
    (2, 2)
    """
    import pandas as pd

    rows = [row if isinstance(row, tuple | list | np.ndarray) else [row] for row in made]
    return pd.DataFrame(rows, columns=list(columns))


def _part(file: PieceFile, share: float, seed: int) -> tuple[list[Any], list[Any], list[str]]:
    """Pieces to learn from and those held out, without symbols that come nowhere else."""
    pieces = file.pieces
    if len(pieces) == 1:
        piece = pieces[0]
        cut = round((1 - share) * len(piece))
        learn, held = [piece[:cut]], [piece[cut:]]
        if min(cut, len(piece) - cut) < 3:
            raise DataError(
                file.names[0], "at least three steps to learn from, and three to hold out",
                f"{len(piece)} steps", "Give more, or another --test-size.",
            )  # fmt: skip
    else:
        # of pieces that are the same none is held out while another is learned from
        number_of: dict[Any, int] = {}
        group = np.array([number_of.setdefault(_content(piece), len(number_of)) for piece in pieces])
        order = np.random.default_rng(seed).permutation(len(number_of))
        count = max(1, round(share * len(order)))
        if count >= len(order):
            raise DataError(
                "the file", "different pieces to learn from and to hold out",
                f"{len(pieces):,} pieces, {len(order):,} of them different", "Give more, or lower --test-size.",
            )  # fmt: skip
        out = np.isin(group, order[:count])
        learn = [pieces[number] for number in np.flatnonzero(~out)]
        held = [pieces[number] for number in np.flatnonzero(out)]
    if file.kind == "values":
        return learn, held, []
    known = [
        set(column) for column in zip(*(column for piece in learn for column in _steps(piece)), strict=True)
    ]
    kept, lost = [], 0
    for piece in held:
        fine = [all(s in k for s, k in zip(step, known, strict=True)) for step in _steps(piece)]
        lost += fine.count(False)
        kept.append(_take(piece, fine) if not all(fine) else piece)
    kept = [piece for piece in kept if len(piece) > 1]
    if not kept:
        raise DataError(
            "the part held out", "pieces of two steps or more, of symbols that come in training too",
            "shorter ones, or others alone", "Give more data.",
        )  # fmt: skip
    notes = [f"{lost:,} held-out steps have a symbol that comes nowhere else: they are left out."] * bool(
        lost
    )
    return learn, kept, notes


def _content(piece: Any) -> Any:
    return (piece.shape, piece.tobytes()) if isinstance(piece, np.ndarray) else tuple(piece)


def _steps(piece: Any) -> list[tuple[Any, ...]]:
    if isinstance(piece, np.ndarray):
        return list(map(tuple, piece.tolist()))
    return [step if isinstance(step, tuple) else (step,) for step in piece]


def _take(piece: Any, fine: list[bool]) -> Any:
    if isinstance(piece, np.ndarray):
        return piece[fine]
    kept = [step for step, keep in zip(piece, fine, strict=True) if keep]
    return "".join(kept) if isinstance(piece, str) else kept


def _join(first: Any, second: Any) -> Any:
    return np.concatenate([first, second]) if isinstance(first, np.ndarray) else first + second


def _score(generator: SequenceGenerator, held: list[Any], skip: int) -> dict[str, float]:
    if generator.reading_.kind == "values":
        return {"mse": generator.mse(held, skip=skip), "r2": generator.score(held, skip=skip)}
    accuracy, perplexity = generator.judge(held, skip=skip)
    return {"perplexity": perplexity, "accuracy": accuracy}


def _baselines(
    generator: SequenceGenerator, learn: list[Any], held: list[Any], skip: int
) -> dict[str, dict[str, float]]:
    """Of values: the last one again, and the last change again. Of symbols: n-grams of each stream."""
    reading = generator.reading_
    parts = [reading.take(pieces, "X").parts for pieces in (learn, held)]
    if reading.kind == "values":
        actual = np.concatenate([part[1 + skip :] for part in parts[1]])
        last = np.concatenate([part[skip:-1] for part in parts[1]])
        before = np.concatenate([np.concatenate([part[:1], part[:-2]])[skip:] for part in parts[1]])
        told = {"last_value": last, "last_change": 2 * last - before}
        return {
            name: {"mse": float(np.mean((actual - found) ** 2)), "r2": r_squared(actual, found)}
            for name, found in told.items()
        }
    targets = [reading.read(reading.take(pieces, "X"), "X")[1] for pieces in (learn, held)]
    numbers = [[found[i] for i in range(len(found))] for found in targets]
    logs, rights, weights = [], [], []
    for stream in range(numbers[0][0].shape[1]):
        stop = -1 if reading.ends and stream else None  # an end is told once, by the first stream
        columns = [[piece[:stop, stream].tolist() for piece in group] for group in numbers]
        count = len(reading.alphabets[stream if reading.voices == 1 else 0]) - 2
        left = reading.uncounted(skip)
        perplexity, right = NGrams(ORDER, count).fit(columns[0]).score(columns[1], left)
        logs.append(np.log(perplexity))
        rights.append(right)
        weights.append(sum(map(len, columns[1])) - left)
    mean = np.average([logs, rights], axis=1, weights=weights)
    return {"trigram": {"perplexity": float(np.exp(mean[0])), "accuracy": float(mean[1])}}


def _verdict(metrics: dict[str, Any]) -> str:
    values = metrics["kind"] == "values"
    name = "mse" if values else "perplexity"
    mine = metrics["model"][name]
    others = {label: scores[name] for label, scores in metrics["baselines"].items()}
    best = min(others, key=lambda label: others[label])
    what = "The mean squared error of the next value" if values else "The perplexity of the next symbol"
    best_is = (
        f"that of {piece_label(best)}"
        if len(others) == 1
        else f"that of the best baseline ({piece_label(best)})"
    )
    sentence = f"{what} is {mine:.4g} on held-out data, {best_is} {others[best]:.4g}."
    return sentence if mine < others[best] else f"{sentence} {standing(metrics)['words']}."


def _settings(generator: SequenceGenerator, file: PieceFile, test_size: float) -> dict[str, str]:
    import torch

    a, reading = generator.architecture_, generator.reading_
    parameters = sum(parameter.numel() for parameter in generator.networks_[0].parameters())
    parts = [
        f"vectors of {a.embedding}" if a.numbers else "",
        f"causal convolutions of {', '.join(map(str, a.filters))} filters" if a.filters else "",
        f"{a.layers} {a.cell} of {a.units} units",
    ]
    found = {
        "Pieces": f"{len(file.pieces):,}, {file.steps:,} steps of {', '.join(file.columns) or 'characters'}",
        "Kind": reading.kind + (", voices in turn" if reading.voices > 1 else ""),
        "Network": ", ".join(part for part in parts if part),
        "Members": f"{len(generator.networks_)}, {parameters:,} parameters each",
        "Windows": f"{generator.steps:,} steps",
        "Held out": f"{test_size:.0%}" + (", at the end" if len(file.pieces) == 1 else " of the pieces"),
        "Seed": str(generator.seed),
        "Versions": f"unrolled {__version__}, torch {torch.__version__}, NumPy {np.__version__}",
    }
    if reading.alphabets:
        found["Symbols"] = ", ".join(f"{len(alphabet.symbols):,}" for alphabet in reading.alphabets)
    return found
