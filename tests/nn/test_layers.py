"""The layers one by one: shapes, protocol of cells, initial weights, dropout, state, and how they combine."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import unrolled as ur

FUSED = {"simple_rnn": ur.nn.SimpleRNN, "lstm": ur.nn.LSTM, "gru": ur.nn.GRU}
CELLS = {"simple_rnn": ur.nn.SimpleRNNCell, "lstm": ur.nn.LSTMCell, "gru": ur.nn.GRUCell}


def test_the_published_shapes_of_an_lstm():
    x = torch.randn(32, 10, 8)
    assert ur.nn.LSTM(8, 4)(x).shape == (32, 4)
    shapes = [t.shape for t in ur.nn.LSTM(8, 4, return_sequences=True, return_state=True)(x)]
    assert shapes == [(32, 10, 4), (32, 4), (32, 4)]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"), [("simple_rnn", {}), ("lstm", {}), ("gru", {}), ("gru", {"reset_after": False})]
)
def test_rnn_of_a_cell_equals_the_layer(kind, options, bias, norm):
    options = options | {"use_bias": bias, "layer_norm": norm}
    layer = FUSED[kind](3, 4, return_sequences=True, return_state=True, **options).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    cell = CELLS[kind](3, 4, **options).double()
    cell.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    state = tuple(torch.randn(2, 4, dtype=torch.float64) for _ in range(2 if kind == "lstm" else 1))
    mask = torch.tensor([[True, False, True, True, False], [False, False, True, False, True]])
    over_time = ur.nn.RNN(cell, return_sequences=True, return_state=True)
    for arguments in [(x,), (x, state), (x, state, mask), (x, None, mask)]:
        for got, expected in zip(over_time(*arguments), layer(*arguments), strict=True):
            torch.testing.assert_close(got, expected)


def test_a_cell_without_a_state_starts_from_zeros():
    cell, x = ur.nn.LSTMCell(3, 4), torch.randn(2, 3)
    _, (h, c) = cell(x)
    torch.testing.assert_close((h, c), cell(x, (torch.zeros(2, 4), torch.zeros(2, 4)))[1])


class Counter(nn.Module):
    """A cell of the user's own, whose output is not its state."""

    state_size = (2, 1)

    def __init__(self, features=3):
        super().__init__()
        self.mix = nn.Linear(features, 2)

    def forward(self, x_t, state):
        total, count = state
        total, count = total + self.mix(x_t), count + 1
        return total / count, (total, count)


def test_a_cell_of_the_users_own():
    layer = ur.nn.RNN(Counter(), return_sequences=True, return_state=True)
    x = torch.randn(4, 6, 3)
    y, total, count = layer(x)
    running = layer.cell.mix(x).cumsum(1)
    torch.testing.assert_close(y, running / torch.arange(1, 7)[:, None])
    torch.testing.assert_close(total, running[:, -1])
    assert (count == 6).all()
    both = ur.nn.Bidirectional(ur.nn.RNN(Counter(), return_sequences=True), "concat")
    assert both(x).shape == (4, 6, 4)
    assert not torch.equal(both.forward_layer.cell.mix.weight, both.backward_layer.cell.mix.weight)


def test_deep_stacks_of_mixed_cells_and_widths():
    model = nn.Sequential(
        ur.nn.Conv1D(5, 8, 4, strides=2, padding="causal", activation="relu"),
        ur.nn.GRU(8, 6, return_sequences=True),
        ur.nn.Bidirectional(ur.nn.LSTM(6, 7, return_sequences=True)),
        ur.nn.RNN(ur.nn.SimpleRNNCell(14, 3), return_sequences=True),
        ur.nn.SimpleRNN(3, 4),
        ur.nn.RepeatVector(9),
        ur.nn.LSTM(4, 2, return_sequences=True),
        ur.nn.Dense(2, 3),
    )
    assert model(torch.randn(2, 12, 5)).shape == (2, 9, 3)


@pytest.mark.parametrize("kind", FUSED)
def test_initial_weights_are_those_of_keras(kind):
    torch.manual_seed(0)
    layer = FUSED[kind](30, 20)
    gates = {"simple_rnn": 1, "lstm": 4, "gru": 3}[kind]
    bound = (6 / (30 + 20 * gates)) ** 0.5
    assert layer.weight_ih.abs().max() <= bound
    assert layer.weight_ih.abs().max() > 0.95 * bound
    assert abs(layer.weight_ih.std() / (bound / 3**0.5) - 1) < 0.1
    torch.testing.assert_close(layer.weight_hh.T @ layer.weight_hh, torch.eye(20), atol=1e-5, rtol=0)
    expected = torch.zeros(20 * gates)
    if kind == "lstm":
        expected[20:40] = 1
    torch.testing.assert_close(layer.bias.data, expected)
    normed = FUSED[kind](30, 20, layer_norm=True)
    assert (normed.norm_weight == 1).all()
    assert (normed.bias == 0).all()
    torch.testing.assert_close(normed.norm_bias.data[: 20 * gates], expected)


