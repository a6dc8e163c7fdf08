"""The commands `unrolled train generator` and `unrolled generate`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from unrolled.commands.options import Device, Json, Out, Overwrite, Resume, Seed
from unrolled.commands.terminal import (
    check_new,
    console,
    new_folder,
    print_json,
    run_folder,
    say,
    say_wrapped,
    write_csv,
    write_whole,
)
from unrolled.errors import DataError, OptionError, RunFolderError

if TYPE_CHECKING:
    from unrolled.report.run_pieces import PieceRun

__all__ = ["generate", "train_generator"]

SHOWN = 14  # rows of a table for people
MIDI = (".mid", ".midi")


def train_generator(
    data: Annotated[
        Path,
        Argument(metavar="DATA", help="CSV or Parquet file, a row for each step; or a text of characters."),
    ],
    column: Annotated[
        list[str], Option(help="Column of values or symbols, may be repeated; by default all others.")
    ] = [],  # noqa: B006
    id: Annotated[str | None, Option(help="Column that tells which piece a row belongs to.")] = None,
    time: Annotated[str | None, Option(help="Column that orders the rows of a piece.")] = None,
    kind: Annotated[str, Option(help="auto, values (numbers that are measured) or symbols.")] = "auto",
    in_turn: Annotated[
        bool,
        Option("--in-turn", help="Tell the columns of a step one after another, each from those before."),
    ] = False,
    cell: Annotated[str, Option(help="rnn, lstm or gru.")] = "lstm",
    units: Annotated[int, Option(help="Of each recurrent layer.")] = 128,
    layers: Annotated[int, Option(help="Recurrent layers.")] = 1,
    activation: Annotated[str, Option(help="Of the cells: tanh, relu, linear or sigmoid.")] = "tanh",
    filters: Annotated[
        list[int], Option(help="Of a causal convolution in front; repeated, the next ones are dilated.")
    ] = [],  # noqa: B006
    embedding_size: Annotated[int | None, Option(help="Numbers of a symbol's vector.")] = None,
    dropout: Annotated[float, Option(help="Share dropped in training.")] = 0.0,
    steps: Annotated[int, Option(help="Of a training window.")] = 64,
    epochs: Annotated[
        int | None, Option(help="Passes over the windows; by default about 2,000 steps.")
    ] = None,
    valid_size: Annotated[
        float, Option(help="Share of the training part by which the best weights are kept.")
    ] = 0.0,
    members: Annotated[int, Option(help="Networks to train and average.")] = 1,
    test_size: Annotated[float, Option(help="Share to score on: of the pieces, or the end of one.")] = 0.1,
    length: Annotated[int, Option(help="Steps to make for the report.")] = 200,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Learn what comes next in DATA, and score the model on a part held out."""
    from unrolled.data.piece_files import read_piece_file
    from unrolled.estimators.generator import SequenceGenerator, check_steps
    from unrolled.estimators.generator_options import check_generator
    from unrolled.report.run_pieces import run_generation

    generator = SequenceGenerator(
        cell, units=units, layers=layers, activation=activation, filters=list(filters), dropout=dropout, steps=steps,
        embedding_size=embedding_size, in_turn=in_turn, valid_size=valid_size, members=members, seed=seed,
        device=device, epochs=epochs,
    )  # fmt: skip
    check_generator(generator)
    check_steps(length, "--length")
    file = read_piece_file(data, columns=column, id=id, time=time, kind=kind)
    generator.kind = "values" if file.kind == "values" else "symbols"
    generator.columns_ = {"columns": list(file.columns), "id": id, "time": time, "kind": file.kind}
    out = out or new_folder(f"{data.name.split('.')[0]}-generator")
    asked = {"data": str(data), **generator.columns_, "test_size": test_size, "length": length}
    with run_folder(out, generator, overwrite=overwrite, resume=resume, **asked) as partial:
        of = f"{len(file.pieces):,} pieces" if len(file.pieces) > 1 else "one piece"
        what = "characters" if file.kind == "text" else f"steps of {', '.join(file.columns)} ({file.kind})"
        say(f"Read {of}: {file.steps:,} {what}.")
        for note in file.notes:
            say_wrapped(f"• {note}")
        run = run_generation(
            file, generator, partial, test_size=test_size, length=length, title=f"Generator of {data.name}",
            command=shlex.join(["unrolled", *sys.argv[1:]]), say=say, resume=resume,
        )  # fmt: skip
    _show_scores(run)
    for note in run.notes:
        say_wrapped(f"• {note}")
    say_wrapped(f"{run.verdict}\n")
    say(f"Report: {out / 'report.html'}")
    if as_json:
        print_json({"out": str(out), "verdict": run.verdict, **run.metrics})


