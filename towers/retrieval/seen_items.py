"""The items that users have met."""

from __future__ import annotations

import functools
from typing import Final

import torch
from torch import Tensor

ITEM_BITS: Final = 31
"""Bits of an item's row."""


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

    def holds(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns whether users have met items: bool, of the shape that their rows have together.

        Example:
            >>> seen = SeenItems(torch.tensor([2, 0, 2]), torch.tensor([5, 1, 3]), n_users=3)
            >>> seen.holds(torch.tensor([[2], [0]]), torch.tensor([[3, 4], [1, 5]]))
            tensor([[ True, False],
                    [ True, False]])
        """
        keys = (users.long() << ITEM_BITS) + items
        places = torch.searchsorted(self._keys, keys).clamp_max(max(0, len(self._keys) - 1))
        return self._keys.take(places) == keys if len(self._keys) else torch.zeros_like(keys, dtype=torch.bool)

    @functools.cached_property
    def _keys(self) -> Tensor:
        """User and item of every event in one number, ascending; made when first asked for, since rankings never do."""
        counts = self._ends.diff(prepend=self._ends.new_zeros(1))
        users = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        return ((users << ITEM_BITS) + self._items).sort().values
