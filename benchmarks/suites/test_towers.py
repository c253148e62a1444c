"""One tower: gathers, encoders and blocks, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.measure.roofline import DTYPES, training_flops
from towerzoo.benchmarks.suites.options import thorough
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.model.build import build_model


@pytest.mark.parametrize("batch_size", [1_024, thorough(8_192), thorough(32_768)])
@pytest.mark.parametrize("side", ["user", "item"])
def test_tower(
    measure: Measure,
    device: str,
    precision: str,
    execution: str,
    side: str,
    batch_size: int,
    prepare: Callable[..., tuple[Experiment, TwoTowerData]],
) -> None:
    """The tower of the dropout-first structure, on rows of training events."""
    experiment, data = prepare("tanh_bn_dropout_first", f"training.execution={execution}")
    model = build_model(experiment, data.schema)
    tower = (model.user_tower if side == "user" else model.item_tower).to(device).train()
    events = data.schema.interactions
    chosen = data.split.train[torch.randint(len(data.split.train), (batch_size,))]
    rows = (events.user if side == "user" else events.item)[chosen].to(device)

    def step() -> None:
        tower.zero_grad()
        with torch.autocast(device, dtype=DTYPES["bf16"], enabled=precision == "bf16"):
            vectors = tower(rows)
        vectors.float().sum().backward()

    measure.calls(step, samples=batch_size, flops=training_flops(tower))
