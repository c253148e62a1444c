# ruff: noqa: E501  (messages stand in tables)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from towerzoo.datasets.tabular.arrow_columns import plain
from towerzoo.datasets.tabular.raw_table import RawTable
from towerzoo.datasets.tabular.timestamps import microseconds

NOON = 1_700_000_000
SECOND = 1_000_000


def read(values: pa.Array) -> tuple[Any, list[str]]:
    problems: list[str] = []
    table = pa.table({"ts": plain(pa.chunked_array([values]))})
    return microseconds(RawTable(table, (Path("a.csv"),), (len(values),)), "ts", problems), problems


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(pa.array([NOON, 0]), [NOON * SECOND, 0], id="seconds"),
        pytest.param(pa.array([NOON + 0.75, 3.0]), [NOON * SECOND + 750_000, 3 * SECOND], id="seconds as floats"),
        pytest.param(pa.array([NOON * 1_000 + 999]), [NOON * SECOND + 999_000], id="milliseconds"),
        pytest.param(pa.array([float(NOON * 1_000)]), [NOON * SECOND], id="milliseconds as floats"),
        pytest.param(pa.array([NOON * 1_000_000 + 7]), [NOON * SECOND + 7], id="microseconds"),
        pytest.param(pa.array([NOON * 1_000_000_000 + 2_999]), [NOON * SECOND + 2], id="nanoseconds"),
        pytest.param(pa.array([-5, 5]), [-5 * SECOND, 5 * SECOND], id="before 1970"),
        pytest.param(
            pa.array([NOON * 10**9 + 4_000], pa.timestamp("ns")), [NOON * SECOND + 4], id="parquet, nanoseconds"
        ),
        pytest.param(pa.array([NOON], pa.timestamp("s", "Asia/Tokyo")), [NOON * SECOND], id="parquet, with a zone"),
        pytest.param(pa.array([1], pa.date32()), [86_400 * SECOND], id="dates"),
        pytest.param(pa.array(["1970-01-02", "1970-01-01T00:00:07Z"]), [86_400 * SECOND, 7 * SECOND], id="texts"),
        pytest.param(pa.array(["19700102"]), [86_400 * SECOND], id="texts without punctuation"),
        pytest.param(
            pa.array(["1970-01-01 01:00:00+01:00", "1970-01-01T00:00:01.75"]), [0, 1_750_000], id="texts with zones"
        ),
        pytest.param(
            pa.array(["1970-01-01 00:00", "1970-01-01T03:00:02+0300", "1970-01-02", "1970-01-01T00:00:03-00"]),
            [0, 2 * SECOND, 86_400 * SECOND, 3 * SECOND],
            id="texts with and without zones",
        ),
    ],
)
def test_times_become_microseconds(values: pa.Array, expected: list[int]) -> None:
    times, problems = read(values)
    assert not problems
    assert times.dtype == "int64"
    assert times.tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([NOON, NOON * 1_000, NOON * 1_000]), r"\(1 in seconds and 2 in milliseconds\), got 1700000000 in row 1\. 1 row"),
        (pa.array([NOON * 1_000_000, NOON * 1_000]), r"\(1 in milliseconds and 1 in microseconds\)"),
        (pa.array([float("nan"), 1.0, float("inf")]), r"or a number since 1970, got nan in row 1\. 2 rows are like that, of 3\."),
        (pa.array([None, 5]), r"or a number since 1970, got nothing in row 1"),
        (pa.nulls(2), r"got nothing in row 1\. 2 rows are like that"),
        (pa.array(["1970-01-01", "soon"]), r"got 'soon' in row 2\. 1 row is like that"),
        (pa.array([str(NOON), "soon", "1"]), r"must be a number like the others, got 'soon' in row 2\. 1 row is like that"),
        (pa.array([str(NOON)]), r"a number, not text, got '1700000000' in row 1.*with `kinds: \{\w+: number\}`"),
        (pa.array([None, 5], pa.timestamp("s")), r"got nothing in row 1"),
        (pa.array([[1]]), r"a\.csv: ts must be times, got lists of whole numbers"),
    ],
)  # fmt: skip
def test_invalid_times_are_reported(values: pa.Array, message: str) -> None:
    times, problems = read(values)
    assert times is None
    assert len(problems) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problems[0])
