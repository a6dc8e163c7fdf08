import copy
import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state
from torch.nn.utils.rnn import pack_sequence

import unrolled as ur
from unrolled.errors import OptionError, ShapeError
from unrolled.kernels import dispatch, reference


def test_what_runs_without_the_kernels(without_native, monkeypatch):  # dis1 dis2 dis7
    rows = [replace(row, built=False) if "native" in row.name else row for row in dispatch.TABLE]
    monkeypatch.setattr(dispatch, "TABLE", rows)
    layer = ur.nn.LSTM(3, 4)
    needs = "the C++ kernels, which were not built"
    for d in (torch.float16, torch.bfloat16):
        choice = ur.explain(copy.deepcopy(layer).to(d), torch.zeros(2, 5, 3, dtype=d))
        assert choice == dispatch.Choice("torch", f"native needs {needs}; native in float32 needs {needs}")
    reason = ur.explain(layer.to("meta"), torch.zeros(2, 5, 3, device="meta")).reason
    assert reason == f"native needs {needs}; torch does not cover meta"
    assert [row.devices for row in rows[:3]] == [{"cpu"}, {"cpu"}, {"cpu", "cuda"}]


def test_explain_does_not_log(caplog):  # dis3
    dispatch._logged.clear()
    with caplog.at_level(logging.INFO, "unrolled"):
        ur.explain(ur.nn.LSTM(3, 4, layer_norm=True), torch.zeros(2, 5, 3))
    assert not caplog.messages


def test_a_state_of_another_type_or_a_list_is_taken():  # rec1 val1
    layer, x, h = ur.nn.GRU(3, 4), torch.randn(2, 5, 3), torch.randn(2, 4)
    assert torch.equal(layer(x, h.double().float().double()), layer(x, h))
    assert torch.equal(layer(x, [h]), layer(x, h))


def test_repr_names_every_option():  # rec4 cel6
    text = repr(ur.nn.GRU(3, 4, go_backwards=True, reset_after=False, stateful=True))
    assert "go_backwards=True" in text and "reset_after=False" in text


def test_a_cell_with_an_empty_state_is_refused():  # rec5
    class Cell(nn.Module):
        state_size = 0

    with pytest.raises(OptionError, match="state_size"):
        ur.nn.RNN(Cell())


@pytest.mark.parametrize("back", [False, True])
def test_both_dropouts_keep_their_own_rates(back):  # rec7 rec8
    torch.manual_seed(0)
    layer = ur.nn.SimpleRNN(
        50, 40, activation="linear", go_backwards=back, dropout=0.1, recurrent_dropout=0.6
    )
    r = layer.recurrence(torch.ones(60, 2, 50))
    assert abs((r.recurrent_mask == 0).float().mean() - 0.6) < 0.04
    assert abs((r.x == 0).float().mean() - 0.1) < 0.04


def test_one_member_overflowing_does_not_stop_the_others():  # val2
    members = [ur.nn.SimpleRNN(3, 4, activation="linear") for _ in range(2)]
    with torch.no_grad():
        members[1].weight_hh *= 100
    y = functional_call(members[0], stack_module_state(members)[0], (torch.randn(2, 2, 200, 3),))
    assert y[0].isfinite().all() and not y[1].isfinite().all()


def test_weights_that_are_nan_and_outputs_that_are_infinite_pass():  # val3 val5
    layer = ur.nn.GRU(3, 4)
    nn.init.constant_(layer.weight_ih, torch.nan)
    assert layer(torch.zeros(2, 5, 3)).isnan().all()
    big = ur.nn.SimpleRNN(1, 2, activation="linear", use_bias=False)
    with torch.no_grad():
        big.weight_ih[:] = torch.tensor([[3e38], [-3e38]])
    assert big(torch.full((1, 1, 1), 10.0)).tolist() == [[torch.inf, -torch.inf]]


def test_every_bias_of_a_fresh_layer():  # cel1 cel2 cel4
    assert (ur.nn.GRU(3, 4).bias_hh == 0).all()
    for bias in (True, False):
        norm = ur.nn.LSTM(3, 4, layer_norm=True, use_bias=bias).norm_bias.view(5, 4)
        assert norm.mean(1).tolist() == [0, 1, 0, 0, 0]


