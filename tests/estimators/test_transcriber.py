"""The transcriber: what it learns, how it searches, what it refuses, and what a folder gives back."""

import itertools
import json
import logging
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

import unrolled as ur
from unrolled.data.symbols import END, START
from unrolled.encoder_decoder import Attention, CoderArchitecture, EncoderDecoder, Memory
from unrolled.errors import DataError, OptionError, RunFolderError, ShapeError
from unrolled.estimators.beam import search
from unrolled.estimators.transcript_scores import edit_distance
from unrolled.report import plot_attention
from unrolled.training.loop import fit
from unrolled.training.members import Members

QUICK = ur.Training(learning_rate=0.03, schedule="one-cycle", epochs=20, batch_size=16)
RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("one_thread")


def words(count, seed=0):
    """Words, and the same backwards with each vowel twice: of other lengths."""
    random = np.random.default_rng(seed)
    sources = ["".join(random.choice(list("abcde"), random.integers(1, 6))) for _ in range(count)]
    return sources, ["".join(2 * s if s in "ae" else s for s in reversed(one)) for one in sources]


@pytest.fixture(scope="module")
def fitted():
    X, y = words(400)
    return ur.Transcriber("gru", units=24, members=2, training=QUICK).fit(X, y, progress=False)


SEEDS = {None: 4, "dot": 5, "additive": 7}  # with these, targets are of several lengths


def networks(count=2, attention="dot"):
    """Members with weights far from where they start, so that answers differ from source to source."""
    made = []
    for number in range(count):
        network = EncoderDecoder(CoderArchitecture(6, 4, "lstm", 5, embedding=4, attention=attention)).eval()
        for parameter in network.parameters():
            parameter.data.zero_()
        random = (torch.Generator().manual_seed(seed) for seed in (SEEDS[attention], 100 + number))
        for scale, generator in zip((1.0, 0.3), random, strict=True):
            for parameter in network.parameters():
                parameter.data += scale * torch.randn(parameter.shape, generator=generator)
        made.append(network)
    return made


def chances(made, past, targets):
    """The log probability of targets of one length and their ends, and the members' mean for each step."""
    given = torch.tensor([[START, *target] for target in targets])
    asked = torch.tensor([[*target, END] for target in targets]) - END
    with torch.no_grad():
        each = [n(past.expand(len(given), -1), future=given).double().softmax(-1) for n in made]
    mean = torch.stack(each).mean(0)
    return mean.gather(-1, asked.unsqueeze(-1)).squeeze(-1).log().sum(-1).tolist(), mean


# --- the search


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_wide_beam_finds_what_trying_everything_finds(attention, power):
    made = networks(attention=attention)
    past = torch.tensor([[3, 4, 5], [5, 5, 3], [4, 3, 3], [3, 3, 4]])
    most = 3
    found = search(made, past, None, beam=3**most * 4, most=most, power=power)
    for row, one in enumerate(found):
        tried = {}
        for length in range(most + 1):
            targets = list(itertools.product((3, 4, 5), repeat=length))
            tried |= dict(zip(targets, chances(made, past[row : row + 1], targets)[0], strict=True))
        best = max(tried, key=lambda target: tried[target] / (len(target) + 1) ** power)
        assert one.numbers == list(best)
        assert one.ended
        assert one.log_probability == pytest.approx(tried[best], abs=1e-5)


def search_slowly(made, past, beam, most, power):
    """The same in plain words: no early end, nothing in batches. Its symbols, whether ended, and log probability."""
    alive, done = {(): 0.0}, []
    for step in range(most + 1):
        steps = chances(made, past, list(alive))[1][:, -1].log().tolist()
        further = [
            (value + more, target, symbol)
            for (target, value), row in zip(alive.items(), steps, strict=True)
            for symbol, more in enumerate(row)
        ]
        best = sorted(further, reverse=True)[: beam - len(done)]
        done += [(value / (step + 1) ** power, target, value) for value, target, symbol in best if not symbol]
        going = {(*target, symbol + END): value for value, target, symbol in best if symbol}
        if step == most or not going:
            break
        alive = going
    if done:
        _, target, value = max(done)
        return list(target), True, value
    target = max(alive, key=alive.get)
    return list(target), False, alive[target]


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
@pytest.mark.parametrize(("beam", "power"), [(2, 0.0), (2, 1.0), (3, 1.0), (3, 2.0)])
def test_a_beam_is_what_it_says(attention, beam, power):
    made = networks(attention=attention)
    past = torch.from_numpy(np.random.default_rng(1).integers(3, 6, (12, 4)))
    found = search(made, past, None, beam=beam, most=6, power=power)
    for row, one in enumerate(found):
        numbers, ended, value = search_slowly(made, past[row : row + 1], beam, 6, power)
        assert (one.numbers, one.ended) == (numbers, ended)
        assert one.log_probability == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
