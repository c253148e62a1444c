"""Every example in a docstring runs and gives what it shows."""

import doctest
import importlib
import importlib.resources

import pytest

MODULES = sorted(
    f"towerzoo.{folder}.{file.name.removesuffix('.py')}"
    for folder in ("registry", "datasets", "towers", "towers.serving", "benchmarks")
    for file in importlib.resources.files(f"towerzoo.{folder}").iterdir()
    if file.name.endswith(".py") and not file.name.startswith(("__init__", "conftest", "test_"))
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
