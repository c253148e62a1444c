"""Slices: groups of users or items whose figures are looked at apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.towers.metrics.lists import popularity_percentiles

NO_SLICE = -1
"""Fills the places of a row that belongs to fewer slices than others."""
UNKNOWN_LABEL = "(unknown)"
"""The slice of rows whose value is not known; in brackets, since `unknown` is a genre of MovieLens-100K."""
DECILES = 10


@dataclass(frozen=True)
class Slices:
    """Which users, or which items, belong to which slices; a row may belong to several and to none.

    Attributes:
        name: What the rows are sliced by.
        labels: Name of each slice (S,).
        members: int64 slices of each row (n_rows, L), none twice; `NO_SLICE` in places to spare.

    Example:
        >>> slices = Slices("genre", ("Action", "Drama"), torch.tensor([[-1, -1], [1, -1], [0, 1]]))
        >>> slices.expand(torch.tensor([2, 0, 1]))
        (tensor([0, 0, 2]), tensor([0, 1, 1]))
    """

    name: str
    labels: tuple[str, ...]
    members: Tensor

    def expand(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns every membership of the rows (N,), which may repeat: its place among them, and its slice."""
        members = self.members.index_select(0, rows)
        inside = members != NO_SLICE
        return inside.nonzero()[:, 0], members[inside]


def warmth_slices(counts: Tensor) -> Slices:
    """Returns users or items with a training event, `warm`, and those without one, `cold`.

    Args:
        counts: Training events of each row (n_rows,).

    Example:
        >>> warmth_slices(torch.tensor([0, 0, 2])).members.flatten()
        tensor([0, 0, 1])
    """
    return Slices("training events", ("cold", "warm"), (counts > 0).long().unsqueeze(1))


def popularity_slices(counts: Tensor) -> Slices:
    """Returns ten slices of items from the least popular, `decile 1`, to the most; the unknown item is in none.

    Items of equal popularity stay together, in the decile of their mean rank, so that some may be larger or empty.

    Args:
        counts: Training events of each item (I,), the unknown item in row 0.

    Example:
        >>> popularity_slices(torch.tensor([0, 40, 7, 7, 1])).members.flatten()
        tensor([-1,  8,  5,  5,  1])
    """
    deciles = (popularity_percentiles(counts) * DECILES).long()
    deciles[UNKNOWN] = NO_SLICE
    return Slices("popularity", tuple(f"decile {i + 1}" for i in range(DECILES)), deciles.unsqueeze(1))


def column_slices(column: Column) -> Slices:
    """Returns a slice for each value of a column; a row of a list belongs to that of each of its values.

    Rows without a known value are in a slice of their own, `(unknown)`.

    Args:
        column: One of ids.

    Example:
        >>> from towerzoo.datasets import Vocabulary
        >>> genres = Column("genres", torch.tensor([[0, 0], [2, 2], [2, 1]]), Vocabulary(["Action", "Drama"]))
        >>> slices = column_slices(genres)
        >>> slices.labels, slices.members.tolist()
        (('(unknown)', 'Action', 'Drama'), [[0, -1], [2, -1], [1, 2]])
    """
    assert column.vocabulary is not None
    ids = column.values.long().reshape(len(column.values), -1)
    # Known values first, each once; what is left over goes, but for one unknown of a row without a known value.
    spare = len(column.vocabulary)
    ids = torch.where(ids == UNKNOWN, spare, ids).sort(dim=1).values
    ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = spare
    ids = torch.where(ids == spare, NO_SLICE, ids)
    ids[:, 0] = ids[:, 0].where(ids[:, 0] != NO_SLICE, UNKNOWN)
    return Slices(column.name, (UNKNOWN_LABEL, *map(str, column.vocabulary.values)), ids)
