"""The batch loader alone: shuffled training batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.suites.options import thorough
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.model.build import read_experiment


@pytest.mark.parametrize("batch_size", [1_024, thorough(2_048), thorough(4_096), 8_192, thorough(16_384), 32_768])
def test_epoch_of_batches(
    measure: Measure, batch_size: int, overrides: list[str], load: Callable[[Experiment], TwoTowerData]
) -> None:
    """Whole batches of an epoch, its order drawn anew."""
    experiment, _ = read_experiment("tanh_bn", [*overrides, f"data.batch_size={batch_size}"])
    data = load(experiment)
    loader = data.train_dataloader()
    whole = len(data.train_rows) // batch_size
    if not whole:
        pytest.skip("the data has no whole batch of this size")

    def epoch() -> None:
        for _ in islice(loader, whole):
            pass

    measure.calls(epoch, samples=whole * batch_size)
