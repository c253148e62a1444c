"""Training on 1 to all of the machine's processors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from towerzoo.benchmarks.measure.origin import usable_cores

CORES = usable_cores()
COUNTS = sorted({*(1 << n for n in range(CORES.bit_length()) if 1 << n <= CORES), CORES})
"""Powers of two, and all."""


@pytest.mark.parametrize("threads", COUNTS)
def test_training_step(measure_training: Callable[..., None], threads: int, set_threads: Callable[[int], None]) -> None:
    """The dropout-first structure at batch 1,024 in float32, on the CPU."""
    set_threads(threads)
    measure_training("tanh_bn_dropout_first")
