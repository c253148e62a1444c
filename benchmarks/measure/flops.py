"""Floating point operations of a tower's matrix products."""

from __future__ import annotations

from torch import nn

BACKWARD = 2
"""A linear layer's backward pass has two products of the size of its forward pass: gradients of input and weight."""


def forward_flops(module: nn.Module) -> float:
    """Returns the operations of all linear layers for one row; a multiplication and an addition are two.

    Example:
        >>> forward_flops(nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 1)))
        20.0
    """
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    return float(sum(2 * layer.in_features * layer.out_features for layer in layers))


def training_flops(module: nn.Module) -> float:
    """Returns the operations of forward and backward pass for one row."""
    return (1 + BACKWARD) * forward_flops(module)