def test_states_have_the_type_of_the_weights():  # cel3
    r = ur.nn.GRU(3, 4).recurrence(torch.zeros(2, 5, 3))
    assert reference.start(r._replace(x=r.x.bfloat16()))[0].dtype == torch.float32


def test_no_length_fits_a_mask_of_no_steps():  # bas1
    with pytest.raises(ShapeError, match="from 0 to 0"):
        ur.nn.lengths_to_mask(torch.tensor([2]), time=0)


def test_repeat_vector_refuses_four_axes():  # bas3
    with pytest.raises(ShapeError):
        ur.nn.RepeatVector(2)(torch.zeros(2, 3, 4, 5))


def test_an_implementation_is_asked_of_both_directions():  # bid1
    both = ur.nn.Bidirectional(ur.nn.LSTM(3, 4))
    both.implementation = "reference"
    assert both.forward_layer.implementation == both.backward_layer.implementation == "reference"


def test_convolution_and_pooling_of_members():  # con1 con4
    members = [ur.nn.Conv1D(5, 4, 3, strides=2, padding="same", activation="relu").double() for _ in range(3)]
    for m in members:
        nn.init.normal_(m.bias)
    x = torch.randn(3, 2, 7, 5, dtype=torch.float64)
    y = functional_call(members[0], stack_module_state(members)[0], (x,))
    torch.testing.assert_close(y, torch.stack([m(a) for m, a in zip(members, x, strict=True)]))
    for pool in (ur.nn.MaxPooling1D(2, padding="same"), ur.nn.AveragePooling1D(3, strides=2, padding="same")):
        torch.testing.assert_close(pool(x), torch.stack([pool(a) for a in x]))


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize(
    ("kernel", "strides", "dilation"), [(1, 1, 1), (3, 1, 1), (4, 3, 1), (3, 1, 4), (2, 3, 5)]
)
def test_convolutions_of_members_and_their_gradients_are_those_of_each(kernel, strides, dilation, padding):
    options = {"strides": strides, "dilation_rate": dilation, "padding": padding}
    members = [ur.nn.Conv1D(5, 4, kernel, **options).double() for _ in range(3)]
    weights = {name: p.detach().requires_grad_() for name, p in stack_module_state(members)[0].items()}
    x = torch.randn(3, 2, 19, 5, dtype=torch.float64, requires_grad=True)
    functional_call(members[0], weights, (x,)).sin().sum().backward()
    for m, member in enumerate(members):
        alone = x[m].detach().requires_grad_()
        member(alone).sin().sum().backward()
        torch.testing.assert_close(x.grad[m], alone.grad)
        for name, p in member.named_parameters():
            torch.testing.assert_close(weights[name].grad[m], p.grad)


def test_a_wide_dilation_takes_no_more_memory_than_a_narrow_one():
    conv = ur.nn.Conv1D(16, 16, 2, padding="causal", dilation_rate=16384)
    weights = {name: p.detach()[None] for name, p in conv.named_parameters()}
    x = torch.randn(1, 64, 20000, 16, requires_grad=True)  # of all steps in a span it would be 1.3 TB
    functional_call(conv, weights, (x,)).sum().backward()
    assert x.grad.isfinite().all()


def test_same_padding_with_strides_and_dilation():  # con2
    conv, x = ur.nn.Conv1D(3, 4, 2, strides=3, dilation_rate=3, padding="same"), torch.randn(2, 9, 3)
    assert conv(x).shape == (2, 3, 4)
    padded = nn.functional.pad(x.mT, (0, 1))  # (⌈9/3⌉ - 1)·3 + 4 - 9 = 1
    torch.testing.assert_close(conv(x), nn.functional.conv1d(padded, conv.weight, conv.bias, 3, 0, 3).mT)


