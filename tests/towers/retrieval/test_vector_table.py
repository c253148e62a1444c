from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from towerzoo.towers.retrieval.vector_table import ROWS_AT_ONCE, VectorTable

N = 30_000


class Squares:
    """Encodes a row as itself and its square, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, rows: Tensor) -> Tensor:
        self.calls.append(rows.tolist())
        return torch.stack([rows.double(), rows.double() ** 2], dim=1)


def look_up(table: VectorTable, rows: Tensor) -> Tensor:
    vectors, at = table(rows)
    return vectors[at]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_each_distinct_row_is_encoded_once_over_many_batches(dtype):
    encode, generator = Squares(), torch.Generator().manual_seed(0)
    table, needed = VectorTable(encode, 200), set()
    for _ in range(50):
        rows = torch.randint(200, (64,), generator=generator).to(dtype)
        torch.testing.assert_close(look_up(table, rows), Squares()(rows), rtol=0, atol=0)
        needed |= set(rows.tolist())
    assert Counter(row for call in encode.calls for row in call) == Counter(needed)
    assert all(encode.calls), "a batch without a new row needs no call"


def test_many_new_rows_are_encoded_in_chunks():
    encode = Squares()
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(look_up(VectorTable(encode, N), rows), Squares()(rows), rtol=0, atol=0)
    assert [len(call) for call in encode.calls] == [ROWS_AT_ONCE] * (N // ROWS_AT_ONCE) + [N % ROWS_AT_ONCE]


def test_no_rows_give_no_vectors_of_the_towers_length():
    assert look_up(VectorTable(Squares(), 5), torch.empty(0, dtype=torch.int32)).shape == (0, 2)
