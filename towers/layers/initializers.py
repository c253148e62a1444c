"""Initializers: how a weight matrix is filled before training."""

from __future__ import annotations

from torch import Tensor, nn

from towerzoo.registry import INITIALIZERS
from towerzoo.registry.ranges import Positive


@INITIALIZERS.register("torch-default")
def torch_default(weight: Tensor) -> None:
    """Leaves the weights as torch's constructor drew them."""


@INITIALIZERS.register("xavier-normal")
def xavier_normal(weight: Tensor, *, gain: Positive = 1.0) -> None:
    """Normal with standard deviation gain x sqrt(2 / (fan_in + fan_out)); suits tanh.

    Glorot and Bengio, AISTATS 2010, section 4.2.

    Args:
        weight: Matrix (out_features, in_features), filled in place.
        gain: Factor of the standard deviation, > 0.
    """
    nn.init.xavier_normal_(weight, gain=gain)


@INITIALIZERS.register("kaiming-normal")
def kaiming_normal(weight: Tensor) -> None:
    """Normal with standard deviation sqrt(2 / fan_in); suits ReLU.

    He et al., ICCV 2015, section 2.2.

    Args:
        weight: Matrix (out_features, in_features), filled in place.
    """
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


@INITIALIZERS.register("normal")
def normal(weight: Tensor, *, std: Positive = 0.01) -> None:
    """Normal with mean 0 and the given standard deviation; small values suit the id vectors of a factor model.

    Args:
        weight: Matrix, filled in place.
        std: Standard deviation, > 0.
    """
    nn.init.normal_(weight, std=std)
