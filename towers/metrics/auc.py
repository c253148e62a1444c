"""The area under the ROC curve: exact, and in little memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from torch import Tensor

EVENTS_AT_ONCE: Final = 1 << 20
"""Events that are looked up or ranked at once; bounds the memory beside the logits."""
BITS: Final = 32
"""Bits of a float32, by which the events of a group are ordered."""


def exact_auc(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of pairs of a positive and a negative event that are ranked correctly, ties counted half.

    Equal to torchmetrics' BinaryAUROC without thresholds, but it fits a training split into memory: it sorts both
    classes separately and counts, without a curve or probabilities (which tie where logits do not). Each block is
    released before the next one is requested.

    Args:
        blocks: The events in any number of blocks: logits (B,) and bools, whether each event is positive (B,).

    Returns:
        A number in [0, 1]; NaN where a class is empty or a logit is NaN.

    Example:
        >>> logits, positive = torch.tensor([2.0, 1.0, 1.0, 0.0]), torch.tensor([True, True, False, False])
        >>> exact_auc([(logits, positive)]), exact_auc(zip(logits.split(1), positive.split(1)))
        (0.875, 0.875)
    """
    positives, negatives = [], []
    undefined = False
    for logits, positive in blocks:
        undefined |= bool(logits.isnan().any())
        wide = logits if logits.dtype is torch.float64 else logits.float()
        positives.append(_select(wide, positive))
        negatives.append(_select(wide, ~positive))
        del logits, positive, wide
    pairs = sum(map(len, positives)) * sum(map(len, negatives))
    if undefined or pairs == 0:
        return float("nan")
    ranked = _sorted(torch.cat(negatives))
    del negatives
    chunks = (chunk for block in positives for chunk in torch.split(_sorted(block), EVENTS_AT_ONCE))
    # A tied negative is counted by one of the two sides only, and so half.
    wins = sum(_sum_of_ranks(ranked, chunk, side) for chunk in chunks for side in ("left", "right"))
    return wins / (2 * pairs)


def _select(values: Tensor, mask: Tensor) -> Tensor:
    """Boolean indexing, which on a CPU takes 8 bytes a value more in torch than in numpy."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy()[mask.numpy()])
    return values[mask]


def _sorted(values: Tensor) -> Tensor:
    """Sorts values, on a CPU in place."""
    if values.device.type == "cpu":
        values.numpy().sort()
        return values
    return values.sort().values


def _sum_of_ranks(ranked: Tensor, values: Tensor, side: str) -> int:
    if ranked.device.type == "cpu":
        return int(np.searchsorted(ranked.numpy(), values.numpy(), side).sum())  # type: ignore[call-overload]
    return int(torch.searchsorted(ranked, values, side=side).sum())


def user_auc(user: Tensor, logits: Tensor, positive: Tensor) -> float:
    """Mean AUC of the users who have both classes, weighted by their events (GAUC).

    The AUC of all events also rewards a model for knowing which users like more; this one only for the order of each
    user's own items, which is what a user sees. Items of equal logits count half.

    Source: Zhu et al., Optimized cost per click in Taobao display advertising (2017), section 4.1.

    Args:
        user: User rows (N,).
        logits: Logits (N,).
        positive: Bools, whether each event is positive (N,).

    Returns:
        A number in [0, 1]; NaN where no user has both classes or a logit is NaN.

    Example:
        >>> user, logits = torch.tensor([1, 1, 2, 2, 2, 3]), torch.tensor([0.1, 0.2, 5.0, 5.0, 6.0, 9.0])
        >>> user_auc(user, logits, torch.tensor([False, True, True, False, False, True]))
        0.55
    """
    if len(user) == 0 or bool(logits.isnan().any()):
        return float("nan")
    n_parts = -(-len(user) // EVENTS_AT_ONCE)
    n_groups = int(user.max()) // n_parts + 1
    total = weight = torch.zeros((), dtype=torch.float64, device=user.device)
    for part in range(n_parts):
        inside = user % n_parts == part
        group = user[inside] // n_parts
        aucs = group_auc(group, logits[inside], positive[inside], n_groups)
        events = torch.bincount(group, minlength=n_groups).double()
        both = ~aucs.isnan()
        total, weight = total + (aucs[both] * events[both]).sum(), weight + events[both].sum()
    return float(total / weight)


def group_auc(group: Tensor, logits: Tensor, positive: Tensor, n_groups: int) -> Tensor:
    """AUC of each group's events, exact, ties counted half, by one sort for all groups.

    Args:
        group: Group of each event (N,), in [0, n_groups).
        logits: Logits (N,).
        positive: Bools (N,).
        n_groups: Number of groups G.

    Returns:
        float64 in [0, 1] (G,); NaN for a group that lacks a class or has a NaN logit.

    Example:
        >>> group, logits = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([1.0, 2.0, 3.0, 3.0, 9.0])
        >>> group_auc(group, logits, torch.tensor([False, True, False, True, True]), 3)
        tensor([1.0000, 0.5000,    nan], dtype=torch.float64)
    """
    undefined = group[logits.isnan()]
    keys = ((group.long() << BITS + 1) | (_ordinals(logits) << 1) | positive).sort().values
    positive, tied = (keys & 1).bool(), keys >> 1
    group = tied >> BITS
    events = torch.bincount(group, minlength=n_groups)
    positives = torch.bincount(group[positive], minlength=n_groups)
    new = torch.ones(len(group), dtype=torch.bool, device=group.device)
    torch.ne(tied[1:], tied[:-1], out=new[1:])
    tie = new.cumsum(0) - 1
    ends = torch.bincount(tie).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    # Twice the mean rank of tied events is a whole number, so the sums are exact.
    twice_rank = (starts + ends + 1)[tie] - 2 * (events.cumsum(0) - events)[group]
    won = events.new_zeros(n_groups).index_add_(0, group[positive], twice_rank[positive])
    wins = won - positives * (positives + 1)
    pairs = positives * (events - positives)
    aucs = wins.double() / (2 * pairs)
    aucs[undefined.long()] = float("nan")
    return aucs


def _ordinals(values: Tensor) -> Tensor:
    """Maps values (N,) to int64 in [0, 2 ** BITS) of the same order and ties."""
    if values.dtype is torch.float64:
        ordinals: Tensor = torch.unique(values, return_inverse=True)[1]
        return ordinals
    bits = (values.float() + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    ordered: Tensor = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # the bits of negative numbers decrease as they grow
    return ordered.long() + (1 << 31)
