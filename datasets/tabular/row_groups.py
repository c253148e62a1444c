"""The row groups of Parquet files, read when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from towerzoo.datasets.tabular.arrow_columns import LARGEST, kind_of, plain
from towerzoo.datasets.tabular.files import Shards, read_header, unreadable
from towerzoo.datasets.tabular.raw_table import RawTable, join_parts
from towerzoo.datasets.tabular.sections import InteractionFiles
from towerzoo.registry.errors import DataError, name_hint

MOST_EVENTS: Final = 2**31 - 1
"""Events that can be told apart by an int32."""


SHOWN_PER_EVENT: Final = 2
"""Items shown that take up as much memory as an event does, while they are read and encoded: measured."""


class RowGroup(NamedTuple):
    """A row group of a file.

    Attributes:
        path: The file.
        number: Its number in the file.
        start: Rows of the file before it.
        rows: Its own rows.
        shown: Ids in its lists of items shown and not taken; 0 where no such column is named.
    """

    path: Path
    number: int
    start: int
    rows: int
    shown: int


class RowGroups:
    """The row groups of Parquet files, of which a person's YAML says what their columns mean.

    Args:
        shards: The files, as `find_shards` finds them. Only their footers are read here.
        section: What their columns mean, and how many events may be in memory at a time.

    Raises:
        DataError: A file is no Parquet file or cannot be read, lacks a column, or holds another type than the first, or
            the column of items shown is not one of lists.
    """

    def __init__(self, shards: Shards, section: InteractionFiles) -> None:
        if shards.form != "Parquet":
            raise DataError(
                f"{shards.paths[0]} must be a Parquet file to be streamed, got {shards.form}. Write it as Parquet."
            )
        self.section = section
        self.groups = [group for path in shards.paths for group in _groups(path, section.negatives)]
        self.starts = [0, *accumulate(group.rows for group in self.groups)]
        if not 0 < len(self) <= MOST_EVENTS:
            raise DataError(
                f"{shards.paths[0]} and its neighbours must hold 1 to {MOST_EVENTS:,} events, got {len(self):,}. "
                "Name other files."
            )
        self._types = _agreed_types(shards, section.columns)
        lists = section.negatives
        if lists is not None and not pa.types.is_list(self._types[lists]):
            # Of lists the footers tell how much memory they will take up; of text that holds them they do not.
            raise DataError(
                f"{shards.paths[0]}: {lists} must be lists of ids to be streamed, got {kind_of(self._types[lists])}. "
                "Write the column as Parquet lists."
            )

    def __len__(self) -> int:
        return self.starts[-1]

    def fills(self, order: Iterable[int] | None = None, *, shown: bool = False) -> Iterator[list[int]]:
        """Yields the numbers of row groups, some at a time: as many as the buffer has room for, at least one.

        Args:
            order: The numbers; all in the order of the files where not given.
            shown: Whether lists of items shown take up room, too: `SHOWN_PER_EVENT` of them that of an event.
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
            DataError: A file cannot be read, or its values cannot be right.
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
        try:
            with pq.ParquetFile(group.path) as file:
                table = file.read_row_group(group.number, columns=columns)
            return pa.table({name: self._typed(group.path, name, plain(table.column(name))) for name in columns})
        except (pa.ArrowException, OSError) as error:
            raise unreadable(group.path, error) from None

    def _typed(self, path: Path, column: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Returns values of one group as those of the column: it may hold none, or whole numbers beside fractions.

        Raises:
            DataError: They are whole numbers that are too large, and not to be read as text.
        """
        kind, found = self._types[column], values.type
        if found not in (pa.string(), pa.list_(pa.string())) or found == kind:
            return values.cast(kind)
        if self.section.kinds.get(column) == "text":
            return values
        way = "Write them as text." if pa.types.is_list(kind) else f"Read them with `kinds: {{{column}: text}}`."
        raise DataError(
            f"{path}: {column} must be {kind_of(kind)} up to {LARGEST} to be streamed, got larger ones. {way}"
        )


def _groups(path: Path, lists: str | None) -> list[RowGroup]:
    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            rows = [group.num_rows for group in groups]
            shown = [0 if lists is None else _ids_in(group, lists) for group in groups]
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or error) from None
    starts = [0, *accumulate(rows)]
    return [RowGroup(path, number, starts[number], count, shown[number]) for number, count in enumerate(rows) if count]


def _ids_in(group: pq.RowGroupMetaData, lists: str) -> int:
    """Returns the ids in a column of lists; an empty list counts as one."""
    columns = (group.column(number) for number in range(group.num_columns))
    return sum(column.num_values for column in columns if column.path_in_schema.startswith(f"{lists}."))


def _agreed_types(shards: Shards, columns: list[str]) -> dict[str, pa.DataType]:
    """Returns the plain type of each column, which must be one in all files."""
    problems: list[str] = []
    types: dict[str, pa.DataType] = {}
    source: dict[str, Path] = {}
    for path in shards.paths:
        header = read_header(path, shards.form)
        for column in columns:
            if column not in header:
                hint = name_hint(column, header, "Columns")
                problems.append(f"{path} must have a column {column!r}, got none of that name. {hint}")
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
                    f"{kind_of(kind)}. Write all files alike."
                )
    if problems:
        raise DataError("\n".join(problems))
    return types
