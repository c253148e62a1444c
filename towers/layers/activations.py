"""Activations: elementwise functions between layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from towerzoo.registry import ACTIVATIONS
from towerzoo.registry.ranges import NonNegative
from towerzoo.towers.layers.processor import INTEL, processor_field

TANH_BY_SIGMOID = processor_field("vendor_id") != INTEL
"""Whether to compute tanh as 2 sigmoid(2x) - 1: torch's tanh kernel is fast on Intel processors only (MKL)."""
TANH_BY_ONEDNN = torch.backends.mkldnn.is_available() and "avx512_bf16" in (processor_field("flags") or "").split()  # type: ignore[no-untyped-call]
"""Whether oneDNN has a tanh kernel for bfloat16."""
MINUS_ONE = torch.tensor(-1.0)


class Tanh(nn.Tanh):
    """Tanh that uses the fastest kernel of the CPU in float32 and bfloat16, and torch's elsewhere.

    In float32 it is torch's kernel on Intel processors and 2 sigmoid(2x) - 1 on others, which halves the time there and
    differs from torch by at most 2.4e-7. In bfloat16 it is oneDNN's kernel where there is one; otherwise values are
    computed as in float32 and rounded once.

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
        values: Tensor = _FastTanh.apply(x)  # type: ignore[no-untyped-call]
        return values


class _FastTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if x.dtype is torch.bfloat16 and TANH_BY_ONEDNN and x.dim() and x.numel():
            y = x.to_mkldnn().tanh().to_dense()
        else:
            y = (_by_sigmoid(x) if TANH_BY_SIGMOID else x.float().tanh()).to(x.dtype)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        slope: Tensor = torch.ops.aten.tanh_backward(gradient, y)
        return slope


def _by_sigmoid(x: Tensor) -> Tensor:
    """Computes tanh of x in float32."""
    y = (x * 2 if x.dtype is torch.float32 else x.float().mul_(2)).sigmoid_()
    return torch.add(MINUS_ONE, y, alpha=2, out=y)


@ACTIVATIONS.register("relu")
def relu() -> nn.Module:
    """ReLU: max(x, 0)."""
    return nn.ReLU()


@ACTIVATIONS.register("leaky-relu")
def leaky_relu(*, negative_slope: NonNegative = 0.01) -> nn.Module:
    """Leaky ReLU: x where positive, negative_slope times x elsewhere."""
    return nn.LeakyReLU(negative_slope)


@ACTIVATIONS.register("tanh")
def tanh() -> nn.Module:
    """Hyperbolic tangent, in (-1, 1)."""
    return Tanh()


@ACTIVATIONS.register("sigmoid")
def sigmoid() -> nn.Module:
    """Logistic function, in (0, 1)."""
    return nn.Sigmoid()


@ACTIVATIONS.register("gelu")
def gelu() -> nn.Module:
    """GELU: x times the standard normal distribution function of x."""
    return nn.GELU()


@ACTIVATIONS.register("silu")
def silu() -> nn.Module:
    """SiLU: x times the logistic function of x."""
    return nn.SiLU()


@ACTIVATIONS.register("identity")
def identity() -> nn.Module:
    """No activation: x unchanged."""
    return nn.Identity()
