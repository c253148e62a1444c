"""The area under the ROC curve, exact and in little memory."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

SIDES: Final = ("left", "right")
"""Where a searched value stands among equal ones: before them, so that they do not count, or after them."""
AT_ONCE: Final = 1 << 20
"""Events that are looked up at once."""


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
    n_above = int(positive.count_nonzero())  # a sum would widen them all
    pairs = n_above * (len(logits) - n_above)
    if pairs == 0 or bool(logits.isnan().any()):
        return float("nan")
    if logits.dtype is not torch.float64:
        logits = logits.float()
    if logits.device.type == "cpu":
        wins = _wins_by_numpy(logits.numpy(), positive.numpy())
    else:
        above, below = logits[positive], logits[~positive].sort().values
        wins = sum(int(torch.searchsorted(below, above, side=side).sum()) for side in SIDES)
    return wins / (2 * pairs)


def _wins_by_numpy(logits: Any, positive: Any) -> int:
    """Returns twice the pairs ranked right, ties counted once; numpy picks without an index and sorts in place."""
    above, below = logits[positive], logits[~positive]
    above.sort()
    below.sort()
    some = (above[start : start + AT_ONCE] for start in range(0, len(above), AT_ONCE))
    return sum(int(np.searchsorted(below, part, side).sum()) for part in some for side in SIDES)
