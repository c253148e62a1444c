from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from towerzoo.registry import OPTIMIZERS
from towerzoo.towers.training.optimizers import SCHEDULES, built_optimizer


def step(spec: Any, gradients: list[float], start: float = 1.0) -> float:
    """Follows the given gradients from `start`, and returns where that ends."""
    weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = OPTIMIZERS.build(spec, parameters=[weight])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    return weight.item()


def adam(gradients: list[float], lr: float, beta1: float, beta2: float, l2: float = 0.0, decay: float = 0.0) -> float:
    weight, first, second = 1.0, 0.0, 0.0
    for t, given in enumerate(gradients, start=1):
        gradient = given + l2 * weight
        weight -= lr * decay * weight
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        weight -= lr * (first / (1 - beta1**t)) / ((second / (1 - beta2**t)) ** 0.5 + 1e-8)
    return weight


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("adam", adam([0.5, -2.0], 1e-3, 0.9, 0.999)),
        (
            {"name": "adam", "lr": 0.1, "beta1": 0.5, "beta2": 0.7, "weight_decay": 0.2},
            adam([0.5, -2.0], 0.1, 0.5, 0.7, l2=0.2),
        ),
        ("adamw", adam([0.5, -2.0], 1e-3, 0.9, 0.999, decay=1e-2)),
        (
            {"name": "adamw", "lr": 0.1, "beta1": 0.5, "beta2": 0.7, "weight_decay": 0.2},
            adam([0.5, -2.0], 0.1, 0.5, 0.7, decay=0.2),
        ),
        ("adagrad", 1 - 0.01 * 0.5 / 0.5 + 0.01 * 2 / (0.25 + 4) ** 0.5),
        ({"name": "adagrad", "lr": 0.1}, 1 - 0.1 * 0.5 / 0.5 + 0.1 * 2 / (0.25 + 4) ** 0.5),
        ({"name": "sgd", "lr": 0.1}, 1 - 0.1 * 0.5 + 0.1 * 2),
        ({"name": "sgd", "lr": 0.1, "momentum": 0.9}, 1 - 0.1 * 0.5 - 0.1 * (0.9 * 0.5 - 2)),
    ],
    ids=str,
)
def test_two_steps_follow_the_formula(spec, expected):
    assert step(spec, [0.5, -2.0]) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", ["adagrad", "sgd"])
def test_weight_decay_is_a_gradient_of_its_own(name):
    decayed = step({"name": name, "lr": 0.1, "weight_decay": 0.3}, [0.0])
    assert decayed == pytest.approx(step({"name": name, "lr": 0.1}, [0.3]))
    assert decayed < 1


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_fused_kernel_equals_the_plain_one(name):
    weights = []
    for fused in (False, True):
        draw = torch.Generator().manual_seed(1)
        weight = torch.nn.Parameter(torch.randn(50, 7, generator=draw))
        optimizer = OPTIMIZERS.build(
            {"name": name, "lr": 0.01, "weight_decay": 0.1, "fused": fused}, parameters=[weight]
        )
        assert optimizer.defaults["fused"] is fused
        for _ in range(30):
            weight.grad = torch.randn(50, 7, generator=draw)
            optimizer.step()
        weights.append(weight.detach())
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)


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


def test_a_part_that_returns_no_optimizer_is_rejected(rejects):
    def use() -> object:
        return built_optimizer("mine", [torch.nn.Parameter(torch.zeros(2))])

    rejects(OPTIMIZERS, lambda parameters: [torch.optim.Adam(parameters)], use, "got a list")
