"""The commands `unrolled reproduce`, the published experiments, and `unrolled compare`, the layers side by side."""

import datetime
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from unrolled.commands.options import Json
from unrolled.commands.terminal import check_new, console, new_folder, print_json, say, say_wrapped, write_csv
from unrolled.errors import OptionError

__all__ = ["compare", "reproduce"]


def reproduce(
    names: Annotated[
        list[str], Argument(metavar="[NAME]…", help="E1 to E6, E5a to E5h; by default all of them.")
    ] = [],  # noqa: B006
    seeds: Annotated[int, Option(help="Networks for each figure, trained together.")] = 5,
    quick: Annotated[bool, Option("--quick", help="Two seeds, few epochs, the short experiments.")] = False,
    out: Annotated[Path | None, Option(help="Folder to write; by default a new one in runs/.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace that folder.")] = False,
    as_json: Json = False,
) -> None:
    """Run the published experiments by their published protocols, and show our figures beside theirs."""
    from unrolled.commands.machine import machine_facts
    from unrolled.recipes import Row, choose
    from unrolled.recipes import reproduce as run
    from unrolled.report.published import Plot, as_markdown, render_published
    from unrolled.report.published import as_json as to_json
    from unrolled.training.checkpoint import whole_folder

    _check_range("reproduce", "seeds", seeds, 1, 1000)
    chosen = choose(names)
    seeds = min(seeds, 2) if quick else seeds
    facts: dict[str, Any] = machine_facts() | {
        "seeds": seeds, "quick": "yes" if quick else "no", "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    if quick:
        say("--quick: two seeds and few epochs, not the published protocol; no figure is judged.")
    rows: list[Row] = []
    plots: list[Plot] = []
    start = time.perf_counter()
    out = out or new_folder("reproduce")
    with whole_folder(out, overwrite=overwrite, known_by="results.json") as partial:
        for found in run(chosen, seeds, quick):
            if isinstance(found, Plot):
                plots.append(found)
                continue
            rows.append(found)
            _show(found)
        facts["minutes"] = f"{(time.perf_counter() - start) / 60:.1f}"
        texts = {name: str(value) for name, value in facts.items()}
        command = shlex.join(["unrolled", *sys.argv[1:]])
        result = to_json(rows, texts)
        (partial / "results.json").write_text(json.dumps(result, indent=1, allow_nan=False), "utf-8")
        (partial / "results.md").write_text(as_markdown(rows, texts), "utf-8")
        (partial / "report.html").write_text(render_published(rows, plots, texts, command), "utf-8")
    say(f"\nReport: {out / 'report.html'}; the same as results.md and results.json")
    if as_json:
        print_json({"out": str(out), **result})


def compare(
    steps: Annotated[
        list[int], Option(help="Lengths of the sequences: --steps 50 200 1000.", metavar="N…")
    ] = [50, 200, 1000],  # noqa: B006
    units: Annotated[int, Option(help="Of each layer.")] = 64,
    epochs: Annotated[int, Option(help="Of 2,000 sequences.")] = 30,
    seeds: Annotated[int, Option(help="Networks for each figure; the errors' median is shown.")] = 1,
    out: Annotated[Path | None, Option(help="CSV file to write; it must not exist.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace that file.")] = False,
    as_json: Json = False,
) -> None:
    """Compare SimpleRNN, LSTM, GRU and convolutions: parameters, memory, time, and error as the span grows."""
    import dataclasses

    import pandas as pd

    from unrolled.recipes.compare import LIMITS, NETWORKS
    from unrolled.recipes.compare import compare as run

    for name, values in (("steps", steps), ("units", [units]), ("epochs", [epochs]), ("seeds", [seeds])):
        for value in values:
            _check_range("compare", name, value, *LIMITS[name])
    check_new(out, overwrite)
    say_wrapped(
        "Error: of adding the mean square, 0.167 by chance; of copying the share of wrong symbols, 0.75 by chance."
    )
    say(f"{'':9}{'steps':>6}  {'':16}{'parameters':>11}{'MB':>7}{'s an epoch':>12}{'error':>9}")
    found = []
    for one in run(steps, units, epochs, seeds):
        found.append(dataclasses.asdict(one))
        task, length = (one.task, f"{one.steps:,}") if one.network == NETWORKS[0] else ("", "")
        say(
            f"{task:9}{length:>6}  {one.network:16}{one.parameters:>11,}"
            f"{one.megabytes:>7.1f}{one.seconds:>12.2f}{one.error:>9.4f}"
        )
    write_csv(pd.DataFrame(found), out)
    if as_json:
        print_json({"compared": found})


def _check_range(command: str, name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        bound = f"at least {least}" if value < least else f"at most {most:,}"
        raise OptionError(command, f"{name} of {bound}", str(value))


def _show(row: Any) -> None:
    """Print a row as it comes: the figures on one line, what else there is to say below."""
    from rich.markup import escape

    from unrolled.report.published import cells

    experiment, what, published, ours, span, beside, seconds = cells(row)
    console().print(f"[bold]{experiment}[/bold]  {escape(what)}", soft_wrap=True)
    words = [f"ours {ours}" + (f" ({span})" if span else "")] if row.found else []
    words = [f"published {published}", *words] if row.published is not None else words
    words += [text for text in (beside, f"{seconds} s" if seconds else "", row.note) if text]
    console().print(f"     {escape('; '.join(words))}", soft_wrap=True)
