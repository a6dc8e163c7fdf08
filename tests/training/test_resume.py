"""Checkpoints: a training that was stopped anywhere ends with the bits it would have had."""

import dataclasses
import errno
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from networks import DATA, VALID, Branching, Dropping, Own, bits, environment, plain, rich

import unrolled as ur
from unrolled.errors import RunFolderError
from unrolled.training import checkpoint, course

TRAINING = ur.Training(
    "mse", "adam", 3e-2, "plateau", epochs=6, batch_size=16, members=3, patience=1, plateau_patience=1
)


def fit(folder=None, network=rich, training=TRAINING, **options):
    return ur.fit(
        network, DATA, VALID, training, progress=False, folder=folder, checkpoint_seconds=0, **options
    )


def result(run):
    return [bits(member) for member in run.members], run.history, run.failures


class Stop(Exception):  # noqa: N818
    pass


def stop_before(monkeypatch, *moment):
    original = course.Course._one_step

    def step(self, order):
        if (self.epoch, self.step) == moment:
            raise Stop
        return original(self, order)

    monkeypatch.setattr(course.Course, "_one_step", step)


def stopped(monkeypatch, folder, *moment, **options):
    """Leave the checkpoints of a training that ended at this (epoch, step)."""
    with monkeypatch.context() as patch:
        stop_before(patch, *moment)
        with pytest.raises(Stop):
            fit(folder, **options)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("optimizer", ["sgd", "nadam"])
@pytest.mark.parametrize("schedule", ["plateau", "one-cycle"])
def test_stopped_anywhere_it_ends_with_the_same_bits(monkeypatch, tmp_path, optimizer, schedule):
    from dataclasses import replace

    training = replace(TRAINING, optimizer=optimizer, schedule=schedule)
    whole = result(fit(training=training))
    last = whole[1][-1]["epoch"]
    for number, moment in enumerate([(1, 1), (1, 3), (2, 0), (last, 2)]):
        place = tmp_path / str(number)
        place.mkdir()
        stopped(monkeypatch, place, *moment, training=training)
        assert result(fit(place, training=training, resume=True)) == whole


@pytest.mark.parametrize("network", [Own, Branching, Dropping])
def test_a_users_module_goes_on_too(monkeypatch, tmp_path, network):
    whole = result(fit(network=network))
    stopped(monkeypatch, tmp_path, 3, 2, network=network)
    assert result(fit(tmp_path, network=network, resume=True)) == whole


def test_stopped_again_and_again(monkeypatch, tmp_path):
    whole, options = result(fit()), {"resume": False}
    for moment in [(1, 1), (1, 2), (2, 3), (4, 0)]:
        stopped(monkeypatch, tmp_path, *moment, **options)
        options["resume"] = True
    assert result(fit(tmp_path, **options)) == whole
    assert result(fit(tmp_path, **options)) == whole  # nothing is left to do
    assert len(files(tmp_path)) == 2


def test_a_failed_member_stays_failed(monkeypatch, tmp_path):
    original = course.Course._one_step

    def step(self, order):
        if (self.epoch, self.step) == (1, 2) and 1 in self.members.numbers:
            self.members.flat.view(-1)[:] = self.members.flat
            self.members.rows(self.members.flat, 1)[0].fill_(torch.nan)
        return original(self, order)

    monkeypatch.setattr(course.Course, "_one_step", step)
    whole = result(fit(network=plain))
    assert list(whole[2]) == [1]
    stopped(monkeypatch, tmp_path, 2, 1, network=plain)
    assert result(fit(tmp_path, network=plain, resume=True)) == whole


