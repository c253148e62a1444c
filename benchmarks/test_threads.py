"""Training on 1 to all of the machine's processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from towerzoo.benchmarks.flops import training_flops
from towerzoo.benchmarks.measuring import Measure
from towerzoo.benchmarks.origin import usable_cores
from towerzoo.benchmarks.training_epoch import epoch_rate
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.assembly import build_model, read_experiment

CORES = usable_cores()
COUNTS = sorted({*(1 << n for n in range(CORES.bit_length()) if 1 << n <= CORES), CORES})
"""Powers of two, and all."""


@pytest.mark.parametrize("threads", COUNTS)
def test_training_step(
    measure: Measure,
    threads: int,
    set_threads: Callable[[int], None],
    overrides: list[str],
    load: Callable[[Experiment], TwoTowerData],
    steps: Callable[..., int],
    tmp_path: Path,
) -> None:
    """The dropout-first structure at batch 1,024 in float32, on the CPU."""
    set_threads(threads)
    experiment, _ = read_experiment("tanh_bn_dropout_first", overrides)
    data = load(experiment)
    count = steps(experiment, data)
    measure.rate(
        lambda: epoch_rate(experiment, data, steps=count, device="cpu", folder=tmp_path),
        flops=training_flops(build_model(experiment, data.schema)),
    )
