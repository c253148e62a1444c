"""Histories: what each user did in the training split, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from towerzoo.datasets.vocabulary import UNKNOWN

if TYPE_CHECKING:
    from towerzoo.datasets.splits import Split

NO_POSITION: Final = -1
"""The position of an event that is in no history."""


@dataclass(frozen=True)
class History:
    """The past of each row of a table, oldest first: its training events, then its validation events.

    The unknown row has none: its events are those of many users, and every new user would inherit them.

    Attributes:
        partner: int32 rows of the other table, grouped by owner, oldest first (T,).
        kinds: int32 kinds of each event, numbered from 0 (T,), by name: `label`, and `feedback`, the column that labels
            are made from, such as the rating.
        n_partners: Rows of the other table.
        starts: int64 positions in `partner` at which the history of each row begins (n_rows,).
        ends: int64 positions at which its training events end (n_rows,).
        test_ends: int64 positions at which its validation events end; equal to `ends` unless the split is in time.
        position: int32 position in `partner` of each event of the dataset (N,); `NO_POSITION` if it is in no history.
        ordered: Whether the events have times; otherwise they are in file order.
    """

    partner: Tensor
    kinds: Mapping[str, Tensor]
    n_partners: int
    starts: Tensor
    ends: Tensor
    test_ends: Tensor
    position: Tensor
    ordered: bool

    def limited(self, k: int) -> History:
        """Returns histories of at most the last k events that are known in the test, k >= 0."""
        starts = torch.maximum(self.starts, self.test_ends - min(k, len(self.partner)))
        return replace(self, starts=starts, ends=torch.maximum(self.ends, starts))

    @classmethod
    def gather(
        cls,
        owner: Tensor,
        partner: Tensor,
        observed: Mapping[str, Tensor],
        timestamp: Tensor | None,
        split: Split,
        *,
        n_owners: int,
        n_partners: int,
    ) -> History:
        """Collects the histories of all owners.

        Args:
            owner: Rows of the table whose histories these are (N,).
            partner: Rows of the other table (N,).
            observed: Values of each event (N,), by the name of their kinds; equal values are one kind.
            timestamp: Times (N,); ties keep their file order.
            split: Which events train and validate.
            n_owners: Rows of the table.
            n_partners: Rows of the other table.

        Example:
            >>> from towerzoo.datasets import Split
            >>> user, item, rating = torch.tensor([1, 2, 1, 1]), torch.tensor([7, 7, 8, 9]), torch.tensor([5, 1, 1, 5])
            >>> time, split = torch.tensor([30, 10, 20, 40]), Split(*torch.tensor([0, 1, 2, 3, 3]).split([3, 1, 1]))
            >>> history = History.gather(user, item, {"feedback": rating}, time, split, n_owners=3, n_partners=10)
            >>> history.partner[history.starts[1] : history.ends[1]].tolist()
            [8, 7]
            >>> history.kinds["feedback"].tolist()
            [0, 1, 0]
            >>> history.position.tolist()
            [1, 2, 0, -1]
        """
        rows = torch.cat([split.train, split.valid] if split.in_time else [split.train]).long()
        rows = rows[owner.index_select(0, rows) != UNKNOWN]
        if timestamp is not None:
            rows = rows[timestamp.index_select(0, rows).argsort(stable=True)]
        rows = rows[owner.index_select(0, rows).argsort(stable=True)]
        position = torch.full((len(owner),), NO_POSITION, dtype=torch.int32)
        position[rows] = torch.arange(len(rows), dtype=torch.int32)
        kinds = {
            name: torch.unique(values.index_select(0, rows), return_inverse=True)[1].int()
            for name, values in observed.items()
        }
        sizes = {"n_owners": n_owners, "n_partners": n_partners}
        return cls.restore(owner, partner, kinds, position, split.train, **sizes, ordered=timestamp is not None)

    @classmethod
    def restore(
        cls,
        owner: Tensor,
        partner: Tensor,
        kinds: Mapping[str, Tensor],
        position: Tensor,
        train: Tensor,
        *,
        n_owners: int,
        n_partners: int,
        ordered: bool,
    ) -> History:
        """Builds the histories from the positions of events; `train` are the training events (n_train,)."""
        held = torch.nonzero(position != NO_POSITION)[:, 0]
        rows = held[position.index_select(0, held).argsort()]
        trained = train[position.index_select(0, train) != NO_POSITION]
        n_held, n_trained = (
            torch.bincount(owner.index_select(0, part), minlength=n_owners) for part in (rows, trained)
        )
        test_ends = n_held.cumsum(0)
        starts = test_ends - n_held
        return cls(
            partner=partner.index_select(0, rows).int(),
            kinds=kinds,
            n_partners=n_partners,
            starts=starts,
            ends=starts + n_trained,
            test_ends=test_ends,
            position=position,
            ordered=ordered,
        )
