"""The command `unrolled classify`, and what `unrolled predict` does with its runs."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from unrolled.errors import DataError
from unrolled.terminal import console, new_folder, print_json, say, say_wrapped, write_csv

if TYPE_CHECKING:
    from unrolled.report.run_classes import ClassRun

__all__ = ["classify", "predict_classes"]

SHOWN = 14  # rows of a table for people


def classify(
    data: Annotated[
        Path, Argument(metavar="DATA", help="CSV or Parquet file of texts or sequences, with labels.")
    ],
    label: Annotated[str, Option(help="Column of classes.")],
    text: Annotated[str | None, Option(help="Column of texts.")] = None,
    sequence: Annotated[
        list[str],
        Option(help="Column of numbers; may be repeated. A row is a step with --id, else a sequence."),
    ] = [],  # noqa: B006
    id: Annotated[str | None, Option(help="Column that tells which sequence a row belongs to.")] = None,
    time: Annotated[str | None, Option(help="Column that orders the rows of a sequence.")] = None,
    model: Annotated[
        str, Option(help="auto, rnn, lstm, gru, bag, conv, conv-rnn, conv-lstm or conv-gru.")
    ] = "auto",
    units: Annotated[int, Option(help="Of each recurrent layer.")] = 64,
    layers: Annotated[int, Option(help="Recurrent layers.")] = 1,
    bidirectional: Annotated[bool, Option("--bidirectional", help="Read in both directions.")] = False,
    max_steps: Annotated[
        int | None, Option(help="Read only so many first steps (of texts 400 words).")
    ] = None,
    vectors: Annotated[Path | None, Option(help="File of pretrained word vectors (word2vec, GloVe).")] = None,
    balanced: Annotated[
        bool, Option("--balanced", help="Let each class count the same in training.")
    ] = False,
    valid_size: Annotated[
        float, Option(help="Share of the training part by which the best weights are kept.")
    ] = 0.0,
    members: Annotated[int, Option(help="Networks to train and average.")] = 3,
    test_size: Annotated[float, Option(help="Share of the sequences to score on.")] = 0.2,
    seed: Annotated[int, Option(help="The same seed gives the same bits.")] = 0,
    device: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, Option(help="Run folder to write; by default a new one in runs/.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace the run in that folder.")] = False,
    resume: Annotated[bool, Option("--resume", help="Go on where a run that was killed left off.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")] = False,
) -> None:
    """Learn the classes of texts or sequences from DATA, and score the model on a part held out."""
    from unrolled.data.labelled import read_labelled
    from unrolled.estimators.classifier import SequenceClassifier
    from unrolled.report.run_classes import run_classification
    from unrolled.training.checkpoint import whole_folder

    classifier = SequenceClassifier(
        model, units=units, layers=layers, bidirectional=bidirectional, max_steps=max_steps, vectors=vectors,
        class_weight="balanced" if balanced else None, valid_size=valid_size, members=members, seed=seed, device=device,
    )  # fmt: skip
    classifier.check_options()
    columns = {"text": text, "sequence": list(sequence), "id": id, "time": time}
    read = read_labelled(data, label=label, text=text, sequence=sequence, id=id, time=time)
    classifier.columns_ = {"label": label, **columns}
    out = out or new_folder(f"{data.name.split('.')[0]}-{label}")
    with whole_folder(out, overwrite=overwrite, resume=resume) as partial:
        say(f"Read {len(read):,} {'texts' if text else 'sequences'}.")
        for note in read.notes:
            say_wrapped(f"• {note}")
        run = run_classification(
            read, classifier, partial, test_size=test_size, title=f"Classes of {label}",
            command=shlex.join(["unrolled", *sys.argv[1:]]), say=say, resume=resume,
        )  # fmt: skip
    _show_scores(run)
    say_wrapped(f"{run.verdict}\n")
    say(f"Report: {out / 'report.html'}")
    if as_json:
        print_json({"out": str(out), "verdict": run.verdict, **run.metrics})


def predict_classes(classifier: Any, data: Path | None, out: Path | None, as_json: bool) -> None:
    """Tell the classes of the sequences or texts in `data`, in the columns that the run was trained on."""
    from unrolled.data.labelled import read_labelled
    from unrolled.report.run_classes import class_frame

    if data is None:
        raise DataError(
            "predict", "DATA with texts or sequences", "none", "Name a file: unrolled predict RUN DATA."
        )
    known = getattr(classifier, "columns_", None)
    if known is None:
        raise DataError(
            "predict",
            "a run of unrolled classify",
            f"a {type(classifier).__name__} that was not fitted on a table",
            "Use unrolled.load(RUN).predict(X).",
        )
    columns = {name: value for name, value in known.items() if name != "label"}
    read = read_labelled(data, label=None, **columns)
    frame = class_frame(read.names, classifier.predict_proba(read.inputs), classifier.classes_.tolist())
    _show_classes(frame)
    write_csv(frame, out)
    if as_json:
        print_json({"classes": json.loads(frame.to_json(orient="records"))})


def _show_scores(run: "ClassRun") -> None:
    from rich.table import Table

    from unrolled.estimators.class_scores import class_label

    grid = Table(title=f"Held out: {run.metrics['held_out']['sequences']:,} sequences", title_justify="left")
    for heading in ("", "told rightly", "F1 (mean)", "log loss"):
        grid.add_column(heading, justify="left" if not heading else "right")
    rows = {"the model": run.metrics["model"]}
    rows |= {class_label(name): scores for name, scores in run.metrics["baselines"].items()}
    best = max(scores["accuracy"] for scores in rows.values())
    for name, scores in rows.items():
        cells = (f"{scores['accuracy']:.1%}", f"{scores['f1']:.1%}", f"{scores['log_loss']:.3f}")
        grid.add_row(name, *cells, style="bold" if scores["accuracy"] == best else None)
    console().print("\n", grid, "\n", sep="")


def _show_classes(frame: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    chances = [name for name in frame.columns if name.startswith("p-")]
    grid = Table(title="Classes", title_justify="left")
    for heading in ("sequence", "class", "probability"):
        grid.add_column(heading, justify="left" if heading == "class" else "right")
    for row in frame.head(SHOWN).to_dict("records"):
        grid.add_row(
            str(row["sequence"]), escape(str(row["class"])), f"{max(row[name] for name in chances):.1%}"
        )
    if len(frame) > SHOWN:
        grid.add_row("…", f"{len(frame) - SHOWN:,} more", "…")
    console().print("\n", grid, "\n", sep="")
