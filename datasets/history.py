"""Histories: what each user did in the training split, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from towerzoo.datasets.splits import Split
from towerzoo.datasets.vocabulary import UNKNOWN

NO_PLACE: Final = -1
"""The place of an event that no history holds."""


@dataclass(frozen=True)
class History:
    """What each row of a table did before it is tested: its training events, and behind them its validation events.

    The unknown row has none: its events are those of many, and would be taken for those of anybody new.

    Attributes:
        partner: int32 rows of the other table, grouped by owner, oldest first (T,).
        kinds: int32 numbers from 0 of what was observed with each event (T,), by the name of the observation: `label`,
            and `feedback`, the column that labels are made from, such as the rating.
        n_partners: Rows of the other table.
        starts: int64 places in `partner` where the list of each row begins (n_rows,).
        ends: int64 places where its training events end (n_rows,).
        test_ends: int64 places where its validation events end; its training events, where the split is not in time.
        place: int32 place in `partner` of each event of the dataset (N,); `NO_PLACE` for those that no history holds.
        ordered: Whether the events have times; without them their order is that of the file.
    """

    partner: Tensor
    kinds: Mapping[str, Tensor]
    n_partners: int
    starts: Tensor
    ends: Tensor
    test_ends: Tensor
    place: Tensor
    ordered: bool

    def limited(self, k: int) -> History:
        """Returns histories of no more than the last k events that are known in test, k >= 0."""
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
            observed: What was observed with each event (N,), by name; equal values are one kind.
            timestamp: Times (N,); events of the same time keep their file order.
            split: Which events train and validate.
            n_owners: Rows of the table.
            n_partners: Rows of the other table.

        Example:
            >>> user, item, rating = torch.tensor([1, 2, 1, 1]), torch.tensor([7, 7, 8, 9]), torch.tensor([5, 1, 1, 5])
            >>> time, split = torch.tensor([30, 10, 20, 40]), Split(*torch.tensor([0, 1, 2, 3, 3]).split([3, 1, 1]))
            >>> history = History.gather(user, item, {"feedback": rating}, time, split, n_owners=3, n_partners=10)
            >>> history.partner[history.starts[1] : history.ends[1]].tolist()
            [8, 7]
            >>> history.kinds["feedback"].tolist()
            [0, 1, 0]
            >>> history.place.tolist()
            [1, 2, 0, -1]
        """
        rows = torch.cat([split.train, split.valid] if split.in_time else [split.train]).long()
        rows = rows[owner.index_select(0, rows) != UNKNOWN]
        if timestamp is not None:
            rows = rows[timestamp.index_select(0, rows).argsort(stable=True)]
        rows = rows[owner.index_select(0, rows).argsort(stable=True)]
        place = torch.full((len(owner),), NO_PLACE, dtype=torch.int32)
        place[rows] = torch.arange(len(rows), dtype=torch.int32)
        kinds = {
            name: torch.unique(values.index_select(0, rows), return_inverse=True)[1].int()
            for name, values in observed.items()
        }
        ordered = timestamp is not None
        return cls.placed(
            owner, partner, kinds, place, split.train, n_owners=n_owners, n_partners=n_partners, ordered=ordered
        )

    @classmethod
    def placed(
        cls,
        owner: Tensor,
        partner: Tensor,
        kinds: Mapping[str, Tensor],
        place: Tensor,
        train: Tensor,
        *,
        n_owners: int,
        n_partners: int,
        ordered: bool,
    ) -> History:
        """Puts events where they stand in the histories of all owners.

        Args:
            owner: As of `gather`.
            partner: As of `gather`.
            kinds: As of the class.
            place: As of the class.
            train: The events that train, held or not.
            n_owners: As of `gather`.
            n_partners: As of `gather`.
            ordered: As of the class.
        """
        held = torch.nonzero(place != NO_PLACE)[:, 0]
        rows = held[place.index_select(0, held).argsort()]
        trained = train[place.index_select(0, train) != NO_PLACE]
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
            place=place,
            ordered=ordered,
        )
