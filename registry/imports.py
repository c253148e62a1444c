"""Imports the Python files in which people register custom parts."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any, Final

from towerzoo.registry import CATALOGUE
from towerzoo.registry.errors import Problem, TowerZooError
from towerzoo.registry.source_lines import CUSTOM_FILES
from towerzoo.registry.yaml_file import Document, KeyPath

SESSION: Final = "session"
"""Stands in `imports` for parts that were registered in a notebook or script, which no config can import."""


def import_parts(document: Document) -> None:
    """Imports the files of a config's `imports`; failures become problems of the document."""
    files = document.value.get("imports")
    for index, file in enumerate(files if isinstance(files, list) else ()):
        problem = None if file == SESSION else _import_file(file, document, ("imports", index))
        if problem is not None:
            document.problems.append(problem)
            document.incomplete = True


def names_session(document: Document) -> bool:
    """Returns whether a config uses parts that were registered in a session."""
    files = document.value.get("imports") if isinstance(document.value, dict) else None
    return isinstance(files, list) and SESSION in files


def _import_file(file: Any, document: Document, path: KeyPath) -> Problem | None:
    """Imports a file once per content, so that a run's copy of it does not register its parts again."""
    if not isinstance(file, str) or Path(file).suffix != ".py" or not Path(file).is_file():
        hint = "Give a path that ends in .py, relative to the config."
        return document.problem(path, "a Python file", file, hint)
    name = ""
    try:
        name = CUSTOM_FILES + hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
        if name in sys.modules:
            return None
        for other, module in list(sys.modules.items()):
            if other.startswith(CUSTOM_FILES) and module.__file__ == file:  # edited since, as people do in notebooks
                _forget(other)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    except (Exception, SystemExit) as error:
        _forget(name)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        reason = str(error) if isinstance(error, TowerZooError) else f"{type(error).__name__}: {error}"
        if lines and not isinstance(error, TowerZooError):
            reason = f"{reason} (line {lines[-1]})"
        hint = f"{reason}\n    To see the traceback, run python {file}."
        return document.problem(path, "a Python file that imports without error", file, hint)
    return None


def _forget(module: str) -> None:
    """Removes a module and the parts that it has registered."""
    sys.modules.pop(module, None)
    for registry in CATALOGUE.values():
        registry.forget(module)
