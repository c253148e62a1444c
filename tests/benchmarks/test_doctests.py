"""Every example in a docstring of the benchmarks runs and gives what it shows."""

import doctest
import importlib
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))
MODULES = [file.stem for file in FILES if not file.stem.startswith(("test_", "__init__", "conftest"))]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(f"towerzoo.benchmarks.{name}")).failed == 0


def test_modules_are_found():
    assert len(MODULES) > 15