def test_dense_and_convolution_have_glorot_weights_and_zero_bias():
    torch.manual_seed(0)
    for layer, fans in ((ur.nn.Dense(30, 50), 80), (ur.nn.Conv1D(30, 50, 4), 4 * 80)):
        bound = (6 / fans) ** 0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("kind", FUSED)
def test_one_seed_gives_the_same_weights_and_masks(kind):
    results = []
    for _ in range(2):
        torch.manual_seed(6)
        layer = FUSED[kind](3, 4, dropout=0.3, recurrent_dropout=0.3)
        results.append(layer(torch.ones(2, 5, 3)))
    assert torch.equal(*results)


@pytest.mark.parametrize("implementation", [None, "reference"])
@pytest.mark.parametrize("kind", FUSED)
def test_dropout_of_inputs_is_one_scaled_mask_a_sequence(kind, implementation):
    torch.manual_seed(1)
    layer = FUSED[kind](40, 4, dropout=0.4, return_sequences=True)
    layer.implementation = implementation
    x = (torch.rand(50, 6, 40) + 1).requires_grad_()
    gradient = torch.autograd.grad(layer(x).square().sum(), x)[0]
    dropped = gradient == 0
    assert (dropped == dropped[:, :1]).all()
    assert abs(dropped[:, 0].float().mean() - 0.4) < 0.03
    # The scale: what is kept counts 1/0.6, so that the layer equals one without dropout on the scaled input.
    plain = copy.deepcopy(layer).eval()
    torch.testing.assert_close(layer.eval()(x), plain(x))
    torch.manual_seed(2)
    y = layer.train()(x)
    scaled = plain(torch.where(layer_mask(layer, x, seed=2), x / 0.6, 0))
    torch.testing.assert_close(y, scaled)


def layer_mask(layer, x, seed):
    """Which inputs the layer keeps in training under this seed, seen from its gradient."""
    torch.manual_seed(seed)
    return torch.autograd.grad(layer(x).square().sum(), x)[0] != 0


@pytest.mark.parametrize("kind", FUSED)
def test_recurrent_dropout_is_on_in_training_alone(kind):
    layer = FUSED[kind](3, 4, recurrent_dropout=0.5)
    x = torch.randn(8, 5, 3)
    assert not torch.equal(layer(x), layer(x))
    plain = FUSED[kind](3, 4)
    plain.load_state_dict(layer.state_dict())
    assert torch.equal(layer.eval()(x), layer(x))
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("kind", FUSED)
def test_recurrent_dropout_never_touches_what_is_carried(kind):
    """With recurrent weights of zero it changes nothing: only products with them see the mask."""
    layer = FUSED[kind](3, 4, recurrent_dropout=0.5)
    nn.init.zeros_(layer.weight_hh)
    x = torch.randn(8, 5, 3)
    torch.testing.assert_close(layer(x), copy.deepcopy(layer).eval()(x))


def test_a_recurrent_mask_keeps_its_scale_and_is_shared_by_steps():
    torch.manual_seed(3)
    layer = ur.nn.SimpleRNN(2, 3, activation="linear", recurrent_dropout=0.25, return_sequences=True)
    with torch.no_grad():
        layer.weight_hh.copy_(torch.eye(3))
        layer.weight_ih.zero_()
    y = layer(torch.zeros(200, 3, 2), torch.ones(200, 3))
    assert y[:, 0].unique().tolist() == pytest.approx([0, 1 / 0.75])
    torch.testing.assert_close(y[:, 2], y[:, 0] ** 3)
    assert abs((y[:, 0] == 0).float().mean() - 0.25) < 0.05


def test_a_kept_state_has_no_gradient_and_follows_the_batch():
    layer = ur.nn.GRU(3, 4, stateful=True)
    layer(torch.randn(2, 5, 3)).sum().backward()
    assert not layer.state[0].requires_grad
    with pytest.raises(ur.errors.ShapeError, match=r"state h of shape \(3, 4\), got \(2, 4\).*reset_state"):
        layer(torch.randn(3, 5, 3))
    layer.reset_state()
    assert layer(torch.randn(3, 5, 3)).shape == (3, 4)


def test_bidirectional_gives_the_states_of_both_and_takes_them():
    layer = ur.nn.Bidirectional(ur.nn.LSTM(3, 4, return_state=True, stateful=True), "sum")
    x = torch.randn(2, 5, 3)
    y, *states = layer(x)
    assert [s.shape for s in states] == [(2, 4)] * 4
    kept = layer(x)
    given = layer(x, states)
    for got, expected in zip(given, kept, strict=True):
        torch.testing.assert_close(got, expected)
    assert not torch.allclose(y, kept[0])
    layer.reset_state()
    torch.testing.assert_close(layer(x)[0], y)


def test_lengths_to_mask():
    mask = ur.nn.lengths_to_mask(torch.tensor([2, 0, 3]))
    assert mask.tolist() == [[True, True, False], [False, False, False], [True, True, True]]
    assert ur.nn.lengths_to_mask(torch.tensor([2]), time=4).shape == (1, 4)
    assert ur.nn.lengths_to_mask(torch.tensor([], dtype=torch.long)).shape == (0, 0)


