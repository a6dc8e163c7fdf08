"""Each experiment is trained as published and on the published rows, and stands beside the figure that was published.

What is expected is written down here once more, from the published pages. Nothing is trained: `fit` is replaced by one
that notes what it is given, and answers with networks that always say 0.
"""

import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import unrolled as ur
from unrolled.errors import MissingDataError, TrainingError
from unrolled.recipes import Recipe, Row, chicago, choose, generated, images, peers, reproduce, reviews
from unrolled.recipes.experiment import train

SEEDS = 3
SGD = {"loss": "huber", "optimizer": "sgd", "momentum": 0.9, "epochs": 500, "batch_size": 32, "patience": 50,
       "monitor": "valid_mae", "restore_best": True}  # fmt: skip
ADAM = {"optimizer": "adam", "patience": None, "restore_best": False}
WAVES = {**ADAM, "loss": "mse", "epochs": 20, "batch_size": 32}
SERIES = {**ADAM, "loss": "mse", "epochs": 100, "batch_size": 50, "learning_rate": 0.001}
DIGITS = {**ADAM, "loss": "cross-entropy", "epochs": 100, "batch_size": 150, "learning_rate": 0.001}
ALWAYS = {"clip_norm": None, "nesterov": False, "schedule": "constant", "members": SEEDS}
PROTOCOLS = {
    "E1": [{**WAVES, "learning_rate": rate} for rate in (0.001, 0.005, 0.001)],
    "E2": [SERIES],
    "E3": [DIGITS],
    "E4": [DIGITS] * 3,
    "E5a": [{**SGD, "learning_rate": 0.02}],
    "E5b": [{**SGD, "learning_rate": 0.05}],
    "E5c": [{**SGD, "learning_rate": 0.01}],
    "E5d": [{**SGD, "learning_rate": rate} for rate in (0.05, 0.02)],
    "E5e": [{**SGD, "learning_rate": 0.02}],
    "E5f": [{**SGD, "learning_rate": 0.1}],
    "E5g": [
        {**SGD, "learning_rate": rate} | ({"optimizer": "adam"} if rate == 0.005 else {})
        for rate in (0.1, 0.1, 0.1, 0.1, 0.005, 0.02, 0.1, 0.1, 0.1, 0.02, 0.1)
    ],
}
PUBLISHED = {
    "E1": [0.020, 0.004, 0.011, 0.0026],
    "E2": [379.586, 14.58426, 7.14066, 3.98528, 2.00254, None],
    "E3": [0.7299, 0.9809],
    "E4": [None] * 6,
    "E5a": [42_143, 37_866],
    "E5b": [27_703],
    "E5c": [31_211],
    "E5d": [22_062, 25_330, 26_369],
    "E5e": [35_017],
    "E5f": [25_519, 26_274, 34_322, None],
    "E5g": [None] * 11,
}
SIZES = {  # parameters of each network
    "E1": [51, 3, 1_281],
    "E2": [10_301],
    "E3": [28_360],
    "E4": [54_110, 108_910, 82_510],
    "E5a": [57],
    "E5b": [1_121],
    "E5c": [5_281],
    "E5d": [1_249, 1_282],
    "E5e": [1_678],
    "E5f": [1_678],
    "E5g": [1_678, 1_678, 1_742, 1_678, 1_678, 1_678, 1_742, 5_326, 4_206, 7_470, 15_374],
}


@pytest.fixture
def given(monkeypatch, rides):
    """What `fit` was given: (learn, valid, training, a network) of each call. Members say 0; the first one of four diverges."""
    calls = []

    def fit(make, learn, valid=None, training=None, progress=None):
        networks = [make().eval() for _ in range(training.members)]
        calls.append((learn, valid, training, networks[0]))
        for weight in (weight for network in networks for weight in network.parameters()):
            nn.init.zeros_(weight)
        lost = {0: "diverged"} if training.members == 4 else {}
        history = [
            {
                "member": m,
                "epoch": epoch,
                "valid_loss": epoch + m / 10,
                "valid_accuracy": epoch / 1000 + m / 10,
            }
            for epoch in range(1, training.epochs + 1)
            for m in range(training.members)
            if m not in lost or epoch == 1
        ]
        return ur.TrainingRun(networks[len(lost) :], history, failures=lost)

    monkeypatch.setattr(ur, "fit", fit)
    # one point an image, told by its number
    numbers = np.arange(60_000).reshape(-1, 1, 1) % 255
    monkeypatch.setattr(
        images,
        "load_mnist",
        lambda: ((numbers, np.arange(60_000) % 10), (254 - numbers[:10_000], np.ones(10_000))),
    )
    return calls


