"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

from typer import Option

__all__ = ["Device", "Json", "Out", "Overwrite", "Resume", "Seed"]

Seed = Annotated[int, Option(help="The same seed gives the same bits.")]
Device = Annotated[str, Option(help="auto, cpu or cuda.")]
Out = Annotated[Path | None, Option(help="Run folder to write; by default a new one in runs/.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace the run in that folder.")]
Resume = Annotated[bool, Option("--resume", help="Go on where a run that was killed left off.")]
Json = Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")]
