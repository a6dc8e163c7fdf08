"""What the generator counts, draws and learns from, against NumPy and by hand, with weights set or drawn."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import unrolled as ur
from unrolled.autoregressive import Autoregression, AutoregressiveNetwork
from unrolled.data.pieces import PieceWindows
from unrolled.data.sequences import Sequences
from unrolled.data.symbols import START
from unrolled.estimators import generator as room
from unrolled.estimators.drawing import Drawing, mean_chances
from unrolled.training.loop import fit

ONCE = ur.Training(optimizer="sgd", learning_rate=1e-9, epochs=1, batch_size=64)  # weights stay as they are
SQUARED = dataclasses.replace(ONCE, loss="mse")
WAVES = np.stack([np.sin(np.arange(40) / 3), 100 + 7 * np.cos(np.arange(40) / 5)], 1).astype(np.float32)
PIECES = ["abcab", "cab", "bbcacab", "ca"]
CHORDS = [[(60, 40), (62, 41), (60, 43)], [(62, 40), (62, 43), (60, 41), (62, 41)]]
NEVER, SURELY = -50.0, 50.0
pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(X, cell="gru", context=None, scale=0.7, **options):
    """A generator that has read its data, and each member's weights drawn anew."""
    options = {"units": 5, "steps": 8, "training": ONCE} | options
    generator = ur.SequenceGenerator(cell, **options).fit(X, context=context, progress=False)
    for number, network in enumerate(generator.networks_):
        source = torch.Generator().manual_seed(number)
        for parameter in network.parameters():
            parameter.data = scale * torch.randn(parameter.shape, generator=source)
    return generator


def steady(X, *logits, **options):
    """A generator whose members each tell the same logits, (streams, classes), at every step."""
    generator = drawn(X, scale=0.0, members=len(logits), **options)
    for network, told in zip(generator.networks_, logits, strict=True):
        network.head.bias.data = torch.tensor(told, dtype=torch.float32).flatten()
    return generator


def members_chances(generator, past):
    """The mean of the members' probabilities after each of these steps, read at once: (steps, streams, classes)."""
    with torch.no_grad():
        each = [n(torch.tensor(past)[None])[0].double().softmax(-1) for n in generator.networks_]
    return (sum(each) / len(each)).numpy()


def chances_and_classes(generator, text, symbols="abc"):
    """What is told of a text with its end, and the class that comes: 0 for the end, then the symbols."""
    numbers = [symbols.index(symbol) for symbol in text]
    told = members_chances(generator, [[START], *([number + 3] for number in numbers)])
    return told[:, 0], [*(number + 1 for number in numbers), 0]


def logs_and_hits(told, classes):
    rows = np.arange(len(classes))
    return np.log(told[rows, classes]), told.argmax(-1) == classes


def perplexity(logs):
    return np.exp(-np.mean(logs))


# --- values: the mean of the members


def told_by_hand(generator, values, differences):
    """What each of the members tells of the values after each step, (members, steps, features)."""
    mean, scale = WAVES.mean(0, dtype=np.float64), WAVES.std(0, dtype=np.float64)
    past = torch.from_numpy(((values - mean) / scale).astype(np.float32))[None]
    with torch.no_grad():
        outputs = np.stack([n(past)[0].double().numpy() for n in generator.networks_])
    changes = np.sqrt((np.diff(WAVES.astype(np.float64), axis=0) ** 2).mean(0))
    return values + outputs * changes if differences else outputs * scale + mean


@pytest.mark.parametrize("differences", [False, True])
def test_values_are_told_by_the_mean_of_the_members(differences):
    generator = drawn(WAVES, members=2, differences=differences)
    told = told_by_hand(generator, WAVES[:-1].astype(np.float64), differences)
    errors = (WAVES[1:] - told.mean(0)) ** 2
    spread = (WAVES[1:] - WAVES[1:].mean(0, dtype=np.float64)) ** 2
    assert generator.mse(WAVES) == pytest.approx(errors.mean(), rel=1e-4)
    assert generator.score(WAVES) == pytest.approx(1 - errors.sum() / spread.sum(), rel=1e-4)
    for skip in (1, 7):
        rest = errors[skip:].sum() / ((WAVES[1 + skip :] - WAVES[1 + skip :].mean(0)) ** 2).sum()
        assert generator.mse(WAVES, skip=skip) == pytest.approx(errors[skip:].mean(), rel=1e-4)
        assert generator.score(WAVES, skip=skip) == pytest.approx(1 - rest, rel=1e-4)


