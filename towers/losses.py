"""Losses: what training minimises."""

from __future__ import annotations

from torch import nn

from towerzoo.registry import LOSSES


@LOSSES.register("bce-with-logits")
def bce_with_logits() -> nn.Module:
    """Mean binary cross-entropy of the logit's logistic function against the label, in nats."""
    return nn.BCEWithLogitsLoss()
