"""The area under the ROC curve, exact and in little memory."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

SIDES: Final = ("left", "right")
"""Where a searched value stands among equal ones: before them, so that they do not count, or after them."""


def exact_auc(logits: Tensor, positive: Tensor) -> float:
    """Returns the share of pairs of a positive and a negative event that are ranked right, ties counted half.

    Equal to torchmetrics' BinaryAUROC without thresholds, but lean enough for a training split: it sorts both classes
    apart and counts, and needs neither the curve nor probabilities, which tie where logits do not.

    Args:
        logits: Floats (N,), the larger the more likely positive.
        positive: Bools (N,), of both classes.

    Returns:
        A number in [0, 1]; NaN where a class is empty or a logit is NaN.

    Example:
        >>> exact_auc(torch.tensor([2.0, 1.0, 1.0, 0.0]), torch.tensor([True, True, False, False]))
        0.875
    """
    if logits.dtype is not torch.float64:
        logits = logits.float()
    above, below = logits[positive], logits[~positive]
    pairs = len(above) * len(below)
    if pairs == 0 or bool(logits.isnan().any()):
        return float("nan")
    if logits.device.type == "cpu":  # numpy sorts in place, by vector instructions
        ranked, others = above.numpy(), below.numpy()
        ranked.sort()
        others.sort()
        wins, ties_and_wins = (int(np.searchsorted(others, ranked, side).sum()) for side in SIDES)
    else:
        below = below.sort().values
        wins, ties_and_wins = (int(torch.searchsorted(below, above, side=side).sum()) for side in SIDES)
    return (wins + ties_and_wins) / (2 * pairs)
