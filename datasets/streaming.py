"""Batches of events that are read from Parquet files as they are needed, for logs that do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from towerzoo.datasets.arrow_columns import plain
from towerzoo.datasets.batches import Batch, EpochLoader, epoch_seed
from towerzoo.datasets.labels import binary_labels
from towerzoo.datasets.raw_table import join_parts
from towerzoo.datasets.star_schema import Interactions
from towerzoo.datasets.tabular_events import Ids, encode_events
from towerzoo.datasets.tabular_files import Shards, unreadable
from towerzoo.datasets.tabular_sections import InteractionFiles
from towerzoo.datasets.vocabulary import Vocabulary
from towerzoo.registry.errors import DataError

_MOST_EVENTS = 2**31 - 1


class _Group(NamedTuple):
    """A row group of a file: its number there, the rows of the file before it, and its own."""

    path: Path
    number: int
    start: int
    rows: int


class ParquetLoader(EpochLoader):
    """Yields the events of Parquet files as batches, with no more than some row groups in memory.

    Its interface is that of `BatchLoader`. An epoch visits the row groups in an order drawn anew, holds a few of them
    at a time, and draws batches from these at random; what is left of a batch is mixed into the next groups. The order
    is a pure function of seed and epoch. It mixes less than `BatchLoader`'s, since events of one group come near each
    other: write files in no order that tells labels apart, in groups of some ten to hundred thousand rows.

    Args:
        shards: Parquet files, as `find_shards` finds them. Only their footers are read here.
        interactions: What their columns mean; the label's column is read in any case.
        users: The users' raw ids.
        items: The items' raw ids.
        label: The rule of labels, as keyword arguments of `binary_labels`.
        batch_size: Events a batch; a rest of one event joins the batch before it, when shuffling.
        seed: Seed of the order; None keeps that of the files.
        groups: Row groups in memory at a time.
        unknown: Whether an event whose user or item is not known is an `error`, or belongs to the unknown `row`.
        device: Where batches are made.

    Raises:
        DataError: A file is no Parquet file or cannot be read; while iterating, events that cannot be right.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "clicks.parquet")
        ...     pq.write_table(pa.table({"user_id": [1, 2, 2], "item_id": ["a", "a", "b"]}), path, row_group_size=1)
        ...     users, items, label = Vocabulary([1, 2]), Vocabulary(["a", "b"]), {"implicit": True}
        ...     shards, columns = Shards("Parquet", (path,)), InteractionFiles(files="clicks.parquet")
        ...     loader = ParquetLoader(shards, columns, users=users, items=items, label=label, batch_size=2)
        ...     [batch.user.tolist() for batch in loader]
        [[1, 2], [2]]
    """

    def __init__(
        self,
        shards: Shards,
        interactions: InteractionFiles,
        *,
        users: Vocabulary,
        items: Vocabulary,
        label: Mapping[str, Any],
        batch_size: int,
        seed: int | None = None,
        groups: int = 8,
        unknown: Literal["error", "row"] = "error",
        device: torch.device | None = None,
    ) -> None:
        if shards.form != "Parquet":
            raise DataError(
                f"{shards.paths[0]} must be a Parquet file to be streamed, got {shards.form}. Write it as Parquet."
            )
        measures = [] if label.get("implicit") else [label.get("column", "rating")]
        # Times and negatives are no part of a batch, and so need not be read.
        self.interactions = interactions.model_copy(update={"measures": measures, "timestamp": None, "negatives": None})
        self.users, self.items = (
            Ids(pa.array(ids.values), f"the {side}") for side, ids in (("users", users), ("items", items))
        )
        self.label = label
        self.held = groups
        self.unknown = unknown
        self.device = device
        self._groups = [group for path in shards.paths for group in _groups(path)]
        self._starts = [0, *accumulate(group.rows for group in self._groups)]
        events = self._starts[-1]
        if not 0 < events <= _MOST_EVENTS:
            raise DataError(
                f"{shards.paths[0]} and its neighbours must hold 1 to {_MOST_EVENTS:,} events, got {events:,}. "
                "Name other files."
            )
        super().__init__(events, batch_size=batch_size, seed=seed)

    def __iter__(self) -> Iterator[Batch]:
        generator = None
        order = torch.arange(len(self._groups))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
            order = torch.randperm(len(self._groups), generator=generator)
        waiting = iter(torch.split(order, self.held))
        held, given = self._read(next(waiting).tolist()), 0
        if generator is not None:
            held = _select(held, torch.randperm(len(held.user), generator=generator))
        start = 0
        for end in self.ends:
            size = end - start
            while len(held.user) - given < size:
                held, given = _joined(_from(held, given), self._read(next(waiting).tolist())), 0
                if generator is not None:
                    held = _select(held, torch.randperm(len(held.user), generator=generator))
            yield _select(held, torch.arange(given, given + size), self.device)
            given += size
            start = end

    def _read(self, numbers: list[int]) -> Batch:
        """Reads some row groups and encodes their events."""
        section = self.interactions
        problems: list[str] = []
        groups = [self._groups[number] for number in numbers]
        raw = join_parts(
            [_read_group(group, section.columns) for group in groups],
            [group.path for group in groups],
            section.columns,
            problems,
            kinds=section.kinds,
            lists=section.lists,
            starts=tuple(group.start for group in groups),
        )
        encoded = None
        if raw is not None:
            encoded = encode_events(raw, section, self.users, self.items, self.unknown, problems)
        if encoded is None:
            raise DataError("\n".join(problems))
        events = encoded[0]
        event = torch.cat([self._starts[n] + torch.arange(self._groups[n].rows, dtype=torch.int32) for n in numbers])
        return Batch(events.user, events.item, _labels(events, self.label), events.weight, event.int())


def _groups(path: Path) -> list[_Group]:
    try:
        with pq.ParquetFile(path) as file:
            rows = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or error) from None
    starts = [0, *accumulate(rows)]
    return [_Group(path, number, starts[number], count) for number, count in enumerate(rows) if count]


def _read_group(group: _Group, columns: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(group.path) as file:
            missing = [column for column in columns if column not in file.schema_arrow.names]
            if missing:
                known = ", ".join(file.schema_arrow.names)
                raise DataError(
                    f"{group.path} must have a column {missing[0]!r}, got none of that name. Columns: {known}."
                )
            table = file.read_row_group(group.number, columns=columns)
        return pa.table({column: plain(table.column(column)) for column in columns})
    except (pa.ArrowException, OSError) as error:
        raise unreadable(group.path, error) from None


def _labels(events: Interactions, label: Mapping[str, Any]) -> Tensor:
    texts = events.categories.get(label.get("column", "rating"))
    if texts is not None and isinstance(label.get("equals"), str) and label["equals"] not in texts.values:
        return torch.zeros(len(events))  # other row groups may hold the text
    return binary_labels(events, **label)


def _joined(first: Batch, second: Batch) -> Batch:
    pairs = zip(first, second, strict=True)
    return _batch(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs)


def _select(events: Batch, rows: Tensor, device: torch.device | None = None) -> Batch:
    return _batch(None if values is None else values.index_select(0, rows).to(device) for values in events)


def _from(events: Batch, start: int) -> Batch:
    return _batch(None if values is None else values[start:] for values in events)


def _batch(columns: Iterable[Tensor | None]) -> Batch:
    user, item, label, *others = columns
    assert user is not None
    assert item is not None
    assert label is not None
    return Batch(user, item, label, *others)
