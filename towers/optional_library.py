"""Libraries that only some parts need, and that an extra brings."""

from __future__ import annotations

import importlib
from typing import Any

from towerzoo.registry.errors import SearchError


def optional_library(module: str, *, wanted_by: str, extra: str) -> Any:
    """Imports a library that an extra of TowerZoo brings.

    Args:
        module: Its name.
        wanted_by: Who wants it, for the message.
        extra: The extra.

    Raises:
        SearchError: It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is there, and something that it needs is not
        raise SearchError(
            f'{module} must be installed for {wanted_by}, got none. Run pip install "towerzoo[{extra}]".'
        ) from None
