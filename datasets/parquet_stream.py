"""Events in Parquet files that do not fit into memory, as row groups that are read when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from towerzoo.datasets.arrow_columns import kind_of, plain
from towerzoo.datasets.arrow_encoding import distinct, rows_of
from towerzoo.datasets.batches import Batch
from towerzoo.datasets.labels import binary_labels
from towerzoo.datasets.raw_table import RawTable, join_parts
from towerzoo.datasets.star_schema import Interactions
from towerzoo.datasets.streaming import StreamLoader
from towerzoo.datasets.tabular_events import Ids, encode_events, ids_of_events
from towerzoo.datasets.tabular_files import Shards, read_header, unreadable
from towerzoo.datasets.tabular_measures import read_measure
from towerzoo.datasets.tabular_sections import InteractionFiles
from towerzoo.registry.errors import DataError, name_hint

MOST_EVENTS: Final = 2**31 - 1
"""Events that can be told apart by an int32."""


class RowGroup(NamedTuple):
    """A row group of a file: its number there, the rows of the file before it, and its own."""

    path: Path
    number: int
    start: int
    rows: int


class RowGroups:
    """The row groups of Parquet files, of which a person's YAML says what their columns mean.

    Args:
        shards: The files, as `find_shards` finds them. Only their footers are read here.
        section: What their columns mean, and how many events may be in memory at a time.

    Raises:
        DataError: A file is no Parquet file or cannot be read, lacks a column, or holds another type than the first.
    """

    def __init__(self, shards: Shards, section: InteractionFiles) -> None:
        if shards.form != "Parquet":
            raise DataError(
                f"{shards.paths[0]} must be a Parquet file to be streamed, got {shards.form}. Write it as Parquet."
            )
        self.section = section
        self.groups = [group for path in shards.paths for group in _groups(path)]
        self.starts = [0, *accumulate(group.rows for group in self.groups)]
        if not 0 < len(self) <= MOST_EVENTS:
            raise DataError(
                f"{shards.paths[0]} and its neighbours must hold 1 to {MOST_EVENTS:,} events, got {len(self):,}. "
                "Name other files."
            )
        self._types = _agreed_types(shards, section.columns)

    def __len__(self) -> int:
        return self.starts[-1]

    def fills(self, order: list[int]) -> Iterator[list[int]]:
        """Yields the numbers of row groups, some at a time: as many as the buffer has room for, at least one."""
        fill: list[int] = []
        room = self.section.shuffle_buffer
        for number in order:
            if fill and self.groups[number].rows > room:
                yield fill
                fill, room = [], self.section.shuffle_buffer
            fill.append(number)
            room -= self.groups[number].rows
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
            # A column of one group may hold nothing at all, or whole numbers where others have fractions.
            return pa.table({name: plain(table.column(name)).cast(self._types[name]) for name in columns})
        except (pa.ArrowException, OSError) as error:
            raise unreadable(group.path, error) from None


@dataclass(frozen=True)
class ParquetStream:
    """The training events of Parquet files; the contract is that of `EventStream`.

    Attributes:
        groups: Where they are read from.
        users: The users' raw ids.
        items: The items' raw ids.
        unknown: Whether an event whose user or item is not known is an `error`, or belongs to the unknown `row`.
    """

    groups: RowGroups
    users: Ids
    items: Ids
    unknown: Literal["error", "row"] = "error"

    def __len__(self) -> int:
        return len(self.groups)

    def parts(self, label: Mapping[str, Any]) -> Iterator[Batch]:
        """Yields all events in the order of the files, as many at a time as the buffer has room for."""
        for numbers in self.groups.fills(list(range(len(self.groups.groups)))):
            yield self.read(numbers, label)

    def values(self, label: Mapping[str, Any], column: str) -> Iterator[Tensor]:
        """Yields what `parts` holds as `user`, `item` or `label`, without reading anything else."""
        section = self.groups.section
        names = {"user": section.user, "item": section.item, "label": _measures(label)[0] if _measures(label) else None}
        for numbers in self.groups.fills(list(range(len(self.groups.groups)))):
            name = names[column]
            if name is None:
                yield torch.ones(sum(self.groups.groups[number].rows for number in numbers))
                continue
            raw = self.groups.read(numbers, [name])
            if column == "label":
                yield _read_labels(raw, label)
            else:
                ids = self.users if column == "user" else self.items
                yield torch.from_numpy(rows_of(raw[name], ids.values))

    def loader(
        self,
        label: Mapping[str, Any],
        *,
        batch_size: int,
        seed: int | None,
        positives: int | None = None,
        device: torch.device | None = None,
    ) -> StreamLoader:
        """Returns the batches of an epoch, see `EventStream.loader`."""

        def read(numbers: list[int]) -> Batch:
            events = self.read(numbers, label)
            return events if positives is None else _positive(events)

        return StreamLoader(
            read,
            self.groups.fills,
            len(self.groups.groups),
            len(self) if positives is None else positives,
            batch_size=batch_size,
            seed=seed,
            device=device,
        )

    def read(self, numbers: list[int], label: Mapping[str, Any]) -> Batch:
        """Reads some row groups and encodes and labels their events.

        Raises:
            DataError: A file cannot be read, or its events cannot be right.
        """
        # Times are no part of a batch, and so need not be read.
        section = self.groups.section.model_copy(update={"measures": _measures(label), "timestamp": None})
        problems: list[str] = []
        raw = self.groups.read(numbers, section.columns)
        encoded = encode_events(raw, section, self.users, self.items, self.unknown, problems)
        if encoded is None:
            raise DataError("\n".join(problems))
        events = encoded[0]
        groups = self.groups
        rows = [groups.starts[n] + torch.arange(groups.groups[n].rows, dtype=torch.int32) for n in numbers]
        return Batch(events.user, events.item, _labels(events, label), events.weight, torch.cat(rows))


def ids_of_stream(groups: RowGroups, others: RawTable, column: str, problems: list[str]) -> Ids:
    """Returns the ids that the events of a stream and others name, in ascending order, where no table gives them.

    One pass reads the column, and holds no more than the different ids and what the buffer has room for.

    Args:
        groups: The stream.
        others: Events in memory.
        column: The column of ids.
        problems: Takes what is wrong with the ids, a message each.
    """
    known = ids_of_events(others, column, problems)
    for numbers in groups.fills(list(range(len(groups.groups)))):
        if problems:
            break
        raw = groups.read(numbers, [column])
        found = ids_of_events(raw, column, problems)
        if not problems and found.values.type != known.values.type and len(found.values):
            problems.append(
                f"{raw.paths[0]}: {column} must be {kind_of(known.values.type)}, as in {known.source}, got "
                f"{kind_of(found.values.type)}. Read both as text with `kinds: {{{column}: text}}`."
            )
        elif not problems:
            known = Ids(distinct(pa.chunked_array([known.values, found.values])), known.source)
    return known


def _groups(path: Path) -> list[RowGroup]:
    try:
        with pq.ParquetFile(path) as file:
            rows = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or error) from None
    starts = [0, *accumulate(rows)]
    return [RowGroup(path, number, starts[number], count) for number, count in enumerate(rows) if count]


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


def _measures(label: Mapping[str, Any]) -> list[str]:
    return [] if label.get("implicit") else [label.get("column", "rating")]


def _read_labels(raw: RawTable, label: Mapping[str, Any]) -> Tensor:
    problems: list[str] = []
    (column,) = _measures(label)
    values, texts = read_measure(raw, column, problems)
    if values is None:
        raise DataError("\n".join(problems))
    rows = torch.zeros(len(raw), dtype=torch.int32)
    categories = {} if texts is None else {column: texts}
    return _labels(Interactions(rows, rows, {column: torch.from_numpy(values)}, categories=categories), label)


def _labels(events: Interactions, label: Mapping[str, Any]) -> Tensor:
    texts = events.categories.get(label.get("column", "rating"))
    if texts is not None and isinstance(label.get("equals"), str) and label["equals"] not in texts.values:
        return torch.zeros(len(events))  # other row groups may hold the text
    return binary_labels(events, **label)


def _positive(events: Batch) -> Batch:
    rows = torch.nonzero(events.label > 0.5)[:, 0]
    user, item, label, *others = (None if v is None else v.index_select(0, rows) for v in events)
    assert user is not None
    assert item is not None
    assert label is not None
    return Batch(user, item, label, *others)
