"""A model looked at: its layers and parameters (`summary`), and how gradients flow back through time."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.errors import OptionError
from unrolled.kernels import reference
from unrolled.kernels.recurrence import GATE_NAMES, STATE_NAMES
from unrolled.nn.bidirectional import Bidirectional
from unrolled.nn.cells import RecurrentWeights
from unrolled.nn.recurrent import RNN, OverTime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LayerSummary", "Summary", "gradient_flow", "parameter_formula", "plot_gradient_flow", "summary"]


@dataclass(frozen=True)
class LayerSummary:
    """One layer: name, class, shape of the output, number of parameters and how it comes about."""

    name: str
    layer: str
    output_shape: str
    parameters: int
    formula: str


@dataclass(frozen=True)
class Summary:
    """The layers of a model; as text, a table."""

    layers: tuple[LayerSummary, ...]
    parameters: int
    trainable: int

    def __str__(self) -> str:
        head = ("name", "layer", "output shape", "parameters", "formula")
        rows = [(s.name, s.layer, s.output_shape, f"{s.parameters:,}", s.formula) for s in self.layers]
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in [head, *rows]
        ]
        lines = [line.rstrip() for line in lines]
        total = f"{self.parameters:,} parameters, {self.trainable:,} of them trainable"
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], total])


def summary(model: nn.Module, input_shape: Sequence[int], *, dtype: torch.dtype | None = None) -> Summary:
    """The layers of a model: the shapes of their outputs, and how many parameters they have and why.

    Args:
        model: any module. It is copied, so that nothing in it changes.
        input_shape: the shape of one input without its batch: (time, features) for most models here.
        dtype: of the input; by default that of the parameters. torch.long for a model that begins with an
            embedding.

    The formula of a recurrent layer is gates·(features·units + units·units + units); a second bias, where
    there is one, counts too, and layer norm adds a gain and a shift per norm.

    >>> from unrolled.nn import LSTM, Dense
    >>> print(summary(nn.Sequential(LSTM(8, 4), Dense(4, 1)), (10, 8)))
    name  layer  output shape  parameters  formula
    --------------------------------------------------------
    0     LSTM   (batch, 4)    208         4·(8·4 + 4·4 + 4)
    1     Dense  (batch, 1)    5           1·4 + 1
    213 parameters, 213 of them trainable
    """
    model = copy.deepcopy(model).eval()
    parameter = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    x = torch.zeros(2, *input_shape, dtype=dtype or parameter.dtype, device=parameter.device)
    shapes: dict[nn.Module, str] = {}
    found = _layers(model)
    for _, layer in found:
        layer.register_forward_hook(lambda layer, _, result: shapes.update({layer: _shape(result)}))
    with torch.no_grad():
        model(x)
    rows = tuple(
        LayerSummary(
            name=name,
            layer=type(layer).__name__,
            output_shape=shapes.get(layer, "not called"),
            parameters=sum(p.numel() for p in layer.parameters()),
            formula=parameter_formula(layer),
        )
        for name, layer in found
    )
    every = list(model.parameters())
    return Summary(rows, sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad))


def parameter_formula(layer: nn.Module) -> str:
    """How the number of a layer's parameters comes about, in numbers.

    >>> from unrolled.nn import GRU, Bidirectional
    >>> parameter_formula(Bidirectional(GRU(8, 4)))
    '2·(3·(8·4 + 4·4 + 2·4))'
    """
    if isinstance(layer, Bidirectional):
        return f"2·({parameter_formula(layer.forward_layer)})"
    if isinstance(layer, RNN):
        return parameter_formula(layer.cell)
    if not isinstance(layer, RecurrentWeights):
        return " + ".join("·".join(map(str, p.shape)) for p in layer.parameters())
    size, units, gates = layer.input_size, layer.units, len(GATE_NAMES[layer.kind])
    biases = f" + {units}" if layer.bias is not None else ""
    biases = f" + 2·{units}" if layer.bias_hh is not None else biases
    formula = f"{size}·{units} + {units}·{units}{biases}"
    formula = f"{gates}·({formula})" if gates > 1 else formula
    return formula if layer.norm_weight is None else f"{formula} + 2·{len(layer.norm_weight)}"


def gradient_flow(
    model: nn.Module,
    x: Float[Tensor, "batch time features"],
    y: Tensor,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
) -> dict[str, Float[Tensor, " time"]]:
    """How strongly each step of time still moves the loss: the norm of ∂loss/∂h(t) for each t.

    Args:
        model: a model with recurrent layers of ours; it is copied, and run without dropout.
        x: its input.
        y: its target.
        loss: of the model's output and y, a number; by default the mean squared error.

    Returns:
        For each state of each recurrent layer, as "0.h" (an LSTM also "0.c"), the norm over batch and units
        at each step of x. Falling towards the first steps it *vanishes*, growing it *explodes* (Bengio,
        Simard and Frasconi 1994; Pascanu, Mikolov and Bengio, arXiv:1211.5063).

    Raises:
        OptionError: the model has no recurrent layer of ours.

    >>> from unrolled.nn import SimpleRNN
    >>> layer = SimpleRNN(1, 1, activation="linear", use_bias=False)
    >>> with torch.no_grad(): layer.weight_hh[:] = 0.5
    >>> gradient_flow(layer, torch.zeros(1, 4, 1), torch.ones(1, 1))["SimpleRNN.h"]
    tensor([0.2500, 0.5000, 1.0000, 2.0000])
    """
    model = copy.deepcopy(model).eval()
    steps: dict[str, list[tuple[Tensor, ...]]] = {}
    backwards = set()
    for name, layer in model.named_modules():
        if isinstance(layer, OverTime):
            key = name or type(layer).__name__
            steps[key] = []
            backwards |= {key} if layer.go_backwards else set()
            _record_states(layer, steps[key])
    if not steps:
        raise OptionError(
            "gradient_flow",
            expected="a model with a recurrent layer of unrolled.nn",
            got=f"{type(model).__name__} without any",
            cure="Use SimpleRNN, LSTM, GRU or RNN(cell); unrolled.nn.from_torch converts torch.nn's.",
        )
    total = loss(model(x), y)
    norms = {}
    for key, states in steps.items():
        for i, name in enumerate(("h", "c") if len(states[0]) == 2 else STATE_NAMES["gru"]):
            at_each = [state[i] for state in states]
            gradients = torch.autograd.grad(total, at_each, retain_graph=True, allow_unused=True)
            values = [torch.zeros(()) if g is None else g.norm() for g in gradients]
            norms[f"{key}.{name}"] = torch.stack(values[::-1] if key in backwards else values)
    return norms


def plot_gradient_flow(flows: dict[str, Float[Tensor, " time"]]) -> "Figure":
    """The norms of `gradient_flow` against the step of time, on a logarithmic axis, one line each.

    >>> len(plot_gradient_flow({"SimpleRNN.h": torch.tensor([0.25, 0.5, 1.0])}).axes[0].lines)
    1
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for name, norms in flows.items():
        axes.plot(range(1, len(norms) + 1), norms.detach().cpu(), label=name)
    axes.set(yscale="log", xlabel="time step t", ylabel="norm of ∂loss/∂h(t)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    return figure


def _record_states(layer: OverTime, states: list[tuple[Tensor, ...]]) -> None:
    """From now on the layer runs on the reference loop, and appends the states of each step to `states`."""
    if isinstance(layer, RNN):
        cell = layer.cell
        call = cell.forward

        def recorded(x_t: Tensor, state: Any) -> Any:
            y, new = call(x_t, state)
            states.append((new,) if isinstance(new, Tensor) else tuple(new))
            return y, new

        cell.forward = recorded
        return
    assert isinstance(layer, RecurrentWeights)

    def forward(x: Tensor, initial_state: Any = None, mask: Tensor | None = None) -> Any:
        r = layer.recurrence(x, initial_state, mask)  # type: ignore[operator]

        def step(x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            alone = r._replace(x=x_t.unsqueeze(-2), state=state, mask=None, reverse=False, last_only=True)
            y, new = reference.run(alone)
            states.append(new)
            return y, new

        x = r.x if mask is None else r.x.masked_fill(~mask[..., None], 0)
        options = {"reverse": r.reverse, "last_only": r.last_only}
        return layer.finish(*reference.unroll(step, x, reference.start(r), mask=mask, **options))

    layer.forward = forward


def _layers(model: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    """The layers by name: what has parameters of its own or no parts, and recurrent layers whole."""
    parts = list(model.named_children())
    if (
        not parts
        or isinstance(model, OverTime | Bidirectional)
        or any(True for _ in model.parameters(recurse=False))
    ):
        return [(name or type(model).__name__, model)]
    return [row for part, child in parts for row in _layers(child, f"{name}.{part}" if name else part)]


def _shape(result: Any) -> str:
    if isinstance(result, Tensor):
        return f"({', '.join(['batch', *map(str, result.shape[1:])])})"
    if isinstance(result, tuple | list):
        return ", ".join(_shape(r) for r in result)
    return type(result).__name__
