"""A tower and its side of the score as one module of encoded features, as it is exported."""

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
"""Kinds of inputs of one value a row."""


class Input(NamedTuple):
    """One input of an exported tower; what bundle.json says of it.

    Attributes:
        name: Its name in the graph, that of the raw feature which it is made from.
        kind: `id` and `ids`, by the vocabulary; `number`; `events`, by the items' vocabulary; `trigrams` of a text.
        vocabulary: The feature whose vocabulary numbers the values; none for numbers.
        length: Values a row of a list; none takes lists of any length, and is also that of single values.
        padding: What fills a list up.
        items: Rows of the items table, for events: one of kind k with the item of row r has the number r + k * items.
        kinds: How many kinds of events there are, for events.
        unknown: What a number that is not known counts as; none is NaN.
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
        """Name of the values' type."""
        return "float32" if self.kind == "number" else "int64"

    @property
    def shape(self) -> tuple[str | int, ...]:
        """The dimensions, by name where any size will do."""
        if self.kind in SINGLE and self.length is None:
            return ("batch",)
        return ("batch", "length" if self.length is None else self.length)

    @property
    def open_sizes(self) -> dict[int, str]:
        """The dimensions of any size."""
        return {at: size for at, size in enumerate(self.shape) if isinstance(size, str)}

    @property
    def example(self) -> Tensor:
        """Two rows of zeros, to trace the graph with."""
        sizes = {"batch": 2, "length": 3}
        shape = [sizes[size] if isinstance(size, str) else size for size in self.shape]
        return torch.zeros(shape, dtype=getattr(torch, self.dtype))


class ExportedTower(nn.Module):
    """Maps encoded features to factors, whose dot products with those of the other side are the logits.

    Args:
        tower: The tower, in eval mode.
        score: The score.
        side: Whose tower it is.
        table: The tower's table.
        takes_rows: Whether the score needs to know whom it scores, as one with biases does.

    Attributes:
        inputs: What `forward` takes.
    """

    def __init__(self, tower: Tower, score: nn.Module, side: Side, table: Table, *, takes_rows: bool = True) -> None:
        super().__init__()
        self.side = side
        self.table = table
        self.tower = tower
        self.score = score
        self.inputs = tuple(input_of(tower, table, name) for name in tower.feature_names)
        own = [some for some in self.inputs if some.name == table.key and some.kind == "id"]
        if not own and (takes_rows or not self.inputs):
            own = [Input(_free_name(table.key, tower.feature_names), "id", vocabulary=table.key)]
            self.inputs = (*self.inputs, *own)
        self.row = own[0].name if own else None

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Maps the inputs, by name, to factors (B, F)."""
        first = inputs[self.inputs[0].name]
        rows = first.new_zeros(first.shape[0], dtype=torch.int64) if self.row is None else inputs[self.row]
        vectors = self.tower.encode(inputs) if self.tower.feature_names else self.tower(rows)
        factors: Tensor = getattr(self.score, f"{self.side}_factors")(vectors, rows)
        return factors


def input_of(tower: Tower, table: Table, name: str) -> Input:
    """Returns the input of a feature."""
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
    while name in taken:  # a history may have any name
        name += "_row"
    return name
