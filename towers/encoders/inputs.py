"""The inputs of an exported tower."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN

SINGLE: Final = ("id", "number")
"""Kinds of inputs with one value a row."""


class Input(NamedTuple):
    """One input of an exported tower; bundle.json describes it with these fields.

    Attributes:
        name: Its name in the graph: the raw feature that it is made from.
        kind: `id` and `ids` are rows of the vocabulary, `events` are numbered by the items' vocabulary, `trigrams` are
            those of a text.
        vocabulary: The feature whose vocabulary numbers the values; None for numbers.
        length: Length of a list; None for lists of any length and for single values.
        padding: Value that pads a list.
        items: For events, rows of the items table: an event of kind k with item row r has the number r + k * items.
        kinds: For events, the number of kinds.
        unknown: The number that replaces an unknown one; None means NaN.
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
        """The dtype of the values."""
        return "float32" if self.kind == "number" else "int64"

    @property
    def shape(self) -> tuple[str | int, ...]:
        """The dimensions; a dimension of any size has a name."""
        if self.kind in SINGLE and self.length is None:
            return ("batch",)
        return ("batch", "length" if self.length is None else self.length)

    @property
    def open_sizes(self) -> dict[int, str]:
        """The names of the dimensions of any size, by axis."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}

    @property
    def example(self) -> Tensor:
        """Two rows of zeros, to trace the graph with."""
        sizes = {"batch": 2, "length": 3}
        shape = [sizes[size] if isinstance(size, str) else size for size in self.shape]
        return torch.zeros(shape, dtype=getattr(torch, self.dtype))
