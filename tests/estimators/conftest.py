"""What several tests of estimators have in common."""

import pytest
import torch

from unrolled.training.loop import fit


@pytest.fixture
def one_thread():
    """On crowded machines torch's threads wait for each other longer than these small networks take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def given(request, monkeypatch):
    """What each training of the test module's `room` was given, in the order of its arguments."""
    calls = []

    def listen(*arguments, **options):
        calls.append(arguments)
        return fit(*arguments, **options)

    monkeypatch.setattr(request.module.room, "fit", listen)
    return calls
