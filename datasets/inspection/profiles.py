"""Profiles the columns of tables: what each holds, and what to check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from towerzoo.datasets.tabular.arrow_columns import kind_of, may_be_feature, split_lists, without_empty
from towerzoo.datasets.tabular.files import find_shards
from towerzoo.datasets.tabular.raw_table import RawTable, read_shards
from towerzoo.registry.errors import DataError

SEPARATORS: Final = ("|", ";", ",")
"""Possible separators of several values in one field."""


@dataclass(frozen=True)
class ColumnProfile:
    """A summary of one column.

    Attributes:
        name: The column.
        type: The name of its type.
        distinct: Number of distinct values; of lists, of distinct values in all lists.
        missing: Number of rows without a value or with an empty list.
        example: The first value, as text.
        separator: The separator of several values in one field, if text seems to have one.
        longest: Length of the longest list; 1 for single values.
        infinite: Number of infinite values.
        warnings: What else to check, a few words each.
    """

    name: str
    type: str
    distinct: int
    missing: int
    example: str
    separator: str | None = None
    longest: int = 1
    infinite: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def is_id(self) -> bool:
        """Whether the values can be ids: whole numbers or text."""
        return self.type in ("whole numbers", "text")

    @property
    def is_list(self) -> bool:
        """Whether a row holds several values."""
        return self.separator is not None or self.type.startswith("lists")


@dataclass(frozen=True)
class TableProfile:
    """A summary of one table.

    Attributes:
        files: The files as given.
        raw: All rows.
        columns: The columns by name.
    """

    files: str
    raw: RawTable
    columns: dict[str, ColumnProfile]

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def path(self) -> Path:
        """The first file."""
        return self.raw.paths[0]


def profile_table(files: str) -> TableProfile:
    """Reads and profiles the files of one table.

    Args:
        files: A file, a pattern or a folder, as in the `tabular` dataset.

    Raises:
        DataError: They are missing, or cannot be read as one table.
    """
    shards = find_shards(files)
    header = shards.columns()
    names = [name for name, kind in header.items() if may_be_feature(kind)]
    problems: list[str] = []
    raw = read_shards(shards, names, problems, kinds={}, lists={})
    if raw is None:
        raise DataError("\n".join(problems))
    if not len(raw):
        raise DataError(f"{raw.paths[0]} has no rows. Check the file.")
    return TableProfile(files, raw, {name: _profile(name, raw[name]) for name in names})


def _profile(name: str, values: pa.ChunkedArray) -> ColumnProfile:
    separator = _separator(values) if pa.types.is_string(values.type) else None
    is_list = separator is not None or pa.types.is_list(values.type)
    lists = split_lists(values, separator) if separator is not None else values
    lengths = pc.list_value_length(lists).to_numpy() if is_list else np.ones(1)
    missing = int((lengths == 0).sum()) if is_list else values.null_count + _nans(values)
    distinct = int(pc.count_distinct(pc.list_flatten(lists) if is_list else values, mode="only_valid").as_py())
    known = values.drop_null()
    infinite = int(pc.sum(pc.is_inf(values)).as_py() or 0) if pa.types.is_floating(values.type) else 0
    return ColumnProfile(
        name,
        kind_of(values.type),
        distinct,
        missing,
        example=str(known[0].as_py()) if len(known) else "",
        separator=separator,
        longest=int(lengths.max()),
        infinite=infinite,
        warnings=(*_warnings(len(values), distinct, missing, infinite), *_brackets(values)),
    )


def _nans(values: pa.ChunkedArray) -> int:
    return int(pc.sum(pc.is_nan(values)).as_py() or 0) if pa.types.is_floating(values.type) else 0


def _separator(texts: pa.ChunkedArray) -> str | None:
    """Returns the separator of several values a row, with which at most half of the values are distinct."""
    for separator in SEPARATORS:
        if pc.any(pc.match_substring(texts, separator)).as_py():
            values = pc.list_flatten(without_empty(split_lists(texts, separator)))
            if 0 < pc.count_distinct(values).as_py() <= len(values) / 2:
                return separator
    return None


def _brackets(values: pa.ChunkedArray) -> Iterator[str]:
    if pa.types.is_string(values.type) and pc.all(pc.match_substring_regex(values, r"^\[.*\]$")).as_py():
        yield "lists with brackets and quotes: write a|b, or Parquet lists"


def _warnings(rows: int, distinct: int, missing: int, infinite: int) -> Iterator[str]:
    if missing:
        yield f"{missing / rows:.1%} missing"
    if distinct <= 1:
        yield "only one value" if distinct else "empty"
    if infinite:
        yield f"{infinite:,} infinite"
