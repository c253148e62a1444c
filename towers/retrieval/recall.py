"""What an approximate index loses, and what it gains."""

from __future__ import annotations

import time
from typing import NamedTuple

from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.retrieval.best_items import TopItems, best_items
from towerzoo.towers.retrieval.exact_index import Index


class Recall(NamedTuple):
    """An index beside the exact search of the same vectors, by the same process.

    Attributes:
        k: Length of the lists.
        users: How many users' lists were compared.
        recall: Share of the exact lists' items that the index finds, in [0, 1].
        rate: Users a second by the index.
        exact_rate: Users a second by exact search.
    """

    k: int
    users: int
    recall: float
    rate: float
    exact_rate: float

    def __str__(self) -> str:
        return (
            f"recall@{self.k} against exact: {self.recall:.4f} over {self.users:,} users; {self.rate:,.0f} users/s, "
            f"exact {self.exact_rate:,.0f} users/s, {self.rate / self.exact_rate:.2f} times as fast"
        )


def measure_recall(index: Index, user_vectors: Tensor, k: int) -> Recall:
    """Searches k items for users (U, F) both ways, with nothing left out.

    Example:
        >>> import torch
        >>> from towerzoo.towers.retrieval.exact_index import ExactIndex
        >>> measure_recall(ExactIndex(torch.eye(4)), torch.eye(4), 2).recall
        1.0
    """
    index.search(user_vectors[:1], k)  # allocates, and starts threads
    best_items(user_vectors[:1], index.item_vectors, k)
    started = time.perf_counter()
    found = index.search(user_vectors, k)
    between = time.perf_counter()
    exact = best_items(user_vectors, index.item_vectors, k)
    ended = time.perf_counter()
    n = len(user_vectors)
    return Recall(k, n, recall(found, exact), n / (between - started), n / (ended - between))


def recall(found: TopItems, exact: TopItems) -> float:
    """Returns the share of the exact lists' items that are in the found lists, in [0, 1].

    Example:
        >>> import torch
        >>> some, none = torch.tensor([[3, 1]]), torch.zeros(1, 2)
        >>> recall(TopItems(some, none), TopItems(torch.tensor([[1, 2]]), none))
        0.5
    """
    wanted = exact.items != UNKNOWN
    hit = (exact.items.unsqueeze(2) == found.items.unsqueeze(1)).any(dim=2) & wanted
    return float(hit.sum() / wanted.sum())
