"""Encodes a table of interactions: ids become rows of the users and items tables."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from towerzoo.datasets.schema.star_schema import Interactions
from towerzoo.datasets.tabular.arrow_columns import distinct, kind_of, rows_of
from towerzoo.datasets.tabular.arrow_encoding import encode_list_rows, pad
from towerzoo.datasets.tabular.feedback import read_feedback, read_numbers
from towerzoo.datasets.tabular.raw_table import RawTable, are_numbers, ids_fault
from towerzoo.datasets.tabular.sections import InteractionFiles
from towerzoo.datasets.tabular.timestamps import microseconds
from towerzoo.datasets.vocabulary import Vocabulary

Unknown = Literal["row", "drop", "error"]
"""What becomes of an event whose user or item has no row."""


@dataclass(frozen=True)
class Ids:
    """The raw ids of users or items.

    Attributes:
        values: The ids in the order of rows, from 1.
        source: The file that they come from, for messages.
    """

    values: pa.Array
    source: str


def ids_of_events(raw: RawTable, column: str, problems: list[str]) -> Ids:
    """Returns the distinct ids in a column of the events in ascending order, for users or items without a table."""
    values = raw[column]
    if not _can_be_ids(values.type) or not len(raw):  # `encode_events` reports that there are no events
        problems += [ids_fault(raw, column)] if len(raw) else []
        return Ids(pa.array([], pa.int64()), str(raw.paths[0]))
    return Ids(distinct(values), str(raw.paths[0]))


def encode_events(
    raw: RawTable,
    section: InteractionFiles,
    users: Ids | None,
    items: Ids | None,
    unknown: Unknown,
    problems: list[str],
) -> tuple[Interactions, tuple[str, ...], tuple[int, ...]] | None:
    """Returns the events, notes for people, and the number of events of each shard.

    Args:
        raw: The columns that the section names.
        section: What the columns mean.
        users: The users' ids; None if they could not be read.
        items: The items' ids; None if they could not be read.
        unknown: What becomes of an event whose user or item is missing or has no row.
        problems: See `towerzoo.datasets.tabular`.
    """
    before = len(problems)
    notes: list[str] = []
    if not len(raw):
        problems.append(f"{raw.paths[0]} has no events. Check the file.")
        return None
    rows: dict[str, NDArray[np.int32]] = {}
    bad = np.zeros(len(raw), dtype=bool)
    for side, column, ids in (("user", section.user, users), ("item", section.item, items)):
        encoded = None if ids is None else _rows(raw, column, ids, problems)
        if encoded is None or ids is None:
            continue
        rows[side], missing = encoded, encoded == 0
        if missing.any() and unknown == "error":
            expected = f"one of the {len(ids.values):,} ids of {ids.source}"
            next_step = f"Add the {side}s, or set `unknown` to `row` or `drop`."
            problems.append(raw.fault(column, expected, missing, next_step))
        elif missing.any():
            bad |= missing
            fate = "were dropped" if unknown == "drop" else f"are assigned to the unknown {side}"
            count = f"{int(missing.sum()):,} of {len(raw):,} events"
            notes.append(f"{count} {fate}: their {column} is not in {ids.source}.")
    shown = None
    if section.negatives is not None and items is not None:
        shown = encode_shown(raw, section.negatives, items, unknown, problems)
        if shown is not None and unknown != "error" and shown[2].any():
            count = f"{int(shown[2].sum()):,} of {len(raw):,} lists of {section.negatives}"
            notes.append(f"{count} lost ids that are not in {items.source}.")
    timestamp = None if section.timestamp is None else microseconds(raw, section.timestamp, problems)
    weight = None if section.weight is None else read_numbers(raw, section.weight, problems, above=0)
    feedback: dict[str, NDArray[np.float32]] = {}
    categories: dict[str, Vocabulary] = {}
    for column in section.feedback:
        values, texts = read_feedback(raw, column, problems)
        if values is not None:
            feedback[column] = values
        if texts is not None:
            categories[column] = texts
    keep = ~bad if unknown == "drop" and bad.any() else None
    if keep is not None and not keep.any():
        problems.append(
            f"None of the {len(raw):,} events of {raw.paths[0]} has a known user and item. "
            "Check the columns of ids, or set `unknown: row`."
        )
    if len(problems) > before or len(rows) < 2:
        return None

    def kept(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values if keep is None else values[keep]))

    events = Interactions(
        user=kept(rows["user"]),
        item=kept(rows["item"]),
        feedback={name: kept(values) for name, values in feedback.items()},
        timestamp=None if timestamp is None else kept(timestamp),
        weight=None if weight is None else kept(weight),
        negatives=None if shown is None else kept(pad(*shown[:2])),
        categories=categories,
    )
    ends = np.cumsum((0, *raw.lengths))
    lengths = raw.lengths if keep is None else tuple(int(keep[a:b].sum()) for a, b in itertools.pairwise(ends))
    return events, tuple(notes), lengths


def _rows(raw: RawTable, column: str, ids: Ids, problems: list[str]) -> NDArray[np.int32] | None:
    values = raw[column]
    if pa.types.is_null(values.type) or values.type == ids.values.type:
        return rows_of(values, ids.values)
    if not _can_be_ids(values.type):
        problems.append(ids_fault(raw, column))
        return None
    odd = np.ones(len(raw), dtype=bool)
    if pa.types.is_string(values.type) and not (numbers := are_numbers(values)).all():
        odd = ~numbers
    expected = f"{kind_of(ids.values.type)}, like the ids of {ids.source}"
    next_step = "Repair these rows, or read both columns of ids as text with `kinds`."
    problems.append(raw.fault(column, expected, odd, next_step))
    return None


def encode_shown(
    raw: RawTable, column: str, items: Ids, unknown: Unknown, problems: list[str]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_]] | None:
    """Encodes a column of items that were shown with each event and not taken, with `encode_list_rows`.

    An id without a row is dropped from its list, unless `unknown` is `error`.
    """
    values = raw[column]
    if not pa.types.is_list(values.type):
        next_step = f"Set the separator of its values, such as `lists: {{{column}: ' '}}`."
        problems.append(raw.type_fault(column, "lists of ids", next_step))
        return None
    empty = not len(values.combine_chunks().flatten())
    if values.type.value_type != items.values.type and not empty:
        expected = f"lists of {kind_of(items.values.type)}, like the ids of {items.source}"
        problems.append(raw.type_fault(column, expected, "Write both columns of ids with the same type."))
        return None
    encoded = encode_list_rows(values, items.values)
    lost = encoded[2]
    if lost.any() and unknown == "error":
        next_step = "Add the items, or set `unknown` to `row` or `drop`."
        problems.append(raw.fault(column, f"lists of ids of {items.source}", lost, next_step))
    return encoded


def _can_be_ids(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind))
