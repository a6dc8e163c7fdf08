"""Every error that `unrolled` raises on purpose.

    UnrolledError
    ├── InputError (ValueError)          what the caller gave is wrong
    │   ├── ShapeError                     a tensor or array of the wrong shape or type
    │   ├── DataError                      a file, table, column or time stamp that cannot be used
    │   └── OptionError                    an argument outside its range
    ├── RunFolderError (ValueError)      a run folder that cannot be read, or must not be overwritten
    ├── MissingDataError (RuntimeError)  a data set that is neither here nor to be downloaded
    ├── TrainingError (RuntimeError)     training cannot go on (the loss is no number)
    └── KernelError (RuntimeError)       an implementation was asked for by name and cannot run

Each message has four parts: where, what was expected, what was got, and the cure.
"""

__all__ = [
    "DataError",
    "InputError",
    "KernelError",
    "MissingDataError",
    "OptionError",
    "RunFolderError",
    "ShapeError",
    "TrainingError",
    "UnrolledError",
]


class UnrolledError(Exception):
    """The base of all errors of this package.

    Args:
        where: the function, layer, file or column concerned.
        expected: what would have been right.
        got: what was there instead.
        cure: what to do about it, a whole sentence.

    `exit_code` is what the command line ends with: 2 where the user can mend it, 1 where we must.

    >>> str(InputError("LSTM", expected="units > 0", got="-1", cure="Pass units=32."))
    'LSTM: expected units > 0, got -1. Pass units=32.'
    """

    exit_code = 2

    def __init__(self, where: str, expected: str = "", got: str = "", cure: str = ""):
        super().__init__(where, expected, got, cure)
        self.where, self.expected, self.got, self.cure = where, expected, got, cure

    def __str__(self) -> str:
        middle = ", ".join(
            f"{word} {part}" for word, part in (("expected", self.expected), ("got", self.got)) if part
        )
        text = f"{self.where}: {middle}." if middle else f"{self.where}."
        return f"{text} {self.cure}".strip()


class InputError(UnrolledError, ValueError):
    """What the caller gave is wrong."""


class ShapeError(InputError):
    """A tensor or an array has the wrong shape or type."""


class DataError(InputError):
    """A file, table, column or time stamp cannot be used."""


class OptionError(InputError):
    """An argument lies outside its range, or is not one of the choices."""


class RunFolderError(UnrolledError, ValueError):
    """A run folder cannot be read, or exists already and must not be overwritten."""


class MissingDataError(UnrolledError, RuntimeError):
    """A data set is neither on this machine nor to be downloaded."""


class TrainingError(UnrolledError, RuntimeError):
    """Training cannot go on: the loss is not a finite number."""

    exit_code = 1


class KernelError(UnrolledError, RuntimeError):
    """An implementation was asked for by name, and cannot run here."""

    exit_code = 1
