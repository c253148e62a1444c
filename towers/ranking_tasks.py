"""What is to be found in validation and test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from towerzoo.datasets import TwoTowerData
from towerzoo.towers.ranking import RankingTask
from towerzoo.towers.seen_items import SeenItems


def ranking_task(data: TwoTowerData, part: str, at: Sequence[int]) -> RankingTask:
    """Returns the task of finding the positive events of a part of the split.

    Lists leave out what a user met before: in training and, where the test split is ranked, in validation.

    Args:
        data: The events.
        part: `valid` or `test`.
        at: Lengths of lists.
    """
    split, n_users, n_items = data.split, len(data.schema.users), len(data.schema.items)
    rows = getattr(split, part)
    relevant = rows[data.labels.index_select(0, rows) > 0.5]
    seen = split.train if part == "valid" else torch.cat([split.train, split.valid])
    return RankingTask(
        *_pairs(data, relevant),
        seen=SeenItems(*_pairs(data, seen), n_users),
        counts=torch.bincount(_pairs(data, split.train)[1], minlength=n_items),
        ks=at,
    )


def _pairs(data: TwoTowerData, rows: Tensor) -> tuple[Tensor, Tensor]:
    user, item = (column.index_select(0, rows) for column in data.schema.interactions.pairs)
    return user, item
