"""Optimizers: how the loss is minimised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

from towerzoo.registry import OPTIMIZERS, Spec
from towerzoo.registry.ranges import NonNegative, Positive, Rate
from towerzoo.towers.layers.trials import described
from towerzoo.towers.training.rowwise_adam import Adam

Parameters = Iterable[nn.Parameter]


@OPTIMIZERS.register("adam")
def adam(
    parameters: Parameters,
    *,
    lr: Positive = 1e-3,
    beta1: Rate = 0.9,
    beta2: Rate = 0.999,
    weight_decay: NonNegative = 0.0,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba, ICLR 2015); weight_decay is an L2 penalty in the gradient.

    With an encoder's `sparse: true`, only the vectors of ids in the batch are updated and decayed.

    Args:
        parameters: The weights to train.
        lr: Step size, > 0.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        weight_decay: Factor of the L2 penalty, >= 0.
        fused: Whether one kernel updates all weights, in a third of the time. Lightning cannot clip the gradients of a
            fused optimizer in mixed precision.
    """
    return Adam(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay, fused=fused)


@OPTIMIZERS.register("adamw")
def adamw(
    parameters: Parameters,
    *,
    lr: Positive = 1e-3,
    beta1: Rate = 0.9,
    beta2: Rate = 0.999,
    weight_decay: NonNegative = 1e-2,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019); otherwise the same as `adam`.

    Args:
        weight_decay: Share of each weight that a step of size 1 removes, >= 0.
    """
    betas = (beta1, beta2)
    return Adam(parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused, decoupled_weight_decay=True)


@OPTIMIZERS.register("adagrad")
def adagrad(parameters: Parameters, *, lr: Positive = 1e-2, weight_decay: NonNegative = 0.0) -> torch.optim.Optimizer:
    """Adagrad (Duchi et al., JMLR 2011): rare ids keep taking large steps.

    Args:
        parameters: The weights to train.
        lr: Step size, > 0.
        weight_decay: Factor of the L2 penalty, >= 0.
    """
    return torch.optim.Adagrad(parameters, lr=lr, weight_decay=weight_decay)


@OPTIMIZERS.register("sgd")
def sgd(
    parameters: Parameters, *, lr: Positive, momentum: Rate = 0.0, weight_decay: NonNegative = 0.0
) -> torch.optim.Optimizer:
    """Stochastic gradient descent.

    Args:
        parameters: The weights to train.
        lr: Step size, > 0.
        momentum: Share of the previous step that is added, in [0, 1).
        weight_decay: Factor of the L2 penalty, >= 0.
    """
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)


def built_optimizer(spec: Spec, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Builds an optimizer.

    Raises:
        PartError: The part does not return an optimizer.
    """
    optimizer = OPTIMIZERS.build(spec, parameters=parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise OPTIMIZERS.part_error(spec, "return a torch.optim.Optimizer", described(optimizer))
    return optimizer


OPTIMIZER: Final = "optimizer"
"""The key under which a checkpoint holds the class name of its optimizer."""


def resumed_state(checkpoint: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Returns the state that a resumed run starts with: settings of its new optimizer, moments of the checkpoint.

    An optimizer of another class starts from scratch, since it cannot read those moments.
    """
    new = optimizer.state_dict()
    if checkpoint[OPTIMIZER] != type(optimizer).__name__:
        return new
    (saved,) = checkpoint["optimizer_states"]
    groups = zip(new["param_groups"], saved["param_groups"], strict=True)
    return {**saved, "param_groups": [group | {"params": before["params"]} for group, before in groups]}


Schedule = Callable[[int, int], float]
"""Maps the number of finished steps and the number of all steps to a factor of the optimizer's step size."""

RISING: Final = 0.3
"""Share of the steps over which `one_cycle` rises."""
FIRST, LAST = 1 / 25, 1 / 250_000
"""First and last factor of `one_cycle`."""


def one_cycle(step: int, steps: int) -> float:
    """Rises to the optimizer's step size over the first 30 % of the steps, then falls along a cosine.

    Smith and Topin, 2019, "Super-convergence". Momentum does not change.

    Example:
        >>> [round(one_cycle(step, 10), 2) for step in (0, 2, 9)]
        [0.04, 1.0, 0.0]
    """
    peak = RISING * steps - 1
    if step <= peak:
        return _along_cosine(FIRST, 1.0, step / peak)
    return _along_cosine(1.0, LAST, (step - peak) / (steps - 1 - peak))


def cosine(step: int, steps: int) -> float:
    """Falls from the optimizer's step size to zero along a cosine.

    Example:
        >>> [round(cosine(step, 10), 2) for step in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    return _along_cosine(1.0, 0.0, step / steps)


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


SCHEDULES: Final[dict[str, Schedule | None]] = {"constant": None, "one-cycle": one_cycle, "cosine": cosine}
"""Every schedule by its name in YAML."""
