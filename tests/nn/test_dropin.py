"""Drop-ins against what they replace in torch.nn: the same call, results, gradients, random draws."""

import copy
import itertools
import logging
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import unrolled as ur
from unrolled.kernels import dispatch, native
from unrolled.nn import dropin

BATCH, TIME, FEATURES, UNITS = 4, 6, 3, 5
MAKERS = {
    "rnn": lambda **o: nn.RNN(FEATURES, UNITS, **o),
    "rnn relu": lambda **o: nn.RNN(FEATURES, UNITS, nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(FEATURES, UNITS, **o),
    "gru": lambda **o: nn.GRU(FEATURES, UNITS, **o),
}


def twins(kind, implementation=None, **options):
    """torch's module and, of a copy, the drop-in."""
    torch.manual_seed(5)
    theirs = MAKERS[kind](**options).double()
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.5)
    ours = ur.accelerate(copy.deepcopy(theirs))
    assert type(ours).__module__ == "unrolled.nn.dropin"
    ours.implementation = implementation
    return theirs, ours


def tensors(result):
    """All tensors of what a module returns."""
    if isinstance(result, PackedSequence):
        return [result.data]
    return [result] if isinstance(result, torch.Tensor) else [t for part in result for t in tensors(part)]


def assert_same(theirs, ours, make_input, make_state=None):
    results, gradients = [], []
    for module in (theirs, ours):
        torch.manual_seed(11)
        x = make_input()
        leaf = (x.data if isinstance(x, PackedSequence) else x).requires_grad_()
        if isinstance(x, PackedSequence):
            x = PackedSequence(leaf, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        states = tensors(make_state()) if make_state else []
        hx = None if not states else tuple(s.requires_grad_() for s in states)
        torch.manual_seed(12)
        result = module(x, hx if hx is None or isinstance(module, nn.LSTM) else hx[0])
        results.append(result)
        loss = sum(
            (t * torch.linspace(1, 2, t.numel(), dtype=t.dtype).view_as(t)).sum() for t in tensors(result)
        )
        gradients.append(torch.autograd.grad(loss, [leaf, *states, *module.parameters()]))
    assert type(results[0]) is type(results[1])
    for expected, got in zip(tensors(results[0]), tensors(results[1]), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    for expected, got in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
    return results


def state_of(kind, batch, options):
    n = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    shape = (n, UNITS) if batch is None else (n, batch, UNITS)
    return lambda: [torch.randn(shape, dtype=torch.float64) for _ in range(2 if kind == "lstm" else 1)]


OPTIONS = [
    {"num_layers": layers, "bidirectional": both, "batch_first": first, "bias": bias}
    for layers, both, first, bias in itertools.product([1, 2], [False, True], [False, True], [True, False])
]


@pytest.mark.parametrize("implementation", [None, "torch", "reference"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", MAKERS)
def test_padded_and_unbatched(kind, options, implementation):
    theirs, ours = twins(kind, implementation, **options)
    shape = (BATCH, TIME, FEATURES) if options["batch_first"] else (TIME, BATCH, FEATURES)
    assert_same(theirs, ours, lambda: torch.randn(shape, dtype=torch.float64))
    assert_same(theirs, ours, lambda: torch.randn(shape, dtype=torch.float64), state_of(kind, BATCH, options))
    assert_same(theirs, ours, lambda: torch.randn(TIME, FEATURES, dtype=torch.float64))
    state = state_of(kind, None, options)
    assert_same(theirs, ours, lambda: torch.randn(TIME, FEATURES, dtype=torch.float64), state)


@pytest.mark.parametrize("lengths", [(2, 6, 3, 1), (6, 3, 2, 1), (4, 4, 4, 4)], ids=str)
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=str
)
@pytest.mark.parametrize("kind", MAKERS)
def test_packed_sequences(kind, options, with_state, lengths):
    theirs, ours = twins(kind, **options)
    ordered = sorted(lengths, reverse=True) == list(lengths)

    def packed():
        parts = [torch.randn(n, FEATURES, dtype=torch.float64) for n in lengths]
        return pack_sequence(parts, enforce_sorted=ordered)

    (y1, _), (y2, _) = assert_same(
        theirs, ours, packed, state_of(kind, len(lengths), options) if with_state else None
    )
    assert torch.equal(y1.batch_sizes, y2.batch_sizes)
    for name in ("sorted_indices", "unsorted_indices"):
        before, after = getattr(y1, name), getattr(y2, name)
        assert (before is None and after is None) or torch.equal(before, after)


@pytest.mark.parametrize("pack", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("kind", MAKERS)
def test_dropout_between_layers_drops_the_same_elements(kind, pack):
    theirs, ours = twins(kind, num_layers=3, dropout=0.4, bidirectional=True, batch_first=True)

    def make():
        if not pack:
            return torch.randn(BATCH, TIME, FEATURES, dtype=torch.float64)
        parts = [torch.randn(n, FEATURES, dtype=torch.float64) for n in (3, 6, 2)]
        return pack_sequence(parts, enforce_sorted=False)

    trained = assert_same(theirs, ours, make)
    evaluated = assert_same(theirs.eval(), ours.eval(), make)
    assert not torch.equal(tensors(trained[1])[0], tensors(evaluated[1])[0])


@pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")
@pytest.mark.parametrize("kind", MAKERS)
def test_time_first_the_output_is_written_and_its_gradient_read_where_it_lies(kind, monkeypatch):
    _, ours = twins(kind, num_layers=2)
    x = torch.randn(TIME, BATCH, FEATURES, dtype=torch.float64)
    copied, contiguous = [], native._contiguous
    monkeypatch.setattr(native, "_contiguous", lambda t: copied.append(t) or contiguous(t))
    y, _ = ours(x)
    assert y.is_contiguous()
    y.backward(torch.ones_like(y))
    assert not copied


def test_the_module_keeps_its_identity():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.LSTM(FEATURES, UNITS, num_layers=2, bidirectional=True)
            self.decoder = nn.GRU(2 * UNITS, UNITS)
            self.shared = [self.decoder]
            self.head = nn.Linear(UNITS, 1)

        def forward(self, x):
            return self.head(self.decoder(self.encoder(x)[0])[0])

    model = Model()
    x = torch.randn(TIME, BATCH, FEATURES)
    keys, parameters, expected = list(model.state_dict()), list(model.parameters()), model(x)
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    assert ur.accelerate(model) is model
    assert isinstance(model.encoder, dropin.LSTM)
    assert isinstance(model.decoder, dropin.GRU)
    assert isinstance(model.shared[0], dropin.GRU)
    assert isinstance(model.encoder, nn.LSTM)
    assert type(model.head) is nn.Linear
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(model(x), expected)
    assert calls == [1]
    again = pickle.loads(pickle.dumps(ur.accelerate(copy.deepcopy(nn.Sequential(model.decoder)))))
    assert type(again[0]) is dropin.GRU
    bare = nn.RNN(FEATURES, UNITS)
    assert isinstance(ur.accelerate(bare), dropin.RNN)


def test_what_is_left_alone_is_logged(caplog):
    class Mine(nn.LSTM):
        pass

    model = nn.ModuleDict(
        {"mine": Mine(3, 4), "projected": nn.LSTM(3, 4, proj_size=2), "plain": nn.LSTM(3, 4)}
    )
    with caplog.at_level(logging.INFO, "unrolled"):
        ur.accelerate(model)
    assert type(model["mine"]) is Mine
    assert type(model["projected"]) is nn.LSTM
    assert type(model["plain"]) is dropin.LSTM
    assert caplog.messages == [
        "accelerate: mine (Mine) is left alone: it is a subclass, whose forward may differ",
        "accelerate: projected (LSTM) is left alone: proj_size=2 is not ours",
    ]


def test_explain_and_a_requested_implementation(without_native):
    layer = ur.accelerate(nn.GRU(FEATURES, UNITS))
    x = torch.randn(TIME, BATCH, FEATURES)
    assert ur.explain(layer, x).implementation == "torch"
    ragged = pack_sequence([torch.randn(3, FEATURES), torch.randn(2, FEATURES)])
    assert ur.explain(layer, ragged).reason.endswith("; torch does not cover mask")
    layer.implementation = "torch"
    with pytest.raises(
        ur.errors.KernelError, match="expected implementation 'torch' to cover this call, got mask"
    ):
        layer(ragged)


def test_wrong_input_raises_what_torch_raises():
    _, ours = twins("lstm")
    with pytest.raises(RuntimeError, match=r"input.size\(-1\) must be equal to input_size"):
        ours(torch.randn(TIME, BATCH, FEATURES + 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="Expected input to be 2D or 3D, got 1D"):
        ours(torch.randn(FEATURES, dtype=torch.float64))
    bad = torch.zeros(1, BATCH + 1, UNITS, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        ours(torch.randn(TIME, BATCH, FEATURES, dtype=torch.float64), (bad, bad))


LOW = {torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.mark.parametrize("implementation", [None, "torch", "native in float32"])
@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("pack", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("kind", MAKERS)
def test_low_precision_is_near_float32_forward_and_backward(kind, pack, dtype, implementation):
    """At least as near as a few roundings of the type, and never on the reference's loop."""
    if (pack and implementation == "torch") or (
        implementation not in (None, "torch") and not native.AVAILABLE
    ):
        pytest.skip("not covered")
    torch.manual_seed(2)
    theirs = MAKERS[kind](num_layers=2, bidirectional=True).to(dtype)
    ours, exact = ur.accelerate(copy.deepcopy(theirs)), copy.deepcopy(theirs).float()
    ours.implementation = implementation
    x = torch.randn(TIME, BATCH, FEATURES).to(dtype)
    found = []
    for module, given in ((ours, x), (exact, x.float())):
        leaf = given.clone().requires_grad_()
        results = tensors(module(nn.utils.rnn.pack_padded_sequence(leaf, [6, 5, 3, 1]) if pack else leaf))
        sum(t.sum() for t in results).backward()
        found.append([*results, leaf.grad, *(p.grad for p in module.parameters())])
    for got, expected in zip(*found, strict=True):
        assert got.dtype == dtype
        assert (got.float() - expected).abs().max() <= LOW[dtype] * max(1, expected.abs().max())
    if implementation is None and native.AVAILABLE:
        assert ur.explain(ours, x).implementation == "native in float32"


def test_low_precision_without_the_kernels_is_torchs(monkeypatch):
    monkeypatch.setattr(dispatch, "TABLE", [r for r in dispatch.TABLE if "native" not in r.name])
    layer = ur.accelerate(nn.GRU(FEATURES, UNITS)).bfloat16()
    assert ur.explain(layer, torch.randn(TIME, BATCH, FEATURES).bfloat16()).implementation == "torch"


@pytest.mark.parametrize("state", [None, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pack", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("kind", MAKERS)
def test_autocast_gives_torchs_type_computed_in_the_weights(kind, pack, given, state):
    torch.manual_seed(4)
    theirs = MAKERS[kind]()
    ours = ur.accelerate(copy.deepcopy(theirs))
    x = torch.randn(TIME, BATCH, FEATURES).to(given)
    h = torch.randn(1, BATCH, UNITS).to(state) if state else None
    hx = (h, h) if kind == "lstm" and state else h
    x = nn.utils.rnn.pack_padded_sequence(x, [6, 5, 3, 1]) if pack else x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, got = tensors(theirs(x, hx)), tensors(ours(x, hx))
        if native.AVAILABLE:
            assert ur.explain(ours, x).implementation == "native"
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a.float(), b.float(), rtol=0, atol=2e-2)


def test_autocast_leaves_float64_alone():
    theirs, ours = twins("lstm")
    x = torch.randn(TIME, BATCH, FEATURES, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(tensors(ours(x)), tensors(theirs(x)))


@pytest.mark.parametrize("make", [ur.nn.SimpleRNN, ur.nn.LSTM, ur.nn.GRU])
def test_a_layer_of_ours_under_autocast_computes_in_its_weights_type(make):
    layer, x = make(FEATURES, UNITS), torch.randn(BATCH, TIME, FEATURES).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        chosen = ur.explain(layer, x).implementation
    if native.AVAILABLE:
        assert chosen == "native"
        assert torch.equal(y, layer(x.float()))