def test_a_beam_of_one_is_the_greedy_choice(attention):
    made = networks(attention=attention)
    past = torch.from_numpy(np.random.default_rng(0).integers(3, 6, (20, 4)))
    found = search(made, past, None, beam=1, most=6, power=1.0)
    for row, one in enumerate(found):
        target = []
        while True:
            symbol = int(chances(made, past[row : row + 1], [target])[1][0, -1].argmax())
            if symbol == 0 or len(target) == 6:
                break
            target.append(symbol + END)
        assert one.numbers == target
        assert one.ended == (symbol == 0)
    assert len({len(one.numbers) for one in found}) > 1


@pytest.mark.parametrize("attention", [None, "dot"])
def test_rows_that_end_early_leave_the_others_alone(attention):
    made = networks(2, attention)
    past = torch.from_numpy(np.random.default_rng(0).integers(3, 6, (40, 4)))
    together = search(made, past, None, beam=3, most=12, power=1.0, attention=attention is not None)
    assert len({len(one.numbers) for one in together}) > 5
    for row, one in enumerate(together):
        (alone,) = search(
            made, past[row : row + 1], None, beam=3, most=12, power=1.0, attention=attention is not None
        )
        assert (alone.numbers, alone.ended) == (one.numbers, one.ended)
        assert alone.log_probability == pytest.approx(one.log_probability, abs=1e-4)
        if attention:
            np.testing.assert_allclose(alone.attention, one.attention, atol=1e-4)


def test_what_has_no_end_is_the_greedy_beginning_and_flagged():
    made = networks(1)
    with torch.no_grad():
        made[0].head.bias[0] = -50  # an end hardly ever
    (one,) = search(made, torch.tensor([[3, 4]]), None, beam=1, most=4, power=1.0)
    assert len(one.numbers) == 4
    assert not one.ended
    steps = chances(made, torch.tensor([[3, 4]]), [one.numbers])[1][0]
    by_hand = sum(math.log(steps[step, number - END]) for step, number in enumerate(one.numbers))
    assert one.log_probability == pytest.approx(by_hand, abs=1e-5)


# --- the network


@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_attention_is_a_share_of_each_step_and_none_of_padding(kind):
    torch.manual_seed(0)
    attention, values = Attention(4, 6, kind), torch.randn(3, 5, 6)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False], [True] * 4 + [False]])
    context, weights = attention(torch.randn(3, 7, 4), Memory((), values, attention.keys(values), mask))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 7))
    assert (weights[~mask.unsqueeze(1).expand_as(weights)] == 0).all()
    assert (weights[mask.unsqueeze(1).expand_as(weights)] > 0).all()
    torch.testing.assert_close(context, torch.einsum("bts,bsd->btd", weights, values))