def rows(name, seeds=SEEDS):
    """The rows of one recipe."""
    (recipe,) = (recipe for recipe in choose([name]) if recipe.name == name)
    return [found for found in reproduce([recipe], seeds) if isinstance(found, Row)]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_training_and_figures_are_those_published(given, name):
    found = rows(name)
    assert [row.published for row in found] == PUBLISHED[name]
    assert all(row.experiment == name for row in found)
    assert all(len(row.found) == (1 if row.what.startswith("naive") else SEEDS) for row in found)
    assert all(row.lower == (row.unit != "accuracy") for row in found)
    for (_, _, training, _), protocol in zip(given, PROTOCOLS[name], strict=True):
        asked = ALWAYS | protocol
        assert {option: getattr(training, option) for option in asked} == asked
    sizes = [sum(weight.numel() for weight in network.parameters()) for *_, network in given]
    assert sizes == SIZES[name]


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name.startswith("E5")])
def test_trains_are_learned_to_2018_and_measured_in_spring_2019(given, name):
    rows(name)
    number = {
        day: place for place, day in enumerate(pd.date_range("2015-12-31", "2019-06-30").strftime("%Y-%m-%d"))
    }
    for learn, valid, _, _ in given:
        for data, first, last in ((learn, "2016-01-01", "2018-12-31"), (valid, "2019-01-01", "2019-05-31")):
            x, y = (data.windows, data.targets) if hasattr(data, "windows") else data
            rail = x[..., 1] if x.shape[-1] == 5 else x[..., 0] if x.ndim == 3 else x
            assert round(500 * rail[0, 0]) == number[first]  # 2,000 riders more each day, in millions
            assert round(500 * np.max(y)) == number[last]
            assert x.shape[1] in (56, 112)


def test_long_windows_are_of_112_days(given):
    rows("E5g")
    assert [valid[0].shape[1] for _, valid, _, _ in given] == [56] * 9 + [112] * 2


def test_errors_of_trains_are_riders_of_the_day_that_is_named(given):
    """A network that says 0 is wrong by all riders of the days it forecasts: 2,000 a day more in trains, 1,000 in buses."""
    first = (pd.Timestamp("2019-02-26") - pd.Timestamp("2015-12-31")).days
    spring, windows = first + np.arange(95), first + np.arange(82)
    assert rows("E5b")[0].found == pytest.approx([2000 * spring.mean()] * SEEDS)
    assert [row.median for row in rows("E5d")] == pytest.approx(
        [scale * spring.mean() for scale in (2000, 2000, 1000)]
    )
    assert rows("E5e")[0].median == pytest.approx(2000 * (windows.mean() + 6.5))
    assert [row.median for row in rows("E5f")] == pytest.approx(
        [2000 * (windows.mean() + ahead) for ahead in (0, 1, 13, 6.5)]
    )


def test_a_week_ago_counts_from_march(rides, monkeypatch):
    frame = chicago.rides()["rail"].copy()
    frame["2019-02-22":"2019-02-28"] += (
        7e6  # the week before March: all of it in the naive forecast, none measured
    )
    part = chicago.valid()
    changed = chicago.Part(
        part.rail, np.stack([part.both[:, 0], frame["2019-01":"2019-05"] / 1e6], 1), part.five, part.days
    )
    monkeypatch.setattr(chicago, "valid", lambda: changed)
    naive = next(chicago.conventional(1, quick=True))
    assert naive.median == pytest.approx((7 * 6_986_000 + 85 * 14_000) / 92, rel=1e-4)


