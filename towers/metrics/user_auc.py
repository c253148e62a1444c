"""The area under the ROC curve within users or other groups of events."""

from __future__ import annotations

import torch
from torch import Tensor

EVENTS_AT_ONCE = 1 << 20
"""Events that are ranked at once, those of some of the users; bounds what that takes beside the logits."""
BITS = 32
"""Bits of a float32, and of what events of a group are ordered by."""


def user_auc(user: Tensor, logits: Tensor, positive: Tensor) -> float:
    """Returns the mean AUC of users who have both classes, weighted by their events (GAUC).

    The AUC of all events also rewards a model for knowing which users like more; this one only for the order of each
    user's own items, which is what a user sees. Items of equal logits count half.

    Source: Zhu et al., Optimized cost per click in Taobao display advertising (2017), section 4.1.

    Args:
        user: User rows (N,).
        logits: The larger, the more likely positive (N,).
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
        mine = user % n_parts == part
        group = user[mine] // n_parts
        aucs = group_auc(group, logits[mine], positive[mine], n_groups)
        events = torch.bincount(group, minlength=n_groups).double()
        both = ~aucs.isnan()
        total, weight = total + (aucs[both] * events[both]).sum(), weight + events[both].sum()
    return float(total / weight)


def group_auc(group: Tensor, logits: Tensor, positive: Tensor, n_groups: int) -> Tensor:
    """Returns the AUC of each group's events, exact, ties counted half, in one ranking without a loop.

    Args:
        group: Integer group of each event (N,), in [0, n_groups).
        logits: The larger, the more likely positive (N,).
        positive: Bools, whether each event is positive (N,).
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
    # Twice the mean rank of tied events is a whole number, so that the sums are exact.
    twice_rank = (starts + ends + 1)[tie] - 2 * (events.cumsum(0) - events)[group]
    won = events.new_zeros(n_groups).index_add_(0, group[positive], twice_rank[positive])
    wins = won - positives * (positives + 1)
    pairs = positives * (events - positives)
    aucs = wins.double() / (2 * pairs)
    aucs[undefined.long()] = float("nan")
    return aucs


def _ordinals(values: Tensor) -> Tensor:
    """Returns int64 numbers in [0, 2 ** BITS) in the order of values (N,), equal for equal ones."""
    if values.dtype is torch.float64:
        places: Tensor = torch.unique(values, return_inverse=True)[1]
        return places
    bits = (values.float() + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    ordered: Tensor = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # the bits of negative numbers fall as they grow
    return ordered.long() + (1 << 31)
