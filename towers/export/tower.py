"""A tower and its side of the score as one module, the way it is exported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN, Table
from towerzoo.towers.encoders.history import NO_EVENT, HistoryEncoder
from towerzoo.towers.encoders.letter_trigrams import NO_TRIGRAM, LetterTrigramEncoder
from towerzoo.towers.model.tower import Tower

Side = Literal["user", "item"]
SIDES: Final[tuple[Side, Side]] = ("user", "item")
SINGLE: Final = ("id", "number")
"""Kinds of inputs with one value a row."""


class Input(NamedTuple):
    """One input of an exported tower, as bundle.json describes it.

    Attributes:
        name: Name of the input in the graph and of the raw feature.
        kind: `id` and `ids` of the vocabulary; `number`; `events` with items of the items' vocabulary; `trigrams` of a
            text.
        vocabulary: Feature whose vocabulary numbers the values; None for numbers.
        length: Length of a list; None for lists of any length and for single values.
        padding: Value that pads a list.
        items: For events, the rows of the items table: kind k of the item in row r has the number r + k * items.
        kinds: For events, the number of kinds.
        unknown: Value of an unknown number; None for NaN.
    """

    name: str
    kind: Literal["id", "ids", "number", "events", "trigrams"]
    vocabulary: str | None = None
    length: int | None = None
    padding: int = UNKNOWN
    items: int = 0
    kinds: int = 0
    unknown: float | None = None

    @property
    def dtype(self) -> str:
        """Data type of the values."""
        return "float32" if self.kind == "number" else "int64"

    @property
    def shape(self) -> tuple[str | int, ...]:
        """Size of each dimension; a name if any size is allowed."""
        if self.kind in SINGLE and self.length is None:
            return ("batch",)
        return ("batch", "length" if self.length is None else self.length)

    @property
    def open_sizes(self) -> dict[int, str]:
        """Dimensions of any size, and their names."""
        return {dim: size for dim, size in enumerate(self.shape) if isinstance(size, str)}

    @property
    def example(self) -> Tensor:
        """Two rows of zeros that trace the graph."""
        sizes = {"batch": 2, "length": 3}
        shape = [sizes[size] if isinstance(size, str) else size for size in self.shape]
        return torch.zeros(shape, dtype=getattr(torch, self.dtype))


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
        self.inputs = tuple(input_of(tower, table, name) for name in tower.feature_names)
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


def input_of(tower: Tower, table: Table, name: str) -> Input:
    """Describes the input of a feature."""
    encoder = tower.encoder(name)
    if isinstance(encoder, HistoryEncoder):
        kinds = encoder.embedding.num_embeddings // encoder.n_partners
        about: Any = {"length": encoder.last, "padding": NO_EVENT, "items": encoder.n_partners, "kinds": kinds}
        return Input(name, "events", **about)
    if isinstance(encoder, LetterTrigramEncoder):
        return Input(name, "trigrams", vocabulary=name, padding=NO_TRIGRAM)
    column = table.column(name)
    if column.vocabulary is None:
        number = column.unknown.item()
        return Input(name, "number", unknown=None if math.isnan(number) else number)
    if column.is_list:
        return Input(name, "ids", vocabulary=name, length=column.values.shape[1])
    return Input(name, "id", vocabulary=name)


def _free_name(name: str, taken: tuple[str, ...]) -> str:
    while name in taken:  # a history may be called like the key
        name += "_row"
    return name
