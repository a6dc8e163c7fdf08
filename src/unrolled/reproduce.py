"""The command `unrolled reproduce`: the published experiments, ours beside theirs."""

import datetime
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from unrolled.errors import OptionError
from unrolled.terminal import console, new_folder, print_json, say

__all__ = ["reproduce"]


def reproduce(
    names: Annotated[
        list[str], Argument(metavar="[NAME]…", help="E1 to E6, E5a to E5h; by default all of them.")
    ] = [],  # noqa: B006
    seeds: Annotated[int, Option(help="Networks for each figure, trained together.")] = 5,
    quick: Annotated[bool, Option("--quick", help="Two seeds, few epochs, the short experiments.")] = False,
    out: Annotated[Path | None, Option(help="Folder to write; by default a new one in runs/.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace that folder.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")] = False,
) -> None:
    """Run the published experiments by their published protocols, and show our figures beside theirs."""
    from unrolled.machine import machine_facts
    from unrolled.recipes import Row, choose
    from unrolled.recipes import reproduce as run
    from unrolled.report.published import Plot, as_markdown, render_published
    from unrolled.report.published import as_json as to_json
    from unrolled.training.checkpoint import whole_folder

    if seeds < 1:
        raise OptionError("reproduce", "seeds of at least 1", str(seeds))
    chosen = choose(names)
    seeds = min(seeds, 2) if quick else seeds
    facts: dict[str, Any] = machine_facts() | {
        "seeds": seeds, "quick": "yes" if quick else "no", "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    rows: list[Row] = []
    plots: list[Plot] = []
    start = time.perf_counter()
    out = out or new_folder("reproduce")
    with whole_folder(out, overwrite=overwrite) as partial:
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
