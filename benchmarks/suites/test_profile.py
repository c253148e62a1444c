"""Where a training step's time goes, by part."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.measure.training_epoch import TRAINER_PRECISIONS
from towerzoo.benchmarks.suites.options import thorough
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.model.build import build_model, read_experiment
from towerzoo.towers.recipes.profile import profile_step


@pytest.mark.parametrize(("batch_size", "unique"), [(1_024, False), thorough(16_384, True)])
def test_step(
    measure: Measure,
    device: str,
    precision: str,
    batch_size: int,
    unique: bool,
    overrides: list[str],
    load: Callable[[Experiment], TwoTowerData],
) -> None:
    """The dropout-first structure through Lightning."""
    settings = [
        f"data.batch_size={batch_size}",
        f"training.unique={str(unique).lower()}",
        f"trainer.precision={TRAINER_PRECISIONS[precision]}",
    ]
    experiment, _ = read_experiment("tanh_bn_dropout_first", [*overrides, *settings])
    data = load(experiment)
    parts: list[dict[str, float]] = []

    def profile() -> float:
        parts.append(profile_step(experiment, data, build_model(experiment, data.schema), device))
        return sum(parts[-1].values())

    measure.rate(profile, unit="s", breakdown=lambda: min(parts, key=lambda seconds: sum(seconds.values())))
