"""Whether probabilities mean what they say."""

from __future__ import annotations

import torch
from torch import Tensor

EVENTS_AT_ONCE = 1 << 20
"""Events that are put into bins at once; bounds what that takes beside the logits."""


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Returns the expected calibration error: how far predicted probabilities are from the share of positives.

    Events are put into bins by `sigmoid(logit)`. The error is the mean over bins, weighted by their events, of the
    absolute difference between the mean probability and the share of positives. Bins are of equal width, `[a, b)` and
    the last one `[a, 1]`: with bins of equal mass equal predictions could fall into different ones, by the order of
    their events. It tells nothing about the order of items: the training share, predicted for all, has an error near 0.

    Source: Naeini et al., Obtaining well calibrated probabilities using Bayesian binning (2015); 15 bins as in Guo et
    al., On calibration of modern neural networks (2017).

    Args:
        logits: (N,).
        labels: In {0, 1} (N,).
        bins: Number of bins, >= 1.

    Returns:
        A number in [0, 1]; NaN without events or where a logit is NaN.

    Example:
        >>> logits = torch.logit(torch.tensor([0.75, 0.75, 0.75, 0.75]))
        >>> round(calibration_error(logits, torch.tensor([1.0, 1.0, 1.0, 0.0])), 6)
        0.0
        >>> round(calibration_error(logits, torch.tensor([1.0, 0.0, 0.0, 0.0])), 6)
        0.5
    """
    if len(logits) == 0 or bool(logits.isnan().any()):
        return float("nan")
    # The sum over a bin of probability - label is its number of events times the difference that counts.
    excess = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    for some, truth in zip(torch.split(logits, EVENTS_AT_ONCE), torch.split(labels, EVENTS_AT_ONCE), strict=True):
        chances = torch.sigmoid(some.double())
        places = (chances * bins).long().clamp_max(bins - 1)
        excess.index_add_(0, places, chances - truth.double())
    return float(excess.abs().sum() / len(logits))