@pytest.mark.parametrize("differences", [False, True])
def test_values_go_on_from_the_mean_of_the_members(differences):
    generator = drawn(WAVES, members=2, differences=differences)
    values = WAVES[:12].astype(np.float64)
    for _ in range(6):
        values = np.concatenate([values, told_by_hand(generator, values, differences).mean(0)[-1:]])
    np.testing.assert_allclose(generator.generate(WAVES[:12], 6), values[12:], rtol=1e-4, atol=1e-4)


# --- what is counted


@pytest.mark.parametrize("filters", [(), (4, 3)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_piece_in_chunks_is_told_as_if_read_at_once(monkeypatch, cell, filters):
    monkeypatch.setattr(room, "CHUNK", 7)
    text = "abcabbcacabbacbacbbac" * 2
    generator = drawn(["abc", "ca"], cell, members=2, filters=filters, kernel_size=3, scale=1.0)
    logs, hits = logs_and_hits(*chances_and_classes(generator, text))
    found = generator.judge([text])
    assert found == pytest.approx((hits.mean(), perplexity(logs)), rel=1e-4)
    values = drawn(WAVES, cell, filters=filters, kernel_size=3, differences=False)
    errors = (WAVES[1:] - told_by_hand(values, WAVES[:-1].astype(np.float64), False)[0]) ** 2
    assert values.mse(WAVES) == pytest.approx(errors.mean(), rel=1e-4)


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_skipped_steps_of_each_piece_are_read_but_not_counted(skip):
    generator = drawn(PIECES, members=2)
    each = [logs_and_hits(*chances_and_classes(generator, piece)) for piece in PIECES]
    logs, hits = (np.concatenate([part[skip:] for part in side]) for side in zip(*each, strict=True))
    assert len(logs) == sum(len(piece) + 1 - skip for piece in PIECES)
    assert generator.perplexity(PIECES, skip=skip) == pytest.approx(perplexity(logs), rel=1e-5)
    assert generator.accuracy(PIECES, skip=skip) == pytest.approx(hits.mean())
    assert generator.score(PIECES, skip=skip) == pytest.approx(hits.mean())


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_skipped_steps_of_voices_in_turn_are_those_of_all_voices(skip):
    generator = drawn(CHORDS, in_turn=True)
    notes, logs, hits = (40, 41, 43, 60, 62), [], []
    for chords in CHORDS:
        numbers = [notes.index(note) for chord in chords for note in chord]
        past = [[START, 0], *([number + 3, at % 2] for at, number in enumerate(numbers, 1))]
        told = members_chances(generator, past)[:, 0]
        found = logs_and_hits(told, [*(number + 1 for number in numbers), 0])
        logs.extend(found[0][2 * skip :])
        hits.extend(found[1][2 * skip :])
    assert generator.judge(CHORDS, skip=skip) == pytest.approx((np.mean(hits), perplexity(logs)), rel=1e-5)


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_steps_of_streams_side_by_side_are_skipped_in_each_and_their_end_counts_once(skip):
    generator = drawn(CHORDS)
    alphabets, logs, hits = ((60, 62), (40, 41, 43)), [], []
    for chords in CHORDS:
        numbers = [[known.index(n) for known, n in zip(alphabets, chord, strict=True)] for chord in chords]
        past = [[START, START], *([number + 3 for number in step] for step in numbers)]
        told = members_chances(generator, past)
        for stream in range(2):
            found = logs_and_hits(told[:, stream], [*(step[stream] + 1 for step in numbers), 0])
            counted = slice(skip, None if stream == 0 else -1)
            logs.extend(found[0][counted])
            hits.extend(found[1][counted])
    assert len(logs) == sum(2 * (len(chords) - skip) + 1 for chords in CHORDS)
    assert generator.judge(CHORDS, skip=skip) == pytest.approx((np.mean(hits), perplexity(logs)), rel=1e-5)


def test_ends_are_counted():
    generator = steady(["ab", "b"], np.log([0.5, 0.2, 0.3]))
    told = [0.2, 0.3, 0.5, 0.3, 0.5]  # a b end, b end
    assert generator.perplexity(["ab", "b"]) == pytest.approx(perplexity(np.log(told)), rel=1e-6)
    assert generator.accuracy(["ab", "b"]) == 2 / 5
    without = steady(["ab", "b" * 3], np.log([0.5, 0.2, 0.3]), ends=False)
    assert without.perplexity(["aab"]) == pytest.approx(perplexity(np.log([0.2, 0.3])), rel=1e-6)


# --- what is drawn


CHANCES = np.array([0.1, 0.5, 0.15, 0.25])


@pytest.mark.parametrize("sum_", [1.0, 3.0, 0.2])
def test_a_row_alone_is_drawn_by_its_shares(sum_):
    rng = np.random.default_rng(0)
    found = np.bincount([Drawing().draw(sum_ * CHANCES[None], rng)[0] for _ in range(8000)], minlength=4)
    np.testing.assert_allclose(found / 8000, CHANCES, atol=0.02)


@pytest.mark.parametrize("drawing", [Drawing(), Drawing(0.7), Drawing(top_k=3), Drawing(1.3, top_p=0.8)])
def test_a_row_alone_is_drawn_as_the_first_of_several(drawing):
    for seed in range(300):
        alone = drawing.draw(CHANCES[None], np.random.default_rng(seed))
        first = drawing.draw(np.stack([CHANCES] * 2), np.random.default_rng(seed))[:1]
        assert alone.tolist() == first.tolist()


def test_a_chance_of_nothing_is_never_drawn():
    class Least:
        def random(self, size=None):
            return 0.0 if size is None else np.zeros(size)

    for rows in (1, 2):
        assert set(Drawing().draw(np.array([[0.0, 0.0, 0.4, 0.6]] * rows), Least()).tolist()) == {2}


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        (Drawing(0.5, top_p=0.6), {0}),  # .68 after the temperature; before it .5, and .3 would be needed
        (Drawing(4.0, top_p=0.6), {0, 1, 2}),  # .33, .29, .24, .18 after it
        (Drawing(top_k=2, top_p=0.6), {0}),  # .625 of the two most probable
    ],
)
@pytest.mark.parametrize("rows", [1, 2])
def test_the_nucleus_is_of_what_temperature_and_top_k_leave(drawing, expected, rows):
    rng, chances = np.random.default_rng(0), np.array([[0.5, 0.3, 0.15, 0.05]] * rows)
    assert {number for _ in range(200) for number in drawing.draw(chances, rng).tolist()} == expected


