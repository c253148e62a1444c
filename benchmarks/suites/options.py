"""The options of the suites, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from towerzoo.benchmarks.measure.roofline import DTYPES
from towerzoo.registry.errors import RunError, name_hint
from towerzoo.towers.training.trainer import torch_device

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class SuiteOptions:
    """What to measure.

    Attributes:
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        precision: `float32` or `bf16`; None measures both.
        quick: Whether to measure fewer parameters and rounds.
        compiled: Whether to measure torch.compile on a CPU too, where compiling takes minutes.
        events: Events of generated data to measure on; None takes MovieLens-1M where it is found, else generated data
            of its size.

    Raises:
        RunError: Values are none of these; all of them are told.
        TrainingError: There is no such device.
    """

    device: str = "auto"
    precision: str | None = None
    quick: bool = False
    compiled: bool = False
    events: int | None = None

    def __post_init__(self) -> None:
        problems = [
            *_unknown("--device", "a device", self.device, ("auto", *DEVICES), "Devices"),
            *_unknown("--precision", "a precision", self.precision, (None, *DTYPES), "Precisions"),
        ]
        if self.events is not None and self.events < 100:
            problems.append(f"--events must be a whole number >= 100, got {self.events}. Try 100000.")
        if problems:
            raise RunError("\n".join(problems))
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
        """Returns the options as pytest takes them."""
        values: Mapping[str, object] = {
            "--device": self.device_type,
            "--precision": self.precision,
            "--events": self.events,
        }
        given = [f"{name}={value}" for name, value in values.items() if value is not None]
        return [*given, *(["--quick"] if self.quick else []), *(["--compile"] if self.compiled else [])]


def _unknown(option: str, expected: str, value: str | None, known: Sequence[str | None], label: str) -> list[str]:
    hint = name_hint(value, filter(None, known), label)
    return [] if value in known else [f"{option} must be {expected}, got {value!r}. {hint}"]


def why_absent(device: str) -> str | None:
    """Returns why a device cannot be measured here; None where it can."""
    if device == "cuda" and not torch.cuda.is_available():
        return "torch finds no GPU"
    return None


def why_not(execution: str, device: str, *, asked: bool) -> str | None:
    """Returns why an execution is not measured on a device; None where it is.

    Args:
        execution: As of `training.execution`.
        device: `cpu` or `cuda`.
        asked: Whether compiling on a CPU was asked for.
    """
    if execution == "cuda-graphs" and device != "cuda":
        return "CUDA graphs need a GPU"
    if execution == "compile" and device != "cuda" and not asked:
        return "compiling on a CPU takes minutes; ask for it with --compile"
    return None


def thorough(*values: Any) -> Any:
    """Returns a parameter, or one of several arguments, that is left out with --quick."""
    return pytest.param(*values, marks=pytest.mark.thorough)
