"""The libraries that serving needs and the rest of TowerZoo does not."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from towerzoo.registry.errors import ServingError

LIBRARIES: Final = ("fastapi", "uvicorn", "httptools", "prometheus_client")


def require_libraries() -> None:
    """Raises a ServingError where one of them is not installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise ServingError(
            f"{' and '.join(missing)} must be installed to serve, got none. Run pip install 'towerzoo[serve]'."
        )
