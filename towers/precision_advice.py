"""Advice on the precision of training: not every processor is faster in bfloat16."""

from __future__ import annotations

import time

import torch
from torch.nn import functional

from towerzoo.registry.experiment import Experiment

EVENTS, WIDTH, REPEATS = 1_024, 256, 20
SLOWER = 1.1
"""How many times as long bfloat16 must take before it is told; below it is noise."""


def precision_advice(experiment: Experiment, device: torch.device) -> str | None:
    """Returns what to change where an experiment trains in bfloat16 on a processor that is slower in it, else None."""
    if device.type != "cpu" or not str(experiment.trainer.get("precision", "")).startswith("bf16"):
        return None
    slow = why_slow()
    return f"{slow} Add --set trainer.precision=32-true." if slow else None


def why_slow() -> str | None:
    """Returns how much slower bfloat16 is on this processor; None where it is not."""
    ratio = product_seconds(torch.bfloat16) / product_seconds(torch.float32)
    if ratio < SLOWER:
        return None
    return f"bfloat16 matrix products take {ratio:.1f} times as long as float32 ones on this processor."


def product_seconds(dtype: torch.dtype) -> float:
    """Returns the shortest time of some matrix products, of the size of a tower's."""
    vectors, weight = torch.ones(EVENTS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        functional.linear(vectors, weight)
        times.append(time.perf_counter() - started)
    return min(times)
