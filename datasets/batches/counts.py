"""Counts and digests of events, in a single pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from towerzoo.datasets.batches.loaders import Batch


@dataclass(frozen=True)
class EventCounts:
    """How many events each user and each item has; its memory depends on the users and items alone.

    Attributes:
        user: int64 events of each row of the users table (n_users,).
        item: int64 events of each row of the items table (n_items,).
        positive: int64 positive events of each row of the items table (n_items,).
        total: All events.
        positives: All positive events.
    """

    user: Tensor
    item: Tensor
    positive: Tensor
    total: int
    positives: int

    @classmethod
    def of(cls, parts: Iterable[Batch], n_users: int, n_items: int) -> EventCounts:
        """Counts events, a batch at a time.

        Example:
            >>> from towerzoo.datasets import Batch
            >>> batch = Batch(torch.tensor([1, 2]), torch.tensor([1, 1]), torch.tensor([1.0, 0.0]))
            >>> counts = EventCounts.of([batch, batch], n_users=3, n_items=2)
            >>> counts.user.tolist(), counts.item.tolist(), counts.positive.tolist(), counts.total, counts.positives
            ([0, 2, 2], [0, 4], [0, 2], 4, 2)
        """
        user = torch.zeros(n_users, dtype=torch.int64)
        item, positive = torch.zeros(2, n_items, dtype=torch.int64)
        for events in parts:
            user += torch.bincount(events.user, minlength=n_users)
            item += torch.bincount(events.item, minlength=n_items)
            positive += torch.bincount(events.item[events.label > 0.5], minlength=n_items)
        return cls(user, item, positive, int(item.sum()), int(positive.sum()))


def digest_of_columns(columns: Iterable[Iterable[Tensor]]) -> str:
    """Returns the number and the digest of labelled events, as `NUMBER:DIGEST`.

    Args:
        columns: User rows, item rows and labels, each in any number of chunks.

    Example:
        >>> rows = torch.arange(4)
        >>> digest_of_columns([[rows], [rows]]) == digest_of_columns([rows.split(3), rows.split(1)])
        True
    """
    digest = hashlib.sha256()
    events = 0
    for column in columns:
        events = 0
        for values in column:
            digest.update(values.numpy().data)
            events += len(values)
    return f"{events}:{digest.hexdigest()[:16]}"
