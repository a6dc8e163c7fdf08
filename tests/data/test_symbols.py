"""Symbols and their numbers: there and back, and what is no symbol, or was never seen."""

import json

import numpy as np
import pytest

from unrolled.data.symbols import END, PADDING, START, Symbols
from unrolled.errors import DataError


@pytest.mark.parametrize(
    ("sequences", "symbols"),
    [
        (["hello", "hole"], ("e", "h", "l", "o")),
        ([["one", "two"], ["two"]], ("one", "two")),
        ([np.array([67, 60]), np.array([60, 9])], (9, 60, 67)),
        ([["rest", 60], [7]], (7, 60, "rest")),
    ],
)
def test_symbols_are_numbered_in_order_and_come_back(sequences, symbols):
    alphabet = Symbols.of(sequences)
    assert alphabet.symbols == symbols
    assert len(alphabet) == len(symbols) + 3
    assert {type(symbol) for symbol in alphabet.symbols} <= {str, int}
    for sequence in sequences:
        numbers = alphabet.numbers(sequence, start=True, end=True)
        assert numbers.dtype == np.int64 and numbers[0] == START and numbers[-1] == END
        assert numbers[1:-1].min() == 3 + symbols.index(min(sequence, key=symbols.index))
        assert alphabet.decode([*numbers, 3]) == list(sequence)
    written = json.loads(json.dumps(alphabet.to_json()))
    assert Symbols.from_json(written) == alphabet


def test_padding_and_starts_are_no_symbols():
    assert Symbols.of(["ab"]).decode([START, PADDING, 3, 4, PADDING]) == ["a", "b"]
    with pytest.raises(DataError, match="expected numbers below 5, got 5"):
        Symbols.of(["ab"]).decode([5])


def test_an_unseen_symbol_is_named_with_its_place():
    with pytest.raises(DataError, match=r"X\[3\], step 1: .*the 2 symbols .*\('a', 'b'\), got 'ß'"):
        Symbols.of(["ab"]).numbers("aß", "X[3]")
    with pytest.raises(DataError, match="the 40 symbols seen in training .*, …"):
        Symbols.of([range(40)]).numbers([41])
    with pytest.raises(DataError, match="got '1'"):
        Symbols.of([[1, 2]]).numbers(["1"])


@pytest.mark.parametrize("strange", [1.0, True, None, float("nan"), ("a",), np.float32(2)])
def test_what_is_no_symbol(strange):
    with pytest.raises(DataError, match=r"X\[1\], step 1: expected a symbol: a text or a whole number, got"):
        Symbols.of([[1], [2, strange]], "X")
    with pytest.raises(DataError, match="seed, step 0: expected a symbol"):
        Symbols.of([[1]]).numbers([strange], "seed")


def test_no_symbols_at_all():
    with pytest.raises(DataError, match="at least one symbol"):
        Symbols.of([[], ""])
    for damaged in ([], ["a", "a"]):
        with pytest.raises(ValueError, match="alphabet"):
            Symbols.from_json(damaged)
