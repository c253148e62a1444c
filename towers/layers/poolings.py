"""Pooling ops: many vectors become one.

Each takes vectors (B, L, D) and a mask (B, L), true where a vector counts, and returns (B, D). A row without any vector
that counts becomes zeros.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from towerzoo.registry import POOLINGS, Spec
from towerzoo.registry.errors import DataError
from towerzoo.registry.ranges import Count
from towerzoo.towers.layers.trials import described, require_module, trial_numbers, try_part

COUNT_POWERS: Final = {"sum": 0.0, "sqrtn": 0.5, "mean": 1.0}
"""The poolings that divide a sum of vectors by a power of how many there are, and the power."""


def divide_by_count(sums: Tensor, counts: Tensor, power: float) -> Tensor:
    """Divides sums (B, D) by a power of the number of summands (B,); a sum of none stays as it is.

    Example:
        >>> divide_by_count(torch.tensor([[8.0], [0.0]]), torch.tensor([4, 0]), COUNT_POWERS["sqrtn"])
        tensor([[4.],
                [0.]])
    """
    return sums / counts.clamp_min(1).unsqueeze(1).to(sums.dtype) ** power if power else sums


class WeightedSum(nn.Module):
    """A pooling that is a sum, with weights that the mask alone decides."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def weights(self, mask: Tensor) -> Tensor:
        """Returns the weight of each vector (B, L), 0 where it does not count."""
        raise NotImplementedError

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, L, D) to (B, D)."""
        return (vectors * self.weights(mask).to(vectors.dtype).unsqueeze(-1)).sum(dim=1)


@POOLINGS.register("sum")
class SumPooling(WeightedSum):
    """Sum of the vectors that count."""

    def weights(self, mask: Tensor) -> Tensor:
        """Returns 1 for each vector that counts."""
        return mask.float()


@POOLINGS.register("mean")
class MeanPooling(WeightedSum):
    """Sum of the vectors that count, divided by how many they are."""

    def weights(self, mask: Tensor) -> Tensor:
        """Returns 1 / how many count."""
        return divide_by_count(mask.float(), mask.sum(dim=1), COUNT_POWERS["mean"])


@POOLINGS.register("padded-mean")
class PaddedMeanPooling(WeightedSum):
    """Sum of the vectors that count, divided by the number of slots L, whether they are filled or not.

    An item of few genres gets a short vector. This is what the published structures do; `mean` is the better default.
    """

    def weights(self, mask: Tensor) -> Tensor:
        """Returns 1 / L."""
        return mask / mask.shape[1]


@POOLINGS.register("sqrtn")
class SqrtNPooling(WeightedSum):
    """Sum of the vectors that count, divided by the square root of how many they are; keeps the variance even."""

    def weights(self, mask: Tensor) -> Tensor:
        """Returns 1 / the root of how many count."""
        return divide_by_count(mask.float(), mask.sum(dim=1), COUNT_POWERS["sqrtn"])


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
    weights = logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(dim=1) * mask
    return (weights.unsqueeze(1) @ vectors).squeeze(1)


def built_pooling(spec: Spec, dim: int) -> Any:
    """Builds a pooling and tries it on full, padded and empty lists.

    Raises:
        PartError: It cannot be called, or does not map (B, L, dim) to finite (B, dim).
    """
    pooling = POOLINGS.build(spec, dim=dim)
    contract = f"map vectors (B, L, {dim}) and mask (B, L) to (B, {dim})"
    if not callable(pooling):
        raise POOLINGS.fault(spec, contract, described(pooling))
    if isinstance(pooling, nn.Module):
        require_module(POOLINGS, spec, pooling)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    try_part(POOLINGS, spec, contract, (3, dim), pooling, trial_numbers(3, 2, dim), mask, finite=True)
    return pooling
