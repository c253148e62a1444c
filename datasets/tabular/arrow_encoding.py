"""Encodes Arrow columns into the columns of a star schema, with no Python code a row."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from towerzoo.datasets.schema.star_schema import Column
from towerzoo.datasets.tabular.arrow_columns import as_text, distinct, rows_of
from towerzoo.datasets.vocabulary import Vocabulary


def encode_key(name: str, ids: pa.Array) -> Column:
    """Returns the key column of a table with these ids, after the unknown row."""
    return Column(name, torch.arange(len(ids) + 1, dtype=torch.int32), Vocabulary(ids.to_pylist()))


def encode_ids(name: str, values: pa.ChunkedArray) -> Column:
    """Returns single ids (n + 1,) after the unknown row, with the vocabulary of all values; dates become text.

    Example:
        >>> encode_ids("gender", pa.chunked_array([["M", "F", None]])).values
        tensor([0, 2, 1, 0], dtype=torch.int32)
    """
    if not (pa.types.is_integer(values.type) or pa.types.is_string(values.type)):
        values = as_text(values)
    known = distinct(values)
    rows = np.concatenate([np.zeros(1, dtype=np.int32), rows_of(values, known)])
    return Column(name, torch.from_numpy(rows), Vocabulary(known.to_pylist()))


def encode_lists(name: str, values: pa.ChunkedArray) -> Column:
    """Returns padded id lists (n + 1, L) after the unknown row, with the vocabulary of all values.

    Example:
        >>> encode_lists("genres", pa.chunked_array([[["War"], ["Comedy", "War"]]])).values.tolist()
        [[0, 0], [2, 0], [1, 2]]
    """
    lists = values.combine_chunks()
    known = distinct(lists.flatten())
    padded = pad(rows_of(lists.flatten(), known), _lengths(lists))
    rows = np.concatenate([np.zeros((1, padded.shape[1]), dtype=np.int32), padded])
    return Column(name, torch.from_numpy(rows), Vocabulary(known.to_pylist()))


def encode_list_rows(
    values: pa.ChunkedArray, ids: pa.Array
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_]]:
    """Encodes lists of ids as rows among distinct ids, and drops unknown ids from them.

    Returns:
        The rows of all lists, one list after the other; the length of each list (N,); and which lists (N,) had unknown
        ids.

    Example:
        >>> encode_list_rows(pa.chunked_array([[["b", "c"], []]]), pa.array(["a", "b"]))
        (array([2], dtype=int32), array([1, 0]), array([ True, False]))
    """
    lists = values.combine_chunks()
    rows, lengths = rows_of(lists.flatten(), ids), _lengths(lists)
    lost = np.zeros(len(lists), dtype=bool)
    if rows.all():
        return rows, lengths, lost
    parents = np.repeat(np.arange(len(lists)), lengths)
    lost[parents[rows == 0]] = True
    return rows[rows > 0], np.bincount(parents[rows > 0], minlength=len(lists)), lost


def encode_numbers(name: str, values: pa.ChunkedArray, missing: Literal["mean", "zero", "unknown"]) -> Column:
    """Returns float32 numbers (n + 1,); `missing` says what the unknown row and missing numbers become.

    `unknown` makes them NaN, for which encoders of numbers learn a vector.

    Example:
        >>> encode_numbers("age", pa.chunked_array([[20.0, None, 40.0]]), "mean").values
        tensor([30., 20., 30., 40.])
    """
    numbers = values.cast(pa.float64()).to_numpy()
    known = ~np.isnan(numbers)
    fill = np.nan if missing == "unknown" else 0.0
    if missing == "mean" and known.any():
        fill = float(numbers[known].mean())
    filled = np.concatenate([[fill], np.where(known, numbers, fill)]).astype(np.float32)
    return Column(name, torch.from_numpy(filled))


def pad(values: NDArray[np.int32], lengths: NDArray[Any]) -> NDArray[np.int32]:
    """Returns lists, stored one after the other with lengths (N,), padded with 0 to (N, L), where L is at least 1.

    Example:
        >>> pad(np.array([7, 8, 9], dtype=np.int32), np.array([1, 0, 2])).tolist()
        [[7, 0], [0, 0], [8, 9]]
    """
    width = max(1, int(lengths.max(initial=0)))
    padded = np.zeros((len(lengths), width), dtype=np.int32)
    padded[np.arange(width) < lengths[:, None]] = values
    return padded


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
    return lengths
