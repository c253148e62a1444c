from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towerzoo.datasets import UNKNOWN, Vocabulary

RAW = st.one_of(
    st.lists(st.integers(-(2**40), 2**40), unique=True),
    st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8), unique=True),
)


@given(RAW)
def test_round_trip(values):
    vocabulary = Vocabulary(values)
    rows = vocabulary.encode(values)
    assert rows.tolist() == list(range(1, len(values) + 1))
    assert vocabulary.decode(rows) == values
    assert len(vocabulary) == len(values) + 1


@pytest.mark.parametrize("values", [[3, 1, 3, 2], ["b", "a", "b", "c"]])
def test_fit_sorts_distinct_values(values):
    fitted = Vocabulary.fit(values)
    assert fitted == Vocabulary.fit(reversed(values))
    assert fitted.values == tuple(sorted(set(values)))


@pytest.mark.parametrize(
    ("known", "values"),
    [
        pytest.param(["F", "M"], ["?", "", "m"], id="other texts"),
        pytest.param([1, 2], [0, 3, -1], id="other numbers"),
        pytest.param(["1", "2"], [1, 2], id="numbers for texts"),
        pytest.param([1, 2], ["1", "2"], id="texts for numbers"),
        pytest.param([], [1], id="empty vocabulary"),
    ],
)
def test_unknown_values_get_row_zero(known, values):
    assert Vocabulary(known).encode(values).tolist() == [UNKNOWN] * len(values)
    assert UNKNOWN == 0


def test_encode_array():
    rows = Vocabulary([5, 7]).encode(np.array([7, 5, 7, 9]))
    assert rows.dtype == np.int32
    assert rows.tolist() == [2, 1, 2, 0]


def test_decode_keeps_the_type_of_raw_values():
    assert Vocabulary(["7"]).decode([1, 0]) == ["7", None]
    assert Vocabulary([7]).decode([1, 0]) == [7, None]


def test_numpy_values_become_plain_values():
    """Values of custom datasets are written to JSON."""
    for values in (np.arange(3), np.array(["a", "b"])):
        assert [type(value) for value in Vocabulary(values).values] == [type(value) for value in values.tolist()]
        assert Vocabulary(values).encode(values).tolist() == list(range(1, len(values) + 1))


def test_repeated_value_is_refused():
    with pytest.raises(ValueError, match=r"values must be distinct, got one repeatedly\. Use Vocabulary\.fit"):
        Vocabulary(["a", "b", "a"])


def test_equality():
    assert Vocabulary([1, 2]) == Vocabulary([1, 2])
    assert hash(Vocabulary([1, 2])) == hash(Vocabulary([1, 2]))
    assert Vocabulary([1, 2]) != Vocabulary([2, 1])
    assert Vocabulary([1, 2]) != (1, 2)
