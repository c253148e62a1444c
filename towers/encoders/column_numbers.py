"""The numbers that a feature stands for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from towerzoo.datasets import Column
from towerzoo.registry.errors import DataError
from towerzoo.towers.encoders.embedding import wrong_column


class ColumnNumbers(nn.Module):
    """A feature's numbers: its own, or the whole numbers that are the raw values of its ids, such as years.

    Args:
        column: The feature: numbers (n,), NaN where one is unknown, or ids (n,) of whole numbers.
        encoder: Name of the encoder that asks, for messages.

    Raises:
        ConfigError: The feature holds lists, or ids of words.

    Example:
        >>> from towerzoo.datasets import encode_column
        >>> years = encode_column("year", [1995, 1977, None])
        >>> ColumnNumbers(years, "numeric")(years.values)
        tensor([  nan, 1995., 1977.,   nan])
    """

    by_id: Tensor | None

    def __init__(self, column: Column, encoder: str) -> None:
        super().__init__()
        self.name = column.name
        values = () if column.vocabulary is None else column.vocabulary.values
        if column.is_list or any(isinstance(value, str) for value in values):
            expected = f"a feature of numbers, or of whole numbers as ids, for encoder {encoder!r}"
            raise wrong_column(column, expected, "Words take 'embedding', lists 'embedding-bag'.")
        by_id = None if column.vocabulary is None else torch.tensor([float("nan"), *values], dtype=torch.float32)
        self.register_buffer("by_id", by_id, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Maps the column's values (B,) to numbers (B,), NaN where unknown."""
        return values if self.by_id is None else self.by_id.index_select(0, values)

    def known(self, column: Column) -> NDArray[np.float64]:
        """Returns the known numbers of all rows but that of nobody.

        Raises:
            DataError: Some are infinite.
        """
        numbers = self(column.values[1:]).double().numpy()
        if infinite := int(np.isinf(numbers).sum()):
            raise DataError(
                f"feature {self.name!r} must be finite numbers, got {infinite} infinite ones. "
                "Correct them, or leave them empty."
            )
        known: NDArray[np.float64] = numbers[~np.isnan(numbers)]
        return known
