"""Pooling ops: many vectors become one.

Each takes vectors (B, L, D) and a mask (B, L), true where a vector counts, and returns (B, D). A row without any vector
that counts becomes zeros.
"""

from __future__ import annotations

from torch import Tensor, nn

from towerzoo.registry import POOLINGS


@POOLINGS.register("sum")
class SumPooling(nn.Module):
    """Sum of the vectors that count."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return _sum(vectors, mask)


@POOLINGS.register("mean")
class MeanPooling(nn.Module):
    """Sum of the vectors that count, divided by how many they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return _sum(vectors, mask) / _counts(vectors, mask)


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


@POOLINGS.register("sqrtn")
class SqrtNPooling(nn.Module):
    """Sum of the vectors that count, divided by the square root of how many they are; keeps the variance even."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return _sum(vectors, mask) / _counts(vectors, mask).sqrt()


@POOLINGS.register("max")
class MaxPooling(nn.Module):
    """Largest value of each dimension over the vectors that count."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        largest = vectors.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1)
        return largest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)


def _sum(vectors: Tensor, mask: Tensor) -> Tensor:
    return (vectors * mask.unsqueeze(-1).to(vectors.dtype)).sum(dim=1)


def _counts(vectors: Tensor, mask: Tensor) -> Tensor:
    return mask.sum(dim=1, keepdim=True).clamp_min(1).to(vectors.dtype)
