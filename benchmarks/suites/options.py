"""The options of the suites, and what is left out by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.device import torch_device

DEVICES = ("cpu", "cuda")
Prepare = Callable[..., tuple[Experiment, TwoTowerData]]
"""Returns the experiment of a config with settings, and its data."""


@dataclass(frozen=True)
class SuiteOptions:
    """What to measure.

    Attributes:
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.
        precision: `float32` or `bf16`; None measures both.
        quick: Whether to measure fewer parameters and rounds.
        events: Number of generated events to measure on; None uses MovieLens-1M if it is available, else generated data
            of its size.

    Raises:
        TrainingError: This machine has no such device.
    """

    device: str = "auto"
    precision: str | None = None
    quick: bool = False
    events: int | None = None

    def __post_init__(self) -> None:
        torch_device(self.device)

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`."""
        return torch_device(self.device).type

    def as_arguments(self) -> list[str]:
        """Returns the options as pytest arguments."""
        values = {"device": self.device_type, "precision": self.precision, "events": self.events}
        given = [f"--{name}={value}" for name, value in values.items() if value is not None]
        return [*given, *(["--quick"] if self.quick else [])]


def thorough(*values: Any) -> Any:
    """Returns a parameter, or a tuple of arguments, that --quick leaves out."""
    return pytest.param(*values, marks=pytest.mark.thorough)
