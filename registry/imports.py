"""Imports the Python files in which people register parts of their own."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from towerzoo.registry.catalogue import CATALOGUE
from towerzoo.registry.errors import Problem, TowerZooError
from towerzoo.registry.places import OWN_FILES
from towerzoo.registry.yaml_file import Document, KeyPath


def import_parts(document: Document) -> None:
    """Imports the files of a config's `imports`; what goes wrong becomes a problem of the document."""
    files = document.value.get("imports")
    for index, file in enumerate(files if isinstance(files, list) else ()):
        problem = _import_file(file, document, ("imports", index))
        if problem is not None:
            document.problems.append(problem)
            document.incomplete = True


def _import_file(file: Any, document: Document, path: KeyPath) -> Problem | None:
    """Imports a file once per content, so that a run's copy of it does not register its parts again."""
    where = document.where(path)
    if not isinstance(file, str) or Path(file).suffix != ".py" or not Path(file).is_file():
        return Problem(where, "a Python file", file, "Give a path that ends in .py, relative to the config.")
    name = ""
    try:
        name = OWN_FILES + hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
        if name in sys.modules:
            return None
        for other, module in list(sys.modules.items()):
            if other.startswith(OWN_FILES) and module.__file__ == file:  # edited since, as people do in notebooks
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
        return Problem(
            where, "a Python file that imports without error", file, f"{reason}\n    python {file} shows where."
        )
    return None


def _forget(module: str) -> None:
    """Removes a module and the parts that it has registered."""
    sys.modules.pop(module, None)
    for registry in CATALOGUE.values():
        registry.forget(module)
