"""Activations, by the name that YAML gives them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from towerzoo.registry import ACTIVATIONS
from towerzoo.registry.ranges import NonNegative
from towerzoo.towers.processor import INTEL, processor_field

TANH_BY_SIGMOID = processor_field("vendor_id") != INTEL
"""Whether the logistic function is the faster way to tanh: of torch's kernels that of tanh is Intel's math library."""


class Tanh(nn.Tanh):
    """Torch's tanh, which on a CPU in float32 and bfloat16 is computed the fastest way that the processor has.

    On an Intel processor that is torch's own kernel, in float32; on others 2 sigmoid(2x) - 1, which takes half the time
    there. Values differ from torch's by at most 2.4e-7 in float32; bfloat16 is computed in float32 and rounded once.

    Example:
        >>> Tanh()
        Tanh()
        >>> Tanh()(torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.7616])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps values of any shape to values in (-1, 1) of the same shape."""
        fast = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
        if not fast or torch.compiler.is_compiling():
            return super().forward(x)
        values: Tensor = _FastTanh.apply(x, TANH_BY_SIGMOID)  # type: ignore[no-untyped-call]
        return values


class _FastTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, by_sigmoid: bool) -> Tensor:
        wide = x.float()
        y = ((wide * 2).sigmoid_().mul_(2).sub_(1) if by_sigmoid else wide.tanh()).to(x.dtype)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        slope: Tensor = torch.ops.aten.tanh_backward(gradient, y)
        return slope, None


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
    return Tanh()


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