def generate(
    run: Annotated[Path, Argument(metavar="RUN", help="Folder of a run of unrolled train generator.")],
    seed_file: Annotated[
        Path | None, Option(help="File to go on from, with the columns of the training.")
    ] = None,
    prompt: Annotated[str | None, Option(help="Text to go on from, of a run on a text.")] = None,
    length: Annotated[int, Option(help="Steps to make, at most.")] = 200,
    temperature: Annotated[float, Option(help="Above 0; below 1 the probable becomes more so.")] = 1.0,
    top_k: Annotated[int | None, Option(help="Draw from so many most probable symbols alone.")] = None,
    top_p: Annotated[
        float | None, Option(help="Draw from the fewest symbols with this probability together.")
    ] = None,
    seed: Annotated[int, Option(help="Of the draws.")] = 0,
    out: Annotated[Path | None, Option(help="File to write: .csv, .txt, or .mid of notes.")] = None,
    with_seed: Annotated[bool, Option("--with-seed", help="Write what was read, too.")] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace that file.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with the model of RUN from a seed, or from the start where starts were learned."""
    from unrolled.estimators.generator import SequenceGenerator
    from unrolled.estimators.saving import load

    check_new(out, overwrite)
    generator = load(run, "cpu")
    known = getattr(generator, "columns_", None)
    if not isinstance(generator, SequenceGenerator) or known is None:
        raise RunFolderError(
            str(run), "a run of unrolled train generator", f"one of a {type(generator).__name__}",
            "Name a generator's run folder.",
        )  # fmt: skip
    text = known["kind"] == "text"
    _check_out(out, text)
    read = _read_seed(generator, known, seed_file, prompt)
    made, ended = generator.generate(
        read, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, return_ended=True
    )
    if generator.reading_.ends and not ended:
        say(f"• No end within {length:,} steps: cut there.")
    whole = _join(read, made) if with_seed and read is not None else made
    if text:
        if out is None and not as_json:
            print(whole)
        elif out is not None:
            write_whole(out, lambda partial: partial.write_text(whole, "utf-8"))
        plain: Any = whole
    else:
        plain = _put_out(whole, tuple(known["columns"]), out, shown=out is None and not as_json)
    if as_json:
        print_json({"made": plain, "ended": ended})


def _check_out(out: Path | None, text: bool) -> None:
    if out is None:
        return
    allowed = (".txt",) if text else (".csv", *MIDI)
    if out.suffix.lower() not in allowed:
        raise OptionError(
            "--out", f"a file ending in {' or '.join(allowed)}", repr(out.name), "Choose another --out."
        )


def _read_seed(generator: Any, known: dict[str, Any], seed_file: Path | None, prompt: str | None) -> Any:
    """What to go on from; None for the start."""
    from unrolled.data.piece_files import read_piece_file

    if seed_file is not None and prompt is not None:
        raise OptionError("generate", "--seed-file or --prompt", "both", "Leave one of them out.")
    if prompt is not None:
        if known["kind"] != "text":
            raise OptionError(
                "--prompt", "a run on a text", f"one on {known['kind']}", "Pass --seed-file with a table."
            )
        return prompt
    if seed_file is None:
        if not generator.reading_.ends:
            raise DataError(
                "generate", "a seed: --seed-file or --prompt", "none",
                "Only a run on several pieces of symbols (--id) has learned how they start.",
            )  # fmt: skip
        return None
    if known["kind"] == "text":
        read = read_piece_file(seed_file)
        if read.kind != "text":
            raise DataError(str(seed_file), "a text, as in training", "a table", "Name a text file.")
        return read.pieces[0]
    symbols = [symbol for alphabet in generator.reading_.alphabets for symbol in alphabet.symbols]
    read = read_piece_file(
        seed_file, columns=known["columns"], id=known["id"], time=known["time"], kind=known["kind"],
        as_texts=any(isinstance(symbol, str) for symbol in symbols), lenient=True,
    )  # fmt: skip
    if len(read.pieces) > 1:
        got = f"{len(read.pieces):,} by its column {known['id']!r}"
        raise DataError(str(seed_file), "one piece to go on from", got, "Leave the rows of one.")
    return read.pieces[0]


def _join(read: Any, made: Any) -> Any:
    import numpy as np

    return np.concatenate([read, made]) if isinstance(made, np.ndarray) else read + made


def _put_out(whole: Any, columns: tuple[str, ...], out: Path | None, *, shown: bool) -> Any:
    """Write rows as CSV or MIDI, or show the first of them; return them as JSON holds them."""
    import json

    import numpy as np

    from unrolled.data.piece_files import write_midi
    from unrolled.report.run_pieces import made_frame

    frame = made_frame(whole, columns)
    if out is not None and out.suffix.lower() in MIDI:
        notes = np.asarray(whole)
        write_whole(out, lambda partial: write_midi(partial, notes.reshape(len(notes), len(columns))))
    else:
        write_csv(frame, out)
    if shown and sys.stdout.isatty():
        _show_rows(frame)
    elif shown:
        print(frame.to_csv(index=False), end="")
    return json.loads(frame.to_json(orient="records"))


def _show_scores(run: "PieceRun") -> None:
    from rich.table import Table

    from unrolled.report.piece_page import piece_label

    values = run.metrics["kind"] == "values"
    names = ("mse", "r2") if values else ("perplexity", "accuracy")
    steps = run.metrics["held_out"]["steps"]
    grid = Table(title=f"Held out: {steps:,} steps", title_justify="left")
    headings = ("mean squared error", "R²") if values else ("perplexity", "told rightly")
    for heading in ("", *headings):
        grid.add_column(heading, justify="left" if not heading else "right")
    rows = {"the model": run.metrics["model"]}
    rows |= {piece_label(name): scores for name, scores in run.metrics["baselines"].items()}
    best = min(scores[names[0]] for scores in rows.values())
    for name, scores in rows.items():
        cells = (f"{scores[names[0]]:.4g}", f"{scores[names[1]]:.1%}")
        grid.add_row(name, *cells, style="bold" if scores[names[0]] == best else None)
    console().print("\n", grid, "\n", sep="")


def _show_rows(frame: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title="Made", title_justify="left")
    for heading in ("step", *map(str, frame.columns)):
        grid.add_column(escape(heading), justify="right")
    for step, row in enumerate(frame.head(SHOWN).itertuples(index=False), 1):
        cells = [f"{cell:.6g}" if isinstance(cell, float) else escape(str(cell)) for cell in row]
        grid.add_row(str(step), *cells)
    if len(frame) > SHOWN:
        grid.add_row("…", *[f"{len(frame) - SHOWN:,} more", *["…"] * (len(frame.columns) - 1)])
    console().print("\n", grid, "\n", sep="")
