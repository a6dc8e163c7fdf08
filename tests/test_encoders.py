"""Networks for sequences: shapes, masks, members on a stacked axis, gates that remember."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.func import stack_module_state

from unrolled.data import Sequences, SequenceSamples
from unrolled.encoder_decoder import Attention, Memory
from unrolled.encoders import Architecture, Embedding, SequenceEncoder, make_encoder, remember
from unrolled.kernels import native
from unrolled.nn import GRU, LSTM, SimpleRNN
from unrolled.training.members import Members, call, takes_members
from unrolled.training.options import Training

NUMBERS = Architecture(3, 5, units=6)
WORDS = Architecture(20, 2, None, pooling="mean", embedding=4, line=True)
KINDS = {
    "rnn": dataclasses.replace(NUMBERS, cell="rnn"),
    "two lstm": dataclasses.replace(NUMBERS, layers=2, hidden=4),
    "bidirectional gru": dataclasses.replace(
        NUMBERS, cell="gru", bidirectional=True, pooling="max", dropout=0.2
    ),
    "conv": dataclasses.replace(NUMBERS, cell=None, filters=7, pooling="max", hidden=4),
    "conv-gru": dataclasses.replace(NUMBERS, cell="gru", filters=7, pooling="mean"),
    "per step": dataclasses.replace(NUMBERS, per_step=True, bidirectional=True, memory=9),
    "bag of words": WORDS,
    "words by steps": dataclasses.replace(WORDS, cell="lstm", units=6, per_step=True),
    "frozen words": dataclasses.replace(WORDS, frozen=True, line=False, filters=6, pooling="max"),
    "images": dataclasses.replace(NUMBERS, cell="gru", image=(8, 9), filters=5),
}


def inputs(a, lengths=(4, 9, 1)):
    random = np.random.default_rng(0)
    shape = a.image or (a.input_size,)
    parts = [
        random.integers(2, a.input_size, k) if a.embedding else random.normal(size=(k, *shape))
        for k in lengths
    ]
    return Sequences.of(parts)


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    return KINDS[request.param]


def test_answers_have_their_shape(kind):
    batch = SequenceSamples(inputs(kind), None).batch(np.arange(3))
    shape = (3, 9, kind.outputs) if kind.per_step else (3, kind.outputs)
    assert call(make_encoder(kind), batch).shape == shape


def test_padding_changes_nothing(kind):
    torch.manual_seed(0)
    network, sequences = make_encoder(kind).eval(), inputs(kind)
    if kind.line:
        torch.nn.init.normal_(network.line.weight)
    batch = SequenceSamples(sequences, None).batch(np.arange(3))
    spoilt = batch.past.clone()
    spoilt[~batch.mask] = 7 if kind.embedding else 1e3
    together = call(network, batch)
    again = call(network, dataclasses.replace(batch, past=spoilt))
    counted = batch.mask if kind.per_step else slice(None)
    torch.testing.assert_close(again[counted], together[counted], rtol=0, atol=0)
    for number in range(3):
        alone = call(network, SequenceSamples(sequences.take(np.array([number])), None).batch(np.arange(1)))
        length = sequences.lengths[number]
        expected = together[number, :length] if kind.per_step else together[number]
        torch.testing.assert_close(alone[0], expected, rtol=1e-5, atol=1e-6)


def test_members_answer_as_each_alone(kind):
    networks = []
    for seed in range(3):
        torch.manual_seed(seed)
        networks.append(make_encoder(kind).eval())
    assert takes_members(networks[0])
    batch = SequenceSamples(inputs(kind), None).batch(np.tile(np.arange(3), (3, 1)))
    members = Members(networks, [0, 1, 2], Training("cross-entropy", members=3))
    assert members.way == "stacked"
    found = members.outputs(batch)
    for number, network in enumerate(networks):
        own = dataclasses.replace(batch, past=batch.past[number], mask=batch.mask[number])
        torch.testing.assert_close(found[number], call(network, own), rtol=1e-5, atol=1e-6)


def test_a_plain_stack_needs_no_module_of_its_own():
    assert isinstance(make_encoder(dataclasses.replace(NUMBERS, hidden=4)), torch.nn.Sequential)
    assert isinstance(make_encoder(dataclasses.replace(NUMBERS, per_step=True)), torch.nn.Sequential)


def test_a_bag_does_not_read_the_order():
    network = make_encoder(WORDS).eval()
    words = torch.tensor([[3, 4, 5, 9]])
    torch.testing.assert_close(network(words), network(words.flip(1)))
    recurrent = make_encoder(dataclasses.replace(WORDS, cell="lstm", pooling="last", line=False)).eval()
    assert (recurrent(words) - recurrent(words.flip(1))).abs().max() > 1e-4


def test_unknown_words_and_padding_begin_as_zeros():
    embedding = Embedding(5, 3)
    assert not embedding(torch.tensor([[0, 1]])).any()
    assert embedding(torch.tensor([[2, 4]])).all()


def test_frozen_vectors_are_not_trained():
    network = make_encoder(KINDS["frozen words"])
    assert "embedding.weight" not in Members([network], [0], Training("cross-entropy")).shapes


def test_stacked_embeddings_have_tables_of_their_own():
    tables = [Embedding(6, 2) for _ in range(3)]
    weights, _ = stack_module_state(tables)
    stacked = Embedding(6, 2)
    stacked._parameters["weight"] = weights["weight"]
    numbers = torch.tensor([[[2, 5]], [[0, 2]], [[4, 4]]])
    expected = torch.stack([table(row) for table, row in zip(tables, numbers, strict=True)])
    torch.testing.assert_close(stacked(numbers), expected)


@pytest.mark.parametrize("layer", [LSTM(1, 8, return_state=True), GRU(1, 8, return_state=True)])
def test_gates_remember_over_long_spans(layer):
    start = tuple(torch.ones(1, 8) for _ in range(2 if isinstance(layer, LSTM) else 1))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        *_, before = layer(torch.zeros(1, 100, 1), start)
        remember(layer, 400)
        *_, after = layer(torch.zeros(1, 100, 1), start)
    assert before.max() < 1e-9
    assert after.mean() > 0.2


def test_a_plain_layer_has_no_gates():
    layer = SimpleRNN(1, 2)
    remember(layer, 400)
    assert not layer.bias.any()


def test_dropout_stands_before_the_hidden_layer_too():
    network = SequenceEncoder(Architecture(3, 2, "gru", 64, hidden=4, dropout=0.5))
    seen = []
    network.hidden.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.train()(torch.randn(4, 5, 3))
    assert 0.2 < (seen[0] == 0).float().mean() < 0.8


@pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")
@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_attention_of_members_has_the_bits_of_each_alone(kind):
    torch.manual_seed(0)
    h, a = torch.randn(3, 2, 3, 33), torch.randn(3, 2, 21, 33)
    found = []
    for members in ([0, 1, 2], [1]):
        attention = Attention(33, 33, kind)
        torch.manual_seed(1)
        for name, p in list(attention.named_parameters()):
            holder = attention.get_submodule(name.rpartition(".")[0])
            setattr(holder, name.rpartition(".")[2], torch.nn.Parameter(torch.randn(3, *p.shape)[members]))
        given, memory = h[members].requires_grad_(), a[members].requires_grad_()
        context, weights = attention(given, Memory((), memory, attention.keys(memory), None))
        (context.sin().sum() + weights.square().sum()).backward()
        found.append([t[members.index(1)] for t in (context, weights, given.grad, memory.grad)])
    assert all(map(torch.equal, *found))
