"""Ranking figures over the whole catalogue: what share of the right items is on top of each user's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, TwoTowerData
from towerzoo.registry.errors import DataError
from towerzoo.towers.best_items import best_items
from towerzoo.towers.seen_items import SeenItems


@dataclass(frozen=True)
class RankingTask:
    """Whose items are to be found, among which candidates.

    Candidates are all items of the catalogue but the user's seen ones and the unknown item.

    Attributes:
        users: int64 rows of the users that have something to find, ascending (U,).
        relevant: int64 `place * n_items + item` of what each is to find, by the user's place in `users`; distinct and
            ascending (R,).
        seen: What is removed from each user's list; nothing relevant is among it.
        popularity: Training events of each item row, int64 (n_items,).
    """

    users: Tensor
    relevant: Tensor
    seen: SeenItems
    popularity: Tensor

    @classmethod
    def gather(
        cls, wanted: tuple[Tensor, Tensor], seen: tuple[Tensor, Tensor], *, n_users: int, n_items: int
    ) -> RankingTask:
        """Makes a task of events.

        Args:
            wanted: User rows and item rows of the events that are to be found (N,).
            seen: User rows and item rows of earlier events, which also tell the items' popularity (S,).
            n_users: Rows of the users table.
            n_items: Rows of the items table.

        Example:
            >>> wanted, seen = (torch.tensor([2]), torch.tensor([1])), (torch.tensor([2, 1]), torch.tensor([3, 3]))
            >>> RankingTask.gather(wanted, seen, n_users=3, n_items=4).popularity
            tensor([0, 0, 0, 2])
        """
        user, item = (column.long() for column in wanted)
        seen_user, seen_item = (column.long() for column in seen)
        popularity = torch.bincount(seen_item, minlength=n_items)
        keys = torch.unique((user * n_items + item)[item != UNKNOWN])
        others = ~torch.isin(seen_user * n_items + seen_item, keys)
        users, places = torch.unique(keys // n_items, return_inverse=True)
        return cls(
            users=users,
            relevant=places * n_items + keys % n_items,
            seen=SeenItems(seen_user[others], seen_item[others], n_users),
            popularity=popularity,
        )

    @classmethod
    def of_split(cls, data: TwoTowerData, part: str) -> RankingTask:
        """Makes the task of finding the positive events of a part of a split, `valid` or `test`.

        Validation removes what users met in training, test what they met in training and validation.
        """
        events, split = data.schema.interactions, data.split
        rows = getattr(split, part)
        wanted = rows[data.labels.index_select(0, rows) > 0.5]
        seen = split.train if part == "valid" else torch.cat([split.train, split.valid])
        return cls.gather(
            (events.user.index_select(0, wanted), events.item.index_select(0, wanted)),
            (events.user.index_select(0, seen), events.item.index_select(0, seen)),
            n_users=len(data.schema.users),
            n_items=len(data.schema.items),
        )

    def to(self, device: torch.device) -> RankingTask:
        """Returns the task on a device."""
        columns = (self.users, self.relevant, self.popularity)
        users, relevant, popularity = (column.to(device) for column in columns)
        return RankingTask(users, relevant, self.seen.to(device), popularity)

    @property
    def n_items(self) -> int:
        """Rows of the items table."""
        return len(self.popularity)


@dataclass(frozen=True)
class Ranking:
    """The lists of some users, and how good each is.

    Attributes:
        lists: int64 item rows of each user's best items, best first (U, K); 0 where she has fewer candidates.
        by_user: Figures of each user by name, float64 (U,): recall, precision, ndcg, map, mrr and hit_rate `@k`.
        overall: Figures of all lists together by name: coverage, popularity and overlap `@k`.
    """

    lists: Tensor
    by_user: Mapping[str, Tensor]
    overall: Mapping[str, float]

    def figures(self) -> dict[str, float]:
        """Returns the mean over users of each of their figures, and those of all lists together."""
        return {**{name: values.mean().item() for name, values in self.by_user.items()}, **self.overall}


def rank(user_factors: Tensor, item_factors: Tensor, task: RankingTask, at: Sequence[int]) -> Ranking:
    """Ranks the whole catalogue for each user of a task; equal scores in the order of the item rows.

    With h(r) = 1 where the item of rank r is relevant, else 0, and n relevant items, each at k:

    - `recall`: sum of h(r) over r <= k, divided by n; `precision`: divided by k; `hit_rate`: 1 where it is not 0.
    - `ndcg`: sum of h(r) / log2(r + 1), divided by what the best order gives (Jarvelin and Kekalainen, 2002).
    - `map`: sum of h(r) x precision at r, divided by the smaller of n and k.
    - `mrr`: 1 / rank of the first relevant item, 0 where none is among the k.
    - `coverage`: share of the catalogue that is in any list.
    - `popularity`: mean percentile of the listed items by training events, ties halfway; 0.5 is that of chance.
    - `overlap`: mean over pairs of users of the share of their lists that is the same.

    Args:
        user_factors: Of the task's users (U, F).
        item_factors: Of all items (n_items, F).
        task: Whose items are to be found.
        at: The list lengths k, each >= 1.

    Raises:
        DataError: A list would be longer than the catalogue, or no user has anything to find.

    Example:
        >>> wanted, seen = (torch.tensor([1]), torch.tensor([2])), (torch.tensor([1]), torch.tensor([3]))
        >>> task = RankingTask.gather(wanted, seen, n_users=2, n_items=4)
        >>> rank(torch.ones(1, 1), torch.tensor([[9.0], [2.0], [1.0], [5.0]]), task, [2]).figures()["mrr@2"]
        0.5
    """
    candidates = task.n_items - 1
    if max(at) > candidates:
        raise DataError(
            f"evaluation.ranking.at must be at most {candidates:,}, the items of the catalogue, got {max(at):,}. "
            "Take shorter lists."
        )
    if not len(task.users):
        raise DataError("the split to rank must hold a positive event, got none. Look at data.label and data.split.")
    lists = best_items(user_factors, item_factors, max(at), seen=(task.seen, task.users)).items
    keys = torch.arange(len(lists), device=lists.device).unsqueeze(1) * task.n_items + lists
    places = torch.searchsorted(task.relevant, keys).clamp_max(len(task.relevant) - 1)
    hits = (task.relevant[places] == keys).double()
    n_relevant = torch.bincount(task.relevant // task.n_items, minlength=len(lists)).double()
    by_user: dict[str, Tensor] = {}
    overall: dict[str, float] = {}
    for k in at:
        by_user |= {f"{name}@{k}": values for name, values in _by_user(hits[:, :k], n_relevant).items()}
        overall |= {f"{name}@{k}": value for name, value in _overall(lists[:, :k], task.popularity).items()}
    return Ranking(lists, by_user, overall)


def _by_user(hits: Tensor, n_relevant: Tensor) -> dict[str, Tensor]:
    k = hits.shape[1]
    ranks = torch.arange(1, k + 1, dtype=torch.float64, device=hits.device)
    found = hits.sum(dim=1)
    ideal = (1 / (ranks + 1).log2()).cumsum(0)
    reachable = n_relevant.clamp_max(k)
    return {
        "recall": found / n_relevant,
        "precision": found / k,
        "ndcg": (hits / (ranks + 1).log2()).sum(dim=1) / ideal[reachable.long() - 1],
        "map": (hits * hits.cumsum(dim=1) / ranks).sum(dim=1) / reachable,
        "mrr": (hits / ranks).amax(dim=1),
        "hit_rate": (found > 0).double(),
    }


def _overall(lists: Tensor, popularity: Tensor) -> dict[str, float]:
    k, n_users = lists.shape[1], len(lists)
    listed = lists[lists != UNKNOWN]
    counts = torch.bincount(listed, minlength=len(popularity)).double()
    ordered = popularity[1:].sort().values
    below, upto = (torch.searchsorted(ordered, popularity, side=side) for side in ("left", "right"))
    percentile = (below + upto).double() / (2 * len(ordered))
    pairs = n_users * (n_users - 1)
    return {
        "coverage": (counts > 0).sum().item() / (len(popularity) - 1),
        "popularity": percentile[listed].mean().item(),
        "overlap": (counts * (counts - 1)).sum().item() / (pairs * k) if pairs else 1.0,
    }
