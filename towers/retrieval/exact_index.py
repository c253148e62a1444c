"""The contract of an index, exact search, and the recall of other indexes against it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.registry import INDEXES
from towerzoo.registry.errors import SearchError
from towerzoo.towers.retrieval.best_items import TopItems, best_items
from towerzoo.towers.retrieval.seen_items import SeenBy


class Index(Protocol):
    """The contract of a registered index: maximum inner product search over the rows of the items table."""

    item_vectors: Tensor
    """All vectors (I, F), one per row of the items table."""

    def search(
        self, user_vectors: Tensor, k: int, *, seen: SeenBy | None = None, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k best items of each user, exactly or approximately; see `best_items` for the arguments."""

    def add(self, item_vectors: Tensor) -> None:
        """Adds vectors (A, F) as the next rows, without training anything."""

    def save(self, path: Path) -> None:
        """Writes a file with what `load` needs in addition to the vectors, if anything.

        Raises:
            OSError: The file cannot be written.
        """

    @classmethod
    def load(cls, path: Path, item_vectors: Tensor, **parameters: Any) -> Index:
        """Returns the index that was saved from its file, if `save` wrote one, its vectors and its YAML parameters.

        Raises:
            SearchError: The file is damaged or belongs to other vectors.
        """


@INDEXES.register("exact")
class ExactIndex:
    """Scores every item, in blocks of bounded memory; among equal scores the item of the lower row comes first.

    Raises:
        SearchError: There is no item, or a vector is not finite.

    Example:
        >>> index = ExactIndex(torch.tensor([[9.0], [2.0], [4.0], [4.0]]))
        >>> index.add(torch.tensor([[3.0]]))
        >>> index.search(torch.tensor([[1.0]]), 4).items
        tensor([[2, 3, 4, 1]])
    """

    def __init__(self, item_vectors: Tensor) -> None:
        self.item_vectors = checked_vectors(item_vectors)

    def search(
        self, user_vectors: Tensor, k: int, *, seen: SeenBy | None = None, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k best items of each user."""
        return best_items(user_vectors, self.item_vectors, k, seen=seen, allowed=allowed)

    def add(self, item_vectors: Tensor) -> None:
        """Adds vectors (A, F) as the next rows."""
        self.item_vectors = checked_vectors(torch.cat([self.item_vectors, item_vectors]))

    def save(self, path: Path) -> None:
        """Writes nothing: the vectors are enough."""

    @classmethod
    def load(cls, path: Path, item_vectors: Tensor) -> ExactIndex:
        """Returns the index of these vectors."""
        return cls(item_vectors)


def checked_vectors(item_vectors: Tensor) -> Tensor:
    """Returns the item vectors (I, F) if an index can search them.

    Raises:
        SearchError: There is no item but the unknown one, or a vector is not finite.
    """
    if item_vectors.dim() != 2 or len(item_vectors) < 2 or not item_vectors.shape[1]:
        raise SearchError(
            "item vectors must be (I, F) with at least one row after the unknown item's, got shape "
            f"{tuple(item_vectors.shape)}. Train on a dataset with items."
        )
    if n_bad := int((~item_vectors.isfinite()).any(dim=1).sum()):
        raise SearchError(
            f"item vectors must be finite, got {n_bad:,} of {len(item_vectors):,} with NaN or infinity. "
            "Lower the learning rate, or use an earlier checkpoint."
        )
    return item_vectors


class Recall(NamedTuple):
    """An index compared with exact search: the share of the k best items that it finds, and users per second."""

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
        >>> ones, others, scores = torch.tensor([[3, 1]]), torch.tensor([[1, 2]]), torch.zeros(1, 2)
        >>> recall(TopItems(ones, scores), TopItems(others, scores))
        0.5
    """
    wanted = exact.items != UNKNOWN
    hits = (exact.items.unsqueeze(2) == top.items.unsqueeze(1)).any(dim=2) & wanted
    return float(hits.sum() / wanted.sum())
