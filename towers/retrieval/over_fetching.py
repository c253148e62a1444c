"""Leaving items out of what an approximate index finds: more is fetched until enough remains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.retrieval.best_items import NO_SCORE, TopItems, best_items
from towerzoo.towers.retrieval.seen_items import SeenItems

FETCHED_AT_MOST: Final = 4_096
"""Items a user that are fetched at most; who still lacks some is ranked exactly."""
GROWTH: Final = 4
"""How many times more a user gets fetched who lacks items."""


def over_fetch(
    find: Callable[[Tensor, int], TopItems],
    user_vectors: Tensor,
    item_vectors: Tensor,
    k: int,
    *,
    seen: tuple[SeenItems, Tensor] | None = None,
    allowed: Tensor | None = None,
) -> TopItems:
    """Returns the k best items of each user that an index finds, without those that are to be left out.

    The index is asked for k items, or 2 k where something is left out, more by the share of items that is not allowed;
    for users who lack items after that, for four times as many, and so on up to `FETCHED_AT_MOST`. Whoever still
    lacks some, because nearly everything is left out or the index finds no more, is ranked exactly. So a user gets k
    items wherever there are as many, and cost stays bounded.

    Args:
        find: Maps user vectors (U, F) and n to the n best items that the index finds, best first; the unknown row where
            it finds no more.
        user_vectors: (U, F).
        item_vectors: One a row of the items table (I, F), on the same device.
        k: Items a user, >= 1.
        seen: What to leave out, and the rows (U,) of these users.
        allowed: Which items are candidates at all (I,); none allows every item.

    Example:
        >>> users, items = torch.tensor([[1.0]]), torch.tensor([[9.0], [2.0], [4.0], [3.0], [1.0]])
        >>> seen = SeenItems(torch.tensor([0]), torch.tensor([2]), n_users=1), torch.tensor([0])
        >>> over_fetch(lambda some, n: best_items(some, items, n), users, items, 2, seen=seen).items
        tensor([[3, 1]])
    """
    top = TopItems(
        torch.full((len(user_vectors), k), UNKNOWN, device=user_vectors.device),
        user_vectors.new_full((len(user_vectors), k), NO_SCORE),
    )
    pending = torch.arange(len(user_vectors))
    share = 1.0 if allowed is None else float(allowed[1:].float().mean())
    wanted = k if seen is None and allowed is None else 2 * k
    n = int(wanted / max(share, 1e-9))
    while len(pending) and n <= min(FETCHED_AT_MOST, len(item_vectors) - 1):
        found = find(user_vectors[pending.to(user_vectors.device)], n)
        kept = _kept(found.items, None if seen is None else seen[0].of(seen[1][pending.to(seen[1].device)]), allowed)
        enough = kept.sum(dim=1) >= k
        first = (~kept[enough]).byte().sort(dim=1, stable=True).indices[:, :k]
        done = pending.to(enough.device)[enough]
        top.items[done], top.scores[done] = found.items[enough].gather(1, first), found.scores[enough].gather(1, first)
        pending = pending[~enough.cpu()]
        n *= GROWTH
    if len(pending):
        at = pending.to(user_vectors.device)
        rest = None if seen is None else (seen[0], seen[1][pending.to(seen[1].device)])
        exact = best_items(user_vectors[at], item_vectors, k, seen=rest, allowed=allowed)
        top.items[at], top.scores[at] = exact.items, exact.scores
    return top


def _kept(items: Tensor, left_out: tuple[Tensor, Tensor] | None, allowed: Tensor | None) -> Tensor:
    """Returns which of the items (U, n) of each user are candidates."""
    kept = items != UNKNOWN
    if allowed is not None:
        kept &= allowed.to(items.device)[items]
    if left_out is not None:
        place, item = (values.to(items.device) for values in left_out)
        stride = 1 + max(int(items.max()), int(item.max()) if len(item) else 0)
        pairs = torch.arange(len(items), device=items.device).unsqueeze(1) * stride + items
        kept &= ~torch.isin(pairs, place * stride + item)
    return kept
