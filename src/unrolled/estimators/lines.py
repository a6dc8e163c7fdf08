"""The line of each target: ridge regression whose look-back, penalty and freedom are chosen by leaving out blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lines", "candidate_lengths", "trusted_share"]

CHUNK = 4096  # windows that are float64 at a time
MOST = 2**16  # windows of all targets that are read: more of them are thinned out evenly
LONGEST = 640  # steps of a look-back
PENALTIES = tuple(10.0**power for power in range(-1, 5))
BLOCKS = 5
WORTH = 0.01  # share of the squared error that a line with more freedom has to save

Line = tuple[NDArray[np.float64], NDArray[np.float64]]


def candidate_lengths(shortest: int, rows: int) -> list[int]:
    """Return the look-backs to try: from `shortest` on, each √2 times the one before, to a quarter of the rows.

    >>> candidate_lengths(35, 6000)
    [35, 49, 70, 99, 140, 198, 280, 396, 560]
    """
    most = max(min(LONGEST, rows // 4), shortest)
    lengths = [round(shortest * 2 ** (power / 2)) for power in range(20)]
    return [length for length in lengths if length <= most]


def trusted_share(missing: NDArray[np.floating], added: NDArray[np.floating]) -> float:
    """Return the share of a correction that held-out windows bear out, from 0 to 1.

    λ = Σ missing·added / Σ added² is what would have been best there; its variance v is that of leaving out each of
    five blocks of windows (the jackknife). What is returned is λ·(1 - v/λ²), no less than 0, no more than 1: where λ
    might as well be zero, nothing is left of it.

    Args:
        missing: (windows, …) in the order of time, the targets less the line's forecasts; 0 where none counts.
        added: what the network's forecasts have more than the line's; 0 there as well.

    Source: Efron and Stein (1981) for the jackknife, James and Stein (1961) for the factor.

    >>> trusted_share(np.array([1.0, 2.0, 1.0, 2.0, 1.0]), np.array([2.0, 4.0, 2.0, 4.0, 2.0]))
    0.5
    """
    # A sum for each window, since blocks of windows are cut along the first axis alone.
    along = [
        (missing * added).reshape(len(added), -1).sum(1),
        np.square(added).reshape(len(added), -1).sum(1),
    ]
    parts = np.array(
        [[block.sum() for block in np.array_split(sums.astype(np.float64), BLOCKS)] for sums in along]
    )
    inner, square = parts.sum(axis=1)
    if not square > 0 or not inner > 0:
        return 0.0
    share = inner / square
    without = (inner - parts[0]) / np.maximum(square - parts[1], np.finfo(np.float64).tiny)
    variance = (BLOCKS - 1) / BLOCKS * np.square(without - without.mean()).sum()
    return float(np.clip(share * (1 - variance / share**2), 0, 1))


@dataclass(frozen=True)
class Lines:
    """For each target a line from its window to all steps of the horizon, both less the window's last value.

    Attributes:
        weight: (targets, horizon, steps), the same for all targets where it is `shared`.
        bias: (targets, horizon), zero where none was worth it.
        penalty: on the squared weights, for each target's windows.
        shared: whether the targets have one line.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    penalty: float
    shared: bool

    @classmethod
    def fit(
        cls,
        past: NDArray[np.float32],
        target: NDArray[np.float32],
        lengths: Sequence[int],
        counted: NDArray[np.bool_] | None = None,
        penalties: Sequence[float] = PENALTIES,
        together: int = 1,
    ) -> "Lines":
        """Choose look-back, penalty, whether there is a bias, whether the targets share a line; then fit all windows.

        The windows are cut into five blocks in the order of time; each is forecast by what the others gave, without
        their windows within a horizon of it. Look-back and penalty are those of the least squared error of one line
        without a bias. A bias, which is a drift that goes on for ever, and then a line for each target are taken only
        where they save 1 % of that error. Where there are too few windows to choose, it is one line with a bias, of the
        longest look-back and the greatest penalty.

        Args:
            past: (windows, steps, targets) in the order of time, a view will do; steps the longest of `lengths`.
            target: (windows, horizon, targets).
            lengths: look-backs to choose from, in steps.
            counted: (windows, horizon, targets), which targets are real; windows with one that is not are left out, or
                where that leaves fewer than half of them, those with half of their targets filled in.
            penalties: to choose from.
            together: windows of one time, where there are several series: blocks part by time.
        """
        targets = target.shape[2]
        sums = [
            _blocks(
                past[:, :, c],
                target[:, :, c],
                None if counted is None else counted[:, :, c],
                targets,
                together,
            )
            for c in range(targets)
        ]
        shared = [
            [_total(parts) for parts in zip(*blocks, strict=True)] for blocks in zip(*sums, strict=True)
        ]
        choice = _Choice([shared], [sums[c] for c in range(targets)], lengths, penalties)
        length, penalty, one, bias = choice.made()
        whole = [_total([part for block in blocks for part in block]) for blocks in sums]
        groups = [_total(whole)] if one else whole
        found = [group.last(length).ridge(penalty * (targets if one else 1), bias) for group in groups]
        lines = found * targets if one else found
        return cls(np.stack([w for w, _ in lines]), np.stack([b for _, b in lines]), penalty, one)

    def predict(self, past: NDArray[Any]) -> NDArray[np.float64]:
        """Return the forecasts (windows, horizon, targets) from the last steps of `past` (windows, steps, targets)."""
        window = past[:, -self.weight.shape[2] :].astype(np.float64)
        last = window[:, -1:]
        return last + np.einsum("nsk,khs->nhk", window - last, self.weight, optimize=True) + self.bias.T


