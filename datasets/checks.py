"""Checks what registered datasets and splits return, so that a mistake in one is reported where it was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from towerzoo.datasets.schema.star_schema import ColumnNames, StarSchema, Table
from towerzoo.datasets.splits import PARTS, Split
from towerzoo.registry import DATASETS, SPLITS, Spec

ROWS_AT_ONCE = 1 << 20
"""Rows that are checked together; bounds the memory of their int64 copies."""

Problem = tuple[str, str, str]  # what a dataset must do, what it did, and the remedy


def load_schema(dataset: Spec) -> StarSchema:
    """Builds a registered dataset, loads it, and checks the result.

    Raises:
        PartError: It fails, or its tables, its events and the columns that it names do not fit together.
        DataError: Its `load` reports that the data is missing or malformed.
    """
    source = DATASETS.build(dataset)
    with DATASETS.errors_named(dataset, "load"):
        schema: StarSchema = source.load()
        names = source.columns()
    for value, kind, method in ((schema, StarSchema, "load"), (names, ColumnNames, "columns")):
        if not isinstance(value, kind):
            raise DATASETS.part_error(dataset, f"return {kind.__name__} from {method}()", f"a {type(value).__name__}")
    for problem in _schema_problems(schema, names):
        raise DATASETS.part_error(dataset, *problem)
    return schema


def draw_split(split: Spec, user: Tensor, timestamp: Tensor | None) -> Split:
    """Splits events by a registered split.

    Args:
        split: The split.
        user: User rows (N,).
        timestamp: Times (N,), where known.

    Returns:
        The split, its rows int32 and ascending.

    Raises:
        PartError: It fails, or returns something else, rows out of range, or an event twice.
        DataError: A part is empty, or the split reports that it does not suit the data.
    """
    with SPLITS.errors_named(split, "split the events"):
        parts = SPLITS.build(split, user=user, timestamp=timestamp)
    if not isinstance(parts, Split):
        raise SPLITS.part_error(split, "return Split(train, valid, test)", f"a {type(parts).__name__}")
    for problem in _split_problems(parts, len(user)):
        raise SPLITS.part_error(split, *problem)
    each = ((name, getattr(parts, name).to(torch.int32)) for name in PARTS)
    ascending = {name: rows if bool((rows[1:] > rows[:-1]).all()) else rows.sort().values for name, rows in each}
    return replace(parts, **ascending)


def _split_problems(parts: Split, n_events: int) -> Iterator[Problem]:
    taken = torch.zeros(n_events, dtype=torch.bool)
    for name in PARTS:
        rows = getattr(parts, name)
        if problem := _rows_problem(rows, n_events):
            expected = f"return rows of events (n,) from 0 to {n_events - 1} as {name}"
            yield expected, problem, "Boolean masks become rows by mask.nonzero()[:, 0]."
            return
        before = int(taken.count_nonzero())
        for chunk in torch.split(rows, ROWS_AT_ONCE):
            taken[chunk.long()] = True
        if repeated := len(rows) - int(taken.count_nonzero()) + before:
            yield "have each event in one part at most", f"{repeated:,} of {name} twice or in an earlier part", ""


def _schema_problems(schema: StarSchema, names: ColumnNames) -> Iterator[Problem]:
    if not isinstance(schema.digest, str):
        yield "load a digest that is text", repr(schema.digest), "Equal digests mean equal data."
    yield from _table_problems("users", schema.users, (*names.users, *names.user_texts))
    yield from _table_problems("items", schema.items, (*names.items, *names.item_texts))
    events = schema.interactions
    for name, table in (("user", schema.users), ("item", schema.items)):
        rows = getattr(events, name)
        if problem := _rows_problem(rows, len(table)):
            expected = f"have rows of the {name}s table (N,), from 0 to {len(table) - 1}, as {name} of events"
            yield expected, problem, f"torch.from_numpy({name}s.ids.encode(raw_ids)) makes them."
        elif len(rows) and int(rows.max()) == 0:
            actual = f"the unknown one, row 0, in all {len(rows):,} events"
            hint = f"Encode ids of the table's own type, such as {table.ids.values[:1]}."
            yield f"have events of known {name}s", actual, hint
    optional = {name: getattr(events, name) for name in ("timestamp", "weight", "negatives")}
    for name, values in {"item": events.item, **events.feedback, **optional}.items():
        if values is not None and not (isinstance(values, Tensor) and len(values) == len(events)):
            actual = f"a {type(values).__name__} of {len(values):,} for {len(events):,} events"
            yield f"have a tensor with one value an event as {name} of events", actual, "Write torch.from_numpy(...)."
    if events.timestamp is not None and events.timestamp.is_floating_point():
        yield "have whole numbers as timestamp of events", f"a tensor of {events.timestamp.dtype}", "Add .long()."
    if schema.split is not None:
        yield from _split_problems(schema.split, len(events))


def _table_problems(side: str, table: Table, names: tuple[str, ...]) -> Iterator[Problem]:
    known = f"The {side} have {', '.join([*table.columns, *table.texts])}."
    if missing := [name for name in (table.key, *names) if name not in {*table.columns, *table.texts}]:
        yield f"load the key and every column that columns() names for {side}", f"no {', '.join(missing)}", known
        return
    for name, column in table.columns.items():
        if len(column.values) != len(table):
            actual = f"{len(column.values)} of {name} for {len(table)} rows"
            yield f"have a value of each column of {side} in every row", actual, "Row 0 is the unknown one."
        elif column.vocabulary is not None and (
            problem := _rows_problem(column.values.flatten(), len(column.vocabulary))
        ):
            expected = f"have ids of its vocabulary, from 0 to {column.cardinality - 1}, as {name} of {side}"
            yield expected, problem, "encode_column(name, values) makes both."


def _rows_problem(rows: object, n: int) -> str:
    """Returns why some values are not row numbers of n rows; empty if they are."""
    if not isinstance(rows, Tensor):
        return f"a {type(rows).__name__}"
    if rows.dim() != 1 or rows.dtype not in (torch.int32, torch.int64):
        return f"a tensor of {rows.dtype} and shape {tuple(rows.shape)}"
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < n:
        return f"rows from {int(rows.min())} to {int(rows.max())}"
    return ""
