"""Times calls on a device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

GPU_WARM_UPS = 5
"""Steps before a GPU's clock starts: the first compile a CUDA graph and record it, the next replay it."""


def synchronize(device: str) -> None:
    """Waits until the device has done what it was given; a CPU always has."""
    if device == "cuda":
        torch.cuda.synchronize()


def stopwatch(run: Callable[[], object], *, samples: float, device: str, seconds: float) -> Callable[[], float]:
    """Warms `run` up and returns a function that times it.

    Args:
        run: One step.
        samples: What a step works off.
        device: `cpu` or `cuda`.
        seconds: For about how long each timing runs steps; at least one.

    Returns:
        A function that returns samples a second.

    Example:
        >>> stopwatch(lambda: None, samples=2, device="cpu", seconds=0.0)() > 0
        True
    """
    for _ in range(1 if device == "cpu" else GPU_WARM_UPS):
        run()  # allocates, picks kernels, compiles
    once = _time(run, 1, device)
    steps = max(1, math.ceil(seconds / once))
    return lambda: steps * samples / _time(run, steps, device)


def _time(run: Callable[[], object], steps: int, device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    for _ in range(steps):
        run()
    synchronize(device)
    return max(time.perf_counter() - started, 1e-9)
