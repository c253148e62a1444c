"""Poolings: many vectors become one.

Each maps vectors (B, L, D) and a mask (B, L), true where a vector counts, to (B, D). A row in which none counts gives
zeros.
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
    """Sum of the vectors that count, over a power of their number; a subclass may define other `weights`."""

    power = 0.0

    def __init__(self, dim: int) -> None:
        super().__init__()

    def weights(self, mask: Tensor) -> Tensor:
        """Maps a mask (B, L) alone to the weight of each vector (B, L), 0 where it does not count."""
        return divide_by_count(mask.float(), mask.sum(dim=1), self.power)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Maps (B, L, D) and (B, L) to (B, D)."""
        return (vectors * self.weights(mask).to(vectors.dtype).unsqueeze(-1)).sum(dim=1)


@POOLINGS.register("sum")
class SumPooling(WeightedSum):
    """Sum of the vectors that count."""


@POOLINGS.register("mean")
class MeanPooling(WeightedSum):
    """Sum of the vectors that count, divided by their number."""

    power = COUNT_POWERS["mean"]


@POOLINGS.register("sqrtn")
class SqrtNPooling(WeightedSum):
    """Sum of the vectors that count, divided by the square root of their number, which keeps the variance even."""

    power = COUNT_POWERS["sqrtn"]


@POOLINGS.register("padded-mean")
class PaddedMeanPooling(WeightedSum):
    """Sum of the vectors that count, divided by the number of slots L, filled or not.

    An item with few genres gets a short vector. The published structures do this; `mean` is the better default.
    """

    def weights(self, mask: Tensor) -> Tensor:
        """1 / L."""
        return mask / mask.shape[1]


@POOLINGS.register("max")
class MaxPooling(nn.Module):
    """Largest value of each dimension among the vectors that count."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Maps (B, L, D) and (B, L) to (B, D)."""
        largest = vectors.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1)
        return largest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)


@POOLINGS.register("attention")
class AttentionPooling(nn.Module):
    """Mean of the vectors that count, weighted by the softmax of their dot products with a learned query."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dim))

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Maps (B, L, D) and (B, L) to (B, D)."""
        return _weighted(vectors, vectors @ self.query, mask)


@POOLINGS.register("recency")
class RecencyPooling(nn.Module):
    """Mean of the vectors that count, weighted by the softmax of a learned number for each slot, newest first.

    Args:
        slots: The largest number of slots L.
    """

    def __init__(self, dim: int, *, slots: Count = 50) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.zeros(slots))

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Maps (B, L, D) and (B, L) to (B, D)."""
        if vectors.shape[1] > len(self.slots):
            raise DataError(
                f"slots of pooling 'recency' must be at least {vectors.shape[1]}, the length of the lists, "
                f"got {len(self.slots)}. Raise it."
            )
        return _weighted(vectors, self.slots[: vectors.shape[1]].expand(mask.shape), mask)


def _weighted(vectors: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    # A row in which no vector counts would get equal weights from the softmax, so the mask applies after it too.
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
        raise POOLINGS.part_error(spec, contract, described(pooling))
    if isinstance(pooling, nn.Module):
        require_module(POOLINGS, spec, pooling)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    try_part(POOLINGS, spec, contract, (3, dim), pooling, trial_numbers(3, 2, dim), mask, finite=True)
    return pooling
