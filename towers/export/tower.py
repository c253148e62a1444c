"""A tower and its side of the score as one module, the way it is exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import torch
from torch import Tensor, nn

from towerzoo.datasets import Table
from towerzoo.towers.encoders.inputs import Input
from towerzoo.towers.model.tower import Tower

Side = Literal["user", "item"]
SIDES: Final[tuple[Side, Side]] = ("user", "item")


class ExportedTower(nn.Module):
    """Maps encoded features to factors; dot products with the other side's factors are the logits.

    Args:
        tower: In eval mode.
        score: In eval mode.
        side: Which tower it is.
        table: The tower's table.
        takes_rows: Whether row numbers are an input, as a score with biases requires.

    Attributes:
        inputs: The inputs of `forward`.
        row: Name of the input of row numbers, if there is one.
    """

    def __init__(self, tower: Tower, score: nn.Module, side: Side, table: Table, *, takes_rows: bool = True) -> None:
        super().__init__()
        self.side = side
        self.table = table
        self.tower = tower
        self.score = score
        self.inputs = tuple(encoder.export_input(name) for name, encoder in tower.features())
        rows = [spec for spec in self.inputs if spec.name == table.key and spec.kind == "id"]
        if not rows and (takes_rows or not self.inputs):
            rows = [Input(_free_name(table.key, tower.feature_names), "id", vocabulary=table.key)]
            self.inputs = (*self.inputs, *rows)
        self.row = rows[0].name if rows else None

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Maps inputs by name to factors (B, F)."""
        first = inputs[self.inputs[0].name]
        rows = first.new_zeros(first.shape[0], dtype=torch.int64) if self.row is None else inputs[self.row]
        vectors = self.tower.encode(inputs) if self.tower.feature_names else self.tower(rows)
        factors: Tensor = getattr(self.score, f"{self.side}_factors")(vectors, rows)
        return factors


def _free_name(name: str, taken: tuple[str, ...]) -> str:
    while name in taken:  # a history may be called like the key
        name += "_row"
    return name
