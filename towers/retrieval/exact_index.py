"""Indexes: what finds the best items of a user, exactly or nearly so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from towerzoo.registry import INDEXES
from towerzoo.registry.errors import SearchError
from towerzoo.towers.retrieval.best_items import TopItems, best_items
from towerzoo.towers.retrieval.seen_items import SeenItems

SeenBy = tuple[SeenItems, Tensor]
"""What to leave out of some users' lists, and the rows (U,) of these users in it."""


class Index(Protocol):
    """The contract of a registered index: maximum inner product search over the rows of the items table.

    Scales and biases are inside the factors, so that the dot product is the logit. Row 0, the unknown item, is no
    candidate. Searching changes nothing, so that several threads may do it.

    Attributes:
        item_vectors: The vectors that are searched (I, F), a row each.
    """

    item_vectors: Tensor

    def search(
        self, user_vectors: Tensor, k: int, *, seen: SeenBy | None = None, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k best items of each user, as `best_items` does, or nearly so; arguments are as there."""

    def add(self, item_vectors: Tensor) -> None:
        """Adds the vectors (A, F) of items as the next rows, without training anything."""

    def save(self, path: Path) -> None:
        """Writes a file with what `load` needs beside the vectors, if anything.

        Raises:
            OSError: The file cannot be written.
        """

    @classmethod
    def load(cls, path: Path, item_vectors: Tensor, **parameters: Any) -> Index:
        """Returns the index that was saved.

        Args:
            path: The file; there is none where `save` wrote none.
            item_vectors: The vectors that it was built from and those that were added (I, F).
            parameters: Those that it was built with.

        Raises:
            SearchError: The file is damaged or of other vectors.
        """


@INDEXES.register("exact")
class ExactIndex:
    """Scores every item, in blocks of bounded memory; of equal scores the item of the lower row comes first.

    Args:
        item_vectors: The vectors to search (I, F).

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
        """Writes nothing: the vectors are all there is."""

    @classmethod
    def load(cls, path: Path, item_vectors: Tensor) -> ExactIndex:
        """Returns the index of these vectors."""
        return cls(item_vectors)


def checked_vectors(item_vectors: Tensor) -> Tensor:
    """Returns the vectors of items (I, F), which an index can search.

    Raises:
        SearchError: There is no item but the unknown one, or a vector is not finite.
    """
    if item_vectors.dim() != 2 or len(item_vectors) < 2 or not item_vectors.shape[1]:
        raise SearchError(
            "the items to search must be at least one with a vector, besides the unknown one, got vectors of shape "
            f"{tuple(item_vectors.shape)}. Train on a catalogue."
        )
    if faulty := int((~item_vectors.isfinite()).any(dim=1).sum()):
        raise SearchError(
            f"the vectors of items must be finite, got {faulty:,} of {len(item_vectors):,} that are not. "
            "Lower the learning rate, or take an earlier checkpoint."
        )
    return item_vectors
