"""Random recurrences for the tests of the kernels."""

import torch

from unrolled.kernels.recurrence import GATE_NAMES, Recurrence

BATCH, TIME, FEATURES, UNITS = 3, 5, 2, 4
CELLS = [("simple_rnn", {}), ("lstm", {}), ("gru", {"reset_after": True}), ("gru", {"reset_after": False})]


def make(
    cell, *, mask=None, dropped=False, norm=False, seed=0, sizes=(BATCH, TIME, FEATURES, UNITS), **options
):
    """A random recurrence of ours in float64; no two of its numbers are alike."""
    B, T, F, H = sizes
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64) * 0.7

    gates = len(GATE_NAMES[cell])
    norms = gates + (cell == "lstm")
    reset_after = options.get("reset_after", True)
    # without a bound, what a recurrence multiplies at each step, rounding errors with it, must not grow
    grows = 0.3 if options.get("activation") == "linear" else 1.0
    return Recurrence(
        cell=cell,
        x=draw(B, T, F),
        state=tuple(draw(B, H) for _ in range(2 if cell == "lstm" else 1)),
        weight_ih=draw(gates * H, F),
        weight_hh=draw(gates * H, H) / max(1, H / 4) ** 0.5 * grows,
        bias=draw(gates * H),
        bias_hh=draw(gates * H) if cell == "gru" and reset_after else None,
        norm_weight=draw(norms * H) + 1 if norm else None,
        norm_bias=draw(norms * H) if norm else None,
        mask=torch.as_tensor(mask, dtype=torch.bool) if mask is not None else None,
        recurrent_mask=(torch.rand(B, H, generator=g) < 0.7).double() / 0.7 if dropped else None,
        **options,
    )
