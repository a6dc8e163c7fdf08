"""What the package promises as a whole: its names, its errors, the direction of its imports."""

import ast
import importlib
import importlib.machinery
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unrolled as ur
from unrolled import errors

SOURCE = Path(ur.__file__).parent
ORDER = (
    "errors",
    "kernels",
    "nn",
    "networks",
    "encoders",
    "autoregressive",
    "encoder_decoder",
    "training",
    "estimators",
    "report",
    "recipes",
    "commands",
    "cli",
)
DATA_SEES = {"errors", "data"}
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "sklearn", "statsmodels", "jinja2", "pyarrow", "polars")


def modules():
    return sorted(
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCE.rglob("*.py")
        if path.name != "__main__.py"
    )


def imported(path):
    """The rooms of the house that a file imports anywhere in it, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import absolutely"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "unrolled" else []
            )
            names += [node.module]
        else:
            continue
        for name in names:
            if name.startswith("unrolled."):
                yield name.split(".")[1]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    assert room == "data" or room in ORDER, f"{room} is not a room of the house"
    for other in imported(path):
        if other.startswith("__"):  # the version
            continue
        if room == "data":
            assert other in DATA_SEES, f"{path.name}: data must not see {other}"
        elif other == "data":
            assert ORDER.index(room) >= ORDER.index("training"), f"{path.name}: {room} must not see data"
        else:
            assert ORDER.index(other) <= ORDER.index(room), f"{path.name}: {room} must not see {other}"


@pytest.mark.parametrize("name", modules())
def test_all_names_what_is_public(name):
    module = importlib.import_module(name)
    if not hasattr(module, "__all__"):
        assert module.__file__.endswith("__init__.py"), f"{name} lacks __all__"
        return
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert getattr(module, public) is not None
    if module.__file__.endswith("__init__.py"):
        return
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own = {public for public in module.__all__ if public in defined}
    documented = {public for public in own if getattr(module, public).__doc__}
    assert own == documented


def test_top_level_names():
    for name in ur.__all__:
        assert getattr(ur, name) is not None
    assert set(ur.__all__) <= set(dir(ur))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ur.Nothing  # noqa: B018


@pytest.mark.parametrize(
    "command", ["import unrolled", "import unrolled.cli", "from unrolled.cli import _run; _run(['--help'])"]
)
def test_nothing_heavy_is_imported_early(command):
    script = f"{command}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def all_errors():
    return [error for name in errors.__all__ if (error := getattr(errors, name)) is not errors.UnrolledError]


@pytest.mark.parametrize("error", all_errors(), ids=lambda e: e.__name__)
def test_errors_are_one_tree(error):
    assert issubclass(error, errors.UnrolledError)
    assert issubclass(error, ValueError | RuntimeError)
    made = error("here", "this", "that", "Do so.")
    assert str(made) == "here: expected this, got that. Do so."
    assert str(pickle.loads(pickle.dumps(made))) == str(made)
    assert made.exit_code in (1, 2)
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("kernels", "said"), [(None, "not built"), (b"no library", "built, but do not load: ")]
)
def test_kernels_that_are_missing_or_broken(kernels, said, tmp_path):
    shutil.copytree(SOURCE, tmp_path / "unrolled", ignore=shutil.ignore_patterns("_native*", "__pycache__"))
    if kernels is not None:
        suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
        (tmp_path / "unrolled" / "kernels" / f"_native{suffix}").write_bytes(kernels)
    script = "import unrolled as ur, torch; x = torch.ones(1, 2, 3); layer = ur.nn.GRU(3, 4); layer(x)\n"
    script += "from unrolled.kernels import native; print(native.instruction_set()); print(ur.explain(layer, x).reason)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    short, reason = done.stdout.splitlines()
    assert short.startswith(said)
    assert f"the C++ kernels, which were {said}" in reason
