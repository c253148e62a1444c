"""The users and items of a run: schema.json, users.parquet and items.parquet."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyarrow import ArrowException

from towerzoo.datasets import Column, StarSchema, Table, Vocabulary
from towerzoo.registry.errors import RunError
from towerzoo.towers.run_folder import RunFolder

SIDES = ("users", "items")


def save_tables(run: RunFolder, schema: StarSchema) -> None:
    """Writes both tables with raw values and texts, row 0 the unknown one, and the vocabularies that encode them."""
    about: dict[str, Any] = {"data_digest": schema.digest}
    for side in SIDES:
        table: Table = getattr(schema, side)
        arrow = _to_arrow(table)

        def write(path: Path, arrow: pa.Table = arrow) -> None:
            pq.write_table(arrow, path)

        run.write_with(f"{side}.parquet", write)
        about[side] = _describe(table)
    run.write_json("schema.json", about)


def load_tables(run: RunFolder) -> tuple[Table, Table]:
    """Reads both tables of a run, encoded as they were in training.

    Raises:
        RunError: A file is missing or damaged.
    """
    about = run.read_json("schema.json")
    users, items = (_read(run, side, about) for side in SIDES)
    return users, items


def require_same_tables(run: RunFolder, schema: StarSchema) -> None:
    """Raises a RunError unless a dataset encodes users and items just as the run's did.

    Rows of the embeddings belong to users and items by their position, so another encoding would give every user
    somebody else's vector.
    """
    about = run.read_json("schema.json")
    for side in SIDES:
        if about.get(side) != json.loads(json.dumps(_describe(getattr(schema, side)))):
            raise RunError(
                f"the dataset's {side} must be those that {run.path} was trained with, got other ones. "
                "Point data.root or TOWERZOO_DATA to the same data."
            )


def _describe(table: Table) -> dict[str, Any]:
    columns = {
        name: {
            "kind": "number" if column.vocabulary is None else "ids" if column.is_list else "id",
            "shape": list(column.values.shape),
            "sha256": hashlib.sha256(column.values.numpy().tobytes()).hexdigest(),
            "vocabulary": list(column.vocabulary.values) if column.vocabulary is not None else None,
        }
        for name, column in table.columns.items()
    }
    return {"key": table.key, "columns": columns, "texts": list(table.texts)}


def _to_arrow(table: Table) -> pa.Table:
    arrays: dict[str, Any] = {}
    for name, column in table.columns.items():
        values = column.values.tolist()
        if column.vocabulary is None:
            arrays[name] = pa.array(values, pa.float32())
        elif column.is_list:
            decode = column.vocabulary.decode
            arrays[name] = pa.array([decode(i for i in ids if i) for ids in values])
        else:
            arrays[name] = pa.array(column.vocabulary.decode(values))
    return pa.table(arrays | {name: pa.array(texts) for name, texts in table.texts.items()})


def _read(run: RunFolder, side: str, about: dict[str, Any]) -> Table:
    path = run.path / f"{side}.parquet"
    try:
        arrow = pq.read_table(path)
        described = about[side]
        columns = {name: _column(name, arrow[name], facts) for name, facts in described["columns"].items()}
        texts = {name: tuple(arrow[name].to_pylist()) for name in described["texts"]}
        return Table(described["key"], columns, texts)
    except FileNotFoundError:
        raise RunError(
            f"{run.path} must be a run folder with {path.name}, got one without it. Copy it again."
        ) from None
    except (ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        raise RunError(f"{path} must be a whole table of this run, got {error}. Copy the run folder again.") from None


def _column(name: str, array: Any, facts: dict[str, Any]) -> Column:
    if facts["kind"] == "number":
        return Column(name, torch.from_numpy(array.to_numpy().astype(np.float32)))
    vocabulary = Vocabulary(facts["vocabulary"])
    values = np.zeros(facts["shape"], dtype=np.int32)
    if facts["kind"] == "id":
        known = array.is_valid().to_numpy()
        values[known] = vocabulary.encode(array.drop_null().to_numpy())
    else:
        for row, raw in enumerate(array.to_pylist()):
            values[row, : len(raw)] = vocabulary.encode(raw) if raw else 0
    return Column(name, torch.from_numpy(values), vocabulary)