def test_the_mean_of_a_single_valid_step_is_that_step():  # con5
    x, mask = torch.randn(1, 3, 2), torch.tensor([[False, True, False]])
    torch.testing.assert_close(ur.nn.GlobalAveragePooling1D()(x, mask), x[:, 1])


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
def test_to_torch_and_from_torch_every_kind(make, bias, both):  # wei1-6
    theirs = make(3, 4, batch_first=True, bias=bias, bidirectional=both).double().eval()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    ours = ur.nn.from_torch(theirs)
    torch.testing.assert_close(ours(x), theirs(x)[0])
    back = ur.nn.to_torch(ours)
    assert not back.training
    for got, expected in zip(
        torch.utils._pytree.tree_leaves(back(x)), torch.utils._pytree.tree_leaves(theirs(x)), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_keras_weights_of_a_cell_over_time_and_wrong_counts():  # wei7 wei8 wei9
    layer, twin = ur.nn.RNN(ur.nn.GRUCell(3, 4)), ur.nn.GRU(3, 4)
    ur.nn.from_keras(layer, ur.nn.to_keras(twin))
    assert torch.equal(layer.cell.weight_hh, twin.weight_hh)
    with pytest.raises(ShapeError, match="2 arrays, got 1"):
        ur.nn.from_keras(ur.nn.Dense(3, 4), [np.ones((3, 4))])
    w = ur.nn.to_keras(twin)
    with pytest.raises(ShapeError, match="bias of shape"):
        ur.nn.from_keras(twin, [*w[:2], np.ones((3, 12))])


def test_drop_in_edges(caplog, without_native):  # dro1 dro2 dro3 dro5
    model = ur.accelerate(nn.ModuleList([nn.GRU(3, 4), nn.LSTM(3, 4, 2, proj_size=2)]))
    assert type(model[1]) is nn.LSTM
    with caplog.at_level(logging.INFO, "unrolled"):
        ur.accelerate(nn.ModuleList([model[0]]))
    assert not caplog.messages
    with pytest.raises(RuntimeError, match=r"input.size\(-1\) must be equal to input_size"):
        model[0](pack_sequence([torch.randn(3, 5), torch.randn(2, 5)]))
    assert ur.explain(model[0], pack_sequence([torch.randn(3, 3)] * 2)).implementation == "torch"


def test_gradient_flow_without_dropout_with_a_mask_and_with_any_loss():  # ins1 ins2 ins3 ins6
    class Masked(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x.nan_to_num() if self.layer is None else x, None, ~x[..., 0].isnan())

    x, y = torch.randn(2, 6, 3), torch.randn(2, 4)
    x[0, 4:], x[1, 1] = torch.nan, torch.nan
    model = Masked(ur.nn.GRU(3, 4, dropout=0.5, recurrent_dropout=0.5))
    flow = ur.nn.gradient_flow(model, x, y)["layer.h"]
    assert flow.isfinite().all()
    assert torch.equal(flow, ur.nn.gradient_flow(model, x, y)["layer.h"])
    alone = ur.nn.gradient_flow(model, x[:1], y[:1])["layer.h"]
    torch.testing.assert_close(alone[:4], ur.nn.gradient_flow(model.layer, x[:1, :4], y[:1])["GRU.h"])
    twice = ur.nn.gradient_flow(model, x, y, loss=lambda a, b: 2 * nn.functional.mse_loss(a, b))["layer.h"]
    torch.testing.assert_close(twice, 2 * flow)


def test_the_first_step_of_the_plot_is_one():  # ins4
    assert list(ur.nn.plot_gradient_flow({"h": torch.ones(3)}).axes[0].lines[0].get_xdata()) == [1, 2, 3]


def test_summary_says_what_is_not_called():  # ins7
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = ur.nn.Dense(3, 2), ur.nn.Dense(3, 2)

        def forward(self, x):
            return self.used(x)

    assert [r.output_shape for r in ur.nn.summary(Model(), (3,)).layers] == ["(batch, 2)", "not called"]


def test_the_drawing_of_an_lstm_puts_the_gates_where_they_act():  # dra1 dra2 dra3
    svg = ur.nn.draw_cell("lstm")
    at = {
        t: (int(x), int(y))
        for x, y, t in re.findall(r'<text(?: class="name")? x="(\d+)" y="(\d+)"[^>]*>([^<]+)<', svg)
    }
    boxes = re.findall(r'<rect class="gate" x="(\d+)" y="248"[^>]*/><text x="\d+" y="260">([^<]+)<', svg)
    assert [t for _, t in boxes] == ["σ", "σ", "tanh", "σ"]
    assert at["forget gate f"][0] < at["input gate i"][0] < at["candidate g"][0] < at["output gate o"][0]
    assert re.findall(r'<circle class="op" cx="(\d+)" cy="(\d+)" r="12"/><text[^>]*>([^<]+)<', svg) == [
        ("180", "100", "×"),
        ("345", "100", "+"),
        ("345", "180", "×"),
        ("580", "220", "×"),
    ]
