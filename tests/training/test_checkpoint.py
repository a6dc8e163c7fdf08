"""Run folders: whole, or not there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unrolled.errors import RunFolderError
from unrolled.training.checkpoint import UNFINISHED, whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(out, text="{}", **options):
    with whole_folder(out, **options) as partial:
        (partial / "config.json").write_text(text)


def test_the_folder_appears_at_the_end(tmp_path):
    with whole_folder(tmp_path / "deep" / "run") as partial:
        (partial / "config.json").write_text("{}")
        assert names(tmp_path / "deep") == ["run.partial"]
    assert names(tmp_path / "deep") == ["run"]
    assert names(tmp_path / "deep" / "run") == ["config.json"]


def test_failed_work_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "run"):
        1 / 0  # noqa: B018
    assert names(tmp_path) == []


def test_a_run_is_replaced_only_when_told(tmp_path):
    make(tmp_path / "run", "1")
    with pytest.raises(RunFolderError, match=r"already holds a run.*pass --overwrite"):
        make(tmp_path / "run", "2")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "run", overwrite=True):
        1 / 0  # noqa: B018
    assert (tmp_path / "run" / "config.json").read_text() == "1"
    make(tmp_path / "run", "2", overwrite=True)
    assert (tmp_path / "run" / "config.json").read_text() == "2"
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_no_run_is_never_replaced(tmp_path, kind):
    place = tmp_path / "precious"
    if kind == "folder":
        place.mkdir()
        (place / "thesis.txt").touch()
    elif kind == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match="something that is not a run"):
        make(place, overwrite=True)
    assert names(tmp_path) == ["precious"]


def test_a_foreign_partial_folder_is_never_deleted(tmp_path):
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "thesis.txt").touch()
    with pytest.raises(RunFolderError, match="one that no run has left"):
        make(tmp_path / "run")
    assert names(tmp_path / "run.partial") == ["thesis.txt"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_never_looks_whole(tmp_path):
    script = (
        "import os, pathlib, signal\nfrom unrolled.training.checkpoint import whole_folder\n"
        f"with whole_folder(pathlib.Path({str(tmp_path / 'run')!r})) as partial:\n"
        "    (partial / 'config.json').write_text('{}')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert names(tmp_path) == ["run.partial"]
    assert UNFINISHED in names(tmp_path / "run.partial")
    make(tmp_path / "run")
    assert names(tmp_path) == ["run"]


def test_killed_between_the_two_renames_the_old_run_comes_back(tmp_path):
    make(tmp_path / "run", "1")
    (tmp_path / "run").rename(tmp_path / "run.old")
    with pytest.raises(RunFolderError, match="already holds a run"):
        make(tmp_path / "run", "2")
    assert (tmp_path / "run" / "config.json").read_text() == "1"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="a place that can be written, got not a directory"):
        make(tmp_path / "file" / "run")


@pytest.mark.skipif(
    not os.path.exists("/proc/self"), reason="needs /proc, which takes no folders, even from root"
)
def test_no_permission():
    with pytest.raises(RunFolderError, match="a place that can be written"):
        make(Path("/proc/run"))


def test_the_root_is_refused():
    with pytest.raises(RunFolderError, match="the root of the file system"):
        make(Path("/"))


def test_going_on_with_other_options_is_refused_before_the_first_checkpoint(tmp_path, caplog):
    left = tmp_path / "run.partial"
    with whole_folder(tmp_path / "run", asked={"units": 3, "levels": (80, 95), "vectors": None}):
        shutil.copytree(left, tmp_path / "killed")
    assert names(tmp_path / "run") == []
    shutil.rmtree(tmp_path / "run")
    for asked, others in (
        ({"units": 4, "levels": (80, 95), "vectors": None}, "units"),
        ({"units": 3}, "levels"),
    ):
        shutil.copytree(tmp_path / "killed", left, dirs_exist_ok=True)
        with (
            pytest.raises(RunFolderError, match=f"one with another {others}. Start anew"),
            whole_folder(tmp_path / "run", resume=True, asked=asked),
        ):
            pass
        assert left.exists()  # it is still there to go on with
    with whole_folder(tmp_path / "run", resume=True, asked={"units": 3, "levels": (80, 95), "vectors": None}):
        pass
    assert "no checkpoint to go on from: starts at the beginning" in caplog.text
    assert names(tmp_path / "run") == []
