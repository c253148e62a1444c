"""Leaving items out of an approximate index's results: more items are fetched until enough remain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.retrieval.best_items import NO_SCORE, TopItems, best_items
from towerzoo.towers.retrieval.seen_items import SeenBy

FETCHED_AT_MOST: Final = 4_096
"""Items per user that are fetched at most; a user whose list is still short is ranked exactly."""
GROWTH: Final = 4
"""Factor by which the fetch size grows for users whose list is still short."""


def over_fetch(
    find: Callable[[Tensor, int], TopItems],
    user_vectors: Tensor,
    item_vectors: Tensor,
    k: int,
    *,
    seen: SeenBy | None = None,
    allowed: Tensor | None = None,
) -> TopItems:
    """Returns the k best items of each user that an index finds, except those to leave out.

    The index is asked for k items, or for 2 k if some are to be left out, divided by the share of items that is
    allowed. Users whose list is short get `GROWTH` times as many, up to `FETCHED_AT_MOST`; after that they are ranked
    exactly. So a user gets k items if there are as many, at bounded cost.

    The arguments are those of `best_items`, except:

    Args:
        find: Maps user vectors (U, F) and n to the n best items that the index finds, best first, padded with the
            unknown row.

    Example:
        >>> users, items = torch.tensor([[1.0]]), torch.tensor([[9.0], [2.0], [4.0], [3.0], [1.0]])
        >>> allowed = torch.tensor([True, True, False, True, True])
        >>> over_fetch(lambda chunk, n: best_items(chunk, items, n), users, items, 2, allowed=allowed).items
        tensor([[3, 1]])
    """
    device = user_vectors.device
    top = TopItems(
        torch.full((len(user_vectors), k), UNKNOWN, device=device),
        user_vectors.new_full((len(user_vectors), k), NO_SCORE),
    )
    pending = torch.arange(len(user_vectors), device=device)
    n = k if seen is None and allowed is None else 2 * k
    if allowed is not None:
        n = int(n / max(float(allowed[1:].float().mean()), 1e-9))
    while len(pending) and n <= min(FETCHED_AT_MOST, len(item_vectors) - 1):
        fetched = find(user_vectors[pending], n)
        kept = fetched.items != UNKNOWN
        if allowed is not None:
            kept &= allowed.to(device)[fetched.items]
        if seen is not None:
            items, rows = seen
            users = rows[pending.to(rows.device)].unsqueeze(1)
            kept &= ~items.holds(users, fetched.items.to(rows.device)).to(device)
        full = kept.sum(dim=1) >= k
        best = (~kept[full]).byte().sort(dim=1, stable=True).indices[:, :k]
        done = pending[full]
        top.items[done] = fetched.items[full].gather(1, best)
        top.scores[done] = fetched.scores[full].gather(1, best)
        pending = pending[~full]
        n *= GROWTH
    if len(pending):
        rest = None if seen is None else (seen[0], seen[1][pending.to(seen[1].device)])
        exact = best_items(user_vectors[pending], item_vectors, k, seen=rest, allowed=allowed)
        top.items[pending], top.scores[pending] = exact.items, exact.scores
    return top
