"""Dropout of ids: in training some stand for nothing known."""

from __future__ import annotations

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN


def drop_ids(ids: Tensor, rate: float) -> Tensor:
    """Returns ids of any shape, each replaced by the unknown one with a chance; torch's generator draws.

    Args:
        ids: Ids.
        rate: The chance, in [0, 1).

    Example:
        >>> drop_ids(torch.tensor([3, 1, 2]), 0.999999)
        tensor([0, 0, 0])
    """
    return ids.masked_fill(torch.rand(ids.shape, device=ids.device) < rate, UNKNOWN)
