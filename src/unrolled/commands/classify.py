"""The commands `unrolled classify` and `unrolled regress`, and what `unrolled predict` does with their runs."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from unrolled.commands.options import Device, Json, Out, Overwrite, Resume, Seed
from unrolled.commands.terminal import (
    console,
    new_folder,
    number,
    print_json,
    run_folder,
    say,
    say_wrapped,
    write_csv,
)
from unrolled.errors import DataError, OptionError

if TYPE_CHECKING:
    from unrolled.report.run_classes import ClassRun
    from unrolled.report.run_numbers import NumberRun

__all__ = ["classify", "predict_sequences", "regress"]

SHOWN = 14  # rows of a table for people
WIDEST = 40  # letters of a text in it


Data = Annotated[
    Path, Argument(metavar="DATA", help="CSV or Parquet file of texts or sequences, with what is to be told.")
]
Text = Annotated[str | None, Option(help="Column of texts; with --per-step of their words, one in each row.")]
Sequence = Annotated[
    list[str],
    Option(help="Column of numbers; may be repeated. A row is a step with --id, else a sequence."),
]
Id = Annotated[str | None, Option(help="Column that tells which sequence a row belongs to.")]
Time = Annotated[str | None, Option(help="Column that orders the rows of a sequence.")]
Model = Annotated[str, Option(help="auto, rnn, lstm, gru, bag, conv, conv-rnn, conv-lstm or conv-gru.")]
Units = Annotated[int, Option(help="Of each recurrent layer.")]
Layers = Annotated[int, Option(help="Recurrent layers.")]
Bidirectional = Annotated[bool, Option("--bidirectional", help="Read in both directions.")]
MaxSteps = Annotated[int | None, Option(help="Read only so many first steps (of texts 400 words).")]
Vectors = Annotated[Path | None, Option(help="File of pretrained word vectors (word2vec, GloVe).")]
ValidSize = Annotated[float, Option(help="Share of the training part by which the best weights are kept.")]
Members = Annotated[int, Option(help="Networks to train and average.")]
TestSize = Annotated[float, Option(help="Share of the sequences to score on.")]
Test = Annotated[
    Path | None, Option(help="File of the same columns to score on, in place of a part of DATA.")
]
Group = Annotated[
    str | None, Option(help="Column of what sequences belong to, as a speaker: whole ones are held out.")
]

OF_ESTIMATORS = (
    "model", "units", "layers", "bidirectional", "max_steps", "vectors", "per_step", "valid_size", "members", "seed",
    "device",
)  # fmt: skip


def classify(
    data: Data,
    label: Annotated[str, Option(help="Column of classes.")],
    text: Text = None,
    sequence: Sequence = [],  # noqa: B006
    id: Id = None,
    time: Time = None,
    per_step: Annotated[
        bool, Option("--per-step", help="Each row has a class of its own, as words of a sentence; with --id.")
    ] = False,
    model: Model = "auto",
    units: Units = 64,
    layers: Layers = 1,
    bidirectional: Bidirectional = False,
    max_steps: MaxSteps = None,
    vectors: Vectors = None,
    balanced: Annotated[
        bool, Option("--balanced", help="Let each class count the same in training.")
    ] = False,
    valid_size: ValidSize = 0.0,
    members: Members = 3,
    test_size: TestSize = 0.2,
    test: Test = None,
    group: Group = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Learn the classes of texts or sequences from DATA, and score the model on a part held out."""
    from unrolled.estimators.classifier import SequenceClassifier
    from unrolled.report.run_classes import run_classification

    options = {name: value for name, value in locals().items() if name in OF_ESTIMATORS}
    classifier = SequenceClassifier(class_weight="balanced" if balanced else None, **options)
    columns = {"label": label, "text": text, "sequence": list(sequence), "id": id, "time": time}
    _run_table(
        data, classifier, columns, run_classification, _show_scores, "Classes", test_size=test_size, test=test,
        group=group, out=out, overwrite=overwrite, resume=resume, as_json=as_json,
    )  # fmt: skip


