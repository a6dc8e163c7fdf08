"""Two processes under torchrun: members spread over them, or one member's batches shared."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest
from networks import X, Y, bits, environment, plain

import unrolled as ur
from unrolled.data.windows import Samples

SCRIPT = """
import json, os, sys, torch, unrolled as ur
from test_ranks import run
found = run(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == ["masked"])
from networks import bits
with open(f"{sys.argv[1]}/rank-{os.environ['RANK']}.json", "w") as file:
    json.dump([[{k: v.hex() for k, v in bits(m).items()} for m in found.members], found.history], file)
"""


def run(members, batch_size, masked=False):
    counted = np.random.default_rng(0).random((50, 2)) > 0.3 if masked else None
    training = ur.Training("mse", epochs=3, members=members, batch_size=batch_size)
    return ur.fit(
        plain, Samples(X[:50], Y[:50], target_mask=counted), (X[50:], Y[50:]), training, progress=False
    )


def in_two_processes(folder, *arguments):
    (folder / "script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    subprocess.run([*command, folder / "script.py", folder, *map(str, arguments)], env=environment(OMP_NUM_THREADS="1"),
                   check=True, capture_output=True, timeout=120)  # fmt: skip
    first, second = (json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    return first


@pytest.mark.slow
def test_members_spread_over_processes(tmp_path):
    members, history = in_two_processes(tmp_path, 3, 16)
    alone = run(3, 16)
    assert members == [{k: v.hex() for k, v in bits(m).items()} for m in alone.members]
    assert history == alone.history


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_size", "more"), [(16, ()), (49, ()), (16, ("masked",))], ids=["", "one left over", "masked"]
)
def test_one_member_shared(tmp_path, batch_size, more):
    (member,), history = in_two_processes(tmp_path, 1, batch_size, *more)
    alone = run(1, batch_size, bool(more))
    for name, value in bits(alone.members[0]).items():
        ours = np.frombuffer(bytes.fromhex(member[name]), np.float32)
        np.testing.assert_allclose(ours, np.frombuffer(value, np.float32), rtol=1e-4, atol=1e-5)
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in alone.history], rel=1e-4)