TWO = np.array([[0.0, 0.0, 0.0], [0.0, 5.0, 1.0]])  # logits of two members


def test_members_count_alike_however_sure_they_are():
    by_hand = (np.exp(TWO) / np.exp(TWO).sum(-1, keepdims=True)).mean(0)
    for whole in (True, False):
        np.testing.assert_allclose(mean_chances(TWO, whole=whole), by_hand, rtol=1e-12)
        np.testing.assert_allclose(
            mean_chances(TWO + np.array([[7.0], [0.0]]), whole=whole), by_hand, rtol=1e-12
        )
    alone = mean_chances(TWO[1:], whole=False)
    np.testing.assert_allclose(alone / alone.sum(), np.exp(TWO[1]) / np.exp(TWO[1]).sum(), rtol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_symbols_are_drawn_by_the_mean_of_the_members(monkeypatch, shift):
    generator = steady(["ab", "b"], TWO[0] + shift, TWO[1])
    asked, whole = [], Drawing.draw

    def listen(self, chances, rng):
        asked.append(chances / chances.sum(-1, keepdims=True))
        return whole(self, chances, rng)

    monkeypatch.setattr(Drawing, "draw", listen)
    generator.generate("a", 30)
    by_hand = (np.exp(TWO) / np.exp(TWO).sum(-1, keepdims=True)).mean(0)
    np.testing.assert_allclose(asked[0][0], by_hand, rtol=1e-6)


def test_generated_symbols_have_their_shares():
    generator = steady("ab" * 9, [0.0, np.log(0.3), np.log(0.7)])
    made = generator.generate("a", 4000)
    assert made.count("a") / 4000 == pytest.approx(0.3, abs=0.025)
    hot = generator.generate("a", 4000, temperature=2.0)
    assert hot.count("a") / 4000 == pytest.approx(np.sqrt(0.3) / (np.sqrt(0.3) + np.sqrt(0.7)), abs=0.025)


# --- where an end may be


END_SURELY = [SURELY, 0.0, 0.0]


@pytest.mark.parametrize("options", [{}, {"top_k": 1}])
def test_an_end_is_not_drawn_where_none_were_learned(options):
    generator = steady("ab" * 9, END_SURELY)
    made, ended = generator.generate("ab", 12, return_ended=True, **options)
    assert len(made) == 12 and ended is False


@pytest.mark.parametrize("options", [{}, {"top_k": 1}])
def test_a_piece_is_not_empty_but_a_continuation_may_be(options):
    generator = steady(["ab", "b"], END_SURELY)
    made, ended = generator.generate(None, 12, return_ended=True, **options)
    assert len(made) == 1 and ended is True
    assert generator.generate("ab", 12, return_ended=True, **options) == ("", True)


@pytest.mark.parametrize("options", [{}, {"top_k": 1}])
def test_the_first_stream_alone_tells_the_end(options):
    other = steady(CHORDS, [[NEVER, 0.0, 0.0, 0.0], [SURELY, 0.0, 0.0, 0.0]])
    made, ended = other.generate(CHORDS[0], 9, return_ended=True, **options)
    assert (len(made), ended) == (9, False)
    assert {len(chord) for chord in made} == {2}
    first = steady(CHORDS, [[SURELY, 0.0, 0.0, 0.0], [NEVER, 0.0, 0.0, 0.0]])
    assert first.generate(CHORDS[0], 9, return_ended=True, **options) == ([], True)
    neither = steady(np.array(CHORDS[1]), [[SURELY, 0.0, 0.0, 0.0]] * 2)
    made, ended = neither.generate(np.array(CHORDS[0]), 9, return_ended=True, **options)
    assert (made.shape, ended) == ((9, 2), False)


@pytest.mark.parametrize("options", [{}, {"top_k": 1}])
def test_voices_in_turn_end_with_a_whole_step(options):
    surely = [SURELY, *[0.0] * 5]
    generator = steady(CHORDS, surely, in_turn=True)
    made, ended = generator.generate(None, 9, return_ended=True, **options)
    assert (len(made), ended) == (1, True)
    for steps in (1, 2, 3):
        assert generator.generate(CHORDS[0][:steps], 9, return_ended=True, **options) == ([], True)
    never = steady(np.array(CHORDS[1]), surely, in_turn=True)
    made, ended = never.generate(np.array(CHORDS[0]), 9, return_ended=True, **options)
    assert (made.shape, ended) == ((9, 2), False)


def test_rows_of_contexts_end_each_for_itself():
    """The context of one row makes its end sure after the first symbol, that of the other never comes to one."""
    generator = steady(["ab", "ba"], [0.0] * 3, cell="rnn", context=np.array([[1.0], [-1.0]]))
    network = generator.networks_[0]
    network.begin.weight.data[0] = 9.0  # h(0) is ±1 in the first unit, and stays so
    network.recurrent[0].weight_hh.data[0, 0] = 9.0
    network.head.weight.data[0, 0] = SURELY
    made, ended = generator.generate(context=[[1.0], [-1.0]], n=7, return_ended=True)
    assert [len(row) for row in made] == [1, 7]
    assert ended.tolist() == [True, False]


# --- what is learned from


def test_padding_has_a_mask():
    inputs = Sequences.of([np.arange(n)[:, None] + 3 for n in (5, 2, 3)])
    windows = PieceWindows(inputs, Sequences.of([inputs[i] - 2 for i in range(3)]), 5, 1)
    batch = windows.batch(np.arange(3))
    assert batch.mask is None  # what comes after a piece's end changes nothing before it
    assert batch.target_mask[..., 0].tolist() == [[k < n for k in range(5)] for n in (5, 2, 3)]
    assert batch.past[..., 0].tolist() == [[3, 4, 5, 6, 7], [3, 4, 0, 0, 0], [3, 4, 5, 0, 0]]
    assert windows.batch(np.array([0, 0])).target_mask is None


def test_the_loss_counts_no_padding():
    """Of weights that stay as they are, the loss is the mean over symbols and ends, of which perplexity is exp."""
    generator = ur.SequenceGenerator("gru", units=5, steps=9, valid_size=0.5, members=1, training=ONCE)
    generator.fit(PIECES, progress=False)
    order = np.random.default_rng(0).permutation(4)
    held, learned = ([PIECES[i] for i in np.sort(part)] for part in (order[:2], order[2:]))
    (row,) = generator.run_.history
    for name, pieces in (("loss", learned), ("valid_loss", held)):
        assert len({len(piece) for piece in pieces}) == 2
        assert row[name] == pytest.approx(np.log(generator.perplexity(pieces)), rel=1e-5)
    values = [WAVES[:9], WAVES[9:12], WAVES[12:18]]
    generator = ur.SequenceGenerator("gru", units=5, steps=9, differences=False, training=SQUARED)
    generator.fit(values, progress=False)
    scaled = [(piece - np.concatenate(values).mean(0)) / np.concatenate(values).std(0) for piece in values]
    with torch.no_grad():
        told = [generator.networks_[0](torch.tensor(piece[None, :-1])).numpy()[0] for piece in scaled]
    errors = np.concatenate([one - piece[1:] for one, piece in zip(told, scaled, strict=True)])
    assert generator.run_.history[0]["loss"] == pytest.approx(np.mean(errors**2), rel=1e-4)


def test_pieces_held_back_are_not_learned_from(given):
    pieces = [list(range(10 * i, 10 * i + 3 + i)) for i in range(8)]
    contexts = np.arange(16.0).reshape(8, 2) ** 2
    drawn(pieces, context=contexts, valid_size=0.25, units=2, steps=12)
    ((_, train, valid, _),) = given
    parts, vectors = [], {}
    for windows in (train, valid):
        found = windows.batch(np.arange(len(windows)))
        which = []
        for past, mask, vector in zip(
            found.past[..., 0], found.target_mask[..., 0], found.static, strict=True
        ):
            first = int(past[1]) - 3  # after the start: symbols are numbered in order
            which.append(next(i for i in range(8) if sum(3 + k for k in range(i)) == first))
            assert int(mask.sum()) == 3 + which[-1] + 1
            vectors[which[-1]] = vector
        parts.append(set(which))
    learned = contexts[sorted(parts[0])]
    for number, vector in vectors.items():
        np.testing.assert_allclose(
            vector, (contexts[number] - learned.mean(0)) / learned.std(0), rtol=1e-5, atol=1e-6
        )
    assert len(parts[1]) == 2
    assert sorted([*parts[0], *parts[1]]) == list(range(8))


@pytest.mark.parametrize("X", [np.arange(40), np.arange(40.0) ** 2])
def test_the_end_of_a_single_piece_is_held_back(given, X):
    drawn(X, valid_size=0.2, units=2, differences=False)
    ((_, train, valid, _),) = given
    learned, held = (np.unique(w.batch(np.arange(len(w))).target.numpy().round(4)) for w in (train, valid))
    assert len(learned) == 31 and len(held) == 8
    assert learned.max() < held.min()
    read = [np.unique(w.batch(np.arange(len(w))).past.numpy().round(4)) for w in (train, valid)]
    assert (len(read[0]), len(read[1])) == (31, 8) and read[0].max() < read[1].min()


def test_the_unit_of_a_context_does_not_matter():
    contexts = np.random.default_rng(0).normal(size=(len(PIECES), 3))
    training = ur.Training(learning_rate=0.02, epochs=5, batch_size=2)
    plain, large = (
        drawn(PIECES, context=c, units=4, training=training) for c in (contexts, 1000 * contexts + 5)
    )
    own = [
        ur.SequenceGenerator("gru", units=4, training=training).fit(PIECES, context=c, progress=False)
        for c in (contexts, 1000 * contexts + 5)
    ]
    for one, other in ((plain, large), own):  # of drawn weights, and of those that were learned
        found = one.judge(PIECES, context=contexts)
        assert other.judge(PIECES, context=1000 * contexts + 5) == pytest.approx(found, rel=1e-3)
    assert found != pytest.approx(own[0].judge(PIECES, context=contexts[::-1]), rel=1e-3)
    made = plain.generate(context=contexts, n=20, seed=3)
    assert large.generate(context=1000 * contexts + 5, n=20, seed=3) == made
    assert plain.generate(context=1000 * contexts + 5, n=20, seed=3) != made


def test_contexts_are_scaled_by_their_own_spread(given):
    contexts = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0], [0.0, 5.0]])
    drawn(PIECES, context=contexts)
    by_hand = [(contexts[:, 0] - 3) / contexts[:, 0].std(), np.zeros(4)]  # what never changes is left at 0
    np.testing.assert_allclose(given[0][1].context, np.stack(by_hand, 1), rtol=1e-6)


