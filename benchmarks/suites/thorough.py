"""Parameters that a quick look leaves out."""

from __future__ import annotations

from typing import Any

import pytest


def thorough(*values: Any) -> Any:
    """Returns a parameter, or one of several arguments, that is left out with --quick."""
    return pytest.param(*values, marks=pytest.mark.thorough)
