"""Item vectors in one byte per number, and the recall they keep."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from towerzoo.towers.retrieval.best_items import best_items


class Quantised(NamedTuple):
    """Quantised vectors; `numbers * scales` approximates the original vectors.

    Attributes:
        numbers: int8 (I, F), from -127 to 127.
        scales: float32 (F,), > 0.
    """

    numbers: Tensor
    scales: Tensor


def quantise(vectors: Tensor) -> Quantised:
    """Quantises vectors (I, F) to int8.

    Each dimension has its own scale, because a bias may be far larger than the factors of a cosine. A dot product with
    a user's factors needs the scales only once, on the user's side.

    Example:
        >>> quantise(torch.tensor([[1.0, 0.02], [-0.3, 0.0]]))
        Quantised(numbers=tensor([[127, 127],
                [-38,   0]], dtype=torch.int8), scales=tensor([0.0079, 0.0002]))
    """
    largest = vectors.abs().amax(dim=0) if len(vectors) else vectors.new_ones(vectors.shape[1])
    scales = torch.where(largest > 0, largest / 127, 1.0)
    return Quantised((vectors / scales).round().to(torch.int8), scales)


def quantised_recall(users: Tensor, items: Tensor, k: int) -> float:
    """Returns the mean recall of each user's exact k best items when items are ranked by quantised vectors, in [0, 1].

    Args:
        users: Factors of users (U, F).
        items: Factors of items (I, F), the unknown item first.
        k: Items per user, below I.
    """
    numbers, scales = quantise(items[1:])
    approximate = torch.cat([items[:1], numbers.to(items.dtype)])
    exact, retrieved = best_items(users, items, k).items, best_items(users * scales, approximate, k).items
    return float((exact.unsqueeze(2) == retrieved.unsqueeze(1)).any(dim=2).double().mean())
