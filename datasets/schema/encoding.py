"""Encodes raw values into the columns and tables of a star schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from towerzoo.datasets.schema.star_schema import Column, Table
from towerzoo.datasets.vocabulary import UNKNOWN, Vocabulary

Raw = Sequence[int] | Sequence[str] | Sequence[int | None] | Sequence[str | None]
"""One raw value a row; None if unknown."""

RawLists = Sequence[Sequence[int]] | Sequence[Sequence[str]]
"""A list of raw values a row; empty if unknown."""


def encode_table(
    key: str,
    features: Mapping[str, Raw | RawLists],
    texts: Mapping[str, Sequence[str]] | None = None,
    *,
    slots: int = 1,
) -> Table:
    """Encodes a table of users or items, after the unknown row.

    Args:
        key: The feature with the raw ids, all different.
        features: Raw values of every feature by name, including the key: a value or a list of values a row.
        texts: Texts for people, one a row.
        slots: Minimum length that lists are padded to; longer lists set their own.

    Raises:
        ValueError: An id is repeated, or the features differ in length.

    Example:
        >>> films = encode_table("film", {"film": [20, 10], "genres": [["War"], ["Comedy", "War"]]})
        >>> films.ids.encode([10]), films.columns["genres"].values.tolist()
        (array([2], dtype=int32), [[0, 0], [2, 0], [1, 2]])
    """
    lengths = {name: len(values) for name, values in features.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"features must be of equal length, got {lengths}. Give one value or list a row.")
    ids = features[key]
    columns = {name: encode_column(name, values, slots=slots) for name, values in features.items() if name != key}
    # Ids keep the order of the rows, so the row of an id in this vocabulary is its row in the table.
    ids_column = Column(key, torch.arange(len(ids) + 1, dtype=torch.int32), Vocabulary(ids))  # type: ignore[arg-type]
    return Table(key, {key: ids_column, **columns}, {name: ("", *values) for name, values in (texts or {}).items()})


def encode_column(name: str, values: Raw | RawLists, *, slots: int = 1) -> Column:
    """Encodes one feature, after the unknown row, with the vocabulary of all its values.

    Args:
        name: The feature's name.
        values: A value or a list of values a row.
        slots: Minimum length that lists are padded to.

    Example:
        >>> encode_column("gender", ["M", "F", None]).values
        tensor([0, 2, 1, 0], dtype=torch.int32)
    """
    is_list = any(isinstance(value, (list, tuple)) for value in values)
    rows: list[Any] = list(values) if is_list else [[] if value is None else [value] for value in values]
    vocabulary = Vocabulary.fit(value for row in rows for value in row)
    width = max([slots, *map(len, rows)]) if is_list else 1
    numbers = {value: number for number, value in enumerate(vocabulary.values, start=1)}
    encoded = np.full((len(rows) + 1, width), UNKNOWN, np.int32)
    for index, row in enumerate(rows, start=1):
        encoded[index, : len(row)] = [numbers[value] for value in row]
    return Column(name, torch.from_numpy(encoded if is_list else encoded[:, 0].copy()), vocabulary)
