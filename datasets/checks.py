"""Checks what registered datasets and splits give, so that a mistake in one's own is told of where it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from towerzoo.datasets.schema.star_schema import ColumnNames, Interactions, StarSchema, Table
from towerzoo.datasets.splits import PARTS, Split
from towerzoo.registry import DATASETS, SPLITS, Spec

ROWS_AT_ONCE = 1 << 20
"""Rows that are looked at together; bounds what their int64 copies take."""


def load_schema(dataset: Spec) -> StarSchema:
    """Builds a registered dataset, loads it, and checks what it gives.

    Raises:
        PartError: It is no dataset, or its tables and events do not suit each other or the columns that it names.
        DataError: As of its `load`.
    """
    source = DATASETS.build(dataset)
    for method in ("columns", "load"):
        if not callable(getattr(source, method, None)):
            found = f"a {type(source).__name__} without {method}"
            raise DATASETS.fault(dataset, "be an object with columns() and load()", found)
    with DATASETS.telling(dataset, "load"):
        schema = source.load()
    if not isinstance(schema, StarSchema):
        raise DATASETS.fault(dataset, "load a StarSchema", f"a {type(schema).__name__}")
    with DATASETS.telling(dataset, "name its columns"):
        names = source.columns()
    if not isinstance(names, ColumnNames):
        raise DATASETS.fault(dataset, "return ColumnNames from columns()", f"a {type(names).__name__}")
    for problem in _schema_problems(schema, names):
        raise DATASETS.fault(dataset, *problem)
    return schema


def draw_split(split: Spec, user: Tensor, timestamp: Tensor | None) -> Split:
    """Divides events by a registered split.

    Args:
        split: The split.
        user: User rows (N,).
        timestamp: Times (N,), where known.

    Returns:
        The split, its rows int32 and ascending.

    Raises:
        PartError: It returns no split, rows that are none of the events, or an event twice.
        DataError: As of the split, such as for an empty part.
    """
    with SPLITS.telling(split, "divide the events"):
        parts = SPLITS.build(split, user=user, timestamp=timestamp)
    if not isinstance(parts, Split):
        hint = "Write Split(train, valid, test)."
        raise SPLITS.fault(split, "return a datasets.Split", f"a {type(parts).__name__}", hint)
    _require_rows_once(split, parts, len(user))
    train, valid, test = map(_ascending, (parts.train, parts.valid, parts.test))
    return replace(parts, train=train, valid=valid, test=test)


def _require_rows_once(split: Spec, parts: Split, n_events: int) -> None:
    """Raises a PartError unless each part holds rows of events, and each event is in one at most."""
    taken = torch.zeros(n_events, dtype=torch.bool)
    for name in PARTS:
        rows = getattr(parts, name)
        deed = f"return rows of events (n,) from 0 to {n_events - 1} as {name}"
        if problem := _rows_problem(rows, n_events):
            raise SPLITS.fault(split, deed, problem, "Boolean masks become rows by mask.nonzero()[:, 0].")
        before = int(taken.count_nonzero())
        for some in torch.split(rows, ROWS_AT_ONCE):
            taken[some.long()] = True
        if twice := len(rows) - int(taken.count_nonzero()) + before:
            found = f"{twice:,} of {name} twice or in an earlier part"
            raise SPLITS.fault(split, "have each event in one part at most", found)


def _ascending(rows: Tensor) -> Tensor:
    rows = rows.to(torch.int32)
    pieces = (rows[start : start + ROWS_AT_ONCE + 1] for start in range(0, len(rows), ROWS_AT_ONCE))
    return rows if all(bool((piece[1:] > piece[:-1]).all()) for piece in pieces) else rows.sort().values


def _schema_problems(schema: StarSchema, names: ColumnNames) -> Iterator[tuple[str, str, str]]:
    """Yields what is wrong: what the dataset must do, what it did, and what to do about it."""
    if not isinstance(schema.digest, str):
        yield "load a digest that is text", repr(schema.digest), "Equal digests mean equal data."
    for side, table, features, texts in (
        ("users", schema.users, names.users, names.user_texts),
        ("items", schema.items, names.items, names.item_texts),
    ):
        yield from _table_problems(side, table)
        if missing := [name for name in (*features, *texts) if name not in {*table.columns, *table.texts}]:
            known = f"{side} has {', '.join([*table.columns, *table.texts])}."
            yield f"load every column of {side} that columns() names", f"none called {', '.join(missing)}", known
    yield from _event_problems(schema)


def _table_problems(side: str, table: Table) -> Iterator[tuple[str, str, str]]:
    if table.key not in table.columns:
        yield f"have the key of {side} among its columns", repr(table.key), f"Columns: {', '.join(table.columns)}."
        return
    for name, column in table.columns.items():
        if len(column.values) != len(table):
            found = f"{len(column.values)} of {name} for {len(table)} rows"
            yield f"have a value of each column of {side} in every row", found, "Row 0 is the unknown one."
        elif column.vocabulary is not None and (
            problem := _rows_problem(column.values.flatten(), len(column.vocabulary))
        ):
            expected = f"hold ids from 0 to {column.cardinality - 1}, those of its vocabulary, as {name} of {side}"
            yield expected, problem, "encode_column(name, values) makes both."


def _event_problems(schema: StarSchema) -> Iterator[tuple[str, str, str]]:
    events = schema.interactions
    for name, rows, table in (("user", events.user, schema.users), ("item", events.item, schema.items)):
        if problem := _rows_problem(rows, len(table)):
            hint = f"torch.from_numpy({name}s.ids.encode(raw_ids)) makes them."
            yield f"have rows of the {name}s table (N,), from 0 to {len(table) - 1}, as {name} of events", problem, hint
        elif len(rows) and int(rows.max()) == 0:
            ids = f"The ids of the table are such as {table.ids.values[0]!r}." if len(table) > 1 else ""
            hint = f"Encode ids of the table's own type. {ids}"
            yield f"have events of known {name}s", f"the unknown one, row 0, in all {len(rows):,} events", hint
    for name, values in _columns_of(events):
        if not isinstance(values, Tensor):
            yield f"have a tensor as {name} of events", f"a {type(values).__name__}", "Write torch.from_numpy(...)."
        elif len(values) != len(events):
            yield f"have as many of {name} as events", f"{len(values):,} for {len(events):,}", "Give one an event."
    if events.timestamp is not None and events.timestamp.is_floating_point():
        yield "have whole numbers as timestamp of events", f"a tensor of {events.timestamp.dtype}", "Add .long()."


def _columns_of(events: Interactions) -> Iterable[tuple[str, object]]:
    yield "item", events.item
    yield from events.measures.items()
    for name in ("timestamp", "weight", "negatives"):
        if getattr(events, name) is not None:
            yield name, getattr(events, name)


def _rows_problem(rows: object, n: int) -> str:
    """Returns why some values are no row numbers of n rows; nothing where they are."""
    if not isinstance(rows, Tensor):
        return f"a {type(rows).__name__}"
    if rows.dim() != 1 or rows.dtype not in (torch.int32, torch.int64):
        return f"a tensor of {rows.dtype} and shape {tuple(rows.shape)}"
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < n:
        return f"rows from {int(rows.min())} to {int(rows.max())}"
    return ""
