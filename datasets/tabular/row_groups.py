"""The row groups of Parquet files, which are read when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from towerzoo.datasets.tabular.arrow_columns import LARGEST, kind_of, plain
from towerzoo.datasets.tabular.files import Shards, read_header, reading
from towerzoo.datasets.tabular.raw_table import RawTable, join_parts, missing_columns
from towerzoo.datasets.tabular.sections import InteractionFiles
from towerzoo.registry.errors import DataError

MOST_EVENTS: Final = 2**31 - 1
"""The most events that an int32 can number."""
SHOWN_PER_EVENT: Final = 2
"""Ids of items shown that take as much memory as one event while they are read and encoded (measured)."""


class RowGroup(NamedTuple):
    """A row group of a file.

    Attributes:
        path: The file.
        number: The row group's number in the file.
        start: Rows of the file before it.
        rows: Rows of the group.
        shown: Ids in its lists of items shown and not taken; 0 without such a column.
    """

    path: Path
    number: int
    start: int
    rows: int
    shown: int


class RowGroups:
    """The row groups of the Parquet files of a stream.

    Args:
        shards: The files. Only their footers are read here.
        section: What their columns mean, and how many events may be in memory at a time.

    Raises:
        DataError: A file is not a Parquet file, cannot be read, lacks a column or has another type than the first, or
            the column of items shown does not hold lists.
    """

    def __init__(self, shards: Shards, section: InteractionFiles) -> None:
        if shards.format != "Parquet":
            raise DataError(f"{shards.paths[0]} must be a Parquet file to be streamed, got {shards.format}.")
        self.section = section
        self.groups = [group for path in shards.paths for group in _groups(path, section.negatives)]
        self.starts = [0, *accumulate(group.rows for group in self.groups)]
        if not 0 < len(self) <= MOST_EVENTS:
            raise DataError(
                f"{shards.paths[0]} and its other shards must hold 1 to {MOST_EVENTS:,} events, got {len(self):,}."
            )
        self._types = _common_types(shards, section.columns)
        lists = section.negatives
        if lists is not None and not pa.types.is_list(self._types[lists]):
            # The footers say how much memory lists take, but not text that holds them.
            raise DataError(
                f"{shards.paths[0]}: {lists} must be lists of ids to be streamed, got {kind_of(self._types[lists])}. "
                "Write the column as Parquet lists."
            )

    def __len__(self) -> int:
        return self.starts[-1]

    def fills(self, order: Iterable[int] | None = None, *, shown: bool = False) -> Iterator[list[int]]:
        """Yields the numbers of the row groups that fill the buffer together, at least one each time.

        Args:
            order: The numbers; by default all in the order of the files.
            shown: Whether lists of items shown take room, too: `SHOWN_PER_EVENT` ids that of an event.
        """
        fill: list[int] = []
        room = self.section.shuffle_buffer
        for number in range(len(self.groups)) if order is None else order:
            group = self.groups[number]
            size = group.rows + (group.shown // SHOWN_PER_EVENT if shown else 0)
            if fill and size > room:
                yield fill
                fill, room = [], self.section.shuffle_buffer
            fill.append(number)
            room -= size
        yield fill

    def read(self, numbers: list[int], columns: list[str]) -> RawTable:
        """Reads columns of some row groups.

        Raises:
            DataError: A file or its values cannot be read.
        """
        problems: list[str] = []
        groups = [self.groups[number] for number in numbers]
        raw = join_parts(
            [self._read_group(group, columns) for group in groups],
            [group.path for group in groups],
            columns,
            problems,
            kinds=self.section.kinds,
            lists=self.section.lists,
            starts=tuple(group.start for group in groups),
        )
        if raw is None:
            raise DataError("\n".join(problems))
        return raw

    def _read_group(self, group: RowGroup, columns: list[str]) -> pa.Table:
        with reading(group.path):
            with pq.ParquetFile(group.path) as file:
                table = file.read_row_group(group.number, columns=columns)
            return pa.table({name: self._typed(group.path, name, plain(table.column(name))) for name in columns})

    def _typed(self, path: Path, column: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Casts values of a group, which may be all null or all whole, to the type of their column."""
        kind, actual = self._types[column], values.type
        if actual not in (pa.string(), pa.list_(pa.string())) or actual == kind:
            return values.cast(kind)
        if self.section.kinds.get(column) == "text":
            return values
        remedy = "Write them as text." if pa.types.is_list(kind) else f"Read them with `kinds: {{{column}: text}}`."
        raise DataError(
            f"{path}: {column} must be {kind_of(kind)} up to {LARGEST} to be streamed, got larger ones. {remedy}"
        )


def _groups(path: Path, lists: str | None) -> list[RowGroup]:
    with reading(path), pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        rows = [group.num_rows for group in groups]
        shown = [0 if lists is None else _count_ids(group, lists) for group in groups]
    starts = [0, *accumulate(rows)]
    return [RowGroup(path, number, starts[number], count, shown[number]) for number, count in enumerate(rows) if count]


def _count_ids(group: pq.RowGroupMetaData, lists: str) -> int:
    """Returns the number of ids in a column of lists; an empty list counts as one."""
    columns = (group.column(number) for number in range(group.num_columns))
    return sum(column.num_values for column in columns if column.path_in_schema.startswith(f"{lists}."))


def _common_types(shards: Shards, columns: list[str]) -> dict[str, pa.DataType]:
    """Returns the plain type of each column, which must be the same in all files."""
    problems: list[str] = []
    types: dict[str, pa.DataType] = {}
    source: dict[str, Path] = {}
    for path in shards.paths:
        header = read_header(path, shards.format)
        problems += missing_columns(path, columns, header)
        for column in columns:
            if column not in header:
                continue
            kind = plain(pa.chunked_array([], header[column])).type
            known = types.setdefault(column, kind)
            if pa.types.is_null(known):
                types[column], source[column] = kind, path
            elif {known, kind} == {pa.int64(), pa.float64()}:
                types[column] = pa.float64()
            elif kind not in (known, pa.null()):
                problems.append(
                    f"{path}: {column} must be {kind_of(known)}, as in {source.get(column, shards.paths[0])}, got "
                    f"{kind_of(kind)}. Write all files with the same types."
                )
    if problems:
        raise DataError("\n".join(problems))
    return types
