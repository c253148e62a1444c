"""Every example in a docstring runs and gives what it shows."""

import doctest
import importlib
import json
import re
from pathlib import Path

import pytest

import towerzoo

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


def run_together(blocks, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(towerzoo.BLOCKS, "_parts", dict(towerzoo.BLOCKS._parts))
    names = {"__name__": "a_session"}
    for block in blocks:
        exec(block, names)


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    cells = json.loads((TOP / "examples" / "quickstart.ipynb").read_text())["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in codes[:-1]), "it is committed with its outputs"
    run_together(["".join(cell["source"]) for cell in codes], tmp_path, monkeypatch)
    assert "what each feature adds to the logit" in capsys.readouterr().out


def test_the_python_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    page = (TOP / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 5
    run_together(blocks, tmp_path, monkeypatch)
    error = page.rpartition("```text\n")[2].partition("```")[0]
    assert capsys.readouterr().out.endswith(error)


def test_examples_are_found():
    assert len(MODULES) > 20
    finder = doctest.DocTestFinder()
    examples = sum(len(t.examples) for name in MODULES for t in finder.find(importlib.import_module(name)))
    assert examples > 30
