"""Dot products of many pairs of a few distinct vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

PAIRS_AT_ONCE = 1_024
"""Pairs that are gathered in one step, so that their vectors fit into the processor's cache."""


def dot_pairs(users: Tensor, user_at: Tensor, items: Tensor, item_at: Tensor) -> Tensor:
    """Returns the dot product of each pair, without a copy of the vectors for each pair.

    Equal to `(users[user_at] * items[item_at]).sum(1)`, forward and backward. The gradient of each user's vector is one
    weighted sum over the user's pairs, instead of a row scattered per pair.

    Args:
        users: User factors (U, F).
        user_at: int64 positions in users, one per pair (B,).
        items: Item factors (I, F).
        item_at: int64 positions in items, one per pair (B,).

    Example:
        >>> users, items = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 5.0]])
        >>> dot_pairs(users, torch.tensor([0, 0]), items, torch.tensor([0, 1]))
        tensor([ 3., 10.])
    """
    dots: Tensor = _DotPairs.apply(users, user_at, items, item_at)  # type: ignore[no-untyped-call]
    return dots


class _DotPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, users: Tensor, user_at: Tensor, items: Tensor, item_at: Tensor) -> Tensor:
        ctx.save_for_backward(users, items, user_at, item_at)
        chunks = zip(torch.split(user_at, PAIRS_AT_ONCE), torch.split(item_at, PAIRS_AT_ONCE), strict=True)
        return torch.cat([(users.index_select(0, u) * items.index_select(0, i)).sum(1) for u, i in chunks])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None]:
        users, items, user_at, item_at = ctx.saved_tensors
        return (
            _weighted_sums(items, item_at, gradient, groups=user_at, n_groups=len(users)),
            None,
            _weighted_sums(users, user_at, gradient, groups=item_at, n_groups=len(items)),
            None,
        )


def _weighted_sums(vectors: Tensor, at: Tensor, weights: Tensor, *, groups: Tensor, n_groups: int) -> Tensor:
    """Returns, for each group, the sum of weights[b] * vectors[at[b]] over its pairs b: (n_groups, F)."""
    order = groups.argsort(stable=True)
    sizes = torch.bincount(groups, minlength=n_groups)
    return functional.embedding_bag(
        at.index_select(0, order),
        vectors,
        offsets=sizes.cumsum(0) - sizes,
        mode="sum",
        per_sample_weights=weights.index_select(0, order),
    )