def test_scores_are_those_of_the_papers():
    torch.manual_seed(0)
    h, values = torch.randn(2, 3, 4), torch.randn(2, 5, 6)
    dot, additive = Attention(4, 6, "dot"), Attention(4, 6, "additive")
    for attention in (dot, additive):
        for parameter in attention.parameters():
            torch.nn.init.normal_(parameter)
    keys = [values @ a.keys.weight.T + a.keys.bias for a in (dot, additive)]
    by_hand = torch.stack([torch.stack([h[b] @ keys[0][b, s] for s in range(5)], -1) for b in range(2)])
    found = dot(h, Memory((), values, dot.keys(values)))[1]
    torch.testing.assert_close(found, by_hand.softmax(-1))
    query = h @ additive.query.weight.T + additive.query.bias
    v = additive.score.weight[0]
    by_hand = torch.stack([torch.tanh(query + keys[1][:, s : s + 1]) @ v for s in range(5)], -1)
    found = additive(h, Memory((), values, additive.keys(values)))[1]
    torch.testing.assert_close(found, by_hand.softmax(-1))


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, True), (2, True), (2, False)])
def test_steps_are_those_of_the_whole_sequence(attention, cell, layers, bidirectional):
    torch.manual_seed(0)
    a = CoderArchitecture(7, 5, cell, 6, layers, bidirectional, attention, embedding=3)
    network = EncoderDecoder(a).eval()
    past, future = torch.randint(3, 7, (2, 4)), torch.randint(3, 7, (2, 5))
    future[:, 0] = START
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    with torch.no_grad():
        whole = network(past, future=future, mask=mask)
        memory = network.encode(past, mask)
        state = memory.state
        for step in range(5):
            logits, state, _ = network.step(future[:, step : step + 1], memory, state)
            torch.testing.assert_close(logits[:, 0], whole[:, step])


@pytest.mark.parametrize("attention", [None, "dot"])
def test_the_decoder_starts_from_the_encoder(attention):
    (network,) = networks(1, attention=attention)
    memory = network.encode(torch.tensor([[3, 4, 5], [5, 3, 3]]))
    assert not torch.allclose(memory.state[0][0], memory.state[0][1])
    last, other = torch.full((2, 1), START), tuple(s.flip(0) for s in memory.state)
    own, given = (network.step(last, memory, state)[0] for state in (memory.state, other))
    assert not torch.allclose(own, given, atol=1e-3)
    lost = torch.autograd.grad(network(torch.tensor([[3, 4]]), future=torch.tensor([[START]])).sum(),
                               network.bridge[0].weight)[0]  # fmt: skip
    assert lost.abs().max() > 0


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
def test_padding_changes_nothing(attention):
    (network,) = networks(1, attention=attention)
    past, future = torch.tensor([[3, 4, 5]]), torch.tensor([[START, 3, 4]])
    alone = network(past, future=future)
    padded = torch.tensor([[3, 4, 5, 0, 0], [4, 4, 4, 4, 5]])
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    torch.testing.assert_close(network(padded, future=future.expand(2, 3), mask=mask)[:1], alone)
    padded[0, 3:] = 5  # whatever stands there
    torch.testing.assert_close(network(padded, future=future.expand(2, 3), mask=mask)[:1], alone)


def test_members_are_trained_on_stacked_weights():
    made = networks(2)
    assert Members(made, [0, 1], ur.Training(members=2)).way == "stacked"


# --- the estimator


def test_it_learns_words_of_other_lengths(fitted):
    X, y = words(100, seed=1)
    assert fitted.score(X, y) > 0.8
    assert fitted.symbol_error_rate(X, y) < 0.05
    assert fitted.predict(["abe"]) == ["eebaa"]
    assert fitted.score(X[:1], ["no"]) == 0.0


def test_answers_alone_and_in_a_batch_are_the_same(fitted):
    X, _ = words(50, seed=2)
    together = fitted.transcribe(X, beam=2, return_attention=True)
    for source, one in zip(X, together, strict=True):
        (alone,) = fitted.transcribe([source], beam=2, return_attention=True)
        assert alone.answer == one.answer
        assert alone.log_probability == pytest.approx(one.log_probability, abs=1e-4)
        assert one.attention.shape == (len(one.answer), len(source))
        np.testing.assert_allclose(one.attention.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(alone.attention, one.attention, atol=1e-4)


def test_attention_looks_where_the_symbol_stands(fitted):
    (one,) = fitted.transcribe(["bcd"], return_attention=True)
    assert one.answer == "dcb"
    assert one.attention.argmax(1).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[1, 2], [2, 2, 1], [1]], [["one", "two"], ["two", "two", "one"], ["one"]]),
        ([["x", 7], ["y"]], [[7], [7, 7]]),
        (["one two", "two"], ["deux un", "deux"]),
    ],
)
def test_symbols_of_all_kinds(X, y):
    level = "words" if isinstance(X[0], str) else "characters"
    training = ur.Training(learning_rate=0.03, epochs=80)
    transcriber = ur.Transcriber("gru", units=16, members=1, level=level, training=training)
    assert transcriber.fit(X, y, progress=False).predict(X) == y


