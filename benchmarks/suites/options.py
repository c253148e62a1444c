"""The options of the suites, and what is left out by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from towerzoo.benchmarks.measure.roofline import DTYPES
from towerzoo.towers.device import torch_device

DEVICES = ("cpu", "cuda")
LEAST_EVENTS = 100


@dataclass(frozen=True)
class SuiteOptions:
    """What to measure.

    Attributes:
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.
        precision: `float32` or `bf16`; None measures both.
        quick: Whether to measure fewer parameters and rounds.
        compiled: Whether to measure torch.compile on a CPU too, where compiling takes minutes.
        events: Number of generated events to measure on; None uses MovieLens-1M if it is available, else generated data
            of its size.

    Raises:
        TrainingError: This machine has no such device.
    """

    device: str = "auto"
    precision: str | None = None
    quick: bool = False
    compiled: bool = False
    events: int | None = None

    def __post_init__(self) -> None:
        torch_device(self.device)

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`."""
        return torch_device(self.device).type

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions to measure."""
        return (self.precision,) if self.precision else tuple(DTYPES)

    def as_arguments(self) -> list[str]:
        """Returns the options as pytest arguments."""
        values = {"device": self.device_type, "precision": self.precision, "events": self.events}
        flags = {"quick": self.quick, "compile": self.compiled}
        return [
            *(f"--{name}={value}" for name, value in values.items() if value is not None),
            *(f"--{name}" for name, given in flags.items() if given),
        ]


def why_absent(device: str) -> str | None:
    """Returns why a device cannot be measured here, or None if it can."""
    return "torch finds no GPU" if device == "cuda" and not torch.cuda.is_available() else None


def why_not(execution: str, device: str, *, requested: bool) -> str | None:
    """Returns why a way to execute is not measured on a device, or None if it is.

    Args:
        execution: A value of `training.execution`.
        device: `cpu` or `cuda`.
        requested: Whether compiling on a CPU was requested.
    """
    if device != "cuda" and execution == "cuda-graphs":
        return "CUDA graphs need a GPU"
    if device != "cuda" and execution == "compile" and not requested:
        return "compiling on a CPU takes minutes; request it with --compile"
    return None


def thorough(*values: Any) -> Any:
    """Returns a parameter, or a tuple of arguments, that --quick leaves out."""
    return pytest.param(*values, marks=pytest.mark.thorough)
