"""The code in the pages on layers, kernels, training, classification and generation runs, and prints what they say."""

import doctest
from pathlib import Path

import pytest
import torch

from unrolled.kernels import native

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not native.AVAILABLE, reason="the pages describe the C++ kernels")
@pytest.mark.parametrize(
    "page", ["layers.md", "kernels.md", "training.md", "classification.md", "generation.md"]
)
def test_the_code_of_a_page(page):
    torch._dynamo.reset()
    found = doctest.testfile(
        str(DOCS / page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 3
    assert not found.failed