def test_numbers_to_symbols():
    """How often a curve goes up and down, however long it takes: handwriting in small."""
    random = np.random.default_rng(0)

    def curve(letters):
        parts = [np.linspace(0, 1, k) if one == "/" else np.linspace(1, 0, k) for one, k in letters]
        return np.concatenate(parts)[:, None] + random.normal(0, 0.02, (sum(k for _, k in letters), 1))

    targets = ["".join(random.choice(list("/\\"), random.integers(1, 5))) for _ in range(300)]
    sources = [curve([(one, random.integers(4, 8)) for one in target]) for target in targets]
    training = ur.Training(learning_rate=0.01, epochs=15, batch_size=16)
    transcriber = ur.Transcriber("gru", units=24, members=1, training=training)
    transcriber.fit(sources[:250], targets[:250], progress=False)
    assert transcriber.score(sources[250:], targets[250:]) > 0.8
    assert transcriber.predict([part.ravel() for part in sources[:3]]) == transcriber.predict(sources[:3])


def test_an_empty_target_is_one(fitted):
    X, y = ["a", "b"] * 20, ["", "x"] * 20
    made = ur.Transcriber("gru", units=8, members=1, training=QUICK).fit(X, y, progress=False)
    assert made.predict(["a", "b"]) == ["", "x"]
    assert made.predict(one for one in "ab") == ["", "x"]


