from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from towerzoo.registry import ACTIVATIONS

FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "leaky-relu": lambda x: x if x > 0 else 0.01 * x,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "identity": lambda x: x,
}
POINTS = [-3.0, -0.5, 0.0, 0.25, 2.0]


@pytest.mark.parametrize("name", ACTIVATIONS.names())
def test_values_are_those_of_the_formula(name):
    values = ACTIVATIONS.build(name)(torch.tensor(POINTS, dtype=torch.float64))
    assert values.tolist() == pytest.approx([FORMULAS[name](x) for x in POINTS], abs=1e-12)


def test_leaky_relu_takes_its_slope():
    leaky: nn.Module = ACTIVATIONS.build({"name": "leaky-relu", "negative_slope": 0.3})
    assert leaky(torch.tensor([-2.0, 2.0])).tolist() == pytest.approx([-0.6, 2.0])
