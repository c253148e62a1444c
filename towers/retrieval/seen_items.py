"""The items that users have seen."""

from __future__ import annotations

import functools
from typing import Final

import torch
from torch import Tensor

ITEM_BITS: Final = 31
"""Bits of an item row in a key of user and item."""


class SeenItems:
    """The items that each user has seen, to leave them out of recommendations.

    Args:
        user: User rows of the events (N,).
        item: Item rows of the events (N,).
        n_users: Rows of the users table.

    Example:
        >>> seen = SeenItems(torch.tensor([2, 0, 2]), torch.tensor([5, 1, 3]), n_users=3)
        >>> seen.of(torch.tensor([2, 1]))
        (tensor([0, 0]), tensor([5, 3]))
        >>> seen.holds(torch.tensor([[2], [0]]), torch.tensor([[3, 4], [1, 5]]))
        tensor([[ True, False],
                [ True, False]])
    """

    def __init__(self, user: Tensor, item: Tensor, n_users: int) -> None:
        if bool((user[1:] < user[:-1]).any()):
            item = item.index_select(0, user.argsort(stable=True))
        self._items = item.long()
        self._ends = torch.bincount(user, minlength=n_users).cumsum(0)

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the events of user rows (U,): the position of the user in `users` and the item row, (N,) each."""
        ends = self._ends.index_select(0, users.long())
        starts = torch.where(users > 0, self._ends.index_select(0, (users.long() - 1).clamp_min(0)), 0)
        counts = ends - starts
        positions = torch.arange(len(users), device=users.device).repeat_interleave(counts)
        shift = (starts - counts.cumsum(0) + counts).index_select(0, positions)
        return positions, self._items[torch.arange(len(positions), device=users.device) + shift]

    def holds(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns whether users have seen items: bool, of the broadcast shape of the two."""
        keys = (users.long() << ITEM_BITS) + items
        if not len(self._keys):
            return torch.zeros_like(keys, dtype=torch.bool)
        return self._keys.take(torch.searchsorted(self._keys, keys).clamp_max(len(self._keys) - 1)) == keys

    @functools.cached_property
    def _keys(self) -> Tensor:
        """User and item of every event in one number, ascending; made on first use, which rankings never need."""
        counts = self._ends.diff(prepend=self._ends.new_zeros(1))
        users = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        return ((users << ITEM_BITS) + self._items).sort().values


SeenBy = tuple[SeenItems, Tensor]
"""Items to leave out of some users' lists, and the rows (U,) of these users in it."""
