"""What the transcriber searches by, looks at and learns from, against NumPy and by hand, with weights drawn."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import unrolled as ur
from unrolled.data.symbols import START
from unrolled.encoder_decoder import CoderArchitecture, EncoderDecoder, Memory
from unrolled.estimators import transcriber as room

ONCE = ur.Training(optimizer="sgd", learning_rate=1e-9, epochs=1, batch_size=64)  # weights stay as they are
SOURCES = ["abc", "b", "ca", "abcab", "cc", "bac"]
TARGETS = ["xyz", "y", "zx", "xyzxy", "zz", ""]
pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(end=0.0, **options):
    """A transcriber that has read its pairs, each member's weights drawn anew; `end` is added to the end's logit."""
    options = {"units": 5, "members": 2, "embedding_size": 4, "training": ONCE} | options
    transcriber = ur.Transcriber(**options).fit(SOURCES, TARGETS, progress=False)
    for number, network in enumerate(transcriber.networks_):
        source = torch.Generator().manual_seed(20 + number)
        for parameter in network.parameters():
            parameter.data = 0.9 * torch.randn(parameter.shape, generator=source)
        network.head.bias.data[0] += end
    return transcriber


# --- the search


@pytest.mark.parametrize("beam", [1, 3])
def test_an_answer_has_up_to_twice_the_symbols_of_the_longest_target(beam):
    transcriber = drawn(end=-50.0)
    for one in transcriber.transcribe(SOURCES, beam=beam):
        assert (len(one.answer), one.ended) == (2 * 5, False)
    assert [len(answer) for answer in transcriber.predict(SOURCES[:2], beam=beam)] == [10, 10]
    assert [len(answer) for answer in transcriber.predict(SOURCES[:2], beam=beam, max_length=7)] == [7, 7]


def test_the_beam_compares_by_the_mean_over_symbols_unless_told_otherwise():
    transcriber = drawn(end=1.0)
    plain, mean, whole = (
        transcriber.transcribe(SOURCES, beam=4, **power)
        for power in ({}, {"length_power": 1.0}, {"length_power": 0.0})
    )
    assert [one.answer for one in plain] == [one.answer for one in mean]
    longer = [len(one.answer) - len(other.answer) for one, other in zip(plain, whole, strict=True)]
    assert min(longer) >= 0 and max(longer) > 0


@pytest.mark.parametrize("options", [{}, {"beam": 3, "length_power": 0.25, "max_length": 7}])
def test_what_is_asked_for_is_searched_for(monkeypatch, options):
    asked, whole = [], room.search

    def listen(networks, past, mask, **given):
        asked.append((len(networks), given))
        return whole(networks, past, mask, **given)

    monkeypatch.setattr(room, "search", listen)
    drawn().transcribe(SOURCES, **options)
    ((members, given),) = asked
    expected = {"beam": 1, "length_power": 1.0, "max_length": 10} | options
    assert members == 2
    assert (given["beam"], given["power"], given["most"]) == (
        expected["beam"],
        expected["length_power"],
        expected["max_length"],
    )


@pytest.mark.parametrize("name", ["predict", "score", "symbol_error_rate"])
def test_answers_and_scores_are_those_of_the_beam(monkeypatch, name):
    transcriber = drawn(end=-1.5)
    arguments = [SOURCES] if name == "predict" else [SOURCES, TARGETS]
    asked, whole = [], ur.Transcriber.transcribe

    def listen(self, X, **given):
        asked.append(given)
        return whole(self, X, **given)

    monkeypatch.setattr(ur.Transcriber, "transcribe", listen)
    found = [getattr(transcriber, name)(*arguments, **beam) for beam in ({}, {"beam": 1}, {"beam": 4})]
    assert [given["beam"] for given in asked] == [1, 1, 4]
    assert found[0] == found[1]
    if name == "predict":
        assert found[1] != found[2]
        assert found[2] == [one.answer for one in whole(transcriber, SOURCES, beam=4)]


@pytest.mark.parametrize("kind", ["dot", "additive"])
@pytest.mark.parametrize("beam", [1, 3])
def test_attention_is_the_mean_of_the_members(kind, beam):
    transcriber = drawn(attention=kind, end=-1.0)
    for source, one in zip(
        SOURCES, transcriber.transcribe(SOURCES, beam=beam, return_attention=True), strict=True
    ):
        past = torch.tensor([["abc".index(symbol) + 3 for symbol in source]])
        given = [START, *("xyz".index(symbol) + 3 for symbol in one.answer)]
        each = []
        for network in transcriber.networks_:
            with torch.no_grad():
                memory = network.encode(past)
                state, rows = memory.state, []
                for number in given[: len(one.answer)]:
                    _, state, weights = network.step(torch.tensor([[number]]), memory, state)
                    rows.append(weights[0, 0].numpy())
            each.append(np.stack(rows) if rows else np.zeros((0, len(source))))
        assert one.attention.shape == (len(one.answer), len(source))
        np.testing.assert_allclose(one.attention, np.mean(each, 0), atol=1e-5)
        if len(source) > 1 and one.answer:
            assert abs(each[0] - each[1]).max() > 1e-2


# --- what is learned from


def test_pairs_held_back_are_not_learned_from(given):
    sources = [[10 * i, 10 * i + 1 + i % 2, *[3] * (i % 3)] for i in range(12)]
    targets = [[7 * i + 1] * (1 + i % 4) for i in range(12)]
    transcriber = ur.Transcriber("gru", units=2, members=1, valid_size=0.25, training=ONCE)
    transcriber.fit(sources, targets, progress=False)
    ((_, train, valid, _),) = given
    found = [
        [
            (
                transcriber.source_.alphabet.decode(samples.sources[i]),
                transcriber.target_.alphabet.decode(samples.targets[i]),
            )
            for i in range(len(samples))
        ]
        for samples in (train, valid)
    ]
    pairs = sorted(zip(sources, targets, strict=True))
    assert (len(found[0]), len(found[1])) == (9, 3)
    assert sorted([*found[0], *found[1]]) == pairs


def test_numbers_are_scaled_by_those_learned_from_alone(given):
    random = np.random.default_rng(0)
    sources = [np.round(random.normal(5, 2, (3 + i % 3, 2)), 3) for i in range(10)]
    sources = [
        np.concatenate([one, [[i, 0.0]]]) for i, one in enumerate(sources)
    ]  # its number, to know it by
    options = {"units": 2, "members": 1, "valid_size": 0.3, "training": ONCE}
    first = ur.Transcriber("gru", **options).fit(sources, TARGETS[:5] * 2, progress=False)
    valid = given[0][2]
    ends = [
        valid.sources[i][-1, 0] * first.source_.scale[0] + first.source_.mean[0] for i in range(len(valid))
    ]
    held = {round(float(end)) for end in ends}
    assert len(held) == 3
    learned = np.concatenate([one for i, one in enumerate(sources) if i not in held])
    far = [one + 1000.0 * (i in held) for i, one in enumerate(sources)]  # held-back sources, far away
    for X in (sources, far):
        made = ur.Transcriber("gru", **options).fit(X, TARGETS[:5] * 2, progress=False)
        np.testing.assert_allclose(made.source_.mean, learned.mean(0), rtol=1e-5)
        np.testing.assert_allclose(made.source_.scale, learned.std(0), rtol=1e-5)
    train, valid = given[-1][1:3]
    values = np.concatenate([train.sources[i] for i in range(len(train))])
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(
        np.sort(valid.sources.values[:, 0]),
        np.sort((np.concatenate([far[i] for i in held])[:, 0] - learned.mean(0)[0]) / learned.std(0)[0]),
        rtol=1e-4,
    )


# --- dropout


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
@pytest.mark.parametrize("symbols", [False, True])
def test_dropout_is_after_vectors_of_symbols_and_before_the_answer(attention, symbols):
    torch.manual_seed(0)
    a = CoderArchitecture(
        7, 5, "gru", 6, attention=attention, embedding=4, symbols=symbols, dropout=0.5, bidirectional=False
    )
    network = EncoderDecoder(a).train()
    past = torch.randint(3, 7, (2, 4)) if symbols else torch.randn(2, 4, 7)
    future = torch.randint(3, 7, (2, 5))
    torch.manual_seed(1)
    found = network(past, future=future)
    torch.manual_seed(1)
    x = F.dropout(network.source(past), 0.5) if symbols else past
    x, end = network.encoder[0](x)
    state = torch.tanh(network.bridge[0](end))
    h = network.decoder[0](F.dropout(network.target(future), 0.5), (state,))[0].contiguous()
    if attention is not None:
        context, _ = network.attention(h, Memory((), x, network.attention.keys(x)))
        h = network.join(torch.cat([h, context], -1))
    torch.testing.assert_close(found, network.head(F.dropout(h, 0.5)))
    assert not torch.allclose(found, network.head(h))
