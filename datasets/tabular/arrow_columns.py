"""Converts Arrow columns of any writer to a few plain types: whole numbers, numbers, text, dates, and lists of ids."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

LARGEST: Final = 2**63 - 1
"""The largest whole number of a column of whole numbers; larger ones are read as text."""
_WHOLE: Final = r"^(0|-?[1-9][0-9]{0,17})$"


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column as int64, double, string, timestamp (UTC), date32, null, or a list of int64, double or string.

    Booleans become 0 and 1, and empty texts null. A column with whole numbers beyond int64 becomes text, since they are
    ids. Columns of other types, such as structs, stay as they are.

    Example:
        >>> plain(pa.chunked_array([[True, None]])).to_pylist(), plain(pa.chunked_array([["", "a"]])).to_pylist()
        ([1, None], [None, 'a'])
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return plain(values.cast(kind.value_type))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return values.cast(_whole(values))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return values.cast(pa.float64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = values.cast(pa.string())
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    if pa.types.is_timestamp(kind):
        # The zone is only for display; the stored number counts from 1970 in UTC.
        return values.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64()).cast(pa.timestamp("us"))
    if pa.types.is_date64(kind):
        return values.cast(pa.date32())
    if pa.types.is_time(kind):
        return values.cast(pa.string())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _inner(kind.value_type)
        inner = _whole(pc.list_flatten(values)) if inner == pa.int64() else inner
        return values if inner is None else without_empty(values.cast(pa.list_(inner)))
    return values


def is_plain(kind: pa.DataType) -> bool:
    """Returns whether a type that `plain` returned is one of the plain types."""
    simple = kind in (pa.int64(), pa.float64(), pa.string(), pa.timestamp("us"), pa.date32(), pa.null())
    return simple or (pa.types.is_list(kind) and kind.value_type in (pa.int64(), pa.string()))


def may_be_feature(kind: pa.DataType | None) -> bool:
    """Returns whether a column can be a feature, by the type in its file's header; None if the header has no types."""
    if kind is None:
        return True
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _inner(kind.value_type) in (pa.int64(), pa.string())
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_duration(kind))


def kind_of(kind: pa.DataType) -> str:
    """Returns the name of a plain type for messages, such as `lists of text`."""
    if pa.types.is_list(kind):
        return f"lists of {kind_of(kind.value_type)}"
    if pa.types.is_integer(kind):
        return "whole numbers"
    if pa.types.is_floating(kind):
        return "numbers"
    if pa.types.is_null(kind):
        return "nothing"
    return "text" if pa.types.is_string(kind) else "dates"


def as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column as text: times in whole seconds, the values of a list joined by spaces.

    Example:
        >>> as_text(pa.chunked_array([[["Toy", "Story"], []]])).to_pylist()
        ['Toy Story', '']
    """
    if pa.types.is_list(values.type):
        return pc.binary_join(values.cast(pa.list_(pa.string())), " ")
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("s"), safe=False)
    return values.cast(pa.string())


def split_lists(texts: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """Returns a text column as lists of stripped values; a missing text gives an empty list.

    Example:
        >>> split_lists(pa.chunked_array([["a| b", None]]), "|").to_pylist()
        [['a', 'b'], []]
    """
    chunks = []
    for chunk in texts.chunks:
        lists = pc.split_pattern(chunk.fill_null(""), separator)
        chunks.append(pa.ListArray.from_arrays(lists.offsets, pc.utf8_trim_whitespace(lists.values)))
    return without_empty(pa.chunked_array(chunks, pa.list_(pa.string())))


def without_empty(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns lists without their empty and missing values; a missing list becomes an empty one.

    Example:
        >>> without_empty(pa.chunked_array([[["a", "", None], None]])).to_pylist()
        [['a'], []]
    """
    chunks = []
    for chunk in lists.chunks:
        values, parents = chunk.flatten(), pc.list_parent_indices(chunk)
        keep = pc.is_valid(values)
        if pa.types.is_string(values.type):
            keep = pc.and_(keep, pc.fill_null(pc.not_equal(values, ""), False))
        lengths = np.bincount(parents.filter(keep).to_numpy(), minlength=len(chunk))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        chunks.append(pa.ListArray.from_arrays(offsets, values.filter(keep)))
    return pa.chunked_array(chunks, lists.type)


def whole_numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column of text, or of lists of text, as whole numbers if all of its values are, else unchanged.

    Text with leading zeros stays text, since the zeros mean something.

    Example:
        >>> whole_numbers(pa.chunked_array([["10", None, "9"]])).to_pylist()
        [10, None, 9]
        >>> whole_numbers(pa.chunked_array([["10", "09"]])).to_pylist()
        ['10', '09']
    """
    is_list = pa.types.is_list(values.type)
    texts = pc.list_flatten(values) if is_list else values
    if not pa.types.is_string(texts.type) or not pc.all(pc.match_substring_regex(texts, _WHOLE)).as_py():
        return values
    return values.cast(pa.list_(pa.int64()) if is_list else pa.int64())


def rows_of(values: pa.ChunkedArray | pa.Array, ids: pa.Array) -> NDArray[np.int32]:
    """Returns the row (N,) of each value among distinct ids, from 1; 0 for a missing or unknown value.

    Example:
        >>> rows_of(pa.chunked_array([["b", None, "c"]]), pa.array(["a", "b"]))
        array([2, 0, 0], dtype=int32)
    """
    if pa.types.is_null(values.type):
        return np.zeros(len(values), dtype=np.int32)
    positions = pc.index_in(values, value_set=ids, skip_nulls=True)
    rows: NDArray[np.int32] = pc.add(positions, 1).fill_null(0).to_numpy().astype(np.int32)
    return rows


def distinct(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Returns the distinct values in ascending order, without null."""
    values = pc.unique(values).drop_null()
    return values.take(pc.sort_indices(values)) if len(values) else values


def _whole(values: pa.ChunkedArray) -> pa.DataType:
    """Returns int64, or string for values that it cannot hold."""
    holds = not pa.types.is_uint64(values.type) or (pc.max(values).as_py() or 0) <= LARGEST
    return pa.int64() if holds else pa.string()


def _inner(kind: pa.DataType) -> pa.DataType | None:
    """Returns the plain type of a list's values; None if such lists have no plain type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    return pa.string() if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None
