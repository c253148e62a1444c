"""The vectors of all items of a run, and of those that were added to it without training."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.recommend.new_items import NewItems
from towerzoo.towers.retrieval.vector_table import encode_rows


class ItemVectors:
    """Encodes items, each once: those of the items table by their rows, and behind them those that were added.

    Args:
        model: The model in eval mode.
    """

    def __init__(self, model: DSSM) -> None:
        self._model = model
        self._added: list[NewItems] = []

    @cached_property
    def factors(self) -> Tensor:
        """The factors of all items (I, F), whose dot products with a user's are the logits."""
        factors = self._of_table(self._model.item_factors)
        return torch.cat([factors, *(new.factors(self._model) for new in self._added)])

    @cached_property
    def directions(self) -> Tensor:
        """The item tower's vectors at length 1 (I, D); zeros where one is zero."""
        vectors = self._of_table(self._model.item_tower)
        return functional.normalize(torch.cat([vectors, *(new.vectors(self._model) for new in self._added)]), dim=1)

    def columns(self, row: int) -> tuple[dict[str, Tensor], Tensor]:
        """Returns an item's features (1, ...) as the item tower takes them, and the row (1,) of its biases.

        An item that was not there in training has the biases of the unknown one.
        """
        tower, device = self._model.item_tower, self._model.device
        if row < tower.n_rows:
            rows = torch.tensor([row], device=device)
            return tower.inputs(rows), rows
        behind = row - tower.n_rows
        for new in self._added:
            if behind < new.n:
                break
            behind -= new.n
        features = {name: values[behind : behind + 1] for name, values in new.columns.items()}
        return features, torch.tensor([UNKNOWN], device=device)

    def append(self, new: NewItems) -> None:
        """Adds items behind all others."""
        self._added.append(new)
        for made in ("factors", "directions"):
            self.__dict__.pop(made, None)

    def _of_table(self, encode: Callable[[Tensor], Tensor]) -> Tensor:
        rows = torch.arange(self._model.item_tower.n_rows, device=self._model.device)
        return encode_rows(encode, rows)
