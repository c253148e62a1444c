"""The lines where parts are defined, and where in them or in a custom file an error was raised, for people to open."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Container
from typing import Any, Final

CUSTOM_FILES: Final = "towerzoo_imports_"
"""Prefix of the names of the modules that the files of a config's `imports` become."""


def source_line(part: Callable[..., Any]) -> str:
    """Returns the `file:line` at which a part is defined, or its module where that cannot be known."""
    try:
        return f"{_file(part)}:{inspect.getsourcelines(part)[1]}"
    except (OSError, TypeError):
        return f"{part.__module__}.{getattr(part, '__qualname__', part)}"


def error_line(part: Callable[..., Any], error: Exception) -> str:
    """Returns the `file:line` of the innermost call in a custom file, else in the part's, else the part's own line."""
    return custom_error_line(error) or _innermost(error, {_file(part)}) or source_line(part)


def custom_error_line(error: Exception) -> str:
    """Returns the `file:line` of the innermost call in a file of `imports`; empty where there is none."""
    custom = {module.__file__ for name, module in [*sys.modules.items()] if name.startswith(CUSTOM_FILES)}
    return _innermost(error, custom)


def _innermost(error: Exception, files: Container[str | None]) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _file(part: Callable[..., Any]) -> str | None:
    try:
        return inspect.getsourcefile(part)
    except TypeError:
        return None