def test_the_same_seed_gives_the_same_bits_on_any_threads(tmp_path):
    X, y = words(60)
    training = ur.Training(learning_rate=0.02, epochs=3, batch_size=16)
    for name, threads in (("one", 1), ("two", 2)):
        torch.set_num_threads(threads)
        ur.set_num_threads(threads)
        made = ur.Transcriber(units=8, members=2, dropout=0.1, valid_size=0.2, training=training)
        made.fit(X, y, progress=False).save(tmp_path / name)
    for file in ("config.json", "model.safetensors", "history.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_member_is_what_it_is_alone():
    X, y = words(60)
    training = ur.Training(learning_rate=0.02, epochs=2, batch_size=16)
    three = ur.Transcriber(units=8, members=3, dropout=0.1, training=training).fit(X, y, progress=False)
    alone = ur.Transcriber(units=8, members=1, seed=2, dropout=0.1, training=training).fit(
        X, y, progress=False
    )
    for name, weight in alone.networks_[0].state_dict().items():
        torch.testing.assert_close(weight, three.networks_[2].state_dict()[name], rtol=0, atol=0)


def test_a_folder_gives_the_same_answers(fitted, tmp_path):
    X, _ = words(30, seed=3)
    fitted.save(tmp_path / "run")
    assert {path.suffix for path in (tmp_path / "run").iterdir()} == {".json", ".jsonl", ".safetensors"}
    again = ur.load(tmp_path / "run")
    given, found = (one.transcribe(X, beam=3, return_attention=True) for one in (fitted, again))
    for one, other in zip(given, found, strict=True):
        assert (one.answer, one.ended, one.log_probability) == (
            other.answer,
            other.ended,
            other.log_probability,
        )
        np.testing.assert_array_equal(one.attention, other.attention)
    assert again.get_params()["units"] == 24
    assert clone(again).get_params() == again.get_params()


def test_a_folder_of_numbers(tmp_path):
    X = [RANDOM.normal(5, 2, (k, 2)) for k in (3, 4, 5, 6)]
    made = ur.Transcriber(units=8, members=1, training=QUICK).fit(X, ["a", "b", "ab", "ba"], progress=False)
    made.save(tmp_path / "run")
    assert [o.log_probability for o in ur.load(tmp_path / "run").transcribe(X)] == [
        o.log_probability for o in made.transcribe(X)
    ]
    with pytest.raises(ShapeError, match="2 features"):
        made.predict([np.zeros((3, 1))])


@pytest.mark.parametrize(
    "change",
    [
        {"target": {"kind": "characters", "symbols": ["a"]}},
        {"source": {"kind": "code", "symbols": ["a"]}},
        {"longest": "9"},
        {"format_version": 9},
        {"architecture": {}},
    ],
)
def test_a_damaged_folder_is_told(fitted, tmp_path, change):
    fitted.save(tmp_path / "run")
    path = tmp_path / "run/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunFolderError, match="a damaged or foreign one"):
        ur.load(tmp_path / "run")


def test_a_killed_training_is_resumed_to_the_same_weights(tmp_path, monkeypatch):
    from unrolled.estimators import transcriber as room

    X, y = words(60)
    training = ur.Training(learning_rate=0.02, epochs=4, batch_size=16)
    made = ur.Transcriber(units=8, members=2, training=training)
    whole = clone(made).fit(X, y, progress=False)

    def kill(epoch):
        if epoch.number == 2:
            raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(room, "fit", lambda *g, **o: fit(*g, **o, callbacks=[kill], checkpoint_seconds=0))
        with pytest.raises(MemoryError):
            clone(made).fit(X, y, progress=False, folder=tmp_path)
    again = made.fit(X, y, progress=False, folder=tmp_path, resume=True)
    for one, other in zip(whole.networks_, again.networks_, strict=True):
        for name, weight in one.state_dict().items():
            assert torch.equal(weight, other.state_dict()[name])


@pytest.mark.slow
@pytest.mark.timeout(1800)  # crowded machines
def test_dates_as_they_are_measured():
    """The benchmark in short: half its pairs, one member."""
    make_dates = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/transcription.py"))["make_dates"]
    (X, y), (others, right) = make_dates(10_000, 0), make_dates(5_000, 1)
    held = [number for number, source in enumerate(others) if source not in set(X)]
    transcriber = ur.Transcriber(members=1).fit(X, y, progress=False)
    assert transcriber.score([others[n] for n in held], [right[n] for n in held]) >= 0.995
    assert transcriber.predict(["April 22, 2019", "22 Apr 2019"]) == ["2019-04-22"] * 2


def test_the_attention_is_drawn(fitted):
    (one,) = fitted.transcribe(["abd"], return_attention=True)
    axes = plot_attention(one.attention, "abd", one.answer)
    np.testing.assert_array_equal(axes.images[0].get_array(), one.attention.astype(float))
    assert [label.get_text() for label in axes.get_xticklabels()] == list("abd")
    assert [label.get_text() for label in axes.get_yticklabels()] == list(one.answer)
    with pytest.raises(ShapeError, match="expected 3 symbols of the source, got 2"):
        plot_attention(one.attention, "ab", one.answer)
    with pytest.raises(ShapeError, match=r"attention of shape \(symbols, steps\)"):
        plot_attention([0.5, 0.5])


# --- what is wrong with what is given


@pytest.mark.parametrize(
    ("X", "y", "error", "said"),
    [
        (["a", "b"], ["x"], ShapeError, "y: expected 2 targets, one for each source, got 1"),
        (["a", None], ["x", "y"], DataError, r"X\[1\]: expected a text, got a missing value"),
        (["a", "b"], [float("nan"), "y"], DataError, r"y\[0\]: expected a text, got a missing value"),
        (["a", ""], ["x", "y"], DataError, r"X\[1\]: expected at least one symbol, got an empty sequence"),
        ([["a"], []], ["x", "y"], DataError, r"X\[1\]: expected at least one symbol"),
        (["a", ["b"]], ["x", "y"], DataError, r"X\[1\]: expected a text, got a list"),
        (["a", "b"], [1, 2], DataError, r"y\[0\]: expected a list of symbols, got a int"),
        (["a", "b"], [[1.5], [2.5]], DataError, r"y\[0\], step 0: expected a symbol: a text or a whole number"),
        ("ab", ["x", "y"], ShapeError, "X: expected a list of sequences, got a single text"),
        ([], [], DataError, "X: expected at least one sequence, got none"),
        ([[1.0, np.nan], [2.0]], ["x", "y"], DataError, r"X\[0\], step 1: expected a finite number, got NaN"),
        ([np.zeros((3, 2)), np.zeros((3, 1))], ["x", "y"], ShapeError, r"X\[1\]: expected numbers of shape"),
        (np.zeros((2, 3, 4, 4)), ["x", "y"], ShapeError, "images of 4 by 4"),
        (["a", "b"], ["", ""], DataError, "y: expected at least one symbol, got none"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_learned_from(X, y, error, said):
    with pytest.raises(error, match=said):
        ur.Transcriber(units=4, members=1, training=QUICK).fit(X, y, progress=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beam": 0}, "transcribe: expected beam of at least 1, got 0"),
        ({"beam": 1.5}, "beam of at least 1, got 1.5"),
        ({"max_length": 0}, "transcribe: expected max_length of at least 1, got 0"),
        ({"length_power": -1}, "length_power of at least 0, at most 10, got -1"),
    ],
)
def test_options_out_of_range(fitted, options, said):
    with pytest.raises(OptionError, match=said):
        fitted.transcribe(["ab"], **options)


@pytest.mark.parametrize(
    ("X", "error", "said"),
    [
        (
            ["ab", "aß"],
            DataError,
            r"X\[1\], step 1: expected one of the 5 symbols seen in training .*, got 'ß'",
        ),
        (["ab", ""], DataError, r"X\[1\]: expected at least one symbol"),
        ([None], DataError, "a missing value"),
        ([[1.5]], ShapeError, "expected sequences of symbols, got sequences of numbers"),
        ([["a", "b"]], DataError, r"X\[0\]: expected a text, got a list"),
    ],
)
def test_sources_that_cannot_be_transcribed(fitted, X, error, said):
    with pytest.raises(error, match=said):
        fitted.transcribe(X)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "bert"}, "model one of rnn, lstm, gru"),
        ({"attention": "hard"}, "attention one of None, additive, dot"),
        ({"level": "bytes"}, "level one of characters, words"),
        ({"units": 0}, "units of at least 1"),
        ({"dropout": 1.0}, r"a dropout in \[0, 1\)"),
        ({"training": {}}, "training of unrolled.Training"),
        ({"epochs": 0}, "epochs of at least 1"),
        ({"epochs": 3, "training": ur.Training()}, "epochs, or training with its own, got both"),
    ],
)
def test_constructors_out_of_range(options, said):
    with pytest.raises(OptionError, match=said):
        ur.Transcriber(**options).fit(["a"], ["b"])


