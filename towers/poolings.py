"""Pooling ops: many vectors become one.

Each takes vectors (B, L, D) and a mask (B, L), true where a vector counts, and returns (B, D). A row without any vector
that counts becomes zeros. Those that are weighted sums tell their weights (B, L) by `weights(mask)`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from towerzoo.registry import POOLINGS
from towerzoo.registry.errors import DataError
from towerzoo.registry.ranges import Count


@POOLINGS.register("sum")
class SumPooling(nn.Module):
    """Sum of the vectors that count."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return _sum(vectors, mask)

    def weights(self, mask: Tensor) -> Tensor:
        """Returns the weight of each vector in the sum (B, L)."""
        return mask.float()


@POOLINGS.register("mean")
class MeanPooling(nn.Module):
    """Sum of the vectors that count, divided by how many they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return _sum(vectors, mask) / _counts(vectors, mask)

    def weights(self, mask: Tensor) -> Tensor:
        """Returns the weight of each vector in the sum (B, L)."""
        return mask / mask.sum(dim=1, keepdim=True).clamp_min(1)


@POOLINGS.register("padded-mean")
class PaddedMeanPooling(nn.Module):
    """Sum of the vectors that count, divided by the number of slots L, whether they are filled or not.

    An item of few genres gets a short vector. This is what the published structures do; `mean` is the better default.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return _sum(vectors, mask) / vectors.shape[1]

    def weights(self, mask: Tensor) -> Tensor:
        """Returns the weight of each vector in the sum (B, L)."""
        return mask / mask.shape[1]


@POOLINGS.register("sqrtn")
class SqrtNPooling(nn.Module):
    """Sum of the vectors that count, divided by the square root of how many they are; keeps the variance even."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return _sum(vectors, mask) / _counts(vectors, mask).sqrt()

    def weights(self, mask: Tensor) -> Tensor:
        """Returns the weight of each vector in the sum (B, L)."""
        return mask / mask.sum(dim=1, keepdim=True).clamp_min(1).sqrt()


@POOLINGS.register("max")
class MaxPooling(nn.Module):
    """Largest value of each dimension over the vectors that count."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        largest = vectors.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1)
        return largest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)


@POOLINGS.register("attention")
class AttentionPooling(nn.Module):
    """Mean of the vectors that count, weighted by the softmax of their dot products with a learned query.

    Args:
        dim: Length of the vectors.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dim))

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return _weighted(vectors, vectors @ self.query, mask)


@POOLINGS.register("recency")
class RecencyPooling(nn.Module):
    """Mean of the vectors that count, weighted by the softmax of a learned number for each slot: which is how recent.

    Args:
        dim: Length of the vectors.
        slots: The most slots that there are; that of the newest is the first.
    """

    def __init__(self, dim: int, *, slots: Count = 50) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.zeros(slots))

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        if vectors.shape[1] > len(self.slots):
            raise DataError(
                f"slots of pooling 'recency' must be at least {vectors.shape[1]}, the vectors of a row, "
                f"got {len(self.slots)}. Raise it."
            )
        return _weighted(vectors, self.slots[: vectors.shape[1]].expand(mask.shape), mask)


def _weighted(vectors: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    # Rows without any vector that counts have no softmax: their weights are masked after it as well.
    weights = logits.masked_fill(~mask, -1e9).softmax(dim=1) * mask
    return (weights.unsqueeze(1) @ vectors).squeeze(1)


def _sum(vectors: Tensor, mask: Tensor) -> Tensor:
    return (vectors * mask.unsqueeze(-1).to(vectors.dtype)).sum(dim=1)


def _counts(vectors: Tensor, mask: Tensor) -> Tensor:
    return mask.sum(dim=1, keepdim=True).clamp_min(1).to(vectors.dtype)
