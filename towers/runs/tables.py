"""The users and items of a run: schema.json, users.parquet and items.parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.dlpack import from_dlpack

from towerzoo.datasets import UNKNOWN, Column, Table, Vocabulary
from towerzoo.registry.errors import RunError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.metrics.protocol import event_digests
from towerzoo.towers.runs.documents import ColumnFacts, Schema, TableFacts
from towerzoo.towers.runs.folder import RunFolder

if TYPE_CHECKING:
    from towerzoo.datasets import TwoTowerData

TEXT: Final = " (text)"
"""Follows the name of a text in the file where a feature has the same name."""


def save_tables(run: RunFolder, data: TwoTowerData) -> None:
    """Writes both tables with raw values, texts and vocabularies, and digests by which events are recognised."""
    users, items = data.schema.users, data.schema.items
    for side, table in (("users", users), ("items", items)):
        arrow = _to_arrow(table)
        run.write_with(f"{side}.parquet", lambda path, arrow=arrow: pq.write_table(arrow, path))  # type: ignore[misc]
    schema = Schema(
        data_digest=data.schema.digest,
        events=event_digests(data),
        streamed=data.stream is not None,
        users=_facts(users),
        items=_facts(items),
    )
    run.write_json(Schema.FILE, schema.model_dump())


def load_tables(run: RunFolder) -> tuple[Table, Table]:
    """Reads the users and items of a run, encoded as they were in training.

    Raises:
        RunError: A file is missing or damaged.
    """
    schema = run.read(Schema)
    return _read(run, "users", schema.users), _read(run, "items", schema.items)


def require_same_data(run: RunFolder, data: TwoTowerData, experiment: Experiment) -> None:
    """Raises a RunError unless a dataset has the run's users, items, labelled events and split.

    Rows of the embeddings belong to users and items by their position, so another encoding would give every user
    somebody else's vector; and in another split, events that the run was trained on would test it. Texts may be
    corrected, except those that the experiment's towers read.
    """
    schema = run.read(Schema)
    for side, tower in (("users", experiment.user_tower), ("items", experiment.item_tower)):
        actual, trained = _facts(getattr(data.schema, side)), getattr(schema, side)
        if (actual.key, actual.columns, set(actual.texts)) != (trained.key, trained.columns, set(trained.texts)):
            raise RunError(
                f"The dataset's {side} are not the ones that {run.path} was trained on. "
                "Point data.root or TOWERZOO_DATA to the original data."
            )
        texts = [name for name in actual.texts if actual.texts[name] != trained.texts[name]]
        if changed := [name for name in texts if name in tower.features]:
            raise RunError(
                f"The dataset's {side} differ in {', '.join(changed)} from those that {run.path} was trained on, and "
                "its model reads these texts. Point data.root or TOWERZOO_DATA to the original data."
            )
    if schema.events != event_digests(data):
        raise RunError(
            f"The dataset's events, labels or split are not the ones that {run.path} was trained on. "
            "Leave data.label and data.split as they are, and point data.root or TOWERZOO_DATA to the original data."
        )


def _facts(table: Table) -> TableFacts:
    columns = {
        name: ColumnFacts(
            kind="number" if column.vocabulary is None else "ids" if column.is_list else "id",
            shape=list(column.values.shape),
            sha256=hashlib.sha256(column.values.numpy().tobytes()).hexdigest(),
            vocabulary=None if column.vocabulary is None else list(column.vocabulary.values),
        )
        for name, column in table.columns.items()
    }
    texts = {name: hashlib.sha256(json.dumps(values).encode()).hexdigest() for name, values in table.texts.items()}
    return TableFacts(key=table.key, columns=columns, texts=texts)


def _to_arrow(table: Table) -> pa.Table:
    rows = torch.arange(len(table))
    arrays: dict[str, Any] = {
        name: pa.array(column.values.numpy() if column.vocabulary is None else column.raw(rows))
        for name, column in table.columns.items()
    }
    return pa.table(arrays | {_stored(name, arrays): pa.array(texts) for name, texts in table.texts.items()})


def _stored(text: str, columns: Collection[str]) -> str:
    return f"{text}{TEXT}" if text in columns else text


def _read(run: RunFolder, side: str, facts: TableFacts) -> Table:
    with run.reading(f"{side}.parquet", pa.ArrowException) as path:
        arrow = pq.ParquetFile(path).read()  # read_table would import pandas
        columns = {name: _column(name, arrow[name], column) for name, column in facts.columns.items()}
        texts = {name: tuple(arrow[_stored(name, columns)].to_pylist()) for name in facts.texts}
        table = Table(facts.key, columns, texts)
        if _facts(table) != facts:
            raise ValueError("it belongs to another run")
    return table


def _column(name: str, array: Any, facts: ColumnFacts) -> Column:
    if facts.vocabulary is None:
        return Column(name, from_dlpack(array.combine_chunks()).float().clone())
    # A dict instead of Vocabulary.encode and pyarrow.compute, which import pandas.
    rows = {value: row for row, value in enumerate(facts.vocabulary, start=1)}
    values = np.zeros(facts.shape, dtype=np.int32)
    if facts.kind == "id":
        values[:] = [rows.get(raw, UNKNOWN) for raw in array.to_pylist()]
    else:
        for row, raw in enumerate(array.to_pylist()):
            values[row, : len(raw)] = [rows.get(value, UNKNOWN) for value in raw]
    return Column(name, torch.from_numpy(values), Vocabulary(facts.vocabulary))
