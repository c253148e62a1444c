"""Every example in a docstring runs and gives what it shows."""

import doctest
import importlib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
MODULES = sorted(
    "towerzoo." + ".".join(file.relative_to(TOP).with_suffix("").parts)
    for folder in ("registry", "datasets", "towers", "benchmarks")
    for file in (TOP / folder).rglob("*.py")
    if not file.name.startswith(("__init__", "conftest", "test_")) and "workers" not in file.parts
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_examples_are_found():
    assert len(MODULES) > 20
    finder = doctest.DocTestFinder()
    examples = sum(len(t.examples) for name in MODULES for t in finder.find(importlib.import_module(name)))
    assert examples > 30