@dataclass(frozen=True)
class _Sums:
    """Sums over windows x and their targets y, both less the window's last value."""

    count: int
    x: NDArray[np.float64]  # (steps,)
    y: NDArray[np.float64]  # (horizon,)
    xx: NDArray[np.float64]  # (steps, steps)
    xy: NDArray[np.float64]  # (steps, horizon)
    yy: float

    @classmethod
    def of(cls, past: NDArray[np.float32], target: NDArray[np.float32], rows: NDArray[np.intp]) -> "_Sums":
        steps, horizon = past.shape[1], target.shape[1]
        found = _Sums(
            0, np.zeros(steps), np.zeros(horizon), np.zeros((steps, steps)), np.zeros((steps, horizon)), 0.0
        )
        for first in range(0, len(rows), CHUNK):
            part = rows[first : first + CHUNK]
            last = past[part, -1:].astype(np.float64)
            x, y = past[part] - last, target[part] - last
            more = _Sums(len(part), x.sum(0), y.sum(0), x.T @ x, x.T @ y, float((y**2).sum()))
            found = _total([found, more])
        return found

    def last(self, steps: int) -> "_Sums":
        """Those of the windows' last steps."""
        part = slice(-steps, None)
        return _Sums(self.count, self.x[part], self.y, self.xx[part, part], self.xy[part], self.yy)

    def less(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> "_Sums":
        """Those of x and y less these constants."""
        xx = self.xx - np.outer(x, self.x) - np.outer(self.x, x) + self.count * np.outer(x, x)
        xy = self.xy - np.outer(x, self.y) - np.outer(self.x, y) + self.count * np.outer(x, y)
        yy = self.yy - 2 * float(y @ self.y) + self.count * float(y @ y)
        return _Sums(self.count, self.x - self.count * x, self.y - self.count * y, xx, xy, yy)

    def means(self) -> Line:
        return self.x / max(self.count, 1), self.y / max(self.count, 1)

    def ridge(self, penalty: float, bias: bool) -> Line:
        """Return weight (horizon, steps) and bias (horizon,)."""
        x, y = self.means()
        centred = self.less(x, y) if bias else self
        values, vectors = np.linalg.eigh(centred.xx)
        weight = (vectors @ (_inverse(values, penalty)[:, None] * (vectors.T @ centred.xy))).T
        return weight, y - weight @ x if bias else np.zeros_like(y)

    def errors(self, late: "_Sums", penalties: Sequence[float], bias: bool) -> NDArray[np.float64]:
        """Return the squared error on the windows of `late`, summed, of the ridge of these, for each penalty."""
        early = self
        if bias:
            means = self.means()
            early, late = self.less(*means), late.less(*means)
        values, vectors = np.linalg.eigh(early.xx)
        turned = vectors.T @ early.xy
        first = (turned * (vectors.T @ late.xy)).sum(1)
        second = (vectors.T @ late.xx @ vectors) * (turned @ turned.T)
        inverses = [_inverse(values, penalty) for penalty in penalties]
        return np.array([late.yy - 2 * first @ d + d @ second @ d for d in inverses])


Blocks = list[list[_Sums]]  # of each block its head, its middle and its tail


@dataclass(frozen=True)
class _Choice:
    """What is compared: the blocks of all targets together, and of each."""

    shared: list[Blocks]
    own: list[Blocks]
    lengths: Sequence[int]
    penalties: Sequence[float]

    def made(self) -> tuple[int, float, bool, bool]:
        """Return the length, the penalty, whether the line is shared and whether it has a bias."""
        if any(fold.count < 2 for blocks in self.own for folds in _folds(blocks) for fold in folds):
            return max(self.lengths), max(self.penalties), True, True
        found = {length: self._errors(self.shared, length, False) for length in self.lengths}
        length = min(found, key=lambda length: float(found[length].min()))
        best, one, bias = found[length], True, False
        drifting = self._errors(self.shared, length, True)
        if drifting.min() <= (1 - WORTH) * best.min():
            best, bias = drifting, True
        if len(self.own) > 1:
            own = self._errors(self.own, length, bias)
            if own.min() <= (1 - WORTH) * best.min():
                best, one = own, False
        return length, self.penalties[int(np.argmin(best))], one, bias

    def _errors(self, groups: list[Blocks], length: int, bias: bool) -> NDArray[np.float64]:
        scale = len(self.own) / len(groups)
        penalties = [penalty * scale for penalty in self.penalties]
        each = [
            early.last(length).errors(late.last(length), penalties, bias)
            for blocks in groups
            for early, late in _folds(blocks)
        ]
        return np.sum(each, axis=0)


def _blocks(
    past: NDArray[np.float32],
    target: NDArray[np.float32],
    counted: NDArray[np.bool_] | None,
    targets: int,
    together: int,
) -> Blocks:
    count, gap = len(past), target.shape[1] * together
    kept = np.arange(0, count, max(1, -(-count * targets // MOST)))
    if counted is not None:
        share = counted[kept].mean(1)
        full = share == 1 if np.mean(share == 1) >= 0.5 else share >= 0.5
        kept = kept[full] if full.any() else kept
    edges = np.linspace(0, count, BLOCKS + 1).astype(int)
    blocks: Blocks = []
    for first, end in pairwise(edges):
        near = min(gap, (end - first) // 2)
        cuts = np.searchsorted(kept, [first, first + near, end - near, end])
        blocks.append([_Sums.of(past, target, kept[a:b]) for a, b in pairwise(cuts)])
    return blocks


def _folds(blocks: Blocks) -> list[tuple[_Sums, _Sums]]:
    """For each block, what is fitted and what is forecast."""
    found = []
    for k, block in enumerate(blocks):
        far = [blocks[j][i] for j in range(len(blocks)) for i in range(3)
               if j != k and (j, i) not in ((k - 1, 2), (k + 1, 0))]  # fmt: skip
        found.append((_total(far), _total(block)))
    return found


def _total(parts: Sequence[_Sums]) -> _Sums:
    names = ("count", "x", "y", "xx", "xy", "yy")
    return _Sums(*(sum(getattr(part, name) for part in parts) for name in names))


def _inverse(values: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """1/(value + penalty); directions in which the windows do not vary get no weight, as of the pseudo-inverse."""
    size = np.maximum(values, 0.0) + penalty
    floor = np.finfo(np.float64).eps * len(values) * max(float(values[-1]), 0.0)
    return np.divide(1.0, size, out=np.zeros_like(size), where=size > floor)
