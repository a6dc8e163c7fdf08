"""What one call of a recurrent layer consists of, whichever implementation computes it.

Letters: B batch, T time, I input features, H units, G gates (1, 4 or 3), M members. `*M` is no axis or one: a
stack of M independent models in one call, with M times the weights.
"""

from typing import Literal, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["GATE_NAMES", "STATE_NAMES", "Activation", "Cell", "Recurrence"]

Cell = Literal["simple_rnn", "lstm", "gru"]
Activation = Literal["tanh", "relu", "linear", "sigmoid"]

GATE_NAMES: dict[str, tuple[str, ...]] = {
    "simple_rnn": ("h",),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
}
STATE_NAMES: dict[str, tuple[str, ...]] = {"simple_rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}


class Recurrence(NamedTuple):
    """One call: a cell and its weights, a sequence, an initial state, and all that modifies the loop.

    The gates of the weights lie one after the other in the order of `GATE_NAMES`, which is torch's.

    Attributes:
        cell: which cell.
        x: the sequences.
        state: the initial state, h or (h, c); empty for zeros.
        weight_ih, weight_hh, bias: of the input, of h(t-1), and of both.
        bias_hh: of h(t-1) alone, where it matters: in a GRU with `reset_after`.
        norm_weight, norm_bias: gain and shift of the layer norms, one per gate and, in an LSTM, one of c.
        mask: False where a step is skipped: the state is carried and the last output repeated.
        recurrent_mask: a dropout mask of h(t-1), the same at every step, already divided by the share kept.
        activation: of the candidate, and of the LSTM's c on its way out.
        reset_after: in a GRU, whether the reset gate applies after the product with the weights.
        reverse: from the last step to the first; outputs come in the order in which they are computed.
        last_only: return the last output only.
        needs_state: False where nobody asks for the final state, which may then be left out.
        time_major: whether y and the gradient of x lie in memory as (M, T, B, …) where that costs nothing.
    """

    cell: Cell
    x: Float[Tensor, "*M B T I"]
    state: tuple[Float[Tensor, "*M B H"], ...]
    weight_ih: Float[Tensor, "*M GH I"]
    weight_hh: Float[Tensor, "*M GH H"]
    bias: Float[Tensor, "*M GH"] | None = None
    bias_hh: Float[Tensor, "*M GH"] | None = None
    norm_weight: Float[Tensor, "*M NH"] | None = None
    norm_bias: Float[Tensor, "*M NH"] | None = None
    mask: Bool[Tensor, "*M B T"] | None = None
    recurrent_mask: Float[Tensor, "*M B H"] | None = None
    activation: Activation = "tanh"
    reset_after: bool = True
    reverse: bool = False
    last_only: bool = False
    needs_state: bool = True
    time_major: bool = False
