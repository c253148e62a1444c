"""What importing parts of datasets costs: a name is imported with the modules that it needs, and no others."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("statement", "most_modules", "unwanted"),
    [
        ("from towerzoo.datasets import UNKNOWN", 12, {"torch", "pandas", "pyarrow", "pytorch_lightning"}),
        ("from towerzoo.datasets import StarSchema", 20, {"pandas", "pyarrow", "pytorch_lightning"}),
        ("from towerzoo.datasets.inspection import labels, starter_config", 25, {"torch", "pandas"}),
    ],
)
def test_imports_are_light(statement, most_modules, unwanted):
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not modules & unwanted
    assert sum(name.startswith("towerzoo") for name in modules) <= most_modules
