"""The users and items of a run: schema.json, users.parquet and items.parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyarrow import ArrowException

from towerzoo.datasets import Column, Table, TwoTowerData, Vocabulary
from towerzoo.registry.errors import RunError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.metrics.protocol import event_digests
from towerzoo.towers.runs.folder import RunFolder

SIDES = ("users", "items")
TEXT: Final = " (text)"
"""Behind the name of a text that would be kept under that of a feature."""


def save_tables(run: RunFolder, data: TwoTowerData) -> None:
    """Writes both tables with raw values and texts, row 0 the unknown one, and the vocabularies that encode them.

    Of the events only digests are kept, by which `require_same_data` knows them again.
    """
    streamed = data.stream is not None
    about: dict[str, Any] = {"data_digest": data.schema.digest, "events": event_digests(data), "streamed": streamed}
    for side in SIDES:
        table: Table = getattr(data.schema, side)
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
    about = run.read_json("schema.json", *SIDES)
    users, items = (_read(run, side, about) for side in SIDES)
    return users, items


def require_same_data(run: RunFolder, data: TwoTowerData, experiment: Experiment) -> None:
    """Raises a RunError unless a dataset has the run's users, items, labelled events and split.

    Rows of the embeddings belong to users and items by their position, so another encoding would give every user
    somebody else's vector; and in another split, events that the run was trained on would test it. Texts may be
    corrected, but for those that the experiment's towers read.
    """
    about = run.read_json("schema.json", *SIDES, "events")
    read = {"users": experiment.user_tower.features, "items": experiment.item_tower.features}
    for side in SIDES:
        actual, trained = json.loads(json.dumps(_describe(getattr(data.schema, side)))), about[side]
        if not isinstance(trained, dict):
            trained = _describe(_read(run, side, about))
        texts, known = actual.pop("texts"), {name: value for name, value in trained.items() if name != "texts"}
        if actual != known or set(texts) != set(trained.get("texts", ())):
            raise RunError(
                f"the dataset's {side} must be those that {run.path} was trained with, got other ones. "
                "Point data.root or TOWERZOO_DATA to the same data."
            )
        if changed := [name for name in texts if name in read[side] and texts[name] != trained["texts"][name]]:
            raise RunError(
                f"{', '.join(changed)} of the dataset's {side} must be the texts that {run.path} was trained with, "
                "since its model reads them, got other ones. Point data.root or TOWERZOO_DATA to the same data."
            )
    if about["events"] != event_digests(data):
        raise RunError(
            f"the dataset's events, labels and split must be those that {run.path} was trained with, got other ones. "
            "Leave data.label and data.split as they are, and point data.root or TOWERZOO_DATA to the same data."
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
    texts = {name: hashlib.sha256(json.dumps(values).encode()).hexdigest() for name, values in table.texts.items()}
    return {"key": table.key, "columns": columns, "texts": texts}


def _to_arrow(table: Table) -> pa.Table:
    everyone = torch.arange(len(table))
    arrays: dict[str, Any] = {
        name: pa.array(column.values.numpy() if column.vocabulary is None else column.raw(everyone))
        for name, column in table.columns.items()
    }
    return pa.table(arrays | {_beside(name, arrays): pa.array(texts) for name, texts in table.texts.items()})


def _beside(text: str, columns: Collection[str]) -> str:
    """Returns the name under which a text is kept: of a title that is a feature as well, both are."""
    return f"{text}{TEXT}" if text in columns else text


def _read(run: RunFolder, side: str, about: dict[str, Any]) -> Table:
    path = run.path / f"{side}.parquet"
    try:
        arrow = pq.read_table(path)
        described = about[side]
        columns = {name: _column(name, arrow[name], facts) for name, facts in described["columns"].items()}
        kept = {name: _beside(name, columns) for name in described["texts"]}
        texts = {name: tuple(arrow[column].to_pylist()) for name, column in kept.items()}
        table = Table(described["key"], columns, texts)
        if _describe(table) != described:
            raise ValueError("that of another run")
        return table
    except FileNotFoundError:
        raise RunError(
            f"{run.path} must be a run folder with {path.name}, got one without it. Copy it again."
        ) from None
    except (ArrowException, LookupError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split()).removesuffix(".")
        raise RunError(f"{path} must be a whole table of this run, got {reason}. Copy the run folder again.") from None


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
            for slot, value in enumerate(raw):
                values[row, slot] = vocabulary.row(value)
    return Column(name, torch.from_numpy(values), vocabulary)
