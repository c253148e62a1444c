"""The area under the ROC curve within each user."""

from __future__ import annotations

import torch
from torch import Tensor


def user_auc(user: Tensor, logits: Tensor, positive: Tensor) -> float:
    """Returns the mean of the users' AUCs, each weighted by her events: how well a model ranks what one person sees.

    Users with events of one class alone have no AUC and are left out. Ties count half. A model that knows items only
    by their popularity gains less here than in the AUC over all pairs, which rewards telling generous users from strict
    ones as well (GAUC: Zhu et al., KDD 2017).

    Args:
        user: User rows (N,).
        logits: Floats (N,), the larger the more likely positive.
        positive: Bools (N,).

    Returns:
        A number in [0, 1]; NaN where no user has both classes or a logit is NaN.

    Example:
        >>> user, positive = torch.tensor([1, 1, 2, 2, 3]), torch.tensor([True, False, True, False, True])
        >>> user_auc(user, torch.tensor([0.9, 0.1, 0.2, 0.3, 0.0]), positive)
        0.5
    """
    if bool(logits.isnan().any()):
        return float("nan")
    order = logits.argsort()
    order = order[user.index_select(0, order).argsort(stable=True)]
    _, owner, sizes = torch.unique_consecutive(user[order], return_inverse=True, return_counts=True)
    starts = sizes.cumsum(0) - sizes
    # Ties are runs of equal user and logit; all of a run have the mean of its ranks.
    values = logits[order]
    new = torch.ones(len(order), dtype=torch.bool, device=order.device)
    new[1:] = (values[1:] != values[:-1]) | (owner[1:] != owner[:-1])
    run = new.cumsum(0) - 1
    counts = torch.bincount(run)
    first = counts.cumsum(0) - counts
    rank = (first + (counts + 1) / 2)[run] - starts[owner]
    above = positive[order].double()
    n_above = above.new_zeros(len(sizes)).index_add_(0, owner, above)
    pairs = n_above * (sizes - n_above)
    wins = rank.new_zeros(len(sizes), dtype=torch.float64).index_add_(0, owner, rank * above)
    both = pairs > 0
    if not bool(both.any()):
        return float("nan")
    auc = (wins - n_above * (n_above + 1) / 2)[both] / pairs[both]
    return float((auc * sizes[both]).sum() / sizes[both].sum())
