"""Where a figure comes from: versions, machine, commit."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from towerzoo.towers.layers.processor import processor_field

PACKAGES = ("towerzoo", "torch", "pytorch-lightning", "numpy", "pandas")


def environment(device: torch.device) -> dict[str, Any]:
    """Returns what must stand beside a figure."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
    }


def device_name(device: torch.device) -> str:
    """Returns the device with its model, such as `cpu (AMD EPYC)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    model = processor_field("model name") or platform.processor() or platform.machine()
    return f"{device.type} ({model})"


def commit() -> str | None:
    """Returns TowerZoo's short git commit, with `+` if files differ from it; None outside a checkout."""
    file = Path(__file__)
    git = functools.partial(subprocess.run, cwd=file.parent, capture_output=True, text=True, check=True, timeout=10)
    try:
        # An installed TowerZoo may lie in a virtual environment inside a checkout of another project.
        git(["git", "ls-files", "--error-unmatch", file.name])
        return str(git(["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]).stdout).strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