def test_pooling_with_masks():
    x = torch.tensor([[[1.0], [9.0], [3.0]], [[-5.0], [-7.0], [0.0]], [[1.0], [1.0], [1.0]]])
    mask = torch.tensor([[True, False, True], [True, True, False], [False, False, False]])
    assert ur.nn.GlobalMaxPooling1D()(x, mask).flatten().tolist() == [3, -5, 0]
    assert ur.nn.GlobalAveragePooling1D()(x, mask).flatten().tolist() == [2, -6, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", FUSED)
def test_other_types_and_an_empty_batch(kind, dtype):
    layer = FUSED[kind](3, 4, return_state=True).to(dtype)
    for implementation in (None, "reference"):
        layer.implementation = implementation
        assert all(t.dtype == dtype for t in layer(torch.randn(2, 5, 3, dtype=dtype)))
    assert layer(torch.zeros(0, 5, 3, dtype=dtype))[0].shape == (0, 4)


@pytest.mark.parametrize("kind", FUSED)
def test_from_torch_and_back(kind):
    torch.manual_seed(0)
    theirs = {
        "simple_rnn": nn.RNN(3, 4, batch_first=True, bidirectional=True, nonlinearity="relu"),
        "lstm": nn.LSTM(3, 4, batch_first=True, num_layers=3, dropout=0.3, bidirectional=True),
        "gru": nn.GRU(3, 4, batch_first=True, bias=False),
    }[kind].eval()
    ours, x = ur.nn.from_torch(theirs), torch.randn(2, 5, 3)
    torch.testing.assert_close(ours(x), theirs(x)[0])
    if kind == "lstm":
        assert [type(m).__name__ for m in ours] == ["Bidirectional", "Dropout"] * 2 + ["Bidirectional"]
        assert ours[1].p == 0.3
        return
    back = ur.nn.to_torch(ours)
    assert repr(back) == repr(theirs)
    for name, w in theirs.named_parameters():
        if kind == "gru" or "bias" not in name:
            assert torch.equal(back.get_parameter(name), w)
    torch.testing.assert_close(back(x)[0], theirs(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("norm", [False, True])
def test_compiles_as_one_graph(norm):
    layer, x = ur.nn.GRU(3, 4, layer_norm=norm), torch.randn(2, 5, 3)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize("make", FUSED.values(), ids=FUSED)
def test_runs_under_autocast(make):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = make(3, 4, layer_norm=True)(nn.Linear(3, 3)(torch.randn(2, 5, 3)))
    y.sum().backward()
    assert y.isfinite().all()


def test_annotated_shapes_hold():
    """Every signature's shapes, enforced by jaxtyping and beartype in a process of their own."""
    code = """
import warnings
warnings.simplefilter("ignore")
from jaxtyping import install_import_hook
with install_import_hook(["unrolled.nn", "unrolled.kernels"], "beartype.beartype"):
    import torch, unrolled as ur
    from unrolled.nn import dropin
x, mask = torch.randn(2, 6, 3), torch.ones(2, 6, dtype=torch.bool)
for layer in (ur.nn.SimpleRNN, ur.nn.LSTM, ur.nn.GRU):
    for options in ({}, {"layer_norm": True, "recurrent_dropout": 0.5, "return_sequences": True}):
        layer(3, 4, **options)(x)
        layer(3, 4, **options)(x, None, mask)
        ur.nn.Bidirectional(layer(3, 4, **options))(x, None, mask)
for cell in (ur.nn.SimpleRNNCell, ur.nn.LSTMCell, ur.nn.GRUCell):
    ur.nn.RNN(cell(3, 4))(x, None, mask)
ur.nn.GRU(3, 4, reset_after=False)(x)
ur.nn.Conv1D(3, 4, 2)(x), ur.nn.MaxPooling1D()(x), ur.nn.AveragePooling1D(padding="same")(x)
ur.nn.GlobalMaxPooling1D()(x, mask), ur.nn.GlobalAveragePooling1D()(x, mask), ur.nn.Dense(3, 2)(x)
ur.nn.RepeatVector(2)(x[:, 0]), ur.nn.lengths_to_mask(torch.tensor([1, 2]))
ur.accelerate(torch.nn.LSTM(3, 4, 2))(x)
ur.nn.from_keras(ur.nn.LSTM(3, 4), ur.nn.to_keras(ur.nn.LSTM(3, 4)))
ur.nn.from_onnx(ur.nn.GRU(3, 4), *ur.nn.to_onnx(ur.nn.GRU(3, 4)))
ur.nn.plot_gradient_flow(ur.nn.gradient_flow(ur.nn.LSTM(3, 4), x, torch.zeros(2, 4)))
try:
    ur.nn.lengths_to_mask(torch.tensor([1.5]))
except Exception as error:
    assert "jaxtyping" in type(error).__module__ or "beartype" in type(error).__module__, error
    print("enforced")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "enforced\n"


def test_every_public_name_is_exported():
    for name in ur.nn.__all__:
        assert getattr(ur.nn, name).__doc__, name
    assert len(ur.nn.__all__) == len(set(ur.nn.__all__))
