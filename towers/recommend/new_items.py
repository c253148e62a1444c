"""Items that were not there in training: reads them, and gives them vectors without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, Column, Table, Vocabulary
from towerzoo.datasets.tabular.arrow_columns import as_text, distinct, kind_of, rows_of
from towerzoo.datasets.tabular.arrow_encoding import encode_list_rows, pad
from towerzoo.datasets.tabular.entities import read_key
from towerzoo.datasets.tabular.files import find_shards
from towerzoo.datasets.tabular.raw_table import RawTable, infinite_fault, read_shards
from towerzoo.registry.errors import DataError
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.recommend.items import LIST_SEPARATOR


def read_new_items(path: Path, items: Table) -> tuple[pa.Table, list[str]]:
    """Reads new items, and returns them with notes on values that the run does not know.

    Args:
        path: A CSV, TSV or Parquet file with the raw id and any of the run's item features and texts. CSV and TSV
            separate the values of a list by `|`. Missing columns and values are unknown.
        items: The items of the run, including those that were added before.

    Raises:
        DataError: The file cannot be read, an id is missing, repeated or already known, or a value has another type
            than in the run.
    """
    shards = find_shards(str(path))
    header = shards.columns()
    offered = tuple(dict.fromkeys((*items.columns, *items.texts)))  # a title may also be a feature
    names = [items.key, *(name for name in offered if name in header and name != items.key)]
    texts = {name for name in names if name not in items.columns or _holds_text(items.columns[name])}
    lists = {name for name in names if name in items.columns and items.columns[name].is_list}
    numbers = {name for name in names if name in items.columns and items.columns[name].vocabulary is None}
    in_text = shards.format != "Parquet"
    problems: list[str] = []
    raw = read_shards(
        shards,
        names,
        problems,
        kinds=dict.fromkeys(texts - lists, "text") | dict.fromkeys(numbers, "number"),
        lists=dict.fromkeys(lists if in_text else (), LIST_SEPARATOR),
    )
    ids = None if raw is None else read_key(raw, items.key, problems)
    if raw is not None:
        problems += [fault for name in names if (fault := _wrong_kind(raw, name, items))]
        problems += [fault for name in sorted(numbers) if (fault := infinite_fault(raw, name))]
    if raw is not None and ids is not None and not problems:
        known = rows_of(ids, pa.array(items.ids.values)) > 0
        if known.any():
            problems.append(
                raw.fault(items.key, "new", known, "Leave out items that the run or its index already has.")
            )
    if raw is None or problems:
        raise DataError("\n".join(problems))
    given = [name for name in names if not pa.types.is_null(raw[name].type)]
    table = pa.table({name: raw[name].cast(_type(name, items)) for name in given})
    notes = [f"{name} is not in {path}: it is unknown for all new items" for name in offered if name not in given]
    notes += [
        f"{name} of {path} is not a feature of the run's items and is ignored" for name in header if name not in names
    ]
    notes += [note for name in given if (note := _unknown_values(name, table[name], items))]
    return table, notes


@dataclass(frozen=True)
class NewItems:
    """Encoded new items, whose rows follow those of the run.

    Attributes:
        items: The run's items and the new ones, for names and filters; the towers only know the first.
        columns: Features of the new items (A,) or (A, L) as the item tower takes them; their raw id is unknown to it.
        n: Number of new items (A).
    """

    items: Table
    columns: dict[str, Tensor]
    n: int

    @classmethod
    def encode(cls, items: Table, added: pa.Table, model: DSSM) -> NewItems:
        """Encodes new items with the vocabularies of a run.

        Args:
            items: The run's items.
            added: The table that `read_new_items` returned.
            model: The run's model.
        """
        columns = {name: _encoded(column, added) for name, column in items.columns.items() if name != items.key}
        columns[items.key] = Column(items.key, torch.zeros(len(added), dtype=torch.int32), items.ids)
        texts = {
            name: as_text(added[name]).fill_null("").to_pylist() if name in added.column_names else [""] * len(added)
            for name in items.texts
        }
        ids = Vocabulary([*items.ids.values, *added[items.key].to_pylist()])
        extended = {
            name: Column(name, torch.cat([column.values, columns[name].values]), column.vocabulary)
            for name, column in items.columns.items()
            if name != items.key
        }
        extended[items.key] = Column(items.key, torch.arange(len(ids), dtype=torch.int32), ids)
        both = Table(
            items.key,
            {name: extended[name] for name in items.columns},
            {name: (*known, *texts[name]) for name, known in items.texts.items()},
        )
        tower = model.item_tower
        features = {
            name: columns[name].values if name in columns else encoder.read([text or None for text in texts[name]])
            for name, encoder in tower.features()
        }
        return cls(both, {name: values.to(model.device) for name, values in features.items()}, len(added))

    @torch.no_grad()
    def vectors(self, model: DSSM) -> Tensor:
        """Returns the item tower's vectors of the new items (A, D)."""
        if self.columns:
            return model.item_tower.encode(self.columns)
        return model.item_tower(self._unknown(model))  # type: ignore[no-any-return]

    @torch.no_grad()
    def factors(self, model: DSSM) -> Tensor:
        """Returns the factors of the new items (A, F), with the bias of the unknown item."""
        factors: Tensor = model.score.item_factors(self.vectors(model), self._unknown(model))  # type: ignore[operator]
        return factors

    def _unknown(self, model: DSSM) -> Tensor:
        return torch.full((self.n,), UNKNOWN, device=model.device)


