"""Exact search: the best items of the whole catalogue for each user, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.retrieval.seen_items import SeenBy

USERS_AT_ONCE, ITEMS_AT_ONCE = 512, 16_384
"""Users and items that are scored in one matrix product: at most 32 MiB of scores, whatever the catalogue's size."""

NO_SCORE = float("-inf")
"""The score of an item that is not a candidate."""


class TopItems(NamedTuple):
    """The best items of some users, best first; among equal scores the item of the lower row comes first.

    A matrix product rounds differently for other numbers of users or items, so items whose scores differ in the last
    bits only, such as those of equal vectors, may swap places between a user's list alone and among others.

    Attributes:
        items: int64 item rows (U, k); the unknown row, 0, where a user has fewer than k candidates.
        scores: Their logits (U, k); minus infinity where there is no item.
    """

    items: Tensor
    scores: Tensor


def best_items(
    user_factors: Tensor,
    item_factors: Tensor,
    k: int,
    *,
    seen: SeenBy | None = None,
    allowed: Tensor | None = None,
) -> TopItems:
    """Returns the k items of the largest dot product with each user; the unknown item is not a candidate.

    Args:
        user_factors: (U, F).
        item_factors: Factors of each row of the items table (I, F).
        k: Items per user, >= 1.
        seen: The items to leave out, and the rows (U,) of these users in it.
        allowed: Which items are candidates at all (I,), for every user; None allows every item.

    Example:
        >>> users, items = torch.tensor([[1.0]]), torch.tensor([[9.0], [2.0], [4.0], [4.0]])
        >>> best_items(users, items, 2).items
        tensor([[2, 3]])
    """
    blocks = []
    for n, users in enumerate(torch.split(user_factors, USERS_AT_ONCE)):
        rows = slice(n * USERS_AT_ONCE, (n + 1) * USERS_AT_ONCE)
        left_out = None if seen is None else seen[0].of(seen[1][rows])
        blocks.append(_best_of_block(users, item_factors, k, left_out, allowed))
    return TopItems(*map(torch.cat, zip(*blocks, strict=True)))


def _best_of_block(
    users: Tensor, items: Tensor, k: int, left_out: tuple[Tensor, Tensor] | None, allowed: Tensor | None
) -> TopItems:
    rows, values = users.new_empty((len(users), 0), dtype=torch.int64), users.new_empty((len(users), 0))
    for start in range(0, len(items), ITEMS_AT_ONCE):
        scores = users @ items[start : start + ITEMS_AT_ONCE].T
        if start == 0:
            scores[:, UNKNOWN] = NO_SCORE
        if allowed is not None:
            scores.masked_fill_(~allowed[start : start + ITEMS_AT_ONCE].to(scores.device), NO_SCORE)
        if left_out is not None:
            user, item = (part.to(users.device) for part in left_out)
            here = (item >= start) & (item < start + scores.shape[1])
            scores[user[here], item[here] - start] = NO_SCORE
        columns = _best_columns(scores, min(k, scores.shape[1]))
        # Rows that stand further left are lower wherever scores are equal, and a stable sort keeps them first.
        rows = torch.cat([rows, columns + start], dim=1)
        values, order = torch.cat([values, scores.gather(1, columns)], dim=1).sort(dim=1, descending=True, stable=True)
        rows, values = rows.gather(1, order[:, :k]), values[:, :k]
    missing = (0, k - rows.shape[1])
    return TopItems(
        functional.pad(rows.where(values > NO_SCORE, UNKNOWN), missing, value=UNKNOWN),
        functional.pad(values, missing, value=NO_SCORE),
    )


def _best_columns(scores: Tensor, k: int) -> Tensor:
    """Returns the columns of the k largest scores of each row (U, I), ascending; of equal scores the lowest columns."""
    values, columns = scores.topk(k, dim=1)
    last = values[:, -1:]
    # Where more columns share the last place, topk takes any of them.
    tied = ((scores >= last).sum(dim=1) > k) & (last.squeeze(1) > NO_SCORE)
    if bool(tied.any()):
        of_tied, last = scores[tied], last[tied]
        better, equal = of_tied > last, of_tied == last
        kept = better | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= k - better.sum(dim=1, keepdim=True)))
        columns[tied] = kept.nonzero()[:, 1].view(-1, k)
    return columns.sort(dim=1).values
