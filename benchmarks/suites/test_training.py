"""Training through Lightning: against a bare PyTorch loop, and over structures, batch sizes and precisions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from towerzoo.benchmarks.baselines.bare_process import CONFIG
from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.measure.rate_process import RateProcess
from towerzoo.benchmarks.measure.roofline import training_flops
from towerzoo.benchmarks.measure.training_epoch import TRAINER_PRECISIONS, epoch_rate
from towerzoo.benchmarks.suites.options import thorough
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.model.build import build_model, read_experiment

STRUCTURES = [thorough("relu"), thorough("tanh"), thorough("tanh_bn"), "tanh_bn_dropout_first"]
TARGETS = {"float32": 1.35, "bf16": 2.0}
"""Ratios to the bare loop in float32, by our precision."""


def test_lightning_against_a_bare_loop(
    measure: Measure,
    device: str,
    precision: str,
    overrides: list[str],
    load: Callable[[Experiment], TwoTowerData],
    steps: Callable[..., int],
    bare_loop: Callable[[str], RateProcess],
) -> None:
    """The dropout-first structure at its batch size of 1,024; the bare loop is in float32 for both precisions."""
    override = f"trainer.precision={TRAINER_PRECISIONS[precision]}"
    experiment, _ = read_experiment(CONFIG, [*overrides, override])
    data = load(experiment)
    size, count = experiment.data.batch_size, steps(experiment, data, longer=3)
    measure.pair(
        lambda: epoch_rate(experiment, data, steps=count, device=device),
        lambda: bare_loop(device).rate(count),
        target=TARGETS[precision],
        flops=training_flops(build_model(experiment, data.schema)),
        batch_size=size,
    )


@pytest.mark.parametrize("config", STRUCTURES)
def test_structure(measure_training: Callable[..., None], device: str, precision: str, config: str) -> None:
    """The published structures at their batch size."""
    measure_training(config, precision=precision)


@pytest.mark.parametrize("unique", [False, thorough(True)])
@pytest.mark.parametrize("batch_size", [1_024, 8_192, thorough(32_768)])
def test_training_step(
    measure_training: Callable[..., None], device: str, precision: str, execution: str, batch_size: int, unique: bool
) -> None:
    """The dropout-first structure over batch sizes, with events and with distinct users and items encoded."""
    if unique and execution == "cuda-graphs":
        pytest.skip("a graph is of one size, and the distinct rows of a batch are not")
    settings = (f"data.batch_size={batch_size}", f"training.unique={str(unique).lower()}")
    measure_training(CONFIG, *settings, f"training.execution={execution}", precision=precision)