def test_sarima_is_fitted_each_day_on_the_days_before_it(rides, monkeypatch):
    from statsmodels.tsa.arima import model

    asked = []

    class Last:
        def __init__(self, series, order, seasonal_order):
            asked.append((series, order, seasonal_order))

        def fit(self):
            return self

        def forecast(self):
            return asked[-1][0].iloc[-1:]

    monkeypatch.setattr(model, "ARIMA", Last)
    (row,) = chicago.sarima(SEEDS, quick=False)
    assert (row.published, row.found) == (32_041, pytest.approx((2000,)))
    assert [str(series.index[place])[:10] for series in (asked[0][0], asked[-1][0]) for place in (0, -1)] == [
        "2019-01-01", "2019-02-28", "2019-01-01", "2019-05-30",
    ]  # fmt: skip
    assert len(asked) == 92 and {asked[1:] for asked in asked} == {((1, 0, 0), (0, 1, 1, 7))}


def test_waves_are_cut_as_published(given):
    found = rows("E1")
    random = np.random.default_rng(42)
    f1, f2, o1, o2 = random.random((4, 10_000, 1))
    u, t = random.random((10_000, 51)), np.linspace(0, 1, 51)
    waves = (
        0.5 * np.sin((t - o1) * (10 * f1 + 10)) + 0.2 * np.sin((t - o2) * (20 * f2 + 20)) + 0.1 * (u - 0.5)
    )
    for (x, y), (x_valid, y_valid), _, _ in given:
        np.testing.assert_allclose(x[..., 0], waves[:7000, :50], atol=1e-6)
        np.testing.assert_allclose(y[:, 0], waves[:7000, 50], atol=1e-6)
        np.testing.assert_allclose(x_valid[..., 0], waves[7000:9000, :50], atol=1e-6)
        np.testing.assert_allclose(y_valid[:, 0], waves[7000:9000, 50], atol=1e-6)
    assert found[0].median == pytest.approx(
        np.mean((waves[7000:9000, 50] - waves[7000:9000, 49]) ** 2), rel=1e-4
    )
    assert found[1].found == pytest.approx([np.mean(waves[7000:9000, 50] ** 2)] * SEEDS, rel=1e-4)


def test_the_generated_series_is_measured_at_its_iterations(given):
    start, *later = rows("E2")
    (x, y), grid, _, _ = given[0]
    assert x.shape == y.shape == (5000, 20, 1)  # an epoch is a hundred iterations of 50
    assert [row.found for row in later] == [
        tuple(epoch + m / 10 for m in range(SEEDS)) for epoch in (1, 2, 3, 4, 100)
    ]
    assert start.reached is None and all(row.reached is not None for row in later[:4])
    for seed, found in enumerate(start.found):
        torch.manual_seed(seed)  # as `fit` does
        answer = generated.Network()(torch.from_numpy(grid[0])).detach().numpy()
        assert found == pytest.approx(np.mean((answer - grid[1]) ** 2))
    assert generated.Network()(torch.ones(1, 20, 1)).shape == (1, 20, 1)
    assert (generated.Network().recurrent(torch.randn(5, 20, 1))[0] >= 0).all()  # relu


def test_digits_are_learned_from_55000_and_measured_on_those_of_the_test(given):
    first, last = rows("E3")
    (x, y), (x_test, y_test), _, _ = given[0]
    assert (len(x), len(y), len(x_test), len(y_test)) == (55_000, 55_000, 10_000, 10_000)
    np.testing.assert_allclose(x[:3, 0, 0], np.arange(3) / 255)
    np.testing.assert_allclose(x_test[:3, 0, 0], (254 - np.arange(3)) / 255)
    assert y[:3].tolist() == [0, 1, 2] and y_test.min() == y_test.max() == 1
    assert first.found == pytest.approx([0.001, 0.101, 0.201])
    assert last.found == pytest.approx([0.098, 0.198, 0.298])  # epochs 96 to 100


def test_members_that_diverged_are_told_and_not_counted(given):
    for row in (*rows("E3", seeds=4), *rows("E2", seeds=4)[1:], *rows("E5b", seeds=4)):
        assert row.note == "1 of 4 members diverged, and are not counted" and len(row.found) == 3, row.what
    assert rows("E3", seeds=4)[0].found == pytest.approx([0.101, 0.201, 0.301])
    assert rows("E2", seeds=4)[1].found == pytest.approx([1.1, 1.2, 1.3])


