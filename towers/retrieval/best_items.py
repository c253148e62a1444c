"""The best items for users out of the whole catalogue, exactly and in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.retrieval.seen_items import SeenItems

USERS_AT_ONCE, ITEMS_AT_ONCE = 512, 16_384
"""Users and items that are scored in one matrix product: at most 32 MiB of scores, whatever the catalogue's size."""

NUMBERS_AT_ONCE = 1 << 22
"""Numbers of items' vectors that are gathered at once: 16 MiB."""

NEARLY = 1e-6
"""Scores that differ by no more than this share of a user's largest one may be those of equal vectors: a product of
matrices rounds by the place of an item and by how many users it is for."""

NO_SCORE = float("-inf")


class TopItems(NamedTuple):
    """The best items of some users, best first; of equal scores the item of the lower row comes first.

    Items of equal vectors have equal scores, so that a user's list is the same alone and among others.

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
    best: TopItems | None = None
    for start in range(0, len(items), ITEMS_AT_ONCE):
        block = items[start : start + ITEMS_AT_ONCE]
        scores = users @ block.T
        if start == 0:
            scores[:, UNKNOWN] = NO_SCORE
        if allowed is not None:
            scores.masked_fill_(~allowed[start : start + ITEMS_AT_ONCE].to(scores.device), NO_SCORE)
        if left_out is not None:
            place, item = (values.to(users.device) for values in left_out)
            here = (item >= start) & (item < start + scores.shape[1])
            scores[place[here], item[here] - start] = NO_SCORE
        found = _top(scores, users, block, min(k, scores.shape[1]))
        rows, values = found.items + start, found.scores
        if best is not None:
            rows, values = torch.cat([best.items, rows], dim=1), torch.cat([best.scores, values], dim=1)
        best = TopItems(*(some[:, :k] for some in _ranked(rows, values, users, items)))
    assert best is not None
    lacking = (0, k - best.items.shape[1])
    return TopItems(
        functional.pad(best.items.where(best.scores > NO_SCORE, UNKNOWN), lacking, value=UNKNOWN),
        functional.pad(best.scores, lacking, value=NO_SCORE),
    )


def _top(scores: Tensor, users: Tensor, items: Tensor, k: int) -> TopItems:
    """Returns the k largest scores of each row (U, I), of nearly equal ones those that `_ranked` puts first."""
    values, columns = scores.topk(k, dim=1)
    least = values[:, -1:] - nearly(values)
    # Which of several columns tied for the last place topk takes is not defined: all of them are ranked.
    tied = ((scores >= least).sum(dim=1) > k) & (least.squeeze(1) > NO_SCORE)
    for place in torch.nonzero(tied)[:, 0].tolist():
        found = torch.nonzero(scores[place] >= least[place]).T
        some = _ranked(found, scores[place, found], users[place : place + 1], items)
        columns[place], values[place] = some.items[0, :k], some.scores[0, :k]
    return TopItems(columns, values)


def _ranked(rows: Tensor, scores: Tensor, users: Tensor, items: Tensor) -> TopItems:
    """Sorts lists (U, n) by score and row, after items of nearly equal scores were scored anew, all in the same way."""
    rows, order = rows.sort(dim=1)
    scores = scores.gather(1, order)
    values, order = scores.sort(dim=1, descending=True, stable=True)
    # Where lists have ended, infinity less infinity is no number, and so no small one.
    near = values[:, :-1] - values[:, 1:] <= nearly(values)
    if bool(near.any()):
        pairs = torch.nonzero(functional.pad(near, (0, 1)) | functional.pad(near, (1, 0)))
        for user, place in (some.T for some in torch.split(pairs, 1 + NUMBERS_AT_ONCE // (1 + items.shape[1]))):
            column = order[user, place]
            scores[user, column] = scored_alike(users[user], items[rows[user, column]])
        unsure = torch.nonzero(near.any(dim=1))[:, 0]
        values[unsure], order[unsure] = scores[unsure].sort(dim=1, descending=True, stable=True)
    return TopItems(rows.gather(1, order), values)


def nearly(values: Tensor) -> Tensor:
    """Returns by how much the scores of a list, best first (U, n), may differ that are nearly equal (U, 1)."""
    return NEARLY * values[:, :1].abs()


def scored_alike(users: Tensor, items: Tensor) -> Tensor:
    """Returns the scores (n,) of pairs, each summed in the same order, so that equal vectors have equal ones.

    Args:
        users: Their vectors (n, F), or that of one user for all items (F,).
        items: Their vectors (n, F).
    """
    return (items * users).sum(dim=1)
