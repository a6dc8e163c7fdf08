"""Draw docs/gradient_flow.svg: how strongly each of 200 steps still moves the loss, in four networks.

python docs/draw_gradient_flow.py
"""

from pathlib import Path

import matplotlib
import torch

import unrolled as ur

STEPS, UNITS = 200, 32


def simple_rnn(norm: float) -> ur.nn.SimpleRNN:
    """A linear recurrence whose recurrent weights stretch every direction by `norm`."""
    layer = ur.nn.SimpleRNN(1, UNITS, activation="linear")
    with torch.no_grad():
        layer.weight_hh *= norm
    return layer


def lstm(forget_bias: float) -> ur.nn.LSTM:
    """An LSTM whose forget gate starts at σ(forget_bias)."""
    layer = ur.nn.LSTM(1, UNITS)
    with torch.no_grad():
        layer.bias[UNITS : 2 * UNITS] = forget_bias
    return layer


def flows() -> dict[str, torch.Tensor]:
    """The norms of ∂loss/∂h(t), and of ∂loss/∂c(t) where there is a c."""
    torch.manual_seed(1)
    x, y = torch.randn(16, STEPS, 1), torch.randn(16, UNITS)
    found = {}
    for norm in (0.9, 1.1):
        layer = simple_rnn(norm)
        found[f"SimpleRNN, norm {norm}: h"] = ur.nn.gradient_flow(layer, x, y)["SimpleRNN.h"]
    for bias in (1, 5):
        for state in "hc":
            found[f"LSTM, forget bias {bias}: {state}"] = ur.nn.gradient_flow(lstm(bias), x, y)[
                f"LSTM.{state}"
            ]
    # The scale of the loss says nothing here: every curve ends at 1.
    return {name: norms / norms[-1] for name, norms in found.items()}


if __name__ == "__main__":
    matplotlib.rcParams.update({"svg.hashsalt": "unrolled", "svg.fonttype": "none"})
    found = flows()
    for name, norms in found.items():
        print(f"{name:28} first step {norms[0]:9.2e}   last step {norms[-1]:.0f}")
    figure = ur.nn.plot_gradient_flow(found)
    figure.axes[0].set(ylabel="norm of ∂loss/∂state(t), last step = 1", ylim=(1e-16, 1e10))
    figure.savefig(Path(__file__).parent / "gradient_flow.svg", metadata={"Date": None})
