"""What generators and transcribers refuse, and what they make of awkward data."""

import numpy as np
import pytest
import torch

import unrolled as ur
from unrolled import Training
from unrolled.errors import DataError, InputError, OptionError, ShapeError
from unrolled.estimators.drawing import Drawing
from unrolled.estimators.transcriber import check_search

QUICK = Training(epochs=2, learning_rate=0.01, batch_size=8)


def small(**options):
    return ur.SequenceGenerator("gru", units=8, steps=8, training=QUICK, **options)


@pytest.fixture(scope="module")
def singer():
    return small().fit("la la lu " * 20, progress=False)


def test_values_keep_their_digits_on_a_large_offset():
    wave = np.sin(np.arange(300) / 3)
    far, near = (small(differences=False).fit(x, progress=False) for x in (1e9 + wave, wave))
    assert far.mse(1e9 + wave) == pytest.approx(near.mse(wave), rel=1e-3)
    assert len(np.unique(far.generate(1e9 + wave[:50], 20))) == 20


def test_values_that_are_all_equal_have_a_score():
    generator = small().fit(np.sin(np.arange(100) / 3), progress=False)
    assert generator.score(np.full(30, 0.5)) == 0.0


@pytest.mark.parametrize(
    "options", [{"units": 10**7}, {"embedding_size": 10**12}, {"filters": [10**7, 10**7]}]
)
def test_a_generator_too_large_for_memory_is_said_before_training(options):
    generator = ur.SequenceGenerator(steps=8, training=QUICK, **options)
    with pytest.raises(OptionError, match="memory for 1 networks of .* weights"):
        generator.fit("la la lu " * 20, progress=False)


def test_a_batch_too_large_for_memory_is_said_before_training(monkeypatch):
    monkeypatch.setattr("unrolled.estimators.generator.free_memory", lambda device: 1e4)
    with pytest.raises(OptionError, match="memory for a batch of 8 windows of 8 steps, about 0.0 GB"):
        small().fit("la la lu " * 20, progress=False)


def test_a_transcriber_too_large_for_memory_is_said_before_training():
    with pytest.raises(OptionError, match="memory for 3 networks of .* weights"):
        ur.Transcriber(units=10**6, training=QUICK).fit(["ab", "ba"], ["b", "a"], progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": None}, "a seed of at least 0"),
        ({"seed": -1}, "a seed of at least 0"),
        ({"ends": "x"}, "ends True, False or None"),
        ({"filters": None}, "filters: a list"),
        ({"epochs": 3}, "epochs, or training with its own, got both"),
    ],
)
def test_options_of_a_generator(options, message):
    with pytest.raises(OptionError, match=message):
        small(**options).fit("la la", progress=False)


@pytest.mark.parametrize(
    ("options", "message"), [({"seed": -1}, "a seed"), ({"dropout": "x"}, "a dropout in")]
)
def test_options_of_a_transcriber(options, message):
    with pytest.raises(OptionError, match=message):
        ur.Transcriber(**options).fit(["a"], ["b"], progress=False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: g.generate("la", 10**12), OptionError, "n of at most 10,000,000"),
        (lambda g: g.generate("la", 10**30), OptionError, "n of at most 10,000,000"),
        (lambda g: g.generate("la", 5, seed=-1), OptionError, "a seed of at least 0"),
        (lambda g: g.generate("la", 5, seed=1.5), OptionError, "a seed of at least 0"),
        (lambda g: g.generate("la", 5, seed=None), OptionError, "a seed of at least 0"),
        (
            lambda g: g.generate("la", 5, temperature=10**400),
            OptionError,
            "a temperature of at most 1,000,000, got more",
        ),
        (lambda g: g.generate(np.array(["la", "lu"]), 5), ShapeError, "one piece, got 2 pieces"),
        (lambda g: g.judge("la la", skip=-1), OptionError, "a skip of at least 0"),
        (lambda g: g.judge("la la", skip=1.5), OptionError, "a skip of at least 0"),
        (
            lambda g: g.judge("la la", skip=4),
            DataError,
            "a piece with steps after the 4 to skip, got 5 steps",
        ),
    ],
)
def test_what_a_generator_refuses(singer, call, error, message):
    with pytest.raises(error, match=message):
        call(singer)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"beam": 10**30}, "beam of at most 10,000"),
        ({"beam": 1, "max_length": 10**400}, "max_length of at most 1,000,000"),
        ({"beam": 1, "length_power": 400.0}, "length_power of at least 0, at most 10"),
        ({"beam": 1, "length_power": "1"}, "length_power"),
    ],
)
def test_what_cannot_be_searched(search, message):
    with pytest.raises(OptionError, match=message):
        check_search(**search)


def test_the_most_probable_are_chosen_before_heat_makes_all_equal():
    chances, rng = np.array([[0.4, 0.3, 0.2, 0.1]]), np.random.default_rng(0)
    hot = Drawing(temperature=1e6, top_k=2)
    drawn = {int(hot.draw(chances, rng)[0]) for _ in range(60)}
    assert drawn == {0, 1}
    equal = Drawing(top_k=2)
    assert {int(equal.draw(np.full((1, 4), 0.25), rng)[0]) for _ in range(60)} == {0, 1}


def test_a_model_that_runs_away_is_told():
    generator = ur.SequenceGenerator("rnn", activation="linear", units=8, steps=8, training=QUICK)
    generator.fit(np.sin(np.arange(100) / 3), progress=False)
    with torch.no_grad():
        for weight in generator.networks_[0].parameters():
            weight *= 40
    with np.errstate(all="ignore"), pytest.raises(InputError, match="a model that runs away: none at step"):
        generator.generate([0.1, 0.2], 500)


def test_an_end_at_once_is_an_empty_piece_of_whole_numbers():
    generator = small().fit([np.array([60, 62, 60])] * 2 + [np.array([62, 60])], progress=False)
    with torch.no_grad():
        dict(generator.networks_[0].named_parameters())["head.bias"][0] = 50
    made, ended = generator.generate(np.array([60, 62]), 5, return_ended=True)
    assert ended and made.shape == (0,) and made.dtype == np.int64


def test_a_list_of_tuples_is_one_piece_of_several_streams():
    generator = small().fit([(60, 48), (62, 50), (64, 52)] * 20, progress=False)
    assert not generator.reading_.ends
    assert [len(step) for step in generator.generate([(60, 48), (62, 50)], 3)] == [2, 2, 2]
    with pytest.raises(ShapeError, match="a piece, or a list of pieces, got a dict"):
        small().fit({"verse": "abc", "chorus": "xyz"}, progress=False)


def test_values_are_scaled_by_what_is_learned_from_alone():
    wave = np.sin(np.arange(100) / 3)
    spiked = wave.copy()
    spiked[85:] = 1e6
    fitted = [small(valid_size=0.2).fit(x, progress=False).reading_ for x in (wave, spiked)]
    assert fitted[0].mean == fitted[1].mean and fitted[0].scale == fitted[1].scale
    generator = small(valid_size=0.25)
    held = generator._hold(4)[1][0]
    pieces = [wave + number for number in range(4)]
    context = np.eye(4)
    first = small(valid_size=0.25).fit(pieces, context=context, progress=False)
    pieces[held], context[held] = pieces[held] * 1e6, 1e6
    second = small(valid_size=0.25).fit(pieces, context=context, progress=False)
    assert (first.reading_.scale == second.reading_.scale).all()
    assert (first.context_mean_ == second.context_mean_).all()
