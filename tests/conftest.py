"""Fixtures for all tests."""

import logging
from pathlib import Path

import matplotlib as mpl
import pytest
from hypothesis import settings

mpl.use("Agg")
settings.register_profile("untimed", deadline=None)  # machines are shared
settings.load_profile("untimed")

collect_ignore = ["golden/make_keras.py"]  # a script, which needs Keras

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(params=["pandas", "polars"])
def to_frame(request):
    """Make a data frame of either kind from columns."""
    module = pytest.importorskip(request.param)
    return module.DataFrame


@pytest.fixture(autouse=True)
def _quiet_notes():
    """Keep the notes on the data off the terminal; caplog still sees them."""
    logging.getLogger("unrolled").addHandler(logging.NullHandler())


@pytest.fixture(scope="session")
def ridership_csv(tmp_path_factory):
    """The published Chicago file, where this machine has it."""
    import tarfile

    archive = SHARED / "ridership.tgz"
    if not archive.is_file():
        pytest.skip("ridership.tgz is not beside this checkout")
    folder = tmp_path_factory.mktemp("ridership")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.rglob("*.csv"))


@pytest.fixture
def without_native(monkeypatch):
    """As where the C++ kernels were not built."""
    from dataclasses import replace

    from unrolled.kernels import dispatch, native

    monkeypatch.setattr(native, "AVAILABLE", False)
    rows = tuple(replace(row, built="native" not in row.name) for row in dispatch.TABLE)
    monkeypatch.setattr(dispatch, "TABLE", rows)
