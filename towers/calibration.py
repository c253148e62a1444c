"""How far predicted probabilities are from what happens."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


def calibration_error(logits: Tensor, positive: Tensor, bins: int = BINS) -> float:
    """Returns the expected calibration error: the mean gap between predicted probability and share of positives.

    Events are ranked by their logit and cut into bins of equally many, so that none is empty (Nixon et al., CVPR
    workshops 2019); the gaps of the bins are averaged, weighted by their events.

    Args:
        logits: Floats (N,).
        positive: Bools (N,).
        bins: How many bins.

    Returns:
        A number in [0, 1]; 0 is best.

    Example:
        >>> calibration_error(torch.zeros(4), torch.tensor([True, False, True, False]), bins=1)
        0.0
    """
    order = logits.argsort()
    gaps = logits[order].double().sigmoid() - positive[order].double()
    parts = torch.tensor_split(gaps, min(bins, max(len(gaps), 1)))
    return sum(abs(float(part.sum())) for part in parts) / max(len(gaps), 1)
