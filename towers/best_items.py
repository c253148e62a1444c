"""The best items for users out of the whole catalogue, exactly and in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.seen_items import SeenItems

USERS_AT_ONCE, ITEMS_AT_ONCE = 512, 16_384
"""Users and items that are scored in one matrix product: at most 32 MiB of scores, whatever the catalogue's size."""

NO_SCORE = float("-inf")


class TopItems(NamedTuple):
    """The best items of some users, best first; of equal scores the item of the lower row comes first.

    Attributes:
        items: int64 item rows (U, k); the unknown row, 0, where a user has fewer than k candidates.
        scores: Their logits (U, k); minus infinity there.
    """

    items: Tensor
    scores: Tensor


def best_items(
    user_factors: Tensor,
    item_factors: Tensor,
    k: int,
    *,
    seen: tuple[SeenItems, Tensor] | None = None,
    allowed: Tensor | None = None,
) -> TopItems:
    """Returns the k items of the largest dot product with each user; the unknown item is no candidate.

    Args:
        user_factors: (U, F).
        item_factors: One a row of the items table (I, F).
        k: Items a user, >= 1.
        seen: What to leave out, and the rows (U,) of these users.
        allowed: Which items are candidates at all (I,), for every user; none allows every item.

    Example:
        >>> users, items = torch.tensor([[1.0]]), torch.tensor([[9.0], [2.0], [4.0], [4.0]])
        >>> best_items(users, items, 2).items
        tensor([[2, 3]])
    """
    blocks = []
    for start in range(0, len(user_factors), USERS_AT_ONCE):
        place = slice(start, start + USERS_AT_ONCE)
        left_out = None if seen is None else seen[0].of(seen[1][place])
        blocks.append(_best_of_block(user_factors[place], item_factors, k, left_out, allowed))
    if not blocks:
        return TopItems(user_factors.new_empty((0, k), dtype=torch.int64), user_factors.new_empty((0, k)))
    return TopItems(*map(torch.cat, zip(*blocks, strict=True)))


def _best_of_block(
    users: Tensor, items: Tensor, k: int, left_out: tuple[Tensor, Tensor] | None, allowed: Tensor | None
) -> TopItems:
    best = TopItems(
        torch.full((len(users), k), UNKNOWN, device=users.device), users.new_full((len(users), k), NO_SCORE)
    )
    for start in range(0, len(items), ITEMS_AT_ONCE):
        scores = users @ items[start : start + ITEMS_AT_ONCE].T
        if start == 0:
            scores[:, UNKNOWN] = NO_SCORE
        if allowed is not None:
            scores.masked_fill_(~allowed[start : start + ITEMS_AT_ONCE].to(scores.device), NO_SCORE)
        if left_out is not None:
            place, item = (values.to(users.device) for values in left_out)
            here = (item >= start) & (item < start + scores.shape[1])
            scores[place[here], item[here] - start] = NO_SCORE
        found = _top(scores, min(k, scores.shape[1]))
        # Items of earlier blocks come first and have the lower rows, so that a stable sort keeps the order of ties.
        together = torch.cat([best.scores, found.scores], dim=1).sort(dim=1, descending=True, stable=True)
        rows = torch.cat([best.items, found.items + start], dim=1).gather(1, together.indices[:, :k])
        best = TopItems(rows, together.values[:, :k])
    return TopItems(best.items.where(best.scores > NO_SCORE, UNKNOWN), best.scores)


def _top(scores: Tensor, k: int) -> TopItems:
    """Returns the k largest scores of each row (U, I), of equal ones those of the lower column, in that order."""
    values, columns = scores.topk(k, dim=1, sorted=False)
    least = values.min(dim=1, keepdim=True).values
    # Which of several columns tied for the last place topk takes is not defined: such rows are sorted whole.
    tied = ((scores == least).sum(dim=1) > (values == least).sum(dim=1)) & (least.squeeze(1) > NO_SCORE)
    columns = columns.sort(dim=1).values
    ranked = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    items, values = columns.gather(1, ranked.indices), ranked.values
    if bool(tied.any()):
        whole = scores[tied].sort(dim=1, descending=True, stable=True)
        items[tied], values[tied] = whole.indices[:, :k], whole.values[:, :k]
    return TopItems(items, values)
