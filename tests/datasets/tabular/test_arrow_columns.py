from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from towerzoo.datasets.tabular.arrow_columns import kind_of, may_be_feature, plain, whole_numbers


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([86_400_000], pa.date64()), pa.date32()),
        (pa.array([1], pa.time32("s")), pa.string()),
        (pa.array([np.float16(1.5)], pa.float16()), pa.float64()),
        (pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), pa.list_(pa.string())),
        (pa.array([{"a": 1}]), pa.struct({"a": pa.int64()})),
    ],
)
def test_columns_become_plain(values, kind):
    assert plain(pa.chunked_array([values])).type == kind


@pytest.mark.parametrize("largest", [2**63 - 1, 2**63])
def test_whole_numbers_beyond_int64_become_text(largest):
    values = [largest, None, 7]
    expected = values if largest < 2**63 else [str(largest), None, "7"]
    assert plain(pa.chunked_array([values[:1], values[1:]], pa.uint64())).to_pylist() == expected
    lists = plain(pa.chunked_array([[values, [], None]], pa.list_(pa.uint64()))).to_pylist()
    assert lists == [[expected[0], expected[2]], [], []]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pa.int64(), "whole numbers"),
        (pa.float64(), "numbers"),
        (pa.string(), "text"),
        (pa.date32(), "dates"),
        (pa.null(), "nothing"),
        (pa.list_(pa.float64()), "lists of numbers"),
    ],
)
def test_names_of_types(kind, text):
    assert kind_of(kind) == text


@pytest.mark.parametrize("kind", [None, pa.string(), pa.date32(), pa.list_(pa.int8()), pa.large_list(pa.string())])
def test_types_of_features(kind):
    assert may_be_feature(kind)


@pytest.mark.parametrize("kind", [pa.binary(), pa.list_(pa.float32()), pa.struct([]), pa.duration("s")])
def test_types_that_cannot_be_features(kind):
    assert not may_be_feature(kind)


def test_text_becomes_whole_numbers_only_if_all_of_it_can():
    assert whole_numbers(pa.chunked_array([["1", "-20", None]])).to_pylist() == [1, -20, None]
    for texts in (["1", "x"], ["1", "02"], ["1", "2.0"], ["1", "9" * 19]):
        assert whole_numbers(pa.chunked_array([texts])).to_pylist() == texts
    assert whole_numbers(pa.chunked_array([[["3", "4"], []]])).to_pylist() == [[3, 4], []]
