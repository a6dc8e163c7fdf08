"""The words of the command line, before they are options."""

from typing import Any

from unrolled.errors import OptionError

__all__ = ["check_once", "seconds", "spread"]

MANY = ("--levels", "--steps")  # options that take several numbers


def check_once(command: Any, words: list[str]) -> None:
    """Refuse an option that is given twice but taken once: else the last one would win, unsaid.

    Raises:
        OptionError: there is one.
    """
    asked = command
    for word in words:  # of `train generator` the second one is the command
        if word not in getattr(asked, "commands", {}):
            break
        asked = asked.commands[word]
    given = [word.partition("=")[0] for word in words[: words.index("--") if "--" in words else None]]
    for option in asked.params:
        if option.param_type_name == "option" and not (option.multiple or option.is_flag):
            count = sum(given.count(name) for name in option.opts)
            if count > 1:
                raise OptionError(option.opts[0], "one", f"{count}", "Give it once.")


def seconds(budget: str | None) -> float | None:
    """Read a time such as 30s, 2m, 1h or 45.

    >>> seconds("2m"), seconds(None)
    (120.0, None)
    """
    if budget is None:
        return None
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (budget[:-1], units[budget[-1]]) if budget[-1:] in units else (budget, 1.0)
    try:
        found = float(number) * unit
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise OptionError("--budget", "a time above 0, as 30s or 2m", repr(budget))
    return found


def spread(arguments: list[str]) -> list[str]:
    """Write `--levels 80 95` as `--levels 80 --levels 95`, which is what the parser understands."""
    found: list[str] = []
    option = ""
    for word in arguments:
        if option and word.isdigit() and found[-1] != option:
            found.append(option)
        elif not word.isdigit():
            option = word if word in MANY else ""
        found.append(word)
    return found
