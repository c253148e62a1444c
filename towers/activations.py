"""Activations, by the name that YAML gives them."""

from __future__ import annotations

from torch import nn

from towerzoo.registry import ACTIVATIONS
from towerzoo.registry.ranges import NonNegative


@ACTIVATIONS.register("relu")
def relu() -> nn.Module:
    """max(x, 0)."""
    return nn.ReLU()


@ACTIVATIONS.register("leaky-relu")
def leaky_relu(*, negative_slope: NonNegative = 0.01) -> nn.Module:
    """X where positive, negative_slope times x elsewhere."""
    return nn.LeakyReLU(negative_slope)


@ACTIVATIONS.register("tanh")
def tanh() -> nn.Module:
    """Hyperbolic tangent, into (-1, 1)."""
    return nn.Tanh()


@ACTIVATIONS.register("sigmoid")
def sigmoid() -> nn.Module:
    """Logistic function, into (0, 1)."""
    return nn.Sigmoid()


@ACTIVATIONS.register("gelu")
def gelu() -> nn.Module:
    """X times the standard normal distribution function of x."""
    return nn.GELU()


@ACTIVATIONS.register("silu")
def silu() -> nn.Module:
    """X times the logistic function of x."""
    return nn.SiLU()


@ACTIVATIONS.register("identity")
def identity() -> nn.Module:
    """X as it is."""
    return nn.Identity()
