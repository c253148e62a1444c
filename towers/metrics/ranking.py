"""Ranks the whole catalogue for each user: exact figures, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, TwoTowerData
from towerzoo.registry.errors import ConfigError, DataError, Problem, TrainingError
from towerzoo.towers.metrics.lists import list_figures, list_metrics, list_popularity, popularity_percentiles
from towerzoo.towers.metrics.plan import Figures
from towerzoo.towers.retrieval.best_items import USERS_AT_ONCE, best_items
from towerzoo.towers.retrieval.seen_items import SeenItems

BLOCK_BYTES: Final = 32 << 20
"""Memory for the metrics of the users that are ranked at once; retrieval bounds the scores in the same way."""
BYTES_A_POSITION: Final = 64
"""Share of a position in a list: its item, whether it is a hit, and the running sums of the metrics."""


@dataclass(frozen=True)
class RankingTask:
    """Which items are to be found for which users; the same for a model and its baselines.

    A relevant item is never left out, even if its user has seen it before: it could not be found otherwise. Relevant
    events of the unknown user or item do not count.

    Attributes:
        user: User rows of the relevant events (N,).
        item: Item rows of the relevant events (N,); a repeated pair counts once.
        seen: Items to leave out of each user's candidates; None leaves none out.
        counts: Training events of each item (I,), its popularity.
        ks: Lengths of lists.
    """

    user: Tensor
    item: Tensor
    seen: SeenItems | None
    counts: Tensor
    ks: Sequence[int]


@dataclass(frozen=True)
class Ranking:
    """The lists of all users with a relevant item, and their metrics.

    Attributes:
        ks: Lengths of lists, ascending.
        users: User rows (U,), ascending.
        top: int32 item rows (U, K), best first, of equal scores the lower row first; 0 where a user has fewer than K
            candidates.
        user_metrics: float64 (U,) by names such as `recall@10`: those of `list_metrics` and `list_popularity`.
        list_figures: `coverage@k` and `overlap@k` of all lists together.
        position: Index in `users` of each relevant pair (P,); pairs are sorted by user and then by item.
        item: Item row of each relevant pair (P,).
        rank: Rank of each relevant pair in its user's list (P,), from 1; 0 if it is not among the K.
    """

    ks: tuple[int, ...]
    users: Tensor
    top: Tensor
    user_metrics: dict[str, Tensor]
    list_figures: Figures
    position: Tensor
    item: Tensor
    rank: Tensor

    def figures(self) -> Figures:
        """Returns the mean over users of every metric, and the figures of all lists together."""
        return {name: value.mean().item() for name, value in self.user_metrics.items()} | self.list_figures


@torch.no_grad()
def rank(user_factors: Tensor, item_factors: Tensor, task: RankingTask) -> Ranking:
    """Ranks all items by their dot product with each user who has a relevant one.

    Nothing is sampled: sampled metrics can order models differently (Krichene and Rendle, On sampled metrics for item
    recommendation, 2020). The unknown item is not a candidate.

    Args:
        user_factors: Factors of each row of the users table (n_users, F).
        item_factors: Factors of each row of the items table (I, F).
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
    n_items = len(item_factors)
    ks = checked_lengths(task.ks, n_items - 1)
    if not (user_factors.isfinite().all() and item_factors.isfinite().all()):
        raise TrainingError(
            "The model's vectors hold NaN or infinity and cannot be ranked. "
            "Lower the learning rate, or test an earlier checkpoint."
        )
    known = (task.user != UNKNOWN) & (task.item != UNKNOWN)
    pairs = torch.unique(task.user[known].long() * n_items + task.item[known].long())
    if len(pairs) == 0:
        raise DataError(
            "No event to rank has a known user and a known item. Change the split, or which events are positive."
        )
    item = pairs % n_items
    users, position, n_relevant = torch.unique_consecutive(pairs // n_items, return_inverse=True, return_counts=True)
    ends = n_relevant.cumsum(0)
    percentiles = popularity_percentiles(task.counts)
    lists_with = torch.zeros(len(ks), n_items, dtype=torch.int64)
    tops, ranks, metrics = [], [], []
    at_once = min(USERS_AT_ONCE, max(1, BLOCK_BYTES // (BYTES_A_POSITION * ks[-1])))
    for start in range(0, len(users), at_once):
        rows, counts = users[start : start + at_once], n_relevant[start : start + at_once]
        chunk = slice(int(ends[start] - counts[0]), int(ends[start + len(rows) - 1]))
        relevant = (position[chunk] - start) * n_items + item[chunk]
        seen = None if task.seen is None else _without(relevant, task.seen.of(rows), len(rows), n_items)
        top = best_items(user_factors[rows.to(user_factors.device)], item_factors, ks[-1], seen=seen).items.cpu()
        tops.append(top.int())
        hits, rank_of_relevant = _find(top, relevant, n_items)
        ranks.append(rank_of_relevant)
        metrics.append(list_metrics(hits, counts, ks) | list_popularity(top, percentiles, ks))
        for lists, k in zip(lists_with, ks, strict=True):
            lists += torch.bincount(top[:, :k].flatten(), minlength=n_items)
    return Ranking(
        ks=ks,
        users=users,
        top=torch.cat(tops),
        user_metrics={name: torch.cat([block[name] for block in metrics]) for name in metrics[0]},
        list_figures=list_figures(lists_with, len(users), ks),
        position=position,
        item=item,
        rank=torch.cat(ranks),
    )


def checked_lengths(ks: Sequence[int], n_items: int, where: str = "K") -> tuple[int, ...]:
    """Returns the lengths of lists in ascending order, without repetitions; messages call one `where`.

    Raises:
        ConfigError: There is none, or one is below 1 or beyond the catalogue of `n_items`.
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
    """Returns the seen items of a block of users, numbered from 0, without the relevant pairs."""
    position, item = seen
    kept = ~torch.isin(position * n_items + item, relevant)
    return SeenItems(position[kept], item[kept], n_users), torch.arange(n_users)


def _find(top: Tensor, relevant: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """Finds the relevant items in lists.

    Args:
        top: Item rows (U, K).
        relevant: `position of the user * n_items + item` of the relevant pairs (P,), ascending.
        n_items: Rows of the items table.

    Returns:
        Bools (U, K), which positions hold a relevant item, and the rank of each relevant pair (P,), 0 without one.
    """
    pairs = torch.arange(len(top)).unsqueeze(1) * n_items + top
    nearest = torch.searchsorted(relevant, pairs).clamp_max(len(relevant) - 1)
    hits = relevant[nearest] == pairs
    ranks = torch.zeros_like(relevant)
    ranks[nearest[hits]] = hits.nonzero()[:, 1] + 1
    return hits, ranks


def ranking_task(data: TwoTowerData, part: str, at: Sequence[int]) -> RankingTask:
    """Returns the task of finding the positive events of a part of the split.

    Lists leave out the items that a user has seen: in training and, if the test split is ranked, in validation.

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
    users, items = [], []
    for earlier in ("train",) if part == "valid" else ("train", "valid"):
        for events in data.events(earlier):
            kept = torch.nonzero(ranked.index_select(0, events.user))[:, 0]
            users.append(events.user.index_select(0, kept))
            items.append(events.item.index_select(0, kept))
    seen = SeenItems(torch.cat(users), torch.cat(items), n_users)
    return RankingTask(user, item, seen=seen, counts=data.train_counts.item, ks=at)
