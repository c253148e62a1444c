from __future__ import annotations

import math

import pytest
import torch

from towerzoo.registry import INITIALIZERS
from towerzoo.towers.layers.initializers import initialize

OUT, IN = 400, 600
XAVIER, KAIMING = math.sqrt(2 / (OUT + IN)), math.sqrt(2 / IN)


@pytest.mark.parametrize(
    ("spec", "std"),
    [
        ("xavier-normal", XAVIER),
        ({"name": "xavier-normal", "gain": 3.0}, 3 * XAVIER),
        ("kaiming-normal", KAIMING),
        ("normal", 0.01),
        ({"name": "normal", "std": 0.5}, 0.5),
    ],
    ids=str,
)
def test_normal_weights_have_the_standard_deviation_of_the_formula(spec, std):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.full((OUT, IN), 99.0))
    INITIALIZERS.build(spec, weight=weight)
    scaled = (weight.detach() / std).double()
    # Ten standard errors of 240,000 draws; a wrong fan is off by hundreds.
    error = 10 / math.sqrt(OUT * IN)
    assert scaled.mean().item() == pytest.approx(0, abs=error)
    assert scaled.std().item() == pytest.approx(1, abs=error)
    # A normal distribution has kurtosis 3, with standard error sqrt(24 / n); a uniform one has 1.8.
    assert (scaled**4).mean().item() == pytest.approx(3, abs=10 * math.sqrt(96) / math.sqrt(OUT * IN))


def test_torch_default_changes_nothing():
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    INITIALIZERS.build("torch-default", weight=weight)
    assert weight.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (lambda weight: weight * 0, r"got another tensor.\n    Write weight.copy_\(...\) in place of return"),
        (lambda weight: weight.fill_(math.nan), "fill the weight with finite numbers"),
    ],
)
def test_a_wrong_initializer_is_rejected_when_it_is_used(rejects, part, problem):
    rejects(INITIALIZERS, part, lambda: initialize("mine", torch.nn.Parameter(torch.zeros(2, 2))), problem)


def test_an_initializer_need_not_switch_gradients_off(monkeypatch):
    monkeypatch.setitem(INITIALIZERS._parts, "mine", lambda weight: weight.fill_(3))
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    initialize("mine", weight)
    assert weight.eq(3).all()
    assert weight.requires_grad
