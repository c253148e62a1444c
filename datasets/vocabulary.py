"""Vocabularies: raw values to row numbers, with 0 for unknown values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = 0
"""The row of every value that is not in a vocabulary, and the padding of lists."""

Value = TypeVar("Value", int, str)


class Vocabulary:
    """An ordered set of raw values; the first has row 1, and row 0 stands for every other value.

    Args:
        values: Distinct raw values in row order, all int or all str; numpy values become Python values.

    Raises:
        ValueError: A value is repeated.

    Example:
        >>> genders = Vocabulary(["F", "M"])
        >>> genders.encode(["M", "F", "?"])
        array([2, 1, 0], dtype=int32)
        >>> genders.decode([1, 0])
        ['F', None]
        >>> len(genders)  # with the unknown row
        3
    """

    def __init__(self, values: Iterable[int | str]) -> None:
        # numpy values could not be written to a run's schema.json.
        self.values: tuple[int | str, ...] = tuple(v.item() if isinstance(v, np.generic) else v for v in values)
        if len(set(self.values)) != len(self.values):
            raise ValueError("values must be distinct, got one repeatedly. Use Vocabulary.fit to collect them.")

    @classmethod
    def fit(cls, values: Iterable[int | str]) -> Vocabulary:
        """Returns the vocabulary of the distinct values, in ascending order."""
        return cls(sorted(set(values)))

    def encode(self, values: Sequence[int] | Sequence[str] | NDArray[np.generic]) -> NDArray[np.int32]:
        """Returns the row (N,) of each value; 0 for values that are not in the vocabulary."""
        import pandas as pd

        return (self._index.get_indexer(pd.Index(values)) + 1).astype(np.int32)

    def decode(self, rows: Iterable[int]) -> list[int | str | None]:
        """Returns the raw value of each row; None for row 0."""
        return [self.values[row - 1] if row else None for row in rows]

    def row(self, value: object) -> int:
        """Returns the row of a raw value or of its text; 0 if it is not in the vocabulary.

        A whole number may be a float, as in a column with missing values.

        Example:
            >>> ages = Vocabulary([18, 25])
            >>> ages.row(25), ages.row("25"), ages.row(25.0), ages.row(25.5), ages.row("25.0")
            (2, 2, 2, 0, 0)
            >>> Vocabulary(["None"]).row(None)  # a missing value is not a value
            0
        """
        if value is None:
            return UNKNOWN
        if isinstance(value, float) and value.is_integer() and str(value) not in self._rows:
            value = int(value)
        return self._rows.get(str(value), UNKNOWN)

    @cached_property
    def _rows(self) -> dict[str, int]:
        # Values are all numbers or all texts, so no two have the same text.
        return {str(value): row for row, value in enumerate(self.values, start=1)}

    @cached_property
    def _index(self) -> pd.Index:
        import pandas as pd

        index: pd.Index = pd.Index(self.values)
        return index

    def __len__(self) -> int:
        return len(self.values) + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.values)} values and the unknown row)"
