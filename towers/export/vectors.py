"""The item vectors of a bundle, and the same in a byte a number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from towerzoo.towers.retrieval.best_items import best_items


class Quantised(NamedTuple):
    """Vectors of whole numbers: a number times its dimension's scale is about the number that it stands for.

    Attributes:
        numbers: int8 (I, F), from -127 to 127.
        scales: float32 (F,), > 0.
    """

    numbers: Tensor
    scales: Tensor


def quantise(vectors: Tensor) -> Quantised:
    """Returns vectors (I, F) in a byte a number.

    Each dimension has a scale of its own, since that of a bias may be far larger than that of a cosine's factors. The
    scales go to the user's side of the dot product, once a user.

    Example:
        >>> quantise(torch.tensor([[1.0, 0.02], [-0.3, 0.0]]))
        Quantised(numbers=tensor([[127, 127],
                [-38,   0]], dtype=torch.int8), scales=tensor([0.0079, 0.0002]))
    """
    largest = vectors.abs().amax(dim=0) if len(vectors) else vectors.new_ones(vectors.shape[1])
    scales = torch.where(largest > 0, largest / 127, 1.0)
    return Quantised((vectors / scales).round().to(torch.int8), scales)


def quantised_recall(users: Tensor, items: Tensor, k: int) -> float:
    """Returns which share of the exact k best items of each user the quantised vectors find, in [0, 1], on average.

    Args:
        users: Factors of users (U, F).
        items: Factors of items (I, F), the unknown one first.
        k: Items a user, below I.
    """
    numbers, scales = quantise(items[1:])
    near = torch.cat([items[:1], numbers.to(items.dtype)])
    exact, found = best_items(users, items, k).items, best_items(users * scales, near, k).items
    return float((exact.unsqueeze(2) == found.unsqueeze(1)).any(dim=2).double().mean())
