"""Rows of a table as raw feature values, as somebody with a bundle alone would give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from towerzoo.datasets import Table, Vocabulary
from towerzoo.towers.encoders.history import NO_EVENT, HistoryEncoder
from towerzoo.towers.export.tower import Input
from towerzoo.towers.model.tower import Tower


def raw_rows(
    inputs: Sequence[Input], tower: Tower, table: Table, item_ids: Vocabulary, rows: Tensor
) -> list[dict[str, Any]]:
    """Returns the raw features of table rows (B,), by the names of inputs.

    Args:
        inputs: The inputs of the exported tower.
        tower: The tower.
        table: Its table.
        item_ids: The raw ids of items, of which histories are made.
        rows: The rows.
    """
    values = {some.name: _raw_values(some, tower, table, item_ids, rows) for some in inputs}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _raw_values(some: Input, tower: Tower, table: Table, item_ids: Vocabulary, rows: Tensor) -> list[Any]:
    if some.kind == "events":
        encoder = tower.encoder(some.name)
        assert isinstance(encoder, HistoryEncoder)
        lists = [[id for id in ids if id != NO_EVENT] for ids in encoder.lists(rows).tolist()]
        return [[(item_ids.decode([id % some.items])[0], id // some.items) for id in ids] for ids in lists]
    return table.column(some.vocabulary or some.name).raw(rows)
