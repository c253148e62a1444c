"""Ranking the whole catalogue for each user: exact figures, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, TwoTowerData
from towerzoo.registry.errors import ConfigError, DataError, Problem, TrainingError
from towerzoo.towers.metrics.lists import coverage, list_metrics, list_popularity, overlap, popularity_percentiles
from towerzoo.towers.retrieval.best_items import USERS_AT_ONCE, best_items
from towerzoo.towers.retrieval.seen_items import SeenItems

BLOCK_BYTES = 32 << 20
"""Memory for the figures of the users that are ranked at once, besides the scores, which retrieval bounds alike."""
BYTES_A_PLACE = 64
"""What a place in a list takes of it: its item, whether it is a hit, and the running sums of the metrics."""


@dataclass(frozen=True)
class RankingTask:
    """What users are to be recommended, whoever recommends: a model and its baselines get the same task.

    A relevant item is never left out, although its user may have met it before: it could not be found otherwise, and
    the user would be punished twice. Relevant events of the unknown user or item stand for nobody and nothing in
    particular and do not count.

    Attributes:
        user: User rows of the relevant events (N,).
        item: Item rows of the relevant events (N,); a pair that comes several times counts once.
        seen: Items to leave out of each user's candidates; None leaves none out.
        counts: Training events of each item (I,), by which its popularity goes.
        ks: Lengths of lists.
    """

    user: Tensor
    item: Tensor
    seen: SeenItems | None
    counts: Tensor
    ks: Sequence[int]


@dataclass(frozen=True)
class Ranking:
    """The lists of all users with a relevant item, and what they are worth.

    Attributes:
        ks: Lengths of lists, ascending.
        users: User rows (U,), ascending.
        n_left_out: Users, without the unknown one, who have no relevant item and of whom nothing can be said.
        top: int32 item rows (U, K), best first, of equal scores the lower row first; 0 where a user has fewer than K
            candidates.
        user_metrics: float64 (U,) by names such as `recall@10`: those of `list_metrics` and `list_popularity`.
        list_figures: `coverage@k` and `overlap@k` of all lists together.
        place: Place in `users` of each relevant pair (P,); pairs go by user and then by item.
        item: Item row of each relevant pair (P,).
        rank: Rank of each relevant pair in its user's list (P,), from 1; 0 where it is not among the K.
    """

    ks: tuple[int, ...]
    users: Tensor
    n_left_out: int
    top: Tensor
    user_metrics: dict[str, Tensor]
    list_figures: dict[str, float]
    place: Tensor
    item: Tensor
    rank: Tensor

    def figures(self) -> dict[str, float]:
        """Returns the mean over users of every metric, and the figures of all lists together."""
        return {name: value.mean().item() for name, value in self.user_metrics.items()} | self.list_figures


@torch.no_grad()
def rank(user_factors: Tensor, item_factors: Tensor, task: RankingTask) -> Ranking:
    """Ranks all items by their dot product with each user who has a relevant one.

    Nothing is sampled: sampled figures can order models differently (Krichene and Rendle, On sampled metrics for item
    recommendation, 2020). The unknown item is no candidate.

    Args:
        user_factors: One a row of the users table (n_users, F).
        item_factors: One a row of the items table (I, F).
        task: What to rank for whom.

    Raises:
        ConfigError: A k is below 1 or beyond the catalogue.
        DataError: No known user has a relevant known item.
        TrainingError: A factor is not finite.

    Example:
        >>> users, items = torch.ones(3, 1), torch.tensor([[9.0], [1.0], [3.0], [2.0]])
        >>> seen, counts = SeenItems(torch.tensor([1]), torch.tensor([2]), n_users=3), torch.tensor([0, 5, 2, 1])
        >>> task = RankingTask(torch.tensor([1, 2]), torch.tensor([1, 2]), seen, counts, ks=[1, 2])
        >>> ranking = rank(users, items, task)
        >>> ranking.top.tolist(), ranking.rank.tolist(), ranking.figures()["mrr@2"]
        ([[3, 1], [2, 3]], [2, 1], 0.75)
    """
    ks = checked_lengths(task.ks, len(item_factors) - 1)
    if not (user_factors.isfinite().all() and item_factors.isfinite().all()):
        raise TrainingError(
            "the vectors to rank by must be finite, got NaN or infinity. "
            "Lower the learning rate, or test an earlier checkpoint."
        )
    known = (task.user != UNKNOWN) & (task.item != UNKNOWN)
    pairs = torch.unique(task.user[known].long() * len(item_factors) + task.item[known].long())
    if len(pairs) == 0:
        raise DataError(
            "the events to rank must be at least one of a known user and item, got none. "
            "Change the split or what counts as relevant."
        )
    item = pairs % len(item_factors)
    users, place, n_relevant = torch.unique_consecutive(
        pairs // len(item_factors), return_inverse=True, return_counts=True
    )
    ends = n_relevant.cumsum(0)
    percentiles = popularity_percentiles(task.counts)
    lists_with = torch.zeros(len(ks), len(item_factors), dtype=torch.int64)
    tops, ranks, metrics = [], [], []
    at_once = min(USERS_AT_ONCE, max(1, BLOCK_BYTES // (BYTES_A_PLACE * ks[-1])))
    for start in range(0, len(users), at_once):
        rows, counts = users[start : start + at_once], n_relevant[start : start + at_once]
        some = slice(int(ends[start] - counts[0]), int(ends[start + len(rows) - 1]))
        relevant = (place[some] - start) * len(item_factors) + item[some]
        seen = None if task.seen is None else _without(relevant, task.seen.of(rows), len(rows), len(item_factors))
        top = best_items(user_factors[rows.to(user_factors.device)], item_factors, ks[-1], seen=seen).items.cpu()
        tops.append(top.int())
        hits, found = _find(top, relevant, len(item_factors))
        ranks.append(found)
        metrics.append(list_metrics(hits, counts, ks) | list_popularity(top, percentiles, ks))
        for lists, k in zip(lists_with, ks, strict=True):
            lists += torch.bincount(top[:, :k].flatten(), minlength=len(item_factors))
    return Ranking(
        ks=ks,
        users=users,
        n_left_out=len(user_factors) - 1 - len(users),
        top=torch.cat(tops),
        user_metrics={name: torch.cat([block[name] for block in metrics]) for name in metrics[0]},
        list_figures={f"coverage@{k}": coverage(lists) for lists, k in zip(lists_with, ks, strict=True)}
        | {f"overlap@{k}": overlap(lists, len(users), k) for lists, k in zip(lists_with, ks, strict=True)},
        place=place,
        item=item,
        rank=torch.cat(ranks),
    )


def checked_lengths(ks: Sequence[int], n_items: int, where: str = "K") -> tuple[int, ...]:
    """Returns the lengths of lists, each once and in ascending order.

    Args:
        ks: The lengths.
        n_items: How many items there are.
        where: What messages call a length.

    Raises:
        ConfigError: One is below 1 or beyond the catalogue, or there is none.
    """
    problems = [Problem(where, "a whole number >= 1", k, "Recommend at least one item.") for k in ks if k < 1]
    expected = f"at most the {n_items} items of the catalogue"
    problems += [Problem(where, expected, k, "Ask for shorter lists.") for k in ks if k > n_items]
    if not ks:
        problems = [Problem("the lengths of lists", "at least one", list(ks), "Ask for one, such as 10.")]
    if problems:
        raise ConfigError(problems)
    return tuple(sorted(set(ks)))


def _without(relevant: Tensor, seen: tuple[Tensor, Tensor], n_users: int, n_items: int) -> tuple[SeenItems, Tensor]:
    """Returns what was seen by some users, by their place, without the relevant pairs."""
    place, item = seen
    kept = ~torch.isin(place * n_items + item, relevant)
    return SeenItems(place[kept], item[kept], n_users), torch.arange(n_users)


def _find(top: Tensor, relevant: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """Returns which places (U, K) of lists hold relevant items, and the rank of each of these (P,), 0 without one.

    Args:
        top: Item rows (U, K).
        relevant: `place * n_items + item` of the relevant pairs (P,), ascending.
        n_items: Rows of the items table.
    """
    pairs = torch.arange(len(top)).unsqueeze(1) * n_items + top
    nearest = torch.searchsorted(relevant, pairs).clamp_max(len(relevant) - 1)
    hits = relevant[nearest] == pairs
    ranks = torch.zeros_like(relevant)
    ranks[nearest[hits]] = hits.nonzero()[:, 1] + 1
    return hits, ranks


def ranking_task(data: TwoTowerData, part: str, at: Sequence[int]) -> RankingTask:
    """Returns the task of finding the positive events of a part of the split.

    Lists leave out what a user met before: in training and, where the test split is ranked, in validation.

    Args:
        data: The events.
        part: `valid` or `test`.
        at: Lengths of lists.
    """
    n_users = len(data.schema.users)
    rows = getattr(data.split, part)
    relevant = rows[data.labels.index_select(0, rows) > 0.5]
    user, item = (column.index_select(0, relevant) for column in data.schema.interactions.pairs)
    ranked = torch.zeros(n_users, dtype=torch.bool)
    ranked[user.long()] = True
    return RankingTask(
        user,
        item,
        seen=SeenItems(*_met(data, ("train",) if part == "valid" else ("train", "valid"), ranked), n_users),
        counts=data.train_counts.item,
        ks=at,
    )


def _met(data: TwoTowerData, parts: Sequence[str], ranked: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the pairs of user and item rows of all events of users that are ranked (n_users,)."""
    users, items = [], []
    for part in parts:
        for events in data.events(part):
            rows = torch.nonzero(ranked.index_select(0, events.user))[:, 0]
            users.append(events.user.index_select(0, rows))
            items.append(events.item.index_select(0, rows))
    return torch.cat(users), torch.cat(items)
