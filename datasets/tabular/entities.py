"""Encodes a table of users or items from its files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from towerzoo.datasets.schema.star_schema import Table
from towerzoo.datasets.tabular.arrow_columns import as_text, may_be_feature
from towerzoo.datasets.tabular.arrow_encoding import encode_ids, encode_key, encode_lists, encode_numbers
from towerzoo.datasets.tabular.files import Shards
from towerzoo.datasets.tabular.raw_table import RawTable, ids_fault, infinite_fault
from towerzoo.datasets.tabular.sections import TableFiles
from towerzoo.registry.errors import DataError


def feature_names(section: TableFiles, key: str, shards: Shards) -> tuple[str, ...]:
    """Returns the features of a table, the key first, in the order of the first file's header.

    Raises:
        DataError: The header cannot be read, or two columns would be called `title`.
    """
    if section.features is None:
        named = [name for name, kind in shards.columns().items() if may_be_feature(kind) and name != section.title]
    else:
        named = section.features
    names = tuple(dict.fromkeys((key, *named)))
    if section.title not in (None, "title") and "title" in names:
        raise DataError(
            f"{shards.paths[0]}: both the feature 'title' and the display column `title: {section.title}` would be "
            "called 'title'. Leave the feature out with `features`, or rename it."
        )
    return names


def read_key(raw: RawTable, key: str, problems: list[str]) -> pa.Array | None:
    """Returns the raw ids, which must be unique, in the order of rows."""
    values = raw[key]
    if not len(raw):
        problems.append(f"{raw.paths[0]} has no rows. Check the file.")
        return None
    if values.null_count:
        problems.append(raw.fault(key, "given", values.is_null().to_numpy(), "Fill in or remove these rows."))
        return None
    if not (pa.types.is_integer(values.type) or pa.types.is_string(values.type)):
        problems.append(ids_fault(raw, key))
        return None
    ids = values.combine_chunks()
    first = np.unique(pc.dictionary_encode(ids).indices.to_numpy(), return_index=True)[1]
    if len(first) < len(ids):
        repeated = np.ones(len(ids), dtype=bool)
        repeated[first] = False
        problems.append(raw.fault(key, "unique", repeated, "Keep one row of each."))
        return None
    return ids


def encode_entities(
    raw: RawTable, section: TableFiles, ids: pa.Array, features: Sequence[str], where: str, problems: list[str]
) -> Table:
    """Encodes users or items, after the unknown row.

    Args:
        raw: The columns of the features, and of the title if there is one.
        section: The YAML section of the table.
        ids: The raw ids in the order of rows.
        features: The features, the key first.
        where: The section's key path, for messages.
        problems: See `towerzoo.datasets.tabular`.
    """
    key, *others = features
    columns = {key: encode_key(key, ids)}
    for name in others:
        values = raw[name]
        if pa.types.is_list(values.type):
            columns[name] = encode_lists(name, values)
        elif pa.types.is_floating(values.type):
            policy = section.missing_policy(name)
            _check_numbers(raw, name, policy, where, problems)
            columns[name] = encode_numbers(name, values, "unknown" if policy == "error" else policy)
        else:
            columns[name] = encode_ids(name, values)
    numbers = [name for name in others if pa.types.is_floating(raw[name].type)]
    for name in section.missing if isinstance(section.missing, dict) else ():
        if name not in numbers:
            known = ", ".join(numbers) or "none"
            problems.append(f"{where}.missing must name numeric features, got {name!r}. Numeric features: {known}.")
    titles = {}
    if section.title is not None:
        titles["title"] = ("", *as_text(raw[section.title]).fill_null("").to_pylist())
    return Table(key, columns, titles)


def _check_numbers(raw: RawTable, name: str, policy: str, where: str, problems: list[str]) -> None:
    if fault := infinite_fault(raw, name):
        problems.append(fault)
    missing = np.isnan(raw[name].to_numpy())
    if policy == "error" and missing.any():
        next_step = (
            f"Set {where}.missing to `unknown`, `mean` or `zero`, or leave the column out with {where}.features."
        )
        problems.append(raw.fault(name, "a number", missing, next_step))