@pytest.mark.parametrize("damage", ["cut", "a byte", "empty"])
def test_a_damaged_checkpoint_is_passed_over(monkeypatch, tmp_path, caplog, damage):
    whole = result(fit())
    stopped(monkeypatch, tmp_path, 2, 2)
    newest = tmp_path / files(tmp_path)[-1]
    written = bytearray(newest.read_bytes())
    if damage == "a byte":
        written[len(written) // 2] ^= 4
    newest.write_bytes({"cut": written[: len(written) // 2], "a byte": written, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING, "unrolled"):
        assert result(fit(tmp_path, resume=True)) == whole
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{newest.name} is damaged (")
    assert record.getMessage().endswith("): going on from the checkpoint before it.")


def test_with_all_damaged_it_starts_anew(monkeypatch, tmp_path, caplog):
    whole = result(fit())
    stopped(monkeypatch, tmp_path, 2, 2)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    with caplog.at_level(logging.WARNING, "unrolled"):
        assert result(fit(tmp_path, resume=True)) == whole
    assert len(caplog.records) == 2


def test_a_full_disk_is_said_and_the_last_good_checkpoint_survives(monkeypatch, tmp_path):
    whole, synced, original = result(fit()), [], os.fsync

    def full(number):
        synced.append(number)
        if len(synced) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(number)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(
            RunFolderError,
            match=r"room for a checkpoint, got no space left on device; checkpoint-000005.safetensors is still there. Make room, then go on with resume.",
        ):
            fit(tmp_path)
    assert files(tmp_path) == ["checkpoint-000004.safetensors", "checkpoint-000005.safetensors"]
    assert result(fit(tmp_path, resume=True)) == whole


@pytest.mark.skipif(os.name != "posix", reason="RLIMIT_FSIZE")
@pytest.mark.slow
def test_a_file_that_cannot_be_written_whole(tmp_path):
    fit(tmp_path, training=ur.Training("mse", epochs=1), network=plain)
    before = files(tmp_path)
    script = (
        "import resource, signal, sys, pathlib, torch\nfrom unrolled.training.checkpoint import save_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "save_checkpoint(pathlib.Path(sys.argv[1]), {'flat': torch.zeros(100000)}, {})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RunFolderError" in done.stderr and f"file too large; {before[-1]} is still there" in done.stderr
    assert files(tmp_path) == before
    assert checkpoint.load_checkpoint(tmp_path) is not None


@pytest.mark.parametrize(
    ("other", "named"),
    [("options", "loss"), ("data", "data"), ("targets", "data"), ("network", "network"), ("activation", "network"),
     ("validation", "validation data"), ("none to validate", "validation data")],
)  # fmt: skip
def test_a_checkpoint_of_something_else_is_refused(monkeypatch, tmp_path, other, named):
    stopped(monkeypatch, tmp_path, 2, 1)
    x, y = DATA
    data = {"data": (x + 1, y), "targets": (x, -y)}.get(other, DATA)
    training = dataclasses.replace(TRAINING, loss="mae") if other == "options" else TRAINING
    valid = {"validation": (VALID[0], -VALID[1]), "none to validate": None}.get(other, VALID)
    if valid is None:  # which patience needs
        training = dataclasses.replace(TRAINING, patience=None)

    def active():
        network = rich()
        network[0].activation = "relu"
        return network

    network = {"network": plain, "activation": active}.get(other, rich)
    with pytest.raises(RunFolderError, match=f"a checkpoint of this training, got one of another .*{named}"):
        ur.fit(network, data, valid, training, progress=False, folder=tmp_path, resume=True)


def test_without_resume_checkpoints_are_not_lost(monkeypatch, tmp_path):
    stopped(monkeypatch, tmp_path, 2, 1)
    before = files(tmp_path)
    with pytest.raises(
        RunFolderError, match="without checkpoints, got those of an earlier training. Pass resume"
    ):
        fit(tmp_path)
    assert files(tmp_path) == before


def test_more_epochs_can_be_added(tmp_path):
    short = ur.Training("mse", epochs=2, members=2, batch_size=8)
    for training in (short, dataclasses.replace(short, epochs=5)):
        run = ur.fit(rich, DATA, VALID, training, progress=False, folder=tmp_path, resume=True)
    whole = ur.fit(rich, DATA, VALID, dataclasses.replace(short, epochs=5), progress=False)
    assert run.history == whole.history
    assert [bits(m) for m in run.members] == [bits(m) for m in whole.members]


def test_a_callback_that_ends_training_leaves_a_checkpoint(tmp_path):
    training = ur.Training("mse", epochs=4, batch_size=8)
    ur.fit(rich, DATA, None, training, progress=False, folder=tmp_path, callbacks=[lambda e: e.number == 2])
    run = ur.fit(rich, DATA, None, training, progress=False, folder=tmp_path, resume=True)
    whole = ur.fit(rich, DATA, None, training, progress=False)
    assert run.history == whole.history and bits(run.members[0]) == bits(whole.members[0])


SCRIPT = """
import json, os, sys, unrolled as ur
from networks import DATA, VALID, rich, bits
training = ur.Training("mse", "adam", 1e-2, "cosine", epochs=int(sys.argv[2]), batch_size=8, members=2, patience=9)
run = ur.fit(rich, DATA, VALID, training, progress=False, folder=sys.argv[1], resume=True, checkpoint_seconds=0.01)
with open(sys.argv[1] + "/result.writing", "w") as file:
    print(*[{k: v.hex() for k, v in bits(m).items()} for m in run.members], json.dumps(run.history), sep="\\n", file=file)
os.replace(sys.argv[1] + "/result.writing", sys.argv[1] + "/result")
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_twenty_times_at_random_moments(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for place in (whole, killed):
        place.mkdir()
    command = [sys.executable, "-c", SCRIPT]
    epochs = "1500"
    subprocess.run([*command, whole, epochs], env=environment(), check=True)
    kills, draw = 0, random.Random(7)
    while not (killed / "result").exists():
        process = subprocess.Popen([*command, killed, epochs], env=environment())
        before = {path.name for path in killed.glob("*.safetensors")}
        if kills < 25:  # at a random moment after its first checkpoint
            while {path.name for path in killed.glob("*.safetensors")} == before and process.poll() is None:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.06))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        else:
            assert process.wait() == 0
    assert kills >= 20
    assert (killed / "result").read_text() == (whole / "result").read_text()


@pytest.mark.slow
def test_the_command_line_killed_and_gone_on(tmp_path):
    t = np.arange(400)
    table = pd.DataFrame(
        {"ds": pd.date_range("2020-01-01", periods=400), "y": 20 + 5 * np.sin(t / 2) + t / 50}
    )
    table.to_csv(tmp_path / "data.csv", index=False)
    # checkpoints after each step, in place of each minute; a kill in the 30th step where told
    script = (
        "import os, signal, sys\nfrom unrolled.training import course, loop\nimport unrolled.cli as cli\n"
        "loop.fit.__kwdefaults__['checkpoint_seconds'] = 0.0\noriginal = course.Course._one_step\n"
        "def step(self, order):\n"
        "    step.count += 1\n"
        "    if step.count == int(os.environ['KILL_AT']): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(self, order)\n"
        "step.count = 0\ncourse.Course._one_step = step\ncli.main()\n"
    )

    def run(out, kill_at, *more):
        words = [
            "forecast",
            "data.csv",
            "--horizon",
            "3",
            "--members",
            "2",
            "--model",
            "gru",
            "--out",
            out,
            *more,
        ]
        return subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True,
                              env=environment(KILL_AT=str(kill_at)), check=False)  # fmt: skip

    done = run("whole", 0)
    assert done.returncode == 0, done.stderr
    for kill_at, more in ((30, ()), (45, ("--resume",))):
        assert run("killed", kill_at, *more).returncode == -signal.SIGKILL
        assert files(tmp_path) == ["data.csv", "killed.partial", "whole"]
    other = run("killed", 0, "--season", "3", "--resume")
    assert other.returncode == 2 and "one with another season" in other.stderr
    done = run("killed", 0, "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("model.safetensors", "history.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    steps = [
        json.loads(line)["steps"] for line in (tmp_path / "killed" / "timing.jsonl").read_text().splitlines()
    ]
    assert min(steps) < max(steps)  # the epochs at which it went on
