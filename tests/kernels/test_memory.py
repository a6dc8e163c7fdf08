"""Memory that large calls give back is used again, and never while somebody reads it."""

import contextlib
import gc
import itertools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import unrolled as ur
from unrolled.kernels import native

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")

again = pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer has to see what is given back"
)
MB = 1 << 20
UNITS, BATCH, STEPS = 64, 40, 110  # a GRU of them saves more than `native.LARGE` numbers


def piece(size):
    """A tensor of so many bytes in memory of ours."""
    return torch.frombuffer(native._native.Memory(size), dtype=torch.uint8)


def resident():
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("the system does not say")
    with open("/proc/self/statm") as opened:
        return int(opened.read().split()[1]) * 4096


@pytest.fixture
def nothing_kept():
    """Fills what is kept with pieces of another size than those of a test."""
    some = [piece(15 * MB) for _ in range(18)]
    del some


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return ur.nn.GRU(3, UNITS, return_sequences=True)


def batch(seed):
    return torch.randn(BATCH, STEPS, 3, generator=torch.Generator().manual_seed(seed))


@again
@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize(
    ("size", "near"), [(MB, MB), (5 * MB, 5 * MB - 100_000), (9 * MB + 1, 9 * MB + 200_000)]
)
def test_used_again(size, near):
    place = piece(size).data_ptr()
    assert place % 64 == 0
    assert piece(size).data_ptr() == place
    assert piece(near).data_ptr() == place, "a size that differs little"
    assert piece(2 * size).data_ptr() != place


@again
@pytest.mark.usefixtures("nothing_kept")
def test_the_latest_first_and_each_to_one():
    first, second = piece(3 * MB), piece(3 * MB)
    places = first.data_ptr(), second.data_ptr()
    del first
    del second
    held = [piece(3 * MB) for _ in range(3)]
    assert [p.data_ptr() for p in held[:2]] == [places[1], places[0]]
    ends = sorted((p.data_ptr(), p.data_ptr() + 3 * MB) for p in held)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(ends))


@again
@pytest.mark.usefixtures("nothing_kept")
def test_a_view_keeps_it():
    whole = piece(4 * MB)
    place, view = whole.data_ptr(), whole[100:200]
    del whole
    assert piece(4 * MB).data_ptr() != place
    del view
    assert piece(4 * MB).data_ptr() == place


@again
@pytest.mark.usefixtures("nothing_kept")
def test_a_larger_one_is_not_given():
    place = piece(10 * MB).data_ptr()
    assert piece(5 * MB).data_ptr() != place
    assert piece(10 * MB).data_ptr() == place


@again
def test_nearly_a_quarter_of_a_gigabyte_is_kept():
    places = {p.data_ptr() for p in [piece(48 * MB) for _ in range(5)]}
    assert {p.data_ptr() for p in [piece(48 * MB) for _ in range(5)]} == places


@again
def test_not_more_than_a_quarter_of_a_gigabyte():
    gc.collect()
    before = resident()
    some = [piece(40 * MB).fill_(1) for _ in range(12)]
    assert resident() - before > 400 * MB
    del some
    assert resident() - before < 300 * MB


def test_a_piece_larger_than_all_that_is_kept():
    place = piece(300 * MB)
    assert place.numel() == 300 * MB
    del place
    before = resident()
    piece(300 * MB).fill_(1)
    assert resident() - before < 100 * MB


def gradients(layer, y):
    layer.zero_grad()
    y.sin().sum().backward(retain_graph=True)
    return [p.grad.clone() for p in layer.parameters()]


@again
def test_what_a_layer_saves_lies_there(layer):
    x = batch(0)
    y = layer(x)
    arguments, options = y.grad_fn.saved_tensors, y.grad_fn.options
    saved = arguments[-1]
    assert saved.numel() == native.saved_size(arguments, options) > native.LARGE
    place = saved.data_ptr()
    del arguments, saved, y
    assert layer(x).grad_fn.saved_tensors[-1].data_ptr() == place


def test_calls_side_by_side_do_not_share(layer):
    alone = [gradients(layer, layer(batch(seed))) for seed in range(4)]
    outputs = [layer(batch(seed)) for seed in range(4)]
    for _ in range(2):  # their graphs are retained
        for expected, y in zip(alone, outputs, strict=True):
            assert all(map(torch.equal, expected, gradients(layer, y)))


@pytest.mark.parametrize(("rows", "own"), [(2, False), (BATCH, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_calls_stay_with_torch(rows, own, dtype):
    y = ur.nn.GRU(3, UNITS).to(dtype)(batch(0)[:rows].to(dtype))
    saved = y.grad_fn.saved_tensors[-1]
    assert saved.dtype is dtype
    assert (saved.numel() >= native.LARGE) == own
    with contextlib.ExitStack() as stack:
        if own:  # memory that is another's does not grow
            stack.enter_context(pytest.raises(RuntimeError, match="not resizable"))
        saved.untyped_storage().resize_(2 * saved.untyped_storage().nbytes())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux'")
@again
def test_what_is_kept_is_given_up_where_memory_is_short():
    script = """
import resource, torch
from unrolled.kernels.native import _native
MB = 1 << 20
some = [_native.Memory(60 * MB) for _ in range(4)]
del some
with open("/proc/self/statm") as opened:
    used = int(opened.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * MB,) * 2)
_native.Memory(200 * MB)
import unrolled as ur
try:
    ur.nn.LSTM(3, 512)(torch.ones(500, 1000, 3))
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "you tried to allocate" in done.stdout


@pytest.mark.parametrize("size", [-1, 1 << 62])
def test_no_such_size(size):
    with pytest.raises(MemoryError):
        native._native.Memory(size)
    with pytest.raises(BufferError):
        memoryview(native._native.Memory.__new__(native._native.Memory))


def test_a_graph_that_lives_to_the_end_says_nothing():
    script = f"import torch, unrolled as ur; y = ur.nn.GRU(3, {UNITS})(torch.ones({BATCH}, {STEPS}, 3))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_threads_that_take_and_give_at_once(tmp_path):
    here, compiler = Path(__file__).parent, shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("there is no compiler")
    files = [here / "check_memory.cpp", here.parent.parent / "csrc" / "memory.cpp"]
    words = [compiler, "-std=c++17", "-O1", "-pthread", *files, "-o", tmp_path / "check"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    if subprocess.run([*words, *sanitizers], capture_output=True, env=own, check=False).returncode:
        subprocess.run(words, capture_output=True, env=own, check=True)
    done = subprocess.run([tmp_path / "check"], capture_output=True, text=True, env=own, check=False)
    assert (done.returncode, done.stdout) == (0, "0 wrong\n"), done.stderr


def test_threads_at_once(layer):
    expected = [gradients(layer, layer(batch(seed))) for seed in range(4)]
    wrong = []

    def work(seed):
        for _ in range(15):
            y = layer(batch(seed))
            found = torch.autograd.grad(y.sin().sum(), list(layer.parameters()))
            if not all(map(torch.equal, expected[seed], found)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
