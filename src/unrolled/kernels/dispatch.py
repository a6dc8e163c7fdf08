"""Which implementation runs a recurrence, and why: one table, read from the top.

The first row that covers the case wins. An implementation asked for by name (`layer.implementation =
"torch"`) runs or raises; leaving the first row by itself is logged, once a reason, to the logger "unrolled".
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import KernelError, OptionError
from unrolled.kernels import aten, native, operators, reference
from unrolled.kernels.recurrence import Recurrence

__all__ = ["TABLE", "Choice", "Implementation", "choose", "explain", "run"]

logger = logging.getLogger("unrolled")


@dataclass(frozen=True)
class Implementation:
    """A row of the table: a name, what it covers (None: everything), and the function itself."""

    name: str
    cells: frozenset[str] | None
    devices: frozenset[str] | None
    dtypes: frozenset[torch.dtype] | None
    options: frozenset[str] | None
    run: Callable[[Recurrence], tuple[Tensor, tuple[Tensor, ...]]]
    built: bool = True


@dataclass(frozen=True)
class Choice:
    """What `explain` answers: the implementation's name, and the reason in words."""

    implementation: str
    reason: str


TABLE: tuple[Implementation, ...] = (
    Implementation(
        "native",
        cells=frozenset({"simple_rnn", "lstm", "gru"}),
        devices=frozenset({"cpu"}),
        dtypes=frozenset({torch.float32, torch.float64}),
        options=None,
        run=operators.run,
        built=native.AVAILABLE,
    ),
    Implementation(
        "native in float32",
        cells=frozenset({"simple_rnn", "lstm", "gru"}),
        devices=frozenset({"cpu"}),
        dtypes=frozenset({torch.bfloat16, torch.float16}),
        options=None,
        run=operators.run_in_float32,
        built=native.AVAILABLE,
    ),
    Implementation(
        "torch",
        cells=frozenset({"simple_rnn", "lstm", "gru"}),
        devices=frozenset({"cpu", "cuda"}),
        dtypes=frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16}),
        options=frozenset(
            {"activation=tanh", "activation=relu, simple_rnn", "reset_after", "reverse", "last_only"}
        ),
        run=aten.run,
    ),
    Implementation("reference", cells=None, devices=None, dtypes=None, options=None, run=reference.run),
)


def run(r: Recurrence, implementation: str | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute `r` with the implementation asked for, or with the first in the table that covers it."""
    first = TABLE[0]
    if (
        implementation is None
        and first.built
        and first.options is None
        and first.dtypes is not None
        and r.x.dtype in first.dtypes
        and r.x.dtype is r.weight_ih.dtype
        and r.x.is_cpu
    ):
        return first.run(r)  # the usual case, in a microsecond
    return choose(r, implementation)[0].run(r)


def explain(layer: Any, x: Tensor, mask: Tensor | None = None) -> Choice:
    """Which implementation `layer(x, mask=mask)` runs on, and why, without computing or drawing anything.

    Args:
        layer: a recurrent layer of `unrolled.nn`, or a drop-in made by `accelerate`.
        x: an input of the layer.
        mask: as in the layer's call.

    Raises:
        KernelError: `layer.implementation` names one that cannot run this.

    >>> import unrolled as ur
    >>> layer = ur.nn.LSTM(3, 4)
    >>> explain(layer, torch.zeros(2, 5, 3)).implementation in ("native", "torch")
    True
    >>> layer.implementation = "reference"
    >>> explain(layer, torch.zeros(2, 5, 3))
    Choice(implementation='reference', reason='asked for by name')
    """
    if not hasattr(layer, "recurrence"):
        raise OptionError(
            "explain",
            expected="a recurrent layer of unrolled.nn or a drop-in",
            got=f"a {type(layer).__name__}",
            cure="Pass one recurrent layer, as explain(model[0], x); RNN(cell) runs the cell's own loop, and a "
            "torch.nn layer torch's, unless unrolled.accelerate has converted it.",
        )
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        r = layer.recurrence(x, mask=mask)
    row, reason = choose(r, layer.implementation, log=False)
    return Choice(row.name, reason)


def choose(r: Recurrence, implementation: str | None = None, log: bool = True) -> tuple[Implementation, str]:
    """The row that runs `r`, and the reason.

    Raises:
        KernelError: the implementation asked for does not exist or does not cover `r`.
    """
    used = _options(r)
    if implementation is not None:
        named = [row for row in TABLE if row.name == implementation]
        missing = _missing(named[0], r, used) if named else "no such implementation"
        if missing:
            raise KernelError(
                r.cell,
                expected=f"implementation {implementation!r} to cover this call",
                got=missing,
                cure=f"Set layer.implementation to None, or to one of {[row.name for row in TABLE if row.built]}.",
            )
        return named[0], "asked for by name"
    refused = []
    for row in TABLE:
        missing = _missing(row, r, used)
        if not missing:
            break
        if row.run is operators.run_in_float32 and r.x.dtype not in (torch.bfloat16, torch.float16):
            continue  # nobody expects it there
        needs = "needs" if not row.built else "does not cover"
        refused.append(f"{row.name} {needs} {missing}")
    if not refused:
        return row, f"the first in the table that covers {r.cell} on {r.x.device.type} in {_name(r.x.dtype)}"
    reason = "; ".join(refused)
    if log and not torch.compiler.is_compiling():
        _log_once(f"{r.cell}: running on {row.name!r}, because {reason}")
    return row, reason


def _options(r: Recurrence) -> frozenset[str]:
    used = {
        "activation=tanh": r.activation == "tanh",
        f"activation={r.activation}, {r.cell}": r.activation != "tanh",
        "reset_after": r.cell == "gru" and r.reset_after,
        "reset_after=False": r.cell == "gru" and not r.reset_after,
        "reverse": r.reverse,
        "last_only": r.last_only,
        "mask": r.mask is not None,
        "recurrent_dropout": r.recurrent_mask is not None,
        "layer_norm": r.norm_weight is not None,
        "members": r.weight_ih.ndim == 3,
        "torch.func": not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is not None,
    }
    return frozenset(name for name, on in used.items() if on)


def _missing(row: Implementation, r: Recurrence, used: frozenset[str]) -> str:
    """What `row` lacks for `r`, in words; empty where it lacks nothing."""
    found: list[str] = []
    if not row.built:
        return f"the C++ kernels, which were {native.MISSING}"
    if row.cells is not None and r.cell not in row.cells:
        found.append(r.cell)
    if row.devices is not None and r.x.device.type not in row.devices:
        found.append(r.x.device.type)
    if row.dtypes is not None and r.x.dtype not in row.dtypes:
        found.append(_name(r.x.dtype))
    if row.dtypes is not None and r.weight_ih.dtype != r.x.dtype:
        found.append(f"{_name(r.x.dtype)} with weights of {_name(r.weight_ih.dtype)}")
    if row.options is not None:
        found += sorted(used - row.options)
    return ", ".join(found)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


_logged: set[str] = set()


def _log_once(message: str) -> None:
    if message not in _logged:
        _logged.add(message)
        logger.info(message)
