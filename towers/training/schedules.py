"""Schedules: how the optimizer's step size goes over training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

Schedule = Callable[[int, int], float]
"""Maps the number of steps that are done and that of all steps to a factor of the optimizer's step size."""

RISING: Final = 0.3
"""Share of the steps over which `one_cycle` goes up."""
FIRST, LAST = 1 / 25, 1 / 250_000
"""Factors that `one_cycle` begins and ends with."""


def one_cycle(step: int, steps: int) -> float:
    """Up to the optimizer's step size over the first 30 % of the steps, then down along a cosine.

    Smith and Topin, 2019, "Super-convergence". The momentum stays as it is.

    Example:
        >>> [round(one_cycle(step, 10), 2) for step in (0, 2, 9)]
        [0.04, 1.0, 0.0]
    """
    peak = RISING * steps - 1
    if step <= peak:
        return _along_cosine(FIRST, 1.0, step / peak)
    return _along_cosine(1.0, LAST, (step - peak) / (steps - 1 - peak))


def cosine(step: int, steps: int) -> float:
    """Down from the optimizer's step size to nothing along a cosine.

    Example:
        >>> [round(cosine(step, 10), 2) for step in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    return _along_cosine(1.0, 0.0, step / steps)


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


SCHEDULES: Final[dict[str, Schedule | None]] = {"constant": None, "one-cycle": one_cycle, "cosine": cosine}
"""Every schedule by its name in YAML."""
