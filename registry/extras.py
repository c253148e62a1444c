"""Libraries that only some commands need, and that an extra of TowerZoo brings."""

from __future__ import annotations

from importlib import util
from typing import Final

from towerzoo.registry.errors import ExtraError

EXTRAS: Final = {
    "bench": ("pytest", "pytest_benchmark"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "faiss": ("faiss",),
    "qdrant": ("qdrant_client",),
    "serve": ("fastapi", "uvicorn", "httptools", "prometheus_client"),
}
"""The modules that each extra brings, and that are needed where it is."""


def require_extra(extra: str, to: str) -> None:
    """Raises an ExtraError where a module of an extra is not installed.

    Args:
        extra: The extra.
        to: What it is needed to do.

    Example:
        >>> require_extra("bench", "measure")
    """
    missing = [module for module in EXTRAS[extra] if util.find_spec(module) is None]
    if missing:
        raise ExtraError(
            f"{' and '.join(missing)} must be installed to {to}, got none. Run pip install 'towerzoo[{extra}]'."
        )
