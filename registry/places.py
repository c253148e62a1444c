"""Where parts are defined, and where in them or in people's own files an error happened, for people to open."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Container
from typing import Any, Final

OWN_FILES: Final = "towerzoo_imports_"
"""How the names of the modules begin that people's own files are imported as."""


def place(part: Callable[..., Any]) -> str:
    """Returns the `file:line` at which a part is defined, or its module where that cannot be known."""
    try:
        return f"{_file(part)}:{inspect.getsourcelines(part)[1]}"
    except (OSError, TypeError):
        return f"{part.__module__}.{getattr(part, '__qualname__', part)}"


def place_of_error(part: Callable[..., Any], error: Exception) -> str:
    """Returns the `file:line` of the innermost call in a person's own file, else in a part's, else the part's place."""
    return own_place(error) or _innermost(error, {_file(part)}) or place(part)


def own_place(error: Exception) -> str:
    """Returns the `file:line` of the innermost call in a person's own file; empty where there is none."""
    return _innermost(error, {module.__file__ for name, module in [*sys.modules.items()] if name.startswith(OWN_FILES)})


def _innermost(error: Exception, files: Container[str | None]) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _file(part: Callable[..., Any]) -> str | None:
    try:
        return inspect.getsourcefile(part)
    except TypeError:
        return None
