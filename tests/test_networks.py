"""The architectures that the estimators train: shapes, members, options, padding."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from unrolled import networks
from unrolled.data.windows import Batch
from unrolled.networks import SequenceToSequence, SequenceToVector, spread
from unrolled.training.members import Members, takes_members
from unrolled.training.options import Training

CELLS = ["rnn", "lstm", "gru", "conv-gru", "wavenet"]
LENGTH, SEASON, HORIZON, BATCH = 11, 4, 6, 5
SIZES = {"input_size": 6, "units": 8, "horizon": HORIZON, "known_size": 2, "static_size": 3}
OPTIONS = {
    "one": {},
    "targets": {"targets": 3},
    "depth": {"depth": 2, "targets": 2},
    "bidirectional": {"bidirectional": True, "cell": "lstm", "depth": 2},
    "layer_norm": {"layer_norm": True, "targets": 2},
    "normalise": {"normalise": True, "targets": 2},
    "quantiles": {"quantiles": 3, "targets": 2, "normalise": True},
    "line": {"cell": None, "targets": 3},
} | {cell: {"cell": cell, "targets": 2} for cell in CELLS}


def make(seed=0, **options):
    """A network whose line and head are not zero, as after training."""
    torch.manual_seed(seed)
    network = SequenceToVector(**SIZES | {"length": LENGTH, "season": SEASON} | options)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def make_each(seed=0, **options):
    torch.manual_seed(seed)
    return SequenceToSequence(**SIZES | {"targets": 2} | options)


def draw(*members, seed=1, time=LENGTH + SEASON, **fields):
    """A batch of random windows; the last of the known features are tomorrow's."""
    g = torch.Generator().manual_seed(seed)
    shape = (*members, BATCH)
    return Batch(
        torch.randn(*shape, time, 6, generator=g),
        torch.randn(*shape, HORIZON, 2, generator=g),
        torch.randn(*shape, 3, generator=g),
        **fields,
    )


def answer(network, batch):
    return network(batch.past, future=batch.future, static=batch.static, mask=batch.mask)


def padding(batch=BATCH, steps=9):
    mask = torch.ones(batch, LENGTH + SEASON, dtype=torch.bool)
    mask[: batch - 1, :steps] = False
    return mask


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_shapes(options):
    quantiles = options.get("quantiles", 0)
    expected = (BATCH, HORIZON, options.get("targets", 1), *[quantiles] * bool(quantiles))
    network = make(**options)
    assert answer(network, draw()).shape == expected
    assert answer(network, draw(mask=padding())).shape == expected


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
def test_any_length(cell, length):
    torch.manual_seed(0)
    network = SequenceToVector(2, 16, 3, length=length, cell=cell)
    torch.nn.init.ones_(network.head.weight)
    past = torch.randn(2, length, 2, requires_grad=True)
    assert network(past).shape == (2, 3, 1)
    (slope,) = torch.autograd.grad(network(past).sum(), past)
    assert slope[:, -1, 1].abs().min() > 0  # the last step is always read


def members_agree(make, batch, target, options, masked):
    training = Training("mse", members=3)
    together = Members([make(m, **options) for m in range(3)], range(3), training)
    assert together.way == "stacked"
    mask = torch.stack([padding(steps=s)[:, -batch.past.shape[-2] :] for s in (9, 3, 6)]) if masked else None
    given = Batch(batch.past, batch.future, batch.static, mask, target)
    losses, norms = together.step(given)
    for m in range(3):
        alone = Members([make(m, **options)], [m], training)
        tensors = (batch.past, batch.future, batch.static, mask, target)
        part = Batch(*(None if t is None else t[m : m + 1] for t in tensors))
        loss, norm = alone.step(part)
        assert (loss, norm) == ([losses[m]], [norms[m]])
        for name, slope in alone.views(alone.gradient).items():
            assert torch.equal(slope[0], together.views(together.gradient)[name][m]), name
        plain = answer(make(m, **options).eval(), part_of(part))
        torch.testing.assert_close(plain, alone.outputs(part)[0])
    return [losses, together.gradient]


def part_of(batch):
    return Batch(*(None if t is None else t[0] for t in (batch.past, batch.future, batch.static, batch.mask)))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_member_has_the_bits_of_its_lone_run_on_any_number_of_threads(options, masked, threads):
    shape = (
        3,
        BATCH,
        HORIZON,
        options.get("targets", 1),
        *[options.get("quantiles")] * ("quantiles" in options),
    )
    found = []
    for count in (1, 2):
        threads(count)
        found.append(members_agree(make, draw(3), torch.ones(shape), options, masked))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("horizon", [1, 2])
