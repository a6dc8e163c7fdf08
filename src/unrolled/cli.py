"""The command line: tables for people on standard error, JSON on standard output, exit code 0, 2 or 1."""

import logging
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from typer import Option

from unrolled.commands.arguments import check_once, spread
from unrolled.commands.classify import classify, regress
from unrolled.commands.forecast import backtest, demo, forecast, predict
from unrolled.commands.generate import generate, train_generator
from unrolled.commands.options import Json
from unrolled.commands.reproduce import compare, reproduce
from unrolled.commands.terminal import Notes, print_json, say
from unrolled.commands.transcribe import train_transcriber, transcribe
from unrolled.errors import UnrolledError

__all__ = ["app", "main"]

app = typer.Typer(
    name="unrolled",
    help="Recurrent networks for tables, texts and sequences: forecasts, classes, numbers, sequences that go on "
    "(generate) or become others (transcribe), with honest baselines and a report.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        from unrolled import __version__

        print(f"unrolled {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def info(as_json: Json = False) -> None:
    """Show versions, the processor's features, the kernels in use and the threads."""
    from unrolled.commands.machine import machine_facts

    found = machine_facts()
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        say(f"{name:20}{value}")


train = typer.Typer(
    help="Learn to generate or to transcribe sequences, into a run folder: train generator, train transcriber.",
    rich_markup_mode=None,
)
train.command("generator")(train_generator)
train.command("transcriber")(train_transcriber)
BEFORE: list[Callable[..., None]] = [forecast, predict, backtest, classify, regress]
AFTER: list[Callable[..., None]] = [generate, transcribe, reproduce, compare, demo, info]
for command in BEFORE:
    app.command()(command)
app.add_typer(train, name="train")
for command in AFTER:
    app.command()(command)


def main() -> None:
    """Run the command line; exit with 0 (done), 2 (the input is wrong) or 1 (a fault of ours)."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    logger = logging.getLogger("unrolled")
    logger.handlers, logger.propagate = [Notes(logging.WARNING)], False
    try:
        words = spread(arguments)
        check_once(command, words)
        code = command.main(words or ["--help"], prog_name="unrolled", standalone_mode=False)
        if isinstance(code, int) and code:  # an interrupt before a command could hear it
            say("interrupted")
            return code
    except UnrolledError as error:
        say(f"error: {error}")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return 130
    except Exception as error:
        told = getattr(error, "format_message", None)  # a usage error of click, or of the click inside typer
        if told is None:
            raise
        where = getattr(getattr(error, "ctx", None), "command_path", "unrolled")
        say(f"error: {told()} See {where} --help.")
        return 2
    return 0
