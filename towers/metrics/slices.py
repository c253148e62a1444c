"""Slices: groups of users or items whose figures are looked at apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.towers.metrics.auc import group_auc
from towerzoo.towers.metrics.lists import popularity_percentiles
from towerzoo.towers.metrics.ranking import Ranking

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


SliceFigures: TypeAlias = dict[str, int | float | None]
"""What is known of one slice, by name: counts, figures, and None for a figure that is not defined."""


def pair_slices(slices: Slices, rows: Tensor, logits: Tensor, labels: Tensor) -> dict[str, SliceFigures]:
    """Returns the figures of scored pairs, slice by slice.

    `events` counts them; `loss` is their mean binary cross-entropy in nats, `auc` that within the slice, ties half, and
    None where it has one class only; `accuracy` is the share whose label equals `logit > 0`.

    Args:
        slices: Of users or of items.
        rows: Row of each pair's user, or of its item (N,).
        logits: (N,).
        labels: In {0, 1} (N,).

    Returns:
        The figures of each slice that has an event, by its label.

    Example:
        >>> slices, rows = Slices("side", ("a", "b"), torch.tensor([[-1], [0], [1]])), torch.tensor([1, 1, 2])
        >>> found = pair_slices(slices, rows, torch.tensor([1.0, -1.0, 0.0]), torch.tensor([1, 0, 1]))
        >>> found["a"]["auc"], found["b"]
        (1.0, {'events': 1, 'loss': 0.6931471805599453, 'auc': None, 'accuracy': 0.0})
    """
    place, group = slices.expand(rows)
    n = len(slices.labels)
    scores, truth = logits.double(), labels.double()
    losses = functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    right = ((scores > 0) == (truth > 0.5)).double()
    events = torch.bincount(group, minlength=n)
    columns = {
        "loss": torch.bincount(group, losses[place], minlength=n) / events,
        "auc": group_auc(group, logits[place], truth[place] > 0.5, n),
        "accuracy": torch.bincount(group, right[place], minlength=n) / events,
    }
    return _rows(slices, {"events": events}, columns)


def user_slices(slices: Slices, ranking: Ranking) -> dict[str, SliceFigures]:
    """Returns the mean of every metric over the users of each slice that has one, and their number, `users`.

    Example:
        >>> from towerzoo.towers.metrics.ranking import RankingTask, rank
        >>> event, slices = torch.tensor([1]), Slices("side", ("a",), torch.tensor([[-1], [0]]))
        >>> task = RankingTask(event, event, seen=None, counts=torch.tensor([0, 1, 0]), ks=[1])
        >>> found = user_slices(slices, rank(torch.ones(2, 1), torch.ones(3, 1), task))
        >>> found["a"]["users"], found["a"]["recall@1"]
        (1, 1.0)
    """
    place, group = slices.expand(ranking.users)
    n = len(slices.labels)
    users = torch.bincount(group, minlength=n)
    means = {
        name: torch.bincount(group, values[place], minlength=n) / users for name, values in ranking.user_metrics.items()
    }
    return _rows(slices, {"users": users}, means)


def item_slices(slices: Slices, ranking: Ranking) -> dict[str, SliceFigures]:
    """Returns how many of the relevant items of each slice were found.

    `pairs` and `users` count relevant pairs of a user and an item of the slice, and the users among them; `recall@k` is
    the share of these pairs, and `hit_rate@k` that of these users, for whom an item of the slice is in the list.

    Returns:
        The figures of each slice that has a relevant item, by its label.

    Example:
        >>> from towerzoo.towers.metrics.ranking import RankingTask, rank
        >>> slices = Slices("side", ("a",), torch.tensor([[-1], [0], [0]]))
        >>> user, item, counts = torch.tensor([1, 1]), torch.tensor([1, 2]), torch.tensor([0, 1, 0])
        >>> task = RankingTask(user, item, seen=None, counts=counts, ks=[1])
        >>> item_slices(slices, rank(torch.ones(2, 1), torch.ones(3, 1), task))
        {'a': {'pairs': 2, 'users': 1, 'recall@1': 0.5, 'hit_rate@1': 1.0}}
    """
    pair, group = slices.expand(ranking.item)
    n = len(slices.labels)
    pairs = torch.bincount(group, minlength=n)
    both, slot = torch.unique(group * len(ranking.users) + ranking.place[pair], return_inverse=True)
    group_of_user = both // len(ranking.users)
    users = torch.bincount(group_of_user, minlength=n)
    rank = ranking.rank[pair]
    columns: dict[str, Tensor] = {}
    for k in ranking.ks:
        found = ((rank > 0) & (rank <= k)).double()
        hit = (torch.bincount(slot, found, minlength=len(both)) > 0).double()
        columns[f"recall@{k}"] = torch.bincount(group, found, minlength=n) / pairs
        columns[f"hit_rate@{k}"] = torch.bincount(group_of_user, hit, minlength=n) / users
    return _rows(slices, {"pairs": pairs, "users": users}, columns)


def _rows(slices: Slices, counts: dict[str, Tensor], figures: dict[str, Tensor]) -> dict[str, SliceFigures]:
    """Returns a row a slice of columns (S,), without the slices of which the first count is 0."""
    columns = {name: values.tolist() for name, values in {**counts, **figures}.items()}
    present = next(iter(counts.values())).nonzero().flatten().tolist()
    # A number that is not equal to itself is NaN, which JSON does not have.
    return {
        slices.labels[row]: {
            name: values[row] if values[row] == values[row] else None for name, values in columns.items()
        }
        for row in present
    }