def regress(
    data: Data,
    target: Annotated[str, Option(help="Column of the numbers to tell.")],
    text: Text = None,
    sequence: Sequence = [],  # noqa: B006
    id: Id = None,
    time: Time = None,
    per_step: Annotated[
        bool, Option("--per-step", help="Each row has a number of its own; with --id.")
    ] = False,
    model: Model = "auto",
    units: Units = 64,
    layers: Layers = 1,
    bidirectional: Bidirectional = False,
    max_steps: MaxSteps = None,
    vectors: Vectors = None,
    valid_size: ValidSize = 0.0,
    members: Members = 3,
    test_size: TestSize = 0.2,
    test: Test = None,
    group: Group = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Learn a number of texts or sequences from DATA, and score the model on a part held out."""
    from unrolled.estimators.regressor import SequenceRegressor
    from unrolled.report.run_numbers import run_regression

    options = {name: value for name, value in locals().items() if name in OF_ESTIMATORS}
    columns = {"label": target, "text": text, "sequence": list(sequence), "id": id, "time": time}
    _run_table(
        data, SequenceRegressor(**options), columns, run_regression, _show_numbers, "Numbers", test_size=test_size,
        test=test, group=group, out=out, overwrite=overwrite, resume=resume, as_json=as_json,
    )  # fmt: skip


def _run_table(
    data: Path,
    estimator: Any,
    columns: dict[str, Any],
    run_all: Any,
    show: Any,
    title: str,
    *,
    test_size: float,
    test: Path | None,
    group: str | None,
    out: Path | None,
    overwrite: bool,
    resume: bool,
    as_json: bool,
) -> None:
    """Read a table, train and score on it, and show what came of it."""
    from unrolled.data.labelled import read_labelled

    estimator.check_options()
    estimator.check_files()
    label = columns["label"]
    if test is not None and group is not None:
        raise OptionError("options", "--test or --group", "both", "Leave one of them out.")
    how = {"per_step": estimator.per_step, "numeric": title == "Numbers"}
    read = read_labelled(data, **columns, **how, group=group)
    if test is not None:
        read = read.with_test(read_labelled(test, **columns, **how))
    estimator.columns_ = columns
    out = out or new_folder(f"{data.name.split('.')[0]}-{label}")
    asked = {"data": str(data), **columns, "test_size": test_size, "test": test, "group": group}
    with run_folder(out, estimator, overwrite=overwrite, resume=resume, **asked) as partial:
        say(f"Read {len(read):,} {'texts' if columns['text'] else 'sequences'}.")
        for note in read.notes:
            say_wrapped(f"• {note}")
        run = run_all(
            read, estimator, partial, test_size=test_size, title=f"{title} of {label}",
            command=shlex.join(["unrolled", *sys.argv[1:]]), say=say, resume=resume, place=str(out),
        )  # fmt: skip
    show(run)
    say_wrapped(f"{run.verdict}\n")
    say(f"Report: {out / 'report.html'}")
    if as_json:
        print_json({"out": str(out), "standing": run.standing, "verdict": run.verdict, **run.metrics})


def predict_sequences(estimator: Any, data: Path | None, out: Path | None, as_json: bool) -> None:
    """Tell classes or numbers of the sequences or texts in `data`, in the columns that the run was trained on."""
    import numpy as np

    from unrolled.data.labelled import read_labelled
    from unrolled.estimators.class_scores import class_order
    from unrolled.estimators.classifier import SequenceClassifier
    from unrolled.report.run_classes import class_frame
    from unrolled.report.run_numbers import number_frame
    from unrolled.report.run_sequences import carry_texts, flatten

    if data is None:
        raise DataError(
            "predict", "DATA with texts or sequences", "none", "Name a file: unrolled predict RUN DATA."
        )
    known = getattr(estimator, "columns_", None)
    if known is None:
        raise DataError(
            "predict",
            "a run of unrolled classify or regress",
            f"a {type(estimator).__name__} that was not fitted on a table",
            "Use unrolled.load(RUN).predict(X).",
        )
    columns = {name: value for name, value in known.items() if name != "label"}
    read = read_labelled(data, label=None, per_step=estimator.per_step, **columns)
    steps = np.array([len(part) for part in read.inputs]) if estimator.per_step else None
    if isinstance(estimator, SequenceClassifier):
        found = flatten(estimator.predict_proba(read.inputs), estimator.per_step)
        order = class_order(estimator.classes_.tolist())
        classes = estimator.classes_[order].tolist()
        frame, name = class_frame(read.names, found[:, order], classes, steps), "classes"
    else:
        found = flatten(estimator.predict(read.inputs), estimator.per_step)
        frame, name = number_frame(read.names, found, steps), "numbers"
    frame = carry_texts(frame, read.inputs, estimator.per_step)
    _show_told(frame, name)
    write_csv(frame, out)
    if as_json:
        print_json({name: json.loads(frame.to_json(orient="records"))})


def _show_scores(run: "ClassRun") -> None:
    from unrolled.estimators.class_scores import class_label

    columns: dict[str, tuple[str, Callable[[Any], str], bool]] = {
        "accuracy": ("told rightly", "{:.1%}".format, True),
        "f1": ("F1 (mean)", "{:.1%}".format, True),
        "log_loss": ("log loss", "{:.3f}".format, False),
    }
    _show_grid(run.metrics, columns, class_label)


def _show_numbers(run: "NumberRun") -> None:
    from unrolled.report.number_page import number_label

    columns = {"mae": ("MAE", number, False), "rmse": ("RMSE", number, False), "r2": ("R²", number, True)}
    _show_grid(run.metrics, columns, number_label)


def _show_grid(
    metrics: dict[str, Any],
    columns: Mapping[str, tuple[str, Callable[[Any], str], bool]],
    label: Callable[[str], str],
) -> None:
    """Show scores: for each the heading, how it is written and whether a high one is good. The best ones are bold."""
    from rich.table import Table

    from unrolled.report.class_page import best_of, count_held_out

    rows = {"the model": metrics["model"]}
    rows |= {label(name): scores for name, scores in metrics["baselines"].items()}
    best = {
        key: best_of([scores[key] for scores in rows.values()], high) for key, (*_, high) in columns.items()
    }
    grid = Table(title=f"Scored on {count_held_out(metrics['held_out'])}", title_justify="left")
    grid.add_column("", justify="left")
    for heading, *_ in columns.values():
        grid.add_column(heading, justify="right")
    for name, scores in rows.items():
        cells = []
        for key, (_, write, _) in columns.items():
            top = scores[key] is not None and scores[key] == best[key]
            cells.append(f"[bold]{write(scores[key])}[/]" if top else write(scores[key]))
        grid.add_row(name, *cells)
    console().print("\n", grid, "\n", sep="")


def _show_told(frame: Any, name: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    chances = [column for column in frame.columns if column.startswith("p-")]
    shown = [column for column in frame.columns if not column.startswith("p-")]
    grid = Table(title=name.capitalize(), title_justify="left")
    for heading in (*shown, *(["probability"] if chances else [])):
        grid.add_column(heading, justify="left" if heading in ("class", "text") else "right")
    for row in frame.head(SHOWN).to_dict("records"):
        cells = [
            number(row[column]) if column == "told" else escape(_short(str(row[column]))) for column in shown
        ]
        grid.add_row(*cells, *([f"{max(row[column] for column in chances):.1%}"] if chances else []))
    if len(frame) > SHOWN:
        grid.add_row("…", f"{len(frame) - SHOWN:,} more")
    console().print("\n", grid, "\n", sep="")


def _short(text: str) -> str:
    """A text in one line, as a table for people shows it.

    >>> _short("a  long text of\\nmore than forty letters, which are too many")
    'a long text of more than forty letters,…'
    """
    line = " ".join(text.split())
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"