def test_no_end_within_max_length_is_flagged_and_said(fitted, caplog):
    long, short = fitted.transcribe(["abcde", "b"], max_length=3)
    assert (long.ended, len(long.answer)) == (False, 3)
    assert (short.ended, short.answer) == (True, "b")
    with caplog.at_level(logging.WARNING, "unrolled"):
        assert fitted.predict(["abcde", "b"], max_length=3) == [long.answer, "b"]
    assert "1 of 2 answers have no end within max_length" in caplog.text


def test_weights_of_attention_where_there_are_none():
    made = ur.Transcriber(units=4, members=1, attention=None, training=QUICK).fit(
        ["a"], ["b"], progress=False
    )
    with pytest.raises(OptionError, match="a transcriber with attention"):
        made.transcribe(["a"], return_attention=True)


def test_too_large_a_batch_is_told_before(monkeypatch):
    from unrolled.estimators import transcriber as room

    monkeypatch.setattr(room, "free_memory", lambda device: 1e5)
    with pytest.raises(OptionError, match="memory for a batch of 8 pairs"):
        ur.Transcriber(units=64).fit(["abc"] * 10, ["abc"] * 10, progress=False)


def test_edit_distance_against_the_definition():
    def slowly(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(slowly(a[1:], b) + 1, slowly(a, b[1:]) + 1, slowly(a[1:], b[1:]) + (a[0] != b[0]))

    for _ in range(60):
        a, b = ("".join(RANDOM.choice(list("ab"), RANDOM.integers(0, 6))) for _ in range(2))
        assert edit_distance(a, b) == slowly(a, b)
