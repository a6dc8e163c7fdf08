"""Symbols as numbers: characters, words, notes; and the three numbers that stand for none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError

__all__ = ["END", "PADDING", "SPECIALS", "START", "Symbol", "Symbols"]

PADDING, START, END = 0, 1, 2
SPECIALS = 3  # numbers that stand for no symbol
SHOWN = 12  # symbols named in a message

Symbol = str | int


@dataclass(frozen=True)
class Symbols:
    """An alphabet: the symbols that have numbers, from 3 on; 0 is padding, 1 the start, 2 the end of a sequence.

    Attributes:
        symbols: by number, from 3 on: texts (characters, words) or whole numbers, each once.

    >>> alphabet = Symbols.of(["hello", "hole"])
    >>> alphabet.symbols, len(alphabet)
    (('e', 'h', 'l', 'o'), 7)
    >>> alphabet.numbers("hole").tolist()
    [4, 6, 5, 3]
    >>> alphabet.decode([1, 4, 6, 5, 3, 2, 0])
    ['h', 'o', 'l', 'e']
    """

    symbols: tuple[Symbol, ...]

    @classmethod
    def of(cls, sequences: Iterable[Iterable[Any]], where: str = "sequences") -> "Symbols":
        """The distinct symbols of sequences, in order: numbers by size, texts as Python sorts them.

        Args:
            sequences: each a text, of which each character is a symbol, or an iterable of texts or whole numbers.
            where: what to call them in messages.

        Raises:
            DataError: what is neither a text nor a whole number, or no symbol at all.
        """
        found: dict[Symbol, None] = {}
        for number, sequence in enumerate(sequences):
            found.update(dict.fromkeys(_listed(sequence, f"{where}[{number}]")))
        if not found:
            raise DataError(where, "at least one symbol", "none", "Check how the data was read.")
        return cls(tuple(sorted(found, key=lambda symbol: (isinstance(symbol, str), symbol))))

    @classmethod
    def from_json(cls, written: Sequence[Symbol]) -> "Symbols":
        """The alphabet that `to_json` wrote.

        Raises:
            ValueError: what is written is no alphabet.

        >>> Symbols.from_json(Symbols.of([[60, 62], ["hold"]]).to_json()).symbols
        (60, 62, 'hold')
        """
        symbols = _listed(written, "alphabet")
        if not symbols or len(set(symbols)) < len(symbols):
            raise ValueError("an alphabet without symbols, or with one twice")
        return cls(tuple(symbols))

    def to_json(self) -> list[Symbol]:
        """The symbols by number, as JSON holds them."""
        return list(self.symbols)

    def __len__(self) -> int:
        """How many numbers there are, the three that stand for no symbol included."""
        return len(self.symbols) + SPECIALS

    @cached_property
    def number_of(self) -> dict[Symbol, int]:
        """The number of each symbol."""
        return {symbol: number for number, symbol in enumerate(self.symbols, SPECIALS)}

    def numbers(
        self, sequence: Iterable[Any], where: str = "sequence", *, start: bool = False, end: bool = False
    ) -> NDArray[np.int64]:
        """The numbers of a sequence's symbols.

        Args:
            sequence: a text, of which each character is a symbol, or an iterable of symbols.
            where: what to call it in messages.
            start: put the start's number in front.
            end: put the end's number behind.

        Raises:
            DataError: a symbol that the alphabet has not.

        >>> Symbols.of(["ab"]).numbers("abba", start=True, end=True).tolist()
        [1, 3, 4, 4, 3, 2]
        """
        find, given = self.number_of, _listed(sequence, where)
        try:
            found = [find[symbol] for symbol in given]
        except KeyError:
            step = next(step for step, symbol in enumerate(given) if symbol not in find)
            names = [repr(known) for known in self.symbols]
            raise DataError(
                f"{where}, step {step}",
                f"one of the {len(names)} symbols seen in training "
                f"({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})",
                repr(given[step]),
                "Leave it out, or train on data that has it.",
            ) from None
        return np.array([START] * start + found + [END] * end, np.int64)

    def decode(self, numbers: Iterable[int]) -> list[Symbol]:
        """The symbols of numbers, up to the first end; padding and starts are left out.

        Raises:
            DataError: a number that stands for nothing.
        """
        found = []
        for number in map(int, numbers):
            if number == END:
                break
            if number >= len(self) or number < 0:
                raise DataError("numbers", f"numbers below {len(self)}", str(number))
            if number >= SPECIALS:
                found.append(self.symbols[number - SPECIALS])
        return found


def _listed(sequence: Iterable[Any], where: str) -> list[Symbol]:
    """A sequence's symbols as Python's own texts or whole numbers; True would equal 1, and a float is measured."""
    if isinstance(sequence, str):
        return list(sequence)
    found = [symbol.item() if isinstance(symbol, np.generic) else symbol for symbol in sequence]
    for step, symbol in enumerate(found):
        if not isinstance(symbol, str | int) or isinstance(symbol, bool):
            raise DataError(
                f"{where}, step {step}",
                "a symbol: a text or a whole number",
                f"{symbol!r} ({type(symbol).__name__})",
                "Write it as a text: str(symbol).",
            )
    return found
