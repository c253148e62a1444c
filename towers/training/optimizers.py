"""Optimizers: how the loss is minimised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import torch
from torch import nn

from towerzoo.registry import OPTIMIZERS, Spec
from towerzoo.registry.ranges import NonNegative, Positive, Rate
from towerzoo.towers.layers.trials import described
from towerzoo.towers.training.rowwise_adam import Adam, AdamW

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

    Of an encoder with `sparse: true` only the vectors that a batch holds are updated and decayed.

    Args:
        parameters: What to train.
        lr: Step size, > 0.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        weight_decay: Factor of the L2 penalty, >= 0.
        fused: Whether one kernel updates all weights, which takes a third of the time. Lightning cannot clip gradients
            of a fused optimizer in mixed precision.
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
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    Of an encoder with `sparse: true` only the vectors that a batch holds are updated and decayed.

    Args:
        parameters: What to train.
        lr: Step size, > 0.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        weight_decay: Share of each weight that a step of size 1 would take away, >= 0.
        fused: Whether one kernel updates all weights, which takes a third of the time. Lightning cannot clip gradients
            of a fused optimizer in mixed precision.
    """
    return AdamW(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay, fused=fused)


@OPTIMIZERS.register("adagrad")
def adagrad(parameters: Parameters, *, lr: Positive = 1e-2, weight_decay: NonNegative = 0.0) -> torch.optim.Optimizer:
    """Adagrad (Duchi et al., JMLR 2011): rare ids keep large steps.

    Args:
        parameters: What to train.
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
        parameters: What to train.
        lr: Step size, > 0.
        momentum: Share of the last step that is repeated, in [0, 1).
        weight_decay: Factor of the L2 penalty, >= 0.
    """
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)


def built_optimizer(spec: Spec, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Builds an optimizer.

    Raises:
        PartError: The part returns something else.
    """
    optimizer = OPTIMIZERS.build(spec, parameters=parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise OPTIMIZERS.part_error(spec, "return a torch.optim.Optimizer", described(optimizer))
    return optimizer


Schedule = Callable[[int, int], float]
"""Maps the number of steps that are done and that of all steps to a factor of the optimizer's step size."""

RISING: Final = 0.3
"""Share of the steps over which `one_cycle` goes up."""
FIRST, LAST = 1 / 25, 1 / 250_000
"""Factors that `one_cycle` begins and ends with."""


def one_cycle(step: int, steps: int) -> float:
    """Up to the optimizer's step size over the first 30 % of the steps, then down along a cosine.

    Smith and Topin, 2019, "Super-convergence". The momentum stays as it is.

    Example:
        >>> [round(one_cycle(step, 10), 2) for step in (0, 2, 9)]
        [0.04, 1.0, 0.0]
    """
    peak = RISING * steps - 1
    if step <= peak:
        return _along_cosine(FIRST, 1.0, step / peak)
    return _along_cosine(1.0, LAST, (step - peak) / (steps - 1 - peak))


def cosine(step: int, steps: int) -> float:
    """Down from the optimizer's step size to nothing along a cosine.

    Example:
        >>> [round(cosine(step, 10), 2) for step in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    return _along_cosine(1.0, 0.0, step / steps)


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


SCHEDULES: Final[dict[str, Schedule | None]] = {"constant": None, "one-cycle": one_cycle, "cosine": cosine}
"""Every schedule by its name in YAML."""
