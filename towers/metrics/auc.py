"""The area under the ROC curve, exact and in little memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from torch import Tensor

SIDES: Final = ("left", "right")
"""Where a searched value stands among equal ones: before them, so that they do not count, or after them."""
AT_ONCE: Final = 1 << 20
"""Events that are looked up at once."""


def exact_auc(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Returns the share of pairs of a positive and a negative event that are ranked right, ties counted half.

    Equal to torchmetrics' BinaryAUROC without thresholds, but lean enough for a training split: it sorts both classes
    apart and counts, and needs neither the curve nor probabilities, which tie where logits do not. A block is let go
    before the next one is asked for.

    Args:
        blocks: The events in any number of blocks: logits, the larger the more likely positive (B,), and bools, whether
            each is positive (B,).

    Returns:
        A number in [0, 1]; NaN where a class is empty or a logit is NaN.

    Example:
        >>> logits, positive = torch.tensor([2.0, 1.0, 1.0, 0.0]), torch.tensor([True, True, False, False])
        >>> exact_auc([(logits, positive)]), exact_auc(zip(logits.split(1), positive.split(1)))
        (0.875, 0.875)
    """
    above, below = [], []
    undefined = False
    for logits, positive in blocks:
        undefined |= bool(logits.isnan().any())
        wide = logits if logits.dtype is torch.float64 else logits.float()
        above.append(_where(positive, wide))
        below.append(_where(~positive, wide))
        del logits, positive, wide
    pairs = sum(map(len, above)) * sum(map(len, below))
    if undefined or pairs == 0:
        return float("nan")
    ranked = _sorted(torch.cat(below))
    del below
    some = (part for block in above for part in torch.split(_sorted(block), AT_ONCE))
    wins = sum(_places(ranked, part, side) for part in some for side in SIDES)
    return wins / (2 * pairs)


def _where(mask: Tensor, values: Tensor) -> Tensor:
    """Returns what torch's boolean indexing does; on a CPU without an index of 8 bytes a value."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy()[mask.numpy()])
    return values[mask]


def _sorted(values: Tensor) -> Tensor:
    """Sorts values, on a CPU in place and without an index."""
    if values.device.type == "cpu":
        values.numpy().sort()
        return values
    return values.sort().values


def _places(ranked: Tensor, values: Tensor, side: str) -> int:
    """Returns the sum of the places of values among ranked ones."""
    if ranked.device.type == "cpu":
        return int(np.searchsorted(ranked.numpy(), values.numpy(), side).sum())  # type: ignore[call-overload]
    return int(torch.searchsorted(ranked, values, side=side).sum())


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