def test_reviews_are_judged_on_folds_that_were_not_learned(monkeypatch):
    asked, learned = [], []

    class Classifier:
        def __init__(self, model, **options):
            asked.append({"model": model} | options)
            self.run_ = ur.TrainingRun([])

        def fit(self, texts, opinions, progress):
            learned.append(set(texts))

        def score(self, texts, opinions):
            assert len(texts) == 4 and opinions.sum() == 2 and not learned[-1] & set(texts)
            return len(learned) / 100

    monkeypatch.setattr(ur, "SequenceClassifier", Classifier)
    sentences = [f"sentence {number}" for number in range(40)]
    monkeypatch.setattr(reviews, "load_sentence_polarity", lambda: (sentences, np.arange(40) % 2))
    (row,) = reviews.reviews(2, quick=False)
    assert row.published == 0.759 and row.found == pytest.approx((0.055, 0.155)) and not row.lower
    assert len(learned) == 20 and {len(texts) for texts in learned} == {36} and learned[0] != learned[10]
    options = {"model": "conv", "filters": 250, "kernel_size": 3, "hidden": 250, "dropout": 0.2, "embedding_size": 300,
               "max_steps": 400, "members": 1}  # fmt: skip
    assert all(options.items() <= one.items() for one in asked)
    assert {(one["training"].optimizer, one["training"].epochs) for one in asked} == {("adam", 2)}


def test_keras_that_fails_is_a_row(given, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    ends = iter(
        [subprocess.TimeoutExpired("python", 1), SimpleNamespace(returncode=-9, stderr="", stdout="")]
    )

    def end(*_, **__):
        found = next(ends)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(peers.subprocess, "run", end)
    found = rows("E5b-seconds")
    assert [row.note for row in found[1:]] == ["failed: more than 15 minutes", "failed: exit code -9"]


def test_an_interrupt_ends_the_recipe():
    """`fit` takes it for the end of training: its figure would be that of a few epochs, and the next recipe would start."""

    def make():
        signal.raise_signal(signal.SIGINT)
        return nn.Linear(1, 1)

    data = np.zeros((4, 1), np.float32), np.zeros((4, 1), np.float32)
    with pytest.raises(KeyboardInterrupt):
        train(make, (data, data), ur.Training(epochs=2))


def test_an_interrupt_ends_the_folds(monkeypatch):
    class Stopped:
        def __init__(self, *_, **__):
            self.run_ = ur.TrainingRun([], interrupted=True)

        def fit(self, *_, **__):
            return self

        def score(self, *_):
            return 0.5

    monkeypatch.setattr(ur, "SequenceClassifier", Stopped)
    monkeypatch.setattr(reviews, "load_sentence_polarity", lambda: (list("abcd") * 10, np.arange(40) % 2))
    with pytest.raises(KeyboardInterrupt):
        next(reviews.reviews(1, quick=False))


def test_a_recipe_of_which_no_seed_learns_is_a_row():
    def diverging(seeds, quick):
        raise TrainingError("fit", "a finite loss", "nan", "Lower learning_rate.")
        yield

    (row,) = reproduce([Recipe("E9", "diverging", diverging)])
    assert (row.experiment, row.what, row.found) == ("E9", "diverging", ()) and "finite loss" in row.note


def test_rides_that_lack_a_day_are_not_those_of_chicago(rides, monkeypatch):
    whole = chicago.load_ridership()
    monkeypatch.setattr(chicago, "load_ridership", lambda: whole[whole["service_date"] != "03/05/2018"])
    with pytest.raises(MissingDataError, match="each day from 2016 to May 2019"):
        chicago.rides()


def test_quick_leaves_out_or_cuts_short(given):
    for recipe in choose(["E1", "E2", "E3", "E5b"]):
        given.clear()
        found = [row for row in reproduce([recipe], SEEDS, quick=True) if isinstance(row, Row)]
        assert all(training.epochs < 100 for _, _, training, _ in given)
        assert all(row.reached is None for row in found if row.seconds)
