"""The recall and speed of an approximate index compared with exact search."""

from __future__ import annotations

import time
from typing import NamedTuple

from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.retrieval.best_items import TopItems, best_items
from towerzoo.towers.retrieval.exact_index import Index


class Recall(NamedTuple):
    """An index compared with exact search in the same process.

    Attributes:
        k: Length of the lists.
        users: Number of users whose lists were compared.
        recall: Share of the exact lists' items that the index finds, in [0, 1].
        rate: Users per second with the index.
        exact_rate: Users per second with exact search.
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
    """Searches k items for users (U, F) both ways, with nothing left out."""
    index.search(user_vectors[:1], k)  # allocates memory and starts threads
    best_items(user_vectors[:1], index.item_vectors, k)
    started = time.perf_counter()
    top = index.search(user_vectors, k)
    between = time.perf_counter()
    exact = best_items(user_vectors, index.item_vectors, k)
    ended = time.perf_counter()
    n = len(user_vectors)
    return Recall(k, n, recall(top, exact), n / (between - started), n / (ended - between))


def recall(top: TopItems, exact: TopItems) -> float:
    """Returns the share of the exact lists' items that are also in `top`, in [0, 1].

    Example:
        >>> import torch
        >>> ones, others, scores = torch.tensor([[3, 1]]), torch.tensor([[1, 2]]), torch.zeros(1, 2)
        >>> recall(TopItems(ones, scores), TopItems(others, scores))
        0.5
    """
    wanted = exact.items != UNKNOWN
    hits = (exact.items.unsqueeze(2) == top.items.unsqueeze(1)).any(dim=2) & wanted
    return float(hits.sum() / wanted.sum())
