"""The precision of training: not every processor is faster in bfloat16."""

from __future__ import annotations

import time
from typing import Final

import torch
from torch.nn import functional

from towerzoo.registry.experiment import Experiment

AUTO: Final = "auto"
"""The value of `trainer.precision` that leaves the choice to the device."""
EVENTS, WIDTH, REPEATS = 1_024, 256, 20
SLOWER = 1.1
"""How many times as long bfloat16 must take before it is told; below it is noise."""
FASTER = 0.8
"""How many times as long bfloat16 may take to be chosen; so far below 1 that a processor always chooses the same."""


def settled_precision(experiment: Experiment, device: torch.device) -> Experiment:
    """Returns an experiment that says in which precision it trains, where it left that to the device.

    `auto` becomes `bf16-mixed` on a GPU since Ampere and on a processor that is faster in bfloat16, else `32-true`.
    """
    if experiment.trainer.get("precision") != AUTO:
        return experiment
    chosen = "bf16-mixed" if _faster_in_bfloat16(device) else "32-true"
    return experiment.model_copy(update={"trainer": {**experiment.trainer, "precision": chosen}})


def _faster_in_bfloat16(device: torch.device) -> bool:
    return (
        bool(torch.cuda.is_bf16_supported(including_emulation=False))
        if device.type == "cuda"
        else bfloat16_ratio() < FASTER
    )


def precision_advice(experiment: Experiment, device: torch.device) -> str | None:
    """Returns what to change where an experiment trains in bfloat16 on a processor that is slower in it, else None."""
    if device.type != "cpu" or not str(experiment.trainer.get("precision", "")).startswith("bf16"):
        return None
    slow = why_slow()
    return f"{slow} Add --set trainer.precision={AUTO}." if slow else None


def why_slow() -> str | None:
    """Returns how much slower bfloat16 is on this processor; None where it is not."""
    ratio = bfloat16_ratio()
    if ratio < SLOWER:
        return None
    return f"bfloat16 matrix products take {ratio:.1f} times as long as float32 ones on this processor."


def bfloat16_ratio() -> float:
    """Returns how many times as long matrix products take in bfloat16 as in float32 on this processor."""
    return _product_seconds(torch.bfloat16) / _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """Returns the shortest time of some matrix products, of the size of a tower's."""
    vectors, weight = torch.ones(EVENTS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        functional.linear(vectors, weight)
        times.append(time.perf_counter() - started)
    return min(times)
