"""Schedules: how the optimizer's step size goes over training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

Schedule = Callable[[Optimizer, int], LRScheduler]
"""Called with the optimizer and the number of all steps."""


def one_cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Up to the optimizer's step size over the first 30 % of the steps, then down along a cosine.

    Smith and Topin, 2019, "Super-convergence". The momentum stays as it is.
    """
    peak = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=peak, total_steps=steps, cycle_momentum=False)


def cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Down from the optimizer's step size to nothing along a cosine."""
    return CosineAnnealingLR(optimizer, T_max=steps)


SCHEDULES: Final[dict[str, Schedule | None]] = {"constant": None, "one-cycle": one_cycle, "cosine": cosine}
"""Every schedule by its name in YAML."""
