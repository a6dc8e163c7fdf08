"""Going on, step by step: values as they are told, symbols drawn by temperature, the k most probable, the nucleus."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.autoregressive import Stepper
from unrolled.data.symbols import END, START
from unrolled.errors import DataError, OptionError
from unrolled.estimators.piece_reading import FIRST, PieceReading
from unrolled.nn.validation import is_count, is_number, plain

__all__ = ["Drawing", "draw_symbols", "go_on", "mean_chances"]


HOTTEST = 1e6  # of temperatures: all symbols are equal long before


@dataclass(frozen=True)
class Drawing:
    """How symbols are drawn.

    Attributes:
        temperature: above 0; logarithms of probabilities are divided by it: below 1 the probable becomes more so.
        top_k: draw from the k most probable alone; 1 takes the most probable one. None for all.
        top_p: draw from the fewest symbols that together have this probability, in (0, 1] (nucleus sampling, Holtzman
            et al., arXiv:1904.09751). None for all.

    Raises:
        OptionError: one is out of its range.

    >>> Drawing(top_k=1).draw(np.array([[0.2, 0.5, 0.3]]), np.random.default_rng(0)).tolist()
    [1]
    >>> Drawing(temperature=0)
    Traceback (most recent call last):
    unrolled.errors.OptionError: generate: expected a temperature above 0, got 0. Pass top_k=1 for the most probable.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        t, k, p = self.temperature, self.top_k, self.top_p
        if not is_number(t) or not 0 < t < np.inf:
            cure = "Pass top_k=1 for the most probable."
            raise OptionError("generate", "a temperature above 0", repr(t), cure)
        if plain(t) > HOTTEST:
            raise OptionError("generate", f"a temperature of at most {HOTTEST:,.0f}", "more")
        object.__setattr__(self, "temperature", float(t))
        if k is not None and not is_count(k, 1):
            raise OptionError("generate", "top_k of at least 1, or None", repr(k), "Pass for instance 5.")
        if p is not None and not (is_number(p) and 0 < p <= 1):
            raise OptionError("generate", "top_p in (0, 1], or None", repr(p), "Pass for instance 0.9.")

    def draw(self, chances: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw a class for each row of (rows, classes), which need not sum to 1; a chance of 0 is never drawn."""
        if self.top_k == 1:
            best: NDArray[np.int64] = chances.argmax(-1)
            return best
        if self.top_k is not None and self.top_k < chances.shape[-1]:  # before heat makes them equal
            less = np.argsort(-chances, -1, kind="stable")[:, self.top_k :]
            chances = chances.copy()
            np.put_along_axis(chances, less, 0.0, -1)
        if self.temperature != 1.0:
            chances = (chances / chances.max(-1, keepdims=True)) ** (1 / self.temperature)
        if self.top_p is not None and self.top_p < 1:
            order = np.argsort(-chances, -1, kind="stable")
            ordered = np.take_along_axis(chances, order, -1)
            before = ordered.cumsum(-1) - ordered  # of the more probable ones
            out = before >= self.top_p * ordered.sum(-1, keepdims=True)
            chances = np.empty_like(chances)
            np.put_along_axis(chances, order, np.where(out, 0.0, ordered), -1)
        if len(chances) == 1:  # the usual case, in half the time
            row = chances[0].cumsum()
            return row.searchsorted([rng.random() * row[-1]], "right")
        sums = chances.cumsum(-1)
        thrown = rng.random(len(sums)) * sums[:, -1]
        found: NDArray[np.int64] = (sums <= thrown[:, None]).sum(-1)
        return found


def mean_chances(told: NDArray[Any], whole: bool = True) -> NDArray[np.float64]:
    """The mean of members' probabilities, from their logits (M, …, classes).

    Unless `whole`, those of a single member need not sum to 1: to draw by them, their proportions will do.

    >>> mean_chances(np.array([[0.0, 0.0], [99.0, 0.0]])).round(2).tolist()
    [0.75, 0.25]
    """
    chances: NDArray[np.float64] = np.exp(told.astype(np.float64) - told.max(-1, keepdims=True))
    if whole or len(chances) > 1:
        chances /= chances.sum(-1, keepdims=True)
    return chances[0] if len(chances) == 1 else chances.mean(0)


def go_on(
    reading: PieceReading, stepper: Stepper, told: NDArray[Any], last: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Make values, (rows, n, features): each member reads the mean of all members' answers.

    Args:
        reading: how values are scaled.
        stepper: has read all steps so far.
        told: what it tells of the next, (M, rows, features).
        last: the values of the last step, (features,).
        n: steps to make.

    Raises:
        DataError: a value is no number any more.
    """
    rows = told.shape[1]
    made = np.empty((rows, n, reading.width))
    value = np.repeat(last[None], rows, 0)
    for step in range(n):
        value = reading.values(value, told.mean(0))
        if not np.isfinite(value).all():
            raise DataError(
                "generate", "finite values", f"a model that runs away: none at step {step + 1:,}",
                "Make fewer steps, or train longer, with differences=False, or another activation.",
            )  # fmt: skip
        made[:, step] = value
        if step < n - 1:
            told = stepper.step(reading.numbers(value, "values"))
    return made


def draw_symbols(
    reading: PieceReading,
    stepper: Stepper,
    told: NDArray[Any],
    n: int,
    came: int,
    drawing: Drawing,
    seed: int,
) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_]]:
    """Draw symbols: the numbers of each row's steps, (steps, streams), and whether it came to its end.

    Args:
        reading: how symbols are numbered.
        stepper: has read all steps so far.
        told: what it tells of the next, (M, rows, streams, classes).
        n: steps to make, at most; those of voices that take turns, each for itself.
        came: how many steps of such voices came before.
        drawing: how to draw.
        seed: of the draws.
    """
    rng, (rows, streams) = np.random.default_rng(seed), told.shape[1:3]
    made = np.empty((n, rows, streams), np.int64)
    ended = np.zeros(rows, bool)
    lengths = np.full(rows, n)
    for step in range(n):
        chances = mean_chances(told, whole=False)
        # the first stream tells an end for all; of voices that take turns, the first one
        chances[:, 1:, 0] = 0
        # and no piece is empty
        if not reading.ends or (came + step) % reading.voices or came + step == 0:
            chances[:, :, 0] = 0
        for stream in range(streams):
            made[step, :, stream] = drawing.draw(chances[:, stream], rng) + FIRST
        if reading.ends:
            now = (made[step, :, 0] == END) & ~ended
            lengths[now], ended = step, ended | now
            if ended.all():
                break
        if step < n - 1:
            x = np.where(made[step] == END, START, made[step])  # of rows at their end, whatever it is
            if reading.voices > 1:
                turn = np.full((rows, 1), (came + step + 1) % reading.voices)
                x = np.concatenate([x, turn], 1)
            told = stepper.step(x)
    return [made[: lengths[row], row] for row in range(rows)], ended