def test_a_line_has_the_bits_of_its_lone_run(horizon, targets, threads):
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(3, 64, targets, 99),
        torch.randn(3, targets, horizon, 99),
        torch.randn(3, targets, horizon),
    )
    found = []
    for count, members in itertools.product((1, 2), ([0, 1, 2], [1])):
        threads(count)
        line = networks.Lines(targets, 99, horizon)
        line.weight, line.bias = torch.nn.Parameter(weight[members]), torch.nn.Parameter(bias[members])
        y = line(x[members])
        y.square().sum().backward()
        found.append([t[members.index(1)] for t in (y, line.weight.grad, line.bias.grad)])
    for other in found[1:]:
        assert all(map(torch.equal, other, found[0]))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_members_of_sequence_to_sequence_have_the_bits_of_lone_runs(cell, threads):
    target = torch.ones(3, BATCH, LENGTH + SEASON, HORIZON, 2)
    found = []
    for count in (1, 2):
        threads(count)
        found.append(members_agree(make_each, draw(3), target, {"cell": cell}, masked=True))
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_gradient_reaches_every_parameter(options):
    network = make(**options)
    answer(network, draw()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("known_size", [0, 2])
def test_the_gradient_reaches_every_parameter_of_sequence_to_sequence(known_size):
    network = make_each(known_size=known_size, depth=2, layer_norm=True)
    answer(network, draw()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_each_option_changes_the_forecast():
    changes = [{}, {"depth": 2}, {"bidirectional": True}, {"layer_norm": True}, {"normalise": True}]
    changes += [{"cell": cell} for cell in (*CELLS, None) if cell != "gru"]
    batch = draw()
    found = [answer(make(targets=2, **change), batch) for change in changes]
    for one, other in itertools.combinations(found, 2):
        assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_before_training_the_network_is_its_line(options):
    network = SequenceToVector(6, 8, HORIZON, length=LENGTH, season=SEASON, **options)
    targets, batch = options.get("targets", 1), draw()
    weight, bias = torch.randn(targets, HORIZON, LENGTH + SEASON), torch.randn(targets, HORIZON)
    network.start_from(weight, bias)
    window = batch.past[..., :targets].mT
    last = window[..., -1:]
    scale = spread(window) if options.get("normalise") else 1
    # ŷₖ = y + σ (Aₖ (y - y(t)) / σ + bₖ), of each target by its own line
    expected = (last + torch.einsum("cks,bcs->bck", weight, window - last) + bias * scale).mT
    found = network(batch.past)
    if options.get("quantiles"):
        expected = expected.unsqueeze(-1).expand_as(found)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_network_is_pulled_back_to_a_line(options):
    network, line, batch = make(**options), make(seed=7, **options), draw()
    line.encoder = None
    expected = 0.3 * answer(network, batch) + 0.7 * line(batch.past)
    network.pull_back(0.3, line.line.weight.detach(), line.line.bias.detach())
    torch.testing.assert_close(answer(network, batch), expected)


def test_one_target_is_the_formula():
    """The whole of it written out, step by step."""
    network, batch = make(static_size=0), draw()
    past, y = batch.past, batch.past[..., 0]
    last = y[:, -1:]
    recent = slice(-LENGTH, None)
    before = y[:, recent] - y[:, :-SEASON]
    x = torch.cat([past[:, recent, 1:], (y - last)[:, recent, None], before[..., None]], -1)
    state = network.encoder.layers[0](x)
    rows = []
    for k in range(HORIZON):
        again = y[:, -SEASON + k % SEASON, None] - last
        vector = network.project(state)[:, 16 * k : 16 * (k + 1)]
        hidden = torch.relu(network.hidden(torch.cat([vector, batch.future[:, k], again], -1)))
        line = F.linear(y - last, network.line.weight[0, k : k + 1], network.line.bias[0, k : k + 1])
        rows.append(last + line + network.head(hidden))
    torch.testing.assert_close(network(past, future=batch.future), torch.stack(rows, 1))


def test_a_channel_reads_the_others_from_its_own_on(monkeypatch):
    """Turning the channels round turns the forecasts round, if a channel is not told which it is."""
    network, batch = make(targets=3), draw()
    with torch.no_grad():
        network.about.weight[:, 3:] = 0
        network.line.weight[:] = network.line.weight[:1].clone()
        network.line.bias[:] = network.line.bias[:1].clone()
    turned = torch.cat([batch.past[..., [1, 2, 0]], batch.past[..., 3:]], -1)
    found = answer(network, batch)
    torch.testing.assert_close(
        network(turned, future=batch.future, static=batch.static), found[..., [1, 2, 0]]
    )
    moved = batch.past.clone()
    moved[..., :3, 2] += 1  # the third channel alone, in the first steps
    assert (network(moved, future=batch.future, static=batch.static) - found)[..., 0].abs().max() > 1e-4
    monkeypatch.setattr(networks, "CROSS", 2)
    network = make(targets=3)
    found, after = answer(network, batch), network(moved, future=batch.future, static=batch.static)
    torch.testing.assert_close(after[..., :2], found[..., :2])
    assert (after - found)[..., 2].abs().max() > 1e-4


def test_a_channel_is_told_which_it_is():
    network, batch = make(targets=2), draw()
    batch.past[..., 1] = batch.past[..., 0]
    with torch.no_grad():
        network.line.weight.zero_(), network.line.bias.zero_()
    found = answer(network, batch)
    assert (found[..., 0] - found[..., 1]).abs().max() > 1e-3


@pytest.mark.parametrize("field", ["future", "static"])
def test_what_is_known_is_read(field):
    network, batch = make(targets=2), draw()
    found = answer(network, batch)
    getattr(batch, field)[0] += 1
    changed = (answer(network, batch) - found).abs().flatten(1).amax(1)
    assert changed[0] > 1e-3
    assert changed[1:].max() == 0


def test_each_step_reads_its_own_future():
    network, batch = make(targets=2), draw()
    found = answer(network, batch)
    batch.future[:, 3] += 1
    changed = (answer(network, batch) - found).abs().amax((0, 2))
    assert changed[3] > 1e-3
    assert changed[[0, 1, 2, 4, 5]].max() == 0


@pytest.mark.parametrize(("season", "steps"), [(0, 9), (SEASON, 9), (SEASON, 13)])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_what_padding_holds_is_read_by_the_line_alone(options, season, steps):
    if options.get("cell", "") is None:
        pytest.skip("the line alone")
    network = make(**options, season=season, length=LENGTH + SEASON - season)
    batch = draw(mask=padding(steps=steps))
    network.line.weight.data.zero_()
    found = answer(network, batch)
    batch.past[:-1, :steps] += 7
    torch.testing.assert_close(answer(network, batch), found)
    network.line.weight.data.fill_(0.1)
    assert (answer(network, batch) - found).abs().amax() > 0.1


def test_a_skipped_step_is_no_step():
    """A padded window of a network that skips is the short window of one that has no more steps."""
    long, short = make(targets=2, season=0), make(targets=2, season=0, length=4)
    short.load_state_dict({**long.state_dict(), "line.weight": long.line.weight[..., -4:]})
    batch, mask = draw(time=LENGTH), torch.arange(LENGTH).expand(BATCH, -1) >= LENGTH - 4
    long.line.weight.data[..., :-4] = 0
    found = long(batch.past, future=batch.future, static=batch.static, mask=mask)
    torch.testing.assert_close(found, short(batch.past[:, -4:], future=batch.future, static=batch.static))


def test_normalise_follows_the_scale_and_the_level():
    network, batch = make(targets=2, normalise=True), draw()
    found = answer(network, batch)
    batch.past[..., :2] = 1000 * batch.past[..., :2] - 5000
    torch.testing.assert_close(answer(network, batch), 1000 * found - 5000, rtol=1e-3, atol=2)


def test_the_spread_of_a_constant_window_is_small_and_has_a_slope():
    window = torch.full((2, 5), 3.0, requires_grad=True)
    assert spread(window).tolist() == [[pytest.approx(networks.FLOOR)]] * 2
    spread(window).sum().backward()
    assert window.grad.tolist() == [[0.0] * 5] * 2
    mask = torch.tensor([True, True, False])
    assert spread(torch.tensor([1.0, 3.0, 99.0]), mask).item() == pytest.approx(1, abs=1e-3)


def test_wavenet_is_a_stack_of_dilated_convolutions():
    """At its last step, with every step of every layer computed."""
    encoder, x = make(cell="wavenet", season=0).encoder, torch.randn(BATCH, LENGTH, 6)
    for layer in encoder.layers:
        torch.nn.init.normal_(layer.bias)
    expected = encoder.enter(F.pad(x, (0, 0, 2 ** len(encoder.layers) - LENGTH, 0)))
    for number, layer in enumerate(encoder.layers):
        added = F.conv1d(expected.mT, layer.weight, layer.bias, dilation=2**number).mT
        expected = expected[:, 2**number :] + torch.relu(added)
    torch.testing.assert_close(encoder(x), expected[:, -1])


def test_quantiles_have_their_own_heads():
    found = answer(make(quantiles=3), draw())
    assert (found[..., 0] - found[..., 2]).abs().max() > 1e-2


def test_a_frozen_line_is_left_alone():
    def frozen(seed):
        network = make(seed, targets=2)
        network.line.requires_grad_(False)
        return network

    together = Members([frozen(0), frozen(1)], [0, 1], Training("mse", members=2))
    target = torch.zeros(2, BATCH, HORIZON, 2)
    losses, _ = together.step(
        Batch(*(getattr(draw(2), n) for n in ("past", "future", "static")), None, target)
    )
    assert together.way == "stacked"
    assert "line.weight" not in together.paths
    assert losses[0] != losses[1]


def test_sequence_to_sequence_forecasts_at_each_step_and_the_last_when_used():
    network, batch = make_each(), draw(mask=padding())
    each = answer(network, batch)
    assert each.shape == (BATCH, LENGTH + SEASON, HORIZON, 2)
    last = answer(network.eval(), batch)
    assert last.shape == (BATCH, HORIZON, 2)
    torch.testing.assert_close(last, each[:, -1])


def test_sequence_to_sequence_never_sees_what_comes():
    """The forecast of a step reads the window up to it, and what is known of the steps that it forecasts."""
    network, batch, step = make_each(), draw(), 5
    found = answer(network, batch)
    batch.past[:, step + 1 :, :4] += 1
    after = answer(network, batch)
    torch.testing.assert_close(after[:, : step + 1], found[:, : step + 1])
    assert (after - found)[:, step + 1 :].abs().amax((0, 2, 3)).min() > 1e-3
    batch = draw()
    batch.past[:, step, -2:] += 1  # what is known of step + 1
    forecasts = (answer(network, batch) - found)[:, :step].abs().amax((0, 3))
    for t, k in itertools.product(range(step), range(HORIZON)):
        assert (forecasts[t, k] > 1e-4) == (t + k + 1 == step + 1), (t, k)
    batch = draw()
    batch.future[:, 2] += 1
    forecasts = (answer(network, batch) - found).abs().amax((0, 3))
    for t, k in itertools.product(range(LENGTH + SEASON), range(HORIZON)):
        assert (forecasts[t, k] > 1e-4) == (t + k == LENGTH + SEASON - 1 + 2), (t, k)


@pytest.mark.parametrize("field", ["static", "past"])
def test_sequence_to_sequence_reads(field):
    network, batch = make_each(), draw()
    found = answer(network, batch)
    getattr(batch, field)[0, ..., 2:] += 1
    changed = (answer(network, batch) - found).abs().flatten(1).amax(1)
    assert changed[0] > 1e-3
    assert changed[1:].max() == 0


def test_sequence_to_sequence_follows_the_level_and_skips_padding():
    network, batch = make_each(), draw()
    found = answer(network, batch)
    batch.past[..., :2] += 1000
    torch.testing.assert_close(answer(network, batch), found + 1000, rtol=0, atol=1e-2)
    first = draw(mask=padding())
    first.past[:, :9, :2] = first.past[:, 9:10, :2]  # the first value repeated
    short = Batch(first.past[:-1, 9:], first.future[:-1], first.static[:-1])
    torch.testing.assert_close(answer(network, first)[:-1, 9:], answer(network, short))


def test_sequence_to_sequence_options():
    batch = draw()
    found = [
        answer(make_each(**o), batch) for o in ({}, {"depth": 2}, {"layer_norm": True}, {"cell": "lstm"})
    ]
    for one, other in itertools.combinations(found, 2):
        assert not torch.allclose(one, other, atol=1e-3)


def test_all_take_members():
    assert all(takes_members(make(**options)) for options in OPTIONS.values())
    assert takes_members(make_each())


def test_the_line_may_read_more_than_the_network():
    network, batch = make(window=LENGTH + SEASON, length=4, season=3), draw()
    assert network.line.weight.shape == (1, HORIZON, LENGTH + SEASON)
    found = answer(network, batch)
    batch.past[:, :8] += 1  # before the network's steps, and the season before them
    changed = answer(network, batch) - found
    assert changed.abs().amax() > 1e-2
    line = torch.ones(BATCH, 8) @ network.line.weight[0, :, :8].T
    torch.testing.assert_close(changed[..., 0], line)
