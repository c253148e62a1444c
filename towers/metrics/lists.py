"""Metrics of top-k lists, of each user and of all lists together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.metrics.plan import Figures


def list_metrics(hits: Tensor, n_relevant: Tensor, ks: Sequence[int]) -> dict[str, Tensor]:
    """Metrics of each user's list, cut after k items, as trec_eval defines them.

    | metric | value for a user with R relevant items |
    |---|---|
    | recall | share of the R that are in the list |
    | precision | share of the k positions that hold one; empty positions of a short list hold none |
    | ndcg | sum of `1 / log2(1 + rank)` over those in the list, relative to a list with min(R, k) of them first |
    | map | sum of the precision at the rank of each one in the list, divided by R, even if R > k |
    | mrr | `1 / rank` of the first one, 0 without one |
    | hit_rate | 1 if there is one, else 0 |

    Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques (2002); Voorhees and Harman, TREC
    (2005), chapter 3.

    Args:
        hits: Bools (U, K), whether each position of the list holds a relevant item, none of them twice.
        n_relevant: Relevant items of each user (U,), >= 1.
        ks: Lengths to cut lists to, 1 <= k <= K.

    Returns:
        float64 (U,) by names such as `recall@10`.

    Example:
        >>> hits, n_relevant = torch.tensor([[False, True]]), torch.tensor([2])
        >>> {name: round(value.item(), 3) for name, value in list_metrics(hits, n_relevant, [2]).items()}
        {'recall@2': 0.5, 'precision@2': 0.5, 'ndcg@2': 0.387, 'map@2': 0.25, 'mrr@2': 0.5, 'hit_rate@2': 1.0}
    """
    ranks = torch.arange(1, hits.shape[1] + 1, dtype=torch.float64)
    gains = 1 / torch.log2(ranks + 1)
    best_gains = gains.cumsum(0)
    relevant = n_relevant.double()
    found = hits.cumsum(1)
    gained = (hits * gains).cumsum(1)
    precisions = (hits * (found / ranks)).cumsum(1)
    first = (found > 0) / (1.0 + (found == 0).sum(1, keepdim=True).double())
    values = {}
    for k in ks:
        at = k - 1
        values[f"recall@{k}"] = found[:, at] / relevant
        values[f"precision@{k}"] = found[:, at].double() / k
        values[f"ndcg@{k}"] = gained[:, at] / best_gains[n_relevant.clamp_max(k) - 1]
        values[f"map@{k}"] = precisions[:, at] / relevant
        values[f"mrr@{k}"] = first[:, at]
        values[f"hit_rate@{k}"] = (found[:, at] > 0).double()
    return values


def popularity_percentiles(counts: Tensor) -> Tensor:
    """Share of items that are less popular than each item; items of equal popularity, and itself, count half.

    The mean over all items is 0.5 for any counts, so lists above it prefer popular items.

    Takes the training events of each item (I,), and returns float64 in (0, 1) (I,), 0 for the unknown item in row 0.

    Example:
        >>> popularity_percentiles(torch.tensor([0, 7, 1, 1, 30]))
        tensor([0.0000, 0.6250, 0.2500, 0.2500, 0.8750], dtype=torch.float64)
    """
    known = counts[UNKNOWN + 1 :]
    ranked = known.sort().values
    below, up_to = (torch.searchsorted(ranked, known, side=side) for side in ("left", "right"))
    return torch.cat([torch.zeros(UNKNOWN + 1, dtype=torch.float64), (below + up_to).double() / (2 * len(known))])


def list_popularity(items: Tensor, percentiles: Tensor, ks: Sequence[int]) -> dict[str, Tensor]:
    """Mean popularity percentile of each user's list, cut after k items; empty positions do not count.

    Args:
        items: Item rows (U, K), best first; 0 in empty positions of short lists.
        percentiles: `popularity_percentiles` of the items (I,).
        ks: Lengths to cut lists to, 1 <= k <= K.

    Returns:
        float64 in (0, 1) (U,) by names such as `popularity@10`; NaN for an empty list.

    Example:
        >>> list_popularity(torch.tensor([[2, 1, 0]]), torch.tensor([0.0, 0.25, 0.75]).double(), [1, 3])
        {'popularity@1': tensor([0.7500], dtype=torch.float64), 'popularity@3': tensor([0.5000], dtype=torch.float64)}
    """
    total = percentiles[items].cumsum(1)
    length = (items != UNKNOWN).cumsum(1)
    return {f"popularity@{k}": total[:, k - 1] / length[:, k - 1] for k in ks}


def list_figures(counts: Tensor, n_users: int, ks: Sequence[int]) -> Figures:
    """Coverage and overlap of all lists together, at each length k.

    `coverage` is the share of the catalogue that is in at least one list. `overlap` is the mean, over all pairs of
    users, of the items that their lists share, divided by k: 1 is one list for everyone, NaN a single user. An item in
    c lists is shared by c (c - 1) / 2 pairs, so no pair needs to be visited.

    Args:
        counts: Lists of each length that each item is in (K, I), the unknown item in column 0.
        n_users: Number of lists of each length.
        ks: The lengths (K,).

    Example:
        >>> list_figures(torch.tensor([[0, 2, 1, 1, 0]]), n_users=2, ks=[2])  # lists (1, 2) and (1, 3)
        {'coverage@2': 0.75, 'overlap@2': 0.5}
    """
    pairs = n_users * (n_users - 1)
    figures = {}
    for k, in_lists in zip(ks, counts[:, UNKNOWN + 1 :].double(), strict=True):
        figures[f"coverage@{k}"] = float((in_lists > 0).double().mean())
        figures[f"overlap@{k}"] = float((in_lists * (in_lists - 1)).sum() / (pairs * k)) if pairs else float("nan")
    return figures
