"""What is to be found in validation and test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from towerzoo.datasets import TwoTowerData
from towerzoo.towers.metrics.ranking import RankingTask
from towerzoo.towers.retrieval.seen_items import SeenItems


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