def _holds_text(column: Column) -> bool:
    return column.vocabulary is not None and any(isinstance(value, str) for value in column.vocabulary.values[:1])


def _type(name: str, items: Table) -> pa.DataType:
    """Returns the Arrow type of a feature's raw values in a run."""
    if name not in items.columns:
        return pa.string()
    column = items.columns[name]
    if column.vocabulary is None:
        return pa.float64()
    value = pa.string() if _holds_text(column) else pa.int64()
    return pa.list_(value) if column.is_list else value


def _wrong_kind(raw: RawTable, name: str, items: Table) -> str | None:
    """Returns a message if a column has another type than in the run."""
    actual, wanted = raw[name].type, _type(name, items)
    kinds = {pa.int64(): "whole numbers", pa.string(): "text", pa.float64(): "numbers"}
    if actual == wanted or pa.types.is_null(actual) or (wanted == pa.float64() and actual == pa.int64()):
        return None
    if pa.types.is_list(wanted):
        expected = f"lists of {kinds[wanted.value_type]}"
        if pa.types.is_list(actual) and pa.types.is_null(actual.value_type):
            return None
    else:
        expected = kinds[wanted]
    return f"{raw.paths[0]}: {name} must be {expected}, as in the run, got {kind_of(actual)}. Convert the column."


def _encoded(column: Column, added: pa.Table) -> Column:
    """Returns the values of new items in a run's column; missing values are those of the unknown item."""
    n = len(added)
    if column.name not in added.column_names:
        return Column(column.name, column.unknown.expand(n, *column.unknown.shape), column.vocabulary)
    values = added[column.name]
    if column.vocabulary is None:
        numbers = values.to_numpy().astype(np.float32)
        return Column(column.name, torch.from_numpy(np.where(np.isnan(numbers), column.unknown.item(), numbers)))
    known = pa.array(column.vocabulary.values)
    if not column.is_list:
        return Column(column.name, torch.from_numpy(rows_of(values, known)), column.vocabulary)
    rows = pad(*encode_list_rows(values, known)[:2])
    width = column.values.shape[1]
    lists = np.zeros((n, width), dtype=np.int32)
    lists[:, : rows.shape[1]] = rows[:, :width]
    return Column(column.name, torch.from_numpy(lists), column.vocabulary)


def _unknown_values(name: str, values: pa.ChunkedArray, items: Table) -> str | None:
    """Returns a note on values that are not in the run's vocabulary, if there are any."""
    column = items.columns.get(name)
    if column is None or column.vocabulary is None or name == items.key:
        return None
    given = distinct(values.combine_chunks().flatten() if column.is_list else values)
    unknown = given.filter(pa.array(rows_of(given, pa.array(column.vocabulary.values)) == 0)).to_pylist()
    if not unknown:
        return None
    more = "" if len(unknown) == 1 else f" and {len(unknown) - 1} more"
    return f"{name} {unknown[0]!r}{more} is not known to the run"
