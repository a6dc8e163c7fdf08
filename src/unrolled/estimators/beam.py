"""The most probable sequence that a decoder can write: greedy, or by a beam of the best beginnings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.symbols import END, START
from unrolled.encoder_decoder import EncoderDecoder

__all__ = ["Written", "search"]


class Written(NamedTuple):
    """What was found for a source.

    `numbers` are those of its symbols, without the end; `ended` tells whether it has one; `log_probability` is that of
    all of it, the end included; `attention` (symbols, time of the batch) is the members' mean, or None.
    """

    numbers: list[int]
    ended: bool
    log_probability: float
    attention: NDArray[np.float32] | None = None


@torch.no_grad()
def search(
    networks: Sequence[EncoderDecoder],
    past: Tensor,
    mask: Tensor | None,
    *,
    beam: int,
    most: int,
    power: float,
    attention: bool = False,
) -> list[Written]:
    """Write a target for each source of a batch, a step of the kernels for each symbol.

    The `beam` best beginnings of each are carried on together; one that comes to its end leaves the beam, and its place
    is not filled again. Of the finished ones that of the greatest log p / (symbols + 1)^power is the answer (of the
    family of Wu et al., arXiv:1609.08144); with a beam of 1 this is the greedy choice. Where none is finished after
    `most` symbols, it is the most probable beginning, cut there. A batch ends as soon as nothing in the beams can
    become better than what is finished.

    Args:
        networks: members, in eval mode, whose probabilities are averaged at each step.
        past: the sources.
        mask: False in their padding.
        beam: beginnings to carry on.
        most: symbols of a target, its end not counted.
        power: 0 takes the most probable target, 1 that with the greatest mean over its symbols.
        attention: whether to give its weights.
    """
    memories = [network.encode(past, mask) for network in networks]
    states = [tuple(s.repeat_interleave(beam, 0) for s in memory.state) for memory in memories]
    count, device = len(past), past.device
    rows = torch.arange(count, device=device)  # which are still at work
    slots = torch.arange(beam, device=device)
    alive = torch.full((count, beam), -torch.inf, dtype=torch.float64, device=device)
    alive[:, 0] = 0
    free = torch.full((count,), beam, device=device)
    last = torch.full((count, beam), START, device=device)
    trace = _Trace(count, beam, device)
    for step in range(most + 1):
        steps = [n.step(last, m, s) for n, m, s in zip(networks, memories, states, strict=True)]
        mean = torch.stack([logits.double().softmax(-1) for logits, _, _ in steps]).mean(0)
        states = [state for _, state, _ in steps]
        if attention:
            looked = torch.stack([w for *_, w in steps if w is not None]).mean(0)
            trace.weights.append(_everywhere(looked, rows, count))
        total = alive.unsqueeze(-1) + mean.log()
        top, index = total.flatten(1).topk(beam)
        parent, symbol = index // mean.shape[-1], index % mean.shape[-1]
        kept = (slots < free.unsqueeze(1)) & (top > -torch.inf)
        ends = kept & (symbol == 0)
        trace.finish(rows, step, torch.where(ends, top, -torch.inf), parent, power)
        free = free - ends.sum(1)
        if step == most:
            trace.cut(rows, step, alive)
            break
        trace.add(rows, parent, symbol)
        alive = torch.where(kept & ~ends, top, -torch.inf)
        going = (free > 0) & (trace.best[rows] < alive.max(1).values / (most + 1) ** power)
        if not bool(going.any()):
            break
        if beam > 1:
            moved = (torch.arange(len(rows), device=device).unsqueeze(1) * beam + parent).flatten()
            states = [tuple(s[moved] for s in state) for state in states]
        last = symbol + END
        if 2 * int(going.sum()) <= len(rows):  # those at work move together
            rows, alive, free, last = (t[going] for t in (rows, alive, free, last))
            memories = [memory.take(going) for memory in memories]
            states = [tuple(s.view(-1, beam, s.shape[-1])[going].flatten(0, 1) for s in state)
                      for state in states]  # fmt: skip
    return trace.read()


def _everywhere(part: Tensor, rows: Tensor, count: int) -> Tensor:
    """What is known of some rows, with zeros for the others."""
    whole = part.new_zeros(count, *part.shape[1:])
    whole[rows] = part
    return whole


class _Trace:
    """Where each beginning comes from, and the best one that is finished."""

    def __init__(self, count: int, beam: int, device: torch.device):
        self.parents: list[Tensor] = []
        self.symbols: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.best = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)
        self.log_probability = torch.zeros(count, dtype=torch.float64, device=device)
        self.ended = torch.zeros(count, dtype=torch.bool, device=device)
        self.length, self.slot = (torch.zeros(count, dtype=torch.int64, device=device) for _ in range(2))
        self.count = count

    def add(self, rows: Tensor, parent: Tensor, symbol: Tensor) -> None:
        self.parents.append(_everywhere(parent, rows, self.count))
        self.symbols.append(_everywhere(symbol, rows, self.count))

    def finish(self, rows: Tensor, step: int, found: Tensor, parent: Tensor, power: float) -> None:
        """Take note of targets of `step` symbols that have come to their end; -∞ where none has."""
        value, at = found.max(1)
        score = value / (step + 1) ** power
        better = score > self.best[rows]
        slot = parent.gather(1, at.unsqueeze(1)).squeeze(1)
        self._note(rows[better], step, score[better], value[better], slot[better])
        self.ended[rows[better]] = True

    def cut(self, rows: Tensor, step: int, alive: Tensor) -> None:
        """Where nothing is finished, take the most probable beginning of `step` symbols."""
        value, slot = alive.max(1)
        open_ = ~self.ended[rows]
        self._note(rows[open_], step, value[open_], value[open_], slot[open_])

    def _note(self, rows: Tensor, step: int, score: Tensor, value: Tensor, slot: Tensor) -> None:
        self.best[rows], self.log_probability[rows] = score, value
        self.length[rows], self.slot[rows] = step, slot

    def read(self) -> list[Written]:
        """Follow the best targets back to their beginnings."""
        lengths, slot = self.length.tolist(), self.slot
        steps = max(lengths)
        all_rows = torch.arange(self.count, device=slot.device)
        chain, weights = [], []
        for step in reversed(range(steps)):
            inside = step < self.length
            chosen = self.symbols[step][all_rows, slot] + END
            parent = self.parents[step][all_rows, slot]
            slot = torch.where(inside, parent, slot)
            chain.append(chosen)
            if self.weights:
                weights.append(self.weights[step][all_rows, slot])
        numbers = torch.stack(chain[::-1], 1).tolist() if chain else [[] for _ in lengths]
        looked = torch.stack(weights[::-1], 1).cpu().numpy() if weights else None
        return [
            Written(
                numbers[row][:length], bool(ended), value,
                None if not self.weights else looked[row, :length] if looked is not None
                else np.zeros((0, self.weights[0].shape[-1]), np.float32),
            )
            for row, (length, ended, value) in enumerate(
                zip(lengths, self.ended.tolist(), self.log_probability.tolist(), strict=True)
            )
        ]  # fmt: skip
