"""What fit is given that it cannot use, or that would have been used wrongly without a word."""

import numpy as np
import pytest
import torch
from torch import nn

import unrolled as ur
from unrolled.data import Samples
from unrolled.errors import OptionError, RunFolderError, ShapeError, TrainingError
from unrolled.training.checkpoint import UNFINISHED, whole_folder

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(70, 9, 6)).astype("f4"), RANDOM.normal(size=(70, 2)).astype("f4")


def plain():
    return nn.Sequential(ur.nn.GRU(6, 5), ur.nn.Dense(5, 2))


def fit(network, data, valid=None, **options):
    options = {"epochs": 1, "loss": "mse"} | options
    return ur.fit(network, data, valid, ur.Training(**options), progress=False)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: [ur.nn.Dense(4, 64), ur.nn.GRU(64, 5), ur.nn.Dense(5, 2)], "Dense: expected x of shape"),
        (lambda: [ur.nn.GRU(6, 5), ur.nn.Dense(500, 2)], "Pass in_features=5"),
        (lambda: [ur.nn.GRU(6, 5), nn.Linear(3, 2)], "Pass in_features=5"),
        (lambda: [ur.nn.GRU(4, 5), ur.nn.Dense(5, 2)], "Pass input_size=6"),
        (lambda: [ur.nn.GRU(6, 5), ur.nn.LSTM(5, 2)], "return_sequences"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, message):
    with pytest.raises(ShapeError, match=message):
        fit(nn.Sequential(*layers()), (X, Y))


@pytest.mark.parametrize(
    "mask", [np.ones((70, 1), bool), np.ones(70, bool), np.ones((70, 2), int), np.ones((70, 2), "f4")]
)
@pytest.mark.parametrize(
    "network", [plain, lambda: nn.Sequential(ur.nn.GRU(6, 5, dropout=0.1), nn.Linear(5, 2))]
)
def test_a_target_mask_must_fit(network, mask):
    with pytest.raises(ShapeError, match="a target_mask of booleans of shape"):
        fit(network, Samples(X, Y, target_mask=mask))


def test_a_layer_used_twice_is_used_twice():
    def twice():
        shared = ur.nn.Dense(5, 5, activation="tanh")
        return nn.Sequential(ur.nn.GRU(6, 5), shared, shared, ur.nn.Dense(5, 2))

    torch.manual_seed(0)
    network = twice()
    with torch.no_grad():
        expected = (network(torch.from_numpy(X)) - torch.from_numpy(Y)).square().mean().item()
    run = fit(twice, (X, Y), batch_size=70)
    assert run.history[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_hooks_are_called():
    def hooked():
        network = nn.Sequential(ur.nn.GRU(6, 5), nn.Linear(5, 2))
        network[1].register_forward_hook(lambda module, given, output: output * 10)
        return network

    torch.manual_seed(0)
    network = hooked()
    with torch.no_grad():
        expected = (network(torch.from_numpy(X)) - torch.from_numpy(Y)).square().mean().item()
    assert fit(hooked, (X, Y), batch_size=70).history[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_validation_changes_no_training():
    def partly_asleep():
        network = nn.Sequential(ur.nn.GRU(6, 5), nn.Dropout(0.5), nn.Linear(5, 2))
        network[1].eval()
        return network

    histories = [fit(partly_asleep, (X, Y), valid, epochs=3).history for valid in (None, (X, Y))]
    assert [row["loss"] for row in histories[0]] == [row["loss"] for row in histories[1]]


def test_losses_are_means_over_what_counts():
    x, y = np.tile(X, (10, 1, 1)), np.tile(Y, (10, 1))
    mask = np.ones((700, 2), bool)
    mask[256:] = False
    run = fit(plain, (X, Y), Samples(x, y, target_mask=mask), metrics=["mae"], learning_rate=1e-9)
    with torch.no_grad():
        errors = run.members[0](torch.from_numpy(x))[:256] - torch.from_numpy(y[:256])
    row = run.history[0]
    assert row["valid_loss"] == pytest.approx(errors.square().mean().item(), rel=1e-4)
    assert row["valid_mae"] == pytest.approx(errors.abs().mean().item(), rel=1e-4)
    nothing = fit(plain, (X, Y), Samples(X, Y, target_mask=np.zeros((70, 2), bool)))
    assert nothing.history[0]["valid_loss"] is None
    half = fit(plain, Samples(x, y, target_mask=mask), learning_rate=1e-9, batch_size=33)
    assert half.history[0]["loss"] == pytest.approx(row["valid_loss"], rel=1e-3)


def test_infinite_weights_are_a_failure():
    with pytest.raises(TrainingError, match="step 1: expected finite weights"):
        fit(plain, (X, Y), optimizer="sgd", learning_rate=1e39, clip_norm=None, batch_size=70)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_classes_without_an_output_or_that_are_no_numbers(dropout):
    network = lambda: nn.Sequential(ur.nn.GRU(6, 5, dropout=dropout), nn.Linear(5, 3))  # noqa: E731
    for bad in (3, -1, -100):
        classes = np.zeros(70, int)
        classes[7] = bad
        with pytest.raises(ShapeError, match="classes from 0 to one less than the network's outputs"):
            fit(network, (X, classes), loss="cross-entropy")
    with pytest.raises(ShapeError, match="whole numbers of classes"):
        fit(network, (X, np.ones(70)), loss="cross-entropy")


def test_booleans_are_targets_of_binary_cross_entropy():
    for dropout in (0.0, 0.1):
        network = nn.Sequential(ur.nn.GRU(6, 5, dropout=dropout), nn.Linear(5, 2))
        run = fit(network, (X, Y > 0), (X, Y > 0), loss="binary-cross-entropy", metrics=["accuracy"])
        assert 0 < run.history[0]["valid_accuracy"] < 1


def test_networks_in_float64_are_trained_on_float32():
    run = fit(lambda: plain().double(), (X, Y), (X, Y))
    assert run.history[0]["valid_loss"] > 0


@pytest.mark.parametrize("data", [X, [X, Y], iter(())])
def test_what_is_no_data_is_refused(data):
    with pytest.raises(OptionError, match=r"Pass fit\(network, \(x, y\)"):
        fit(plain, data)


def test_the_same_network_twice_is_refused():
    network = plain()
    with pytest.raises(
        OptionError, match="a new network from each call of the function, got the same one twice"
    ):
        fit(lambda: network, (X, Y), members=2)


def test_a_network_that_returns_more_than_outputs_is_refused():
    with pytest.raises(ShapeError, match="a network that returns a tensor, got a tuple"):
        fit(nn.GRU(6, 2, batch_first=True), (X, Y))


@pytest.mark.parametrize(
    "options",
    [{"epochs": 1.5}, {"batch_size": "3"}, {"seed": 2**64}, {"metrics": "mae"}, {"metrics": ["mae"], "loss": "cross-entropy"},
     {"metrics": ["accuracy"], "loss": "mse"}],
)  # fmt: skip
def test_training_refuses_what_it_could_not_use(options):
    with pytest.raises(OptionError, match=r"Training: expected"):
        ur.Training(**options)


def test_a_folder_that_a_run_is_at_work_in_is_left_alone(tmp_path):
    partial = tmp_path / "run.partial"
    partial.mkdir()
    (partial / UNFINISHED).write_text("1")  # a process that is always there
    with (
        pytest.raises(RunFolderError, match="a folder that no run is at work in"),
        whole_folder(tmp_path / "run"),
    ):
        pass
    assert (partial / UNFINISHED).exists()
