"""Training through Lightning: against a bare PyTorch loop, over structures, batch sizes, precisions and threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.measure.origin import usable_cores
from towerzoo.benchmarks.measure.processes import CONFIG, RateProcess
from towerzoo.benchmarks.measure.roofline import training_flops
from towerzoo.benchmarks.measure.training_epoch import TRAINER_PRECISIONS, epoch_rate
from towerzoo.benchmarks.suites.options import Prepare, thorough
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.model.build import build_model
from towerzoo.towers.recipes.profile import profile_step
from towerzoo.towers.training.module import build_module

STRUCTURES = [thorough("relu"), thorough("tanh"), thorough("tanh_bn"), "tanh_bn_dropout_first"]
TARGETS = {"float32": 1.35, "bf16": 2.0}
"""Ratios to the bare loop in float32, by TowerZoo's precision."""
CORES = usable_cores()
THREADS = sorted({*(1 << n for n in range(CORES.bit_length()) if 1 << n <= CORES), CORES})
"""Powers of two, and the number of cores."""


def n_steps(measure: Measure, experiment: Experiment, data: TwoTowerData, *, longer: int = 1) -> int:
    """Returns how many steps a round trains: at least two, and at most the whole batches of an epoch."""
    size = experiment.data.batch_size
    whole = len(data.split.train) // size
    if not whole:
        pytest.skip(f"the data has no whole batch of {size}")
    return min(max(2, longer * measure.effort.samples // size), whole)


def settings_of(batch_size: int, unique: bool, precision: str) -> list[str]:
    """Returns overrides of a config."""
    return [
        f"data.batch_size={batch_size}",
        f"training.unique={str(unique).lower()}",
        f"trainer.precision={TRAINER_PRECISIONS[precision]}",
    ]


@pytest.fixture
def measure_training(measure: Measure, prepare: Prepare) -> Callable[..., None]:
    """Measures the steps of an epoch of a config, with all of TowerZoo's bookkeeping."""

    def run(config: str, *settings: str) -> None:
        experiment, data = prepare(config, *settings)
        count = n_steps(measure, experiment, data)
        measure.rate(
            lambda: epoch_rate(experiment, data, steps=count, device=measure.device),
            flops=training_flops(build_model(experiment, data.schema)),
        )

    return run


def test_lightning_against_a_bare_loop(
    measure: Measure, device: str, precision: str, prepare: Prepare, bare_loop: Callable[[str], RateProcess]
) -> None:
    """The dropout-first structure at its batch size of 1,024; the bare loop is in float32 for both precisions."""
    experiment, data = prepare(CONFIG, f"trainer.precision={TRAINER_PRECISIONS[precision]}")
    count = n_steps(measure, experiment, data, longer=3)
    measure.pair(
        lambda: epoch_rate(experiment, data, steps=count, device=device),
        lambda: bare_loop(device).rate(count),
        target=TARGETS[precision],
        flops=training_flops(build_model(experiment, data.schema)),
        batch_size=experiment.data.batch_size,
    )


@pytest.mark.parametrize("config", STRUCTURES)
def test_structure(measure_training: Callable[..., None], device: str, precision: str, config: str) -> None:
    """The published structures at their batch size."""
    measure_training(config, f"trainer.precision={TRAINER_PRECISIONS[precision]}")


@pytest.mark.parametrize("unique", [False, thorough(True)])
@pytest.mark.parametrize("batch_size", [1_024, 8_192, thorough(32_768)])
def test_training_step(
    measure_training: Callable[..., None], device: str, precision: str, execution: str, batch_size: int, unique: bool
) -> None:
    """The dropout-first structure over batch sizes, encoding each event or each distinct user and item."""
    if unique and execution == "cuda-graphs":
        pytest.skip("a CUDA graph has one size, and the number of distinct rows changes every batch")
    measure_training(CONFIG, *settings_of(batch_size, unique, precision), f"training.execution={execution}")


@pytest.mark.parametrize("threads", THREADS)
def test_training_on_threads(measure_training: Callable[..., None], threads: int) -> None:
    """The dropout-first structure at batch 1,024 in float32, on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        measure_training(CONFIG)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("batch_size", "unique"), [(1_024, False), thorough(16_384, True)])
def test_profiled_step(
    measure: Measure, device: str, precision: str, batch_size: int, unique: bool, prepare: Prepare
) -> None:
    """Where the time of a step of the dropout-first structure goes."""
    experiment, data = prepare(CONFIG, *settings_of(batch_size, unique, precision))
    parts: list[dict[str, float]] = []

    def profile() -> float:
        parts.append(profile_step(experiment, data, build_module(experiment, data.schema), device))
        return sum(parts[-1].values())

    measure.rate(profile, unit="s", breakdown=lambda: min(parts, key=lambda seconds: sum(seconds.values())))
