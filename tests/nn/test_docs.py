"""The code in the pages runs, and prints what they say."""

import doctest
import re
from pathlib import Path

import pytest
import torch

from unrolled.kernels import native

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    "classification.md",
    "design.md",
    "exercises.md",
    "from_keras.md",
    "generation.md",
    "kernels.md",
    "layers.md",
    "not_supported.md",
    "reproduce.md",
    "training.md",
    "transcription.md",
    "understanding/cells.md",
    "understanding/long_sequences.md",
    "understanding/recurrent_neuron.md",
    "understanding/shapes.md",
    "understanding/vanishing_gradients.md",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not native.AVAILABLE, reason="the pages describe the C++ kernels")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page(page):
    torch._dynamo.reset()
    found = doctest.testfile(
        str(DOCS / page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 3
    assert not found.failed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/forecast.md"])
def test_the_blocks_of_python(page, tmp_path, monkeypatch, capsys):
    """Each block by itself, as a reader would paste it into a new file."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS.parent / page).read_text("utf-8"), re.M | re.S)
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}, block {number + 1}", "exec"), {"__name__": "__main__"})
    assert "nan" not in capsys.readouterr().out.lower()
