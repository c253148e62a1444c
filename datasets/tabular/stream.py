"""Training events in Parquet files that are larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from towerzoo.datasets.batches.loaders import Batch
from towerzoo.datasets.batches.streams import IdLists, StreamedEvents, StreamLoader
from towerzoo.datasets.labels import binary_labels
from towerzoo.datasets.schema.star_schema import Interactions
from towerzoo.datasets.tabular.arrow_columns import distinct, kind_of, rows_of
from towerzoo.datasets.tabular.events import Ids, Unknown, encode_events, encode_shown, ids_of_events
from towerzoo.datasets.tabular.feedback import read_feedback
from towerzoo.datasets.tabular.raw_table import RawTable
from towerzoo.datasets.tabular.row_groups import RowGroups
from towerzoo.registry.errors import DataError


@dataclass(frozen=True)
class ParquetStream:
    """The training events of Parquet files, an `EventStream`.

    Attributes:
        groups: The row groups that hold them.
        users: The users' raw ids.
        items: The items' raw ids.
        unknown: Whether an event with an unknown user or item is an `error` or belongs to the unknown `row`.
    """

    groups: RowGroups
    users: Ids
    items: Ids
    unknown: Unknown = "error"

    def parts(self, label: Mapping[str, Any]) -> Iterator[Batch]:
        """Yields all events in the order of the files, a buffer at a time."""
        for numbers in self.groups.fills():
            yield self._read(numbers, label).events

    def values(self, label: Mapping[str, Any], column: str) -> Iterator[Tensor]:
        """Yields one column of `parts`, `user`, `item` or `label`, and reads no other columns."""
        section = self.groups.section
        names = {"user": section.user, "item": section.item, "label": _feedback(label)[0] if _feedback(label) else None}
        for numbers in self.groups.fills():
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

    def lost_shown(self) -> int:
        """Reads all lists of items shown and returns how many of them name an unknown item."""
        column = self.groups.section.negatives
        assert column is not None
        lost = 0
        for numbers in self.groups.fills(shown=True):
            problems: list[str] = []
            lost += self._shown(self.groups.read(numbers, [column]), column, problems)[1]
            if problems:
                raise DataError("\n".join(problems))
        return lost

    def loader(
        self,
        label: Mapping[str, Any],
        *,
        batch_size: int,
        seed: int | None,
        positives: int | None = None,
        shown: bool = False,
        device: torch.device | None = None,
    ) -> StreamLoader:
        """Returns the batches of an epoch."""

        def read(numbers: list[int]) -> StreamedEvents:
            held = self._read(numbers, label, shown=shown)
            return held if positives is None else held.take(torch.nonzero(held.events.label > 0.5)[:, 0])

        return StreamLoader(
            read,
            partial(self.groups.fills, shown=shown),
            len(self.groups.groups),
            len(self.groups) if positives is None else positives,
            batch_size=batch_size,
            seed=seed,
            device=device,
        )

    def _read(self, numbers: list[int], label: Mapping[str, Any], *, shown: bool = False) -> StreamedEvents:
        """Reads row groups, and encodes and labels their events."""
        lists = self.groups.section.negatives if shown else None
        # A batch has no times, and lists are encoded without padding.
        unread = {"feedback": _feedback(label), "timestamp": None, "negatives": None}
        section = self.groups.section.model_copy(update=unread)
        problems: list[str] = []
        raw = self.groups.read(numbers, section.columns if lists is None else [*section.columns, lists])
        held = None if lists is None else self._shown(raw, lists, problems)[0]
        encoded = encode_events(raw, section, self.users, self.items, self.unknown, problems)
        if problems or encoded is None:
            raise DataError("\n".join(problems))
        events = encoded[0]
        groups = self.groups
        rows = [groups.starts[n] + torch.arange(groups.groups[n].rows, dtype=torch.int32) for n in numbers]
        batch = Batch(events.user, events.item, _labels(events, label), events.weight, torch.cat(rows))
        return StreamedEvents(batch, held)

    def _shown(self, raw: RawTable, column: str, problems: list[str]) -> tuple[IdLists | None, int]:
        """Returns the items shown with each event, and how many lists lost unknown ids."""
        encoded = encode_shown(raw, column, self.items, self.unknown, problems)
        if encoded is None:
            return None, 0
        rows, lengths, lost = encoded
        return IdLists.of(torch.from_numpy(rows), torch.from_numpy(lengths)), int(lost.sum())


def ids_of_stream(groups: RowGroups, others: RawTable, column: str, problems: list[str]) -> Ids:
    """Returns the distinct ids of a stream and of other events, in ascending order, for users or items without a table.

    One pass reads the column; it holds the distinct ids and one buffer in memory.
    """
    known = ids_of_events(others, column, problems)
    for numbers in groups.fills():
        if problems:
            break
        raw = groups.read(numbers, [column])
        ids = ids_of_events(raw, column, problems).values
        if not problems and ids.type != known.values.type and len(ids):
            expected = f"{kind_of(known.values.type)}, as in {known.source}"
            problems.append(raw.type_fault(column, expected, f"Read both as text with `kinds: {{{column}: text}}`."))
        elif not problems:
            known = Ids(distinct(pa.chunked_array([known.values, ids])), known.source)
    return known


def _feedback(label: Mapping[str, Any]) -> list[str]:
    return [] if label.get("implicit") else [label.get("column", "rating")]


def _read_labels(raw: RawTable, label: Mapping[str, Any]) -> Tensor:
    problems: list[str] = []
    (column,) = _feedback(label)
    values, texts = read_feedback(raw, column, problems)
    if values is None:
        raise DataError("\n".join(problems))
    rows = torch.zeros(len(raw), dtype=torch.int32)
    categories = {} if texts is None else {column: texts}
    return _labels(Interactions(rows, rows, {column: torch.from_numpy(values)}, categories=categories), label)


def _labels(events: Interactions, label: Mapping[str, Any]) -> Tensor:
    texts = events.categories.get(label.get("column", "rating"))
    if texts is not None and isinstance(label.get("equals"), str) and label["equals"] not in texts.values:
        return torch.zeros(len(events))  # other row groups may contain the text
    return binary_labels(events, **label)
