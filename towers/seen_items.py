"""The items that users have met."""

from __future__ import annotations

import torch
from torch import Tensor


class SeenItems:
    """The items that each user has met, to be left out of what is recommended.

    Args:
        user: User rows of the events (N,).
        item: Item rows of the events (N,).
        n_users: Rows of the users table.

    Example:
        >>> seen = SeenItems(torch.tensor([2, 0, 2]), torch.tensor([5, 1, 3]), n_users=3)
        >>> seen.of(torch.tensor([2, 1]))
        (tensor([0, 0]), tensor([5, 3]))
    """

    def __init__(self, user: Tensor, item: Tensor, n_users: int) -> None:
        if bool((user[1:] < user[:-1]).any()):
            item = item.index_select(0, user.argsort(stable=True))
        self._items = item.long()
        self._ends = torch.bincount(user, minlength=n_users).cumsum(0)

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the events of user rows (U,): each one's place among these users, and its item row."""
        ends = self._ends.index_select(0, users.long())
        starts = torch.where(users > 0, self._ends.index_select(0, (users.long() - 1).clamp_min(0)), 0)
        counts = ends - starts
        places = torch.arange(len(users), device=users.device).repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        return places, self._items[
            torch.arange(len(places), device=users.device) - (first - starts).index_select(0, places)
        ]
