"""Slices: groups of users or items with figures of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.towers.metrics.auc import group_auc
from towerzoo.towers.metrics.lists import popularity_percentiles
from towerzoo.towers.metrics.ranking import Ranking

NO_SLICE: Final = -1
"""Pads the slices of a row that belongs to fewer of them than others."""
UNKNOWN_LABEL: Final = "(unknown)"
"""The slice of rows without a known value; in brackets, since `unknown` is a genre of MovieLens-100K."""
DECILES: Final = 10

SliceFigures: TypeAlias = dict[str, int | float | None]
"""Counts and figures of one slice by name; None for a figure that is not defined."""


@dataclass(frozen=True)
class Slices:
    """The slices that users or items belong to; a row may belong to several and to none.

    Attributes:
        name: What the rows are sliced by.
        labels: Name of each slice (S,).
        members: int64 slices of each row (n_rows, L), without repetitions, padded with `NO_SLICE`.

    Example:
        >>> slices = Slices("genre", ("Action", "Drama"), torch.tensor([[-1, -1], [1, -1], [0, 1]]))
        >>> slices.expand(torch.tensor([2, 0, 1]))
        (tensor([0, 0, 2]), tensor([0, 1, 1]))
    """

    name: str
    labels: tuple[str, ...]
    members: Tensor

    def expand(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns every membership of the rows (N,): the index of the row in `rows`, and its slice."""
        members = self.members.index_select(0, rows)
        inside = members != NO_SLICE
        return inside.nonzero()[:, 0], members[inside]


def warmth_slices(counts: Tensor) -> Slices:
    """Slices rows by their training events (n_rows,): `warm` with at least one, `cold` without any.

    Example:
        >>> warmth_slices(torch.tensor([0, 0, 2])).members.flatten()
        tensor([0, 0, 1])
    """
    return Slices("training events", ("cold", "warm"), (counts > 0).long().unsqueeze(1))


def popularity_slices(counts: Tensor) -> Slices:
    """Slices items by their training events (I,) into ten, from the least popular, `decile 1`, to the most.

    Items of equal popularity stay together, in the decile of their mean rank; other deciles may be larger or empty. The
    unknown item is in none.

    Example:
        >>> popularity_slices(torch.tensor([0, 40, 7, 7, 1])).members.flatten()
        tensor([-1,  8,  5,  5,  1])
    """
    deciles = (popularity_percentiles(counts) * DECILES).long()
    deciles[UNKNOWN] = NO_SLICE
    return Slices("popularity", tuple(f"decile {i + 1}" for i in range(DECILES)), deciles.unsqueeze(1))


def column_slices(column: Column) -> Slices:
    """Makes a slice of each value of a column; a row with a list belongs to the slice of each of its values.

    Rows without a known value are in a slice of their own, `(unknown)`. The column must not hold numbers.

    Example:
        >>> from towerzoo.datasets import Vocabulary
        >>> genres = Column("genres", torch.tensor([[0, 0], [2, 2], [2, 1]]), Vocabulary(["Action", "Drama"]))
        >>> slices = column_slices(genres)
        >>> slices.labels, slices.members.tolist()
        (('(unknown)', 'Action', 'Drama'), [[0, -1], [2, -1], [1, 2]])
    """
    assert column.vocabulary is not None
    ids = column.values.long().reshape(len(column.values), -1)
    # Known values come first, each once; the rest is padding, and one unknown for a row without a known value.
    spare = len(column.vocabulary)
    ids = torch.where(ids == UNKNOWN, spare, ids).sort(dim=1).values
    ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = spare
    ids = torch.where(ids == spare, NO_SLICE, ids)
    ids[:, 0] = ids[:, 0].where(ids[:, 0] != NO_SLICE, UNKNOWN)
    return Slices(column.name, (UNKNOWN_LABEL, *map(str, column.vocabulary.values)), ids)


