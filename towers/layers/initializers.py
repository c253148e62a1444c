"""Initializers: the weights before training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from towerzoo.registry import INITIALIZERS, Spec
from towerzoo.registry.ranges import Positive


@INITIALIZERS.register("torch-default")
def torch_default(weight: Tensor) -> None:
    """Keeps the weights that torch's constructor drew."""


@INITIALIZERS.register("xavier-normal")
def xavier_normal(weight: Tensor, *, gain: Positive = 1.0) -> None:
    """Normal with standard deviation gain x sqrt(2 / (fan_in + fan_out)); suits tanh.

    Glorot and Bengio, AISTATS 2010, section 4.2.
    """
    nn.init.xavier_normal_(weight, gain=gain)


@INITIALIZERS.register("kaiming-normal")
def kaiming_normal(weight: Tensor) -> None:
    """Normal with standard deviation sqrt(2 / fan_in); suits ReLU.

    He et al., ICCV 2015, section 2.2.
    """
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


@INITIALIZERS.register("normal")
def normal(weight: Tensor, *, std: Positive = 0.01) -> None:
    """Normal with mean 0 and standard deviation std; small values suit the embeddings of factor models."""
    nn.init.normal_(weight, std=std)


@torch.no_grad()
def initialize(spec: Spec, weight: Tensor) -> None:
    """Fills a weight in place with an initializer, which need not switch gradients off itself.

    Raises:
        PartError: It returns a new tensor and leaves the weight as it is, or fills it with numbers that are not finite.
    """
    returned = INITIALIZERS.build(spec, weight=weight)
    if isinstance(returned, Tensor) and returned.data_ptr() != weight.data_ptr():
        hint = "Write weight.copy_(...) in place of return."
        raise INITIALIZERS.part_error(spec, "fill the weight in place", "another tensor", hint)
    if not weight.isfinite().all():
        raise INITIALIZERS.part_error(spec, "fill the weight with finite numbers", "others")
