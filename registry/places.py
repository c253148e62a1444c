"""Where parts are defined, and where in them an error happened, for people to open."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any


def place(part: Callable[..., Any]) -> str:
    """Returns the `file:line` at which a part is defined, or its module where that cannot be known."""
    try:
        return f"{_file(part)}:{inspect.getsourcelines(part)[1]}"
    except (OSError, TypeError):
        return f"{part.__module__}.{getattr(part, '__qualname__', part)}"


def place_of_error(part: Callable[..., Any], error: Exception) -> str:
    """Returns the `file:line` of the innermost call in a part's file, or the part's place where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == _file(part)]
    return f"{_file(part)}:{lines[-1]}" if lines else place(part)


def _file(part: Callable[..., Any]) -> str | None:
    try:
        return inspect.getsourcefile(part)
    except TypeError:
        return None
