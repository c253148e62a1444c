from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from towerzoo.registry import ACTIVATIONS
from towerzoo.towers.layers import activations

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
def test_values_follow_the_formula(name):
    values = ACTIVATIONS.build(name)(torch.tensor(POINTS, dtype=torch.float64))
    assert values.tolist() == pytest.approx([FORMULAS[name](x) for x in POINTS], abs=1e-12)


def test_leaky_relu_has_a_slope():
    leaky: nn.Module = ACTIVATIONS.build({"name": "leaky-relu", "negative_slope": 0.3})
    assert leaky(torch.tensor([-2.0, 2.0])).tolist() == pytest.approx([-0.6, 2.0])


@pytest.fixture(params=["by sigmoid", "by torch", "by onednn"])
def _every_way(request, monkeypatch):
    if request.param == "by onednn" and not activations.TANH_BY_ONEDNN:
        pytest.skip("this processor has no bfloat16 instructions, which oneDNN's tanh needs")
    monkeypatch.setattr(activations, "TANH_BY_SIGMOID", request.param == "by sigmoid")
    monkeypatch.setattr(activations, "TANH_BY_ONEDNN", request.param == "by onednn")


@pytest.mark.usefixtures("_every_way")
def test_the_fast_tanh_equals_torchs():
    x = torch.cat([torch.linspace(-20, 20, 200_001), torch.logspace(-30, 1, 1_000), torch.tensor([0.0, -0.0])])
    fast, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, theirs = ACTIVATIONS.build("tanh")(fast), plain.tanh()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2.4e-7)
    ours.sum().backward()
    theirs.sum().backward()
    torch.testing.assert_close(fast.grad, plain.grad, rtol=0, atol=5e-7)


@pytest.mark.usefixtures("_every_way")
def test_the_fast_tanh_is_correctly_rounded_in_bfloat16():
    x = torch.linspace(-4, 4, 10_001).bfloat16()
    ours = ACTIVATIONS.build("tanh")(x)
    assert ours.dtype is torch.bfloat16
    torch.testing.assert_close(ours, x.double().tanh().bfloat16(), rtol=2**-7, atol=1e-6)


@pytest.mark.usefixtures("_every_way")
@pytest.mark.parametrize("shape", [(), (1,), (0, 4), (2, 3, 5)], ids=str)
def test_every_shape_and_layout_has_its_tanh_and_gradient_in_bfloat16(shape):
    ours, theirs = (torch.full(shape, 0.5, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    y, expected = ACTIVATIONS.build("tanh")(ours), theirs.tanh()
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    transposed = torch.linspace(-2, 2, 12).view(3, 4).T.bfloat16()
    torch.testing.assert_close(ACTIVATIONS.build("tanh")(transposed), transposed.tanh())


@pytest.mark.usefixtures("_every_way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_infinities_and_nan_pass_through_tanh(dtype):
    values = ACTIVATIONS.build("tanh")(torch.tensor([float("inf"), float("-inf"), float("nan")], dtype=dtype))
    assert values[:2].tolist() == [1.0, -1.0]
    assert values[2].isnan()


def test_the_fast_tanh_prints_like_torchs():
    assert repr(ACTIVATIONS.build("tanh")) == repr(nn.Tanh())
