"""One tower: gathers, encoders and blocks, forward and backward."""

from __future__ import annotations

import pytest
import torch

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.measure.roofline import DTYPES, training_flops
from towerzoo.benchmarks.suites.options import Prepare, thorough
from towerzoo.towers.training.module import build_module


@pytest.mark.parametrize("batch_size", [1_024, thorough(8_192), thorough(32_768)])
@pytest.mark.parametrize("side", ["user", "item"])
def test_tower(
    measure: Measure, device: str, precision: str, execution: str, side: str, batch_size: int, prepare: Prepare
) -> None:
    """The tower of the dropout-first structure, on rows of training events."""
    experiment, data = prepare("tanh_bn_dropout_first", f"training.execution={execution}")
    model = build_module(experiment, data.schema).model
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
