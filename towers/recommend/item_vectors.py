"""The vectors of a run's items, and of the items that were added without training."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.retrieval.vector_table import encode_rows

if TYPE_CHECKING:
    from towerzoo.towers.recommend.new_items import NewItems


class ItemVectors:
    """Encodes each item once: the rows of the items table, followed by the items that were added.

    Args:
        model: The model in eval mode.
    """

    def __init__(self, model: DSSM) -> None:
        self._model = model
        self._added: list[NewItems] = []

    @cached_property
    def factors(self) -> Tensor:
        """The factors of all items (I, F), whose dot products with a user's factors are the logits."""
        factors = self._of_table(self._model.item_factors)
        return torch.cat([factors, *(new.factors(self._model) for new in self._added)])

    @cached_property
    def directions(self) -> Tensor:
        """The item tower's vectors (I, D), scaled to length 1; zero vectors stay zero."""
        vectors = self._of_table(self._model.item_tower)
        return functional.normalize(torch.cat([vectors, *(new.vectors(self._model) for new in self._added)]), dim=1)

    def columns(self, row: int) -> tuple[dict[str, Tensor], Tensor]:
        """Returns an item's features (1, ...) as the item tower takes them, and the row (1,) of its biases.

        An added item has the biases of the unknown item.
        """
        tower, device = self._model.item_tower, self._model.device
        if row < tower.n_rows:
            rows = torch.tensor([row], device=device)
            return tower.inputs(rows), rows
        offset = row - tower.n_rows
        for new in self._added:
            if offset < new.n:
                break
            offset -= new.n
        features = {name: values[offset : offset + 1] for name, values in new.columns.items()}
        return features, torch.tensor([UNKNOWN], device=device)

    def append(self, new: NewItems) -> None:
        """Adds items after all others."""
        self._added.append(new)
        for cached in ("factors", "directions"):
            self.__dict__.pop(cached, None)

    def _of_table(self, encode: Callable[[Tensor], Tensor]) -> Tensor:
        rows = torch.arange(self._model.item_tower.n_rows, device=self._model.device)
        return encode_rows(encode, rows)
