"""The commands `unrolled train transcriber` and `unrolled transcribe`."""

import json
import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from unrolled.commands.options import Device, Json, Out, Overwrite, Resume, Seed
from unrolled.commands.terminal import console, new_folder, print_json, run_folder, say, say_wrapped
from unrolled.errors import DataError, InputError, RunFolderError

if TYPE_CHECKING:
    from unrolled.report.run_transcripts import TranscriptRun

__all__ = ["train_transcriber", "transcribe"]


def train_transcriber(
    data: Annotated[
        Path, Argument(metavar="PAIRS", help="CSV or Parquet file, a pair of texts in each row.")
    ],
    source: Annotated[str | None, Option(help="Column that is read; by default the first.")] = None,
    target: Annotated[str | None, Option(help="Column that is to be written; by default the next.")] = None,
    level: Annotated[
        str, Option(help="How texts are split: characters, or words at white space.")
    ] = "characters",
    model: Annotated[str, Option(help="lstm, gru or rnn.")] = "lstm",
    attention: Annotated[str, Option(help="dot, additive or none.")] = "dot",
    units: Annotated[int, Option(help="Of each recurrent layer.")] = 64,
    layers: Annotated[int, Option(help="Recurrent layers to read, and as many to write.")] = 1,
    dropout: Annotated[float, Option(help="Share dropped in training.")] = 0.0,
    members: Annotated[int, Option(help="Networks to train and average.")] = 3,
    epochs: Annotated[int | None, Option(help="Passes over the pairs; by default about 1,500 steps.")] = None,
    valid_size: Annotated[
        float, Option(help="Share of the training part by which the best weights are kept.")
    ] = 0.0,
    test_size: Annotated[float, Option(help="Share of the sources to score on.")] = 0.1,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Learn to write one column of PAIRS from the other, and score the model on a part held out."""
    from unrolled.data.pairs import read_pairs
    from unrolled.estimators.transcriber import Transcriber
    from unrolled.report.run_transcripts import run_transcription

    options: dict[str, Any] = {
        "units": units, "layers": layers, "dropout": dropout, "members": members, "epochs": epochs,
        "valid_size": valid_size, "seed": seed, "device": device, "level": level,
        "attention": None if attention == "none" else attention,
    }  # fmt: skip
    transcriber = Transcriber(model, **options)  # type: ignore[arg-type]
    transcriber.check_options()
    pairs = read_pairs(data, source, target)
    transcriber.columns_ = pairs.columns
    out = out or new_folder(f"{data.name.split('.')[0]}-{pairs.columns[1]}")
    asked = {"data": str(data), "columns": pairs.columns, "test_size": test_size}
    with run_folder(out, transcriber, overwrite=overwrite, resume=resume, **asked) as partial:
        say(f"Read {len(pairs):,} pairs: {pairs.columns[0]!r} to {pairs.columns[1]!r}.")
        run = run_transcription(
            pairs, transcriber, partial, test_size=test_size, title=f"{pairs.columns[0]} to {pairs.columns[1]}",
            command=shlex.join(["unrolled", *sys.argv[1:]]), say=say, resume=resume,
        )  # fmt: skip
    _show_scores(run)
    for note in run.notes:
        say_wrapped(f"• {note}")
    say_wrapped(f"{run.verdict}\n")
    say(f"Report: {out / 'report.html'}")
    if as_json:
        print_json({"out": str(out), "verdict": run.verdict, **run.metrics})


def transcribe(
    run: Annotated[Path, Argument(metavar="RUN", help="Folder of a run of unrolled train transcriber.")],
    beam: Annotated[int, Option(help="Beginnings that are carried on together; 1 is greedy.")] = 1,
    max_length: Annotated[
        int | None, Option(help="Symbols of an answer, at most; by default twice the longest target.")
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, Option("--json", help="Write a JSON object for each line.")] = False,
) -> None:
    """Transcribe standard input with the model of RUN: a line for each line, as soon as it is read.

    A line feed in an answer is written as \\n. A line that cannot be read gets an empty one, and is told on standard
    error; the exit code is then 2.
    """
    from unrolled.estimators.saving import load
    from unrolled.estimators.transcriber import Transcriber, check_search

    check_search(beam, max_length)
    transcriber = load(run, device)
    if not isinstance(transcriber, Transcriber):
        raise RunFolderError(
            str(run), "a run of unrolled train transcriber", f"one of a {type(transcriber).__name__}",
            "Use unrolled predict or unrolled generate.",
        )  # fmt: skip
    if transcriber.source_.kind not in ("characters", "words"):
        raise DataError(
            "transcribe", "a transcriber of texts", f"one of {transcriber.source_.kind}",
            "Use unrolled.load(RUN).transcribe(X).",
        )  # fmt: skip
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text make a line that cannot be read
    lines = wrong = 0
    try:
        for number, line in enumerate(iter(sys.stdin.readline, ""), 1):
            lines = number
            wrong += not _write_line(transcriber, number, line.rstrip("\r\n"), beam, max_length, as_json)
    except BrokenPipeError:  # whoever reads has enough; nothing more is flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if wrong:
        raise DataError(
            "standard input", "lines that can be transcribed", f"{wrong:,} of {lines:,} that cannot",
            "Their answers are left empty.",
        )  # fmt: skip


def _write_line(
    transcriber: Any, number: int, source: str, beam: int, max_length: int | None, as_json: bool
) -> bool:
    """Write the answer for a line; whether there is one."""
    try:
        (found,) = transcriber.transcribe([source], beam=beam, max_length=max_length)
    except InputError as error:
        what = str(error).replace("X[0]", f"line {number}", 1)
        say(f"error: {what}")
        print(json.dumps({"source": source, "error": what}) if as_json else "", flush=True)
        return False
    if not found.ended:
        symbols = len(found.answer) if transcriber.target_.kind != "words" else len(found.answer.split())
        say(f"line {number}: no end within {symbols:,} symbols, cut there (--max-length)")
    answer = found.answer if isinstance(found.answer, str) else " ".join(map(str, found.answer))
    if as_json:
        probability = math.exp(found.log_probability)
        row = {"source": source, "answer": answer, "ended": found.ended, "probability": probability}
        print(json.dumps(row, allow_nan=False), flush=True)
    else:
        print(answer.replace("\n", "\\n"), flush=True)
    return True


def _show_scores(run: "TranscriptRun") -> None:
    from rich.table import Table

    from unrolled.report.transcript_page import transcript_label

    held = run.metrics["held_out"]
    grid = Table(title=f"Held out: {held['pairs']:,} pairs", title_justify="left")
    for heading in ("", "exactly right", "symbol error rate"):
        grid.add_column(heading, justify="left" if not heading else "right")
    rows = {"the model": run.metrics["model"]}
    rows |= {transcript_label(name): scores for name, scores in run.metrics["baselines"].items()}
    best = max(scores["exact_match"] for scores in rows.values())
    for name, scores in rows.items():
        cells = (f"{scores['exact_match']:.1%}", f"{scores['symbol_error_rate']:.1%}")
        grid.add_row(name, *cells, style="bold" if scores["exact_match"] == best else None)
    console().print("\n", grid, "\n", sep="")
    if held["without_end"]:
        say(f"{held['without_end']:,} answers have no end, and were cut.")
