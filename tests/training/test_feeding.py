"""What `fit` learns from: arrays, files, batches of others, masks, classes, units."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import DATA, bits, plain
from torch import nn

import unrolled as ur
from unrolled.data import Windows, timeseries_dataset_from_array
from unrolled.data.scaling import Scaler
from unrolled.data.windows import Batch, Samples


def fit(data, valid=None, network=plain, **options):
    training = ur.Training(**({"loss": "mse", "epochs": 2, "batch_size": 16} | options))
    return ur.fit(network, data, valid, training, progress=False)


class Mine:
    """A user's own data."""

    def __len__(self):
        return len(DATA[0])

    def batch(self, index):
        return Batch(torch.from_numpy(DATA[0][index]), target=torch.from_numpy(DATA[1][index]))


def test_a_tuple_samples_and_an_own_object_are_the_same():
    expected = bits(fit(DATA).members[0])
    for data in (Samples(*DATA), Mine(), tuple(part.astype(np.float64) for part in DATA)):
        assert bits(fit(data).members[0]) == expected


def test_batches_as_keras_makes_them():
    series = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)
    given = timeseries_dataset_from_array(series, series[9:, :2], 9, batch_size=4)
    by_hand = (np.stack([series[i : i + 9] for i in range(51)]), series[9:60, :2])
    assert bits(fit(given).members[0]) == bits(fit(by_hand).members[0])


def mapped(path):
    """How much of a mapped file is in memory, in KiB."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return int(next(x for x in lines if x.startswith("Rss:")).split()[1])
    raise AssertionError("not mapped")


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc")
def test_of_a_file_only_what_is_asked_for_is_read(tmp_path):
    path = tmp_path / "large"
    large = np.memmap(path, np.float32, "w+", shape=(50_000, 100, 20))  # 400 MB, all holes
    large[::1000, :, :6] = np.pad(DATA[0], ((0, 0), (91, 0), (0, 0)))
    data = Samples(np.memmap(path, np.float32, "r", shape=large.shape)[::1000, 91:, :6], DATA[1])
    del large
    assert bits(fit(data).members[0]) == bits(fit(DATA).members[0])
    assert mapped(path) < 40_000


def test_ragged_sequences_through_a_stack():
    x, y = DATA
    lengths = np.random.default_rng(2).integers(3, 10, len(x))
    mask = np.arange(9) < lengths[:, None]
    network = lambda: nn.Sequential(ur.nn.LSTM(6, 4, return_sequences=True), ur.nn.GRU(4, 3), nn.Linear(3, 2))  # noqa: E731
    found = bits(fit(Samples(x, y, mask), network=network, members=2).members[1])
    other = np.where(mask[..., None], x, 77)
    assert bits(fit(Samples(other, y, mask), network=network, members=2).members[1]) == found
    assert bits(fit(Samples(x, y), network=network, members=2).members[1]) != found


def test_targets_that_do_not_count():
    x, y = DATA
    counted = np.random.default_rng(3).random(y.shape) > 0.3
    found = bits(fit(Samples(x, y, target_mask=counted)).members[0])
    assert bits(fit(Samples(x, np.where(counted, y, np.nan), target_mask=counted)).members[0]) == found
    assert bits(fit(Samples(x, y)).members[0]) != found


@pytest.mark.parametrize("loss", ["cross-entropy", "binary-cross-entropy"])
def test_classes_are_learned(loss):
    x = np.random.default_rng(4).normal(size=(200, 5, 1)).astype(np.float32)
    score = x.sum(1)
    y = (
        (score[:, 0] > -0.8).astype(int) + (score[:, 0] > 0.8)
        if loss == "cross-entropy"
        else (score > 0).astype(np.float32)
    )
    network = lambda: nn.Sequential(ur.nn.GRU(1, 8), ur.nn.Dense(8, 3 if loss == "cross-entropy" else 1))  # noqa: E731
    run = fit((x[:150], y[:150]), (x[150:], y[150:]), network, loss=loss, epochs=25, learning_rate=0.03,
              metrics=["accuracy"], monitor="valid_accuracy")  # fmt: skip
    best = max(run.history, key=lambda row: row["valid_accuracy"])
    with torch.no_grad():
        output = run.members[0](torch.from_numpy(x[150:])).numpy()
    right = output.argmax(1) == y[150:] if loss == "cross-entropy" else (output > 0) == (y[150:] > 0)
    assert right.mean() == pytest.approx(best["valid_accuracy"])
    assert right.mean() > 0.85
    assert [row["epoch"] for row in run.history if row["best"]][-1] == best["epoch"]


def test_metrics_come_in_the_datas_units():
    values = np.random.default_rng(5).normal(size=(80, 1)).astype(np.float32)
    observed = np.random.default_rng(6).random(80) > 0.2
    windows = Windows(
        values, observed, np.arange(9, 78), 10, 2, scaler=Scaler(np.zeros((1, 1)), np.full((1, 1), 50.0))
    )
    network = lambda: nn.Sequential(ur.nn.GRU(1, 3), ur.nn.Dense(3, 2))  # noqa: E731
    run = fit(windows, windows, network, metrics=["mae", "mse"], epochs=1, members=2)
    for m, row in enumerate(run.history):
        with torch.no_grad():
            error = (run.members[m](windows.inputs(np.arange(len(windows))).past).numpy() - windows.targets)[
                windows.counted
            ]
        assert row["valid_mae"] == pytest.approx(50 * np.abs(error).mean(), rel=1e-5)
        assert row["valid_mse"] == pytest.approx(2500 * (error**2).mean(), rel=1e-5)
        assert row["valid_loss"] == pytest.approx((error**2).mean(), rel=1e-5)
