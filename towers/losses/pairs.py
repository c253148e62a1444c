"""Losses of labelled pairs: each compares a pair's logit with its label."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from towerzoo.registry import LOSSES
from towerzoo.registry.ranges import Positive, Rate


@LOSSES.register("bce-with-logits")
class BCEWithLogits(nn.Module):
    """Mean binary cross-entropy between the sigmoid of the logit and the label, in nats.

    Class weight, smoothing and weights of events act in training only; validation and test report the plain log loss.

    Args:
        positive_weight: How many negative events a positive one counts as.
        label_smoothing: Share of each label that is given to the other class, in [0, 1).

    Example:
        >>> import torch
        >>> BCEWithLogits()(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.0]))
        tensor(0.6931)
    """

    def __init__(self, *, positive_weight: Positive = 1.0, label_smoothing: Rate = 0.0) -> None:
        super().__init__()
        self.positive_weight = positive_weight
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Maps logits (B,), labels (B,) in [0, 1] and weights (B,) > 0 to their weighted mean loss ()."""
        if not self.training:
            return functional.binary_cross_entropy_with_logits(logits, labels)
        if self.label_smoothing:
            labels = labels * (1 - self.label_smoothing) + (1 - labels) * self.label_smoothing
        positive = None if self.positive_weight == 1 else logits.new_full((), self.positive_weight)
        if weights is None:
            return functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=positive)
        total = functional.binary_cross_entropy_with_logits(
            logits, labels, weights, reduction="sum", pos_weight=positive
        )
        return total / weights.sum()