def test_a_killed_training_is_resumed_to_the_same_weights(tmp_path, monkeypatch):
    def made():
        training = ur.Training(learning_rate=0.02, epochs=4, batch_size=8)
        return ur.SequenceGenerator("gru", units=4, steps=6, members=2, dropout=0.2, training=training)

    text = "abcab" * 6
    whole = made().fit(text, progress=False)

    def kill(epoch):
        if epoch.number == 2:
            raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(room, "fit", lambda *g, **o: fit(*g, **o, callbacks=[kill], checkpoint_seconds=0))
        with pytest.raises(MemoryError):
            made().fit(text, progress=False, folder=tmp_path)
    begun = []

    def listen(*arguments, **options):
        return fit(*arguments, **options, callbacks=[lambda epoch: begun.append(epoch.number)])

    monkeypatch.setattr(room, "fit", listen)
    again = made().fit(text, progress=False, folder=tmp_path, resume=True)
    assert begun[0] > 1  # not all over again
    for one, other in zip(whole.networks_, again.networks_, strict=True):
        for name, weight in one.state_dict().items():
            assert torch.equal(weight, other.state_dict()[name])


# --- dropout


def test_dropout_is_before_the_answer_of_values():
    torch.manual_seed(0)
    network = AutoregressiveNetwork(Autoregression(features=2, units=6, cell="gru", dropout=0.5)).train()
    past = torch.randn(3, 7, 2)
    torch.manual_seed(1)
    found = network(past)
    h = network.recurrent[0](past)[0]  # values themselves are not dropped
    torch.manual_seed(1)
    torch.testing.assert_close(found, network.head(F.dropout(h, 0.5)))
    assert not torch.allclose(found, network.head(h))


@pytest.mark.parametrize("filters", [(), (4,)])
def test_dropout_is_before_each_layer_and_the_answer_of_symbols(filters):
    torch.manual_seed(0)
    a = Autoregression(numbers=(9,), units=6, layers=2, filters=filters, embedding=4, dropout=0.5)
    network = AutoregressiveNetwork(a).train()
    past = torch.randint(3, 9, (3, 7, 1))
    torch.manual_seed(1)
    found = network(past)[:, :, 0]
    torch.manual_seed(1)
    x = network.embeddings[0](past[..., 0])
    for convolution in network.convolutions:
        x = convolution(torch.cat([torch.zeros(3, 1, 4), x], 1))
    for layer in network.recurrent:
        x = layer(F.dropout(x.contiguous(), 0.5))[0]
    torch.testing.assert_close(found, network.head(F.dropout(x, 0.5)))
