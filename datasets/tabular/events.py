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
    """The raw ids of users or of items.

    Attributes:
        values: The ids in the order of rows, from 1.
        source: What gives them, for messages.
    """

    values: pa.Array
    source: str


def ids_of_events(raw: RawTable, column: str, problems: list[str]) -> Ids:
    """Returns the ids that events name, in ascending order, where no table gives them."""
    values = raw[column]
    if not _can_be_ids(values.type) or not len(raw):  # where there are no events at all, `encode_events` tells it
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
    """Encodes the events.

    Args:
        raw: The columns that the section names.
        section: What the columns mean.
        users: The users' ids; None where they could not be read.
        items: The items' ids; None where they could not be read.
        unknown: What becomes of an event whose user or item has no row, or is missing.
        problems: Takes what is wrong with the events, a message each.

    Returns:
        The events, what a person should know about them, and how many of each shard they are; None where there was a
        problem.
    """
    before = len(problems)
    notes: list[str] = []
    if not len(raw):
        problems.append(f"{raw.paths[0]} must hold at least one event, got none. Look at the file.")
        return None
    rows: dict[str, NDArray[np.int32]] = {}
    bad = np.zeros(len(raw), dtype=bool)
    for side, column, ids in (("user", section.user, users), ("item", section.item, items)):
        found = None if ids is None else _rows(raw, column, ids, problems)
        if found is None or ids is None:
            continue
        rows[side], strange = found, found == 0
        if strange.any() and unknown == "error":
            next_step = f"Add the {side}s, or set `unknown` to `row` or `drop`."
            problems.append(
                raw.fault(column, f"one of the {len(ids.values):,} ids of {ids.source}", strange, next_step)
            )
        elif strange.any():
            bad |= strange
            fate = "were dropped" if unknown == "drop" else f"count for the unknown {side}"
            notes.append(
                f"{int(strange.sum()):,} of {len(raw):,} events {fate}: their {column} is not in {ids.source}."
            )
    shown = None
    if section.negatives is not None and items is not None:
        shown = encode_shown(raw, section.negatives, items, unknown, problems)
        if shown is not None and unknown != "error" and shown[2].any():
            notes.append(
                f"{int(shown[2].sum()):,} of {len(raw):,} lists of {section.negatives} lost ids that are not in "
                f"{items.source}."
            )
    timestamp = None if section.timestamp is None else microseconds(raw, section.timestamp, problems)
    weight = None if section.weight is None else read_numbers(raw, section.weight, problems, above=0)
    measures: dict[str, NDArray[np.float32]] = {}
    categories: dict[str, Vocabulary] = {}
    for column in section.measures:
        values, texts = read_feedback(raw, column, problems)
        if values is not None:
            measures[column] = values
        if texts is not None:
            categories[column] = texts
    keep = ~bad if unknown == "drop" and bad.any() else None
    if keep is not None and not keep.any():
        problems.append(
            f"{raw.paths[0]} must hold an event of a known user and item, got none of {len(raw):,}. "
            "Look at the columns of ids, or set `unknown: row`."
        )
    if len(problems) > before or len(rows) < 2:
        return None

    def kept(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values if keep is None else values[keep]))

    events = Interactions(
        user=kept(rows["user"]),
        item=kept(rows["item"]),
        measures={name: kept(values) for name, values in measures.items()},
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
    other = np.ones(len(raw), dtype=bool)
    if pa.types.is_string(values.type):
        other = ~are_numbers(values)
        other = other if other.any() else ~other
    problems.append(
        raw.fault(
            column,
            f"{kind_of(ids.values.type)}, as the ids of {ids.source} are",
            other,
            "Repair these rows, or read both columns of ids as text with `kinds`.",
        )
    )
    return None


def encode_shown(
    raw: RawTable, column: str, items: Ids, unknown: Unknown, problems: list[str]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_]] | None:
    """Encodes the items that were shown with each event and not taken.

    Args:
        raw: The events.
        column: The column of lists of items' raw ids.
        items: The items' ids.
        unknown: What becomes of a list with an item that has no row: an `error`, or the list goes without it.
        problems: Takes what is wrong with the lists, a message each.

    Returns:
        What `encode_list_rows` makes of the lists; None where they cannot be read.
    """
    values = raw[column]
    if not pa.types.is_list(values.type):
        problems.append(
            f"{raw.paths[0]}: {column} must be lists of ids, got {kind_of(values.type)}. "
            f"Give the separator of its values, such as `lists: {{{column}: ' '}}`."
        )
        return None
    empty = not len(values.combine_chunks().flatten())
    if values.type.value_type != items.values.type and not empty:
        problems.append(
            f"{raw.paths[0]}: {column} must be lists of {kind_of(items.values.type)}, as the ids of {items.source} "
            f"are, got {kind_of(values.type)}. Write the ids of both alike."
        )
        return None
    encoded = encode_list_rows(values, items.values)
    lost = encoded[2]
    if lost.any() and unknown == "error":
        next_step = "Add the items, or set `unknown` to `row` or `drop`."
        problems.append(raw.fault(column, f"lists of ids of {items.source}", lost, next_step))
    return encoded


def _can_be_ids(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind))
