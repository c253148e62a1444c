"""Schedules are those of torch, as functions of the step."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from towerzoo.towers.training.schedules import SCHEDULES


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("one-cycle", lambda optimizer, steps: OneCycleLR(optimizer, 0.5, total_steps=steps, cycle_momentum=False)),
        ("cosine", lambda optimizer, steps: CosineAnnealingLR(optimizer, T_max=steps)),
    ],
)
def test_each_step_has_the_size_that_torch_gives_it(name, reference, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = reference(optimizer, steps)
    schedule = SCHEDULES[name]
    assert schedule is not None
    for step in range(steps):
        assert 0.5 * schedule(step, steps) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