def pair_slices(slices: Slices, rows: Tensor, logits: Tensor, labels: Tensor) -> dict[str, SliceFigures]:
    """Figures of scored pairs by slice.

    `events` is their number, `loss` their mean binary cross-entropy in nats, `auc` the AUC within the slice, ties half,
    None if it has one class only, and `accuracy` the share whose label equals `logit > 0`.

    Args:
        slices: Slices of users or of items.
        rows: User or item row of each pair (N,).
        logits: Logits (N,).
        labels: Labels in {0, 1} (N,).

    Returns:
        The figures of each slice that has an event, by its label.

    Example:
        >>> slices, rows = Slices("side", ("a", "b"), torch.tensor([[-1], [0], [1]])), torch.tensor([1, 1, 2])
        >>> figures = pair_slices(slices, rows, torch.tensor([1.0, -1.0, 0.0]), torch.tensor([1, 0, 1]))
        >>> figures["a"]["auc"], figures["b"]
        (1.0, {'events': 1, 'loss': 0.6931471805599453, 'auc': None, 'accuracy': 0.0})
    """
    index, group = slices.expand(rows)
    n = len(slices.labels)
    scores, truth = logits.double(), labels.double()
    losses = functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    right = ((scores > 0) == (truth > 0.5)).double()
    events = torch.bincount(group, minlength=n)
    columns = {
        "loss": torch.bincount(group, losses[index], minlength=n) / events,
        "auc": group_auc(group, logits[index], truth[index] > 0.5, n),
        "accuracy": torch.bincount(group, right[index], minlength=n) / events,
    }
    return _by_label(slices, {"events": events}, columns)


def user_slices(slices: Slices, ranking: Ranking) -> dict[str, SliceFigures]:
    """Mean of every metric over the users of each slice that has any, and their number, `users`.

    Example:
        >>> from towerzoo.towers.metrics.ranking import RankingTask, rank
        >>> event, slices = torch.tensor([1]), Slices("side", ("a",), torch.tensor([[-1], [0]]))
        >>> task = RankingTask(event, event, seen=None, counts=torch.tensor([0, 1, 0]), ks=[1])
        >>> figures = user_slices(slices, rank(torch.ones(2, 1), torch.ones(3, 1), task))
        >>> figures["a"]["users"], figures["a"]["recall@1"]
        (1, 1.0)
    """
    index, group = slices.expand(ranking.users)
    n = len(slices.labels)
    users = torch.bincount(group, minlength=n)
    means = {
        name: torch.bincount(group, values[index], minlength=n) / users for name, values in ranking.user_metrics.items()
    }
    return _by_label(slices, {"users": users}, means)


def item_slices(slices: Slices, ranking: Ranking) -> dict[str, SliceFigures]:
    """Share of the relevant items of each slice that lists contain.

    `pairs` and `users` count the relevant pairs with an item of the slice, and their users; `recall@k` is the share of
    these pairs that are in the list, and `hit_rate@k` the share of these users with at least one of them in the list.

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
    both, slot = torch.unique(group * len(ranking.users) + ranking.position[pair], return_inverse=True)
    group_of_user = both // len(ranking.users)
    users = torch.bincount(group_of_user, minlength=n)
    rank = ranking.rank[pair]
    columns: dict[str, Tensor] = {}
    for k in ranking.ks:
        inside = ((rank > 0) & (rank <= k)).double()
        hit = (torch.bincount(slot, inside, minlength=len(both)) > 0).double()
        columns[f"recall@{k}"] = torch.bincount(group, inside, minlength=n) / pairs
        columns[f"hit_rate@{k}"] = torch.bincount(group_of_user, hit, minlength=n) / users
    return _by_label(slices, {"pairs": pairs, "users": users}, columns)


def _by_label(slices: Slices, counts: dict[str, Tensor], figures: dict[str, Tensor]) -> dict[str, SliceFigures]:
    """Turns columns (S,) into the figures of each slice whose first count is not 0; NaN is no JSON and becomes None."""
    columns = {name: values.tolist() for name, values in {**counts, **figures}.items()}
    present = next(iter(counts.values())).nonzero().flatten().tolist()
    return {
        slices.labels[row]: {
            name: values[row] if values[row] == values[row] else None for name, values in columns.items()
        }
        for row in present
    }
