from __future__ import annotations

import pytest
import torch

from towerzoo.datasets import Column, Vocabulary
from towerzoo.towers.metrics.slices import Slices, column_slices, popularity_slices, warmth_slices


def labels_of(slices: Slices, row: int) -> list[str]:
    return [slices.labels[number] for number in slices.expand(torch.tensor([row]))[1].tolist()]


def test_every_membership_of_every_row_comes_in_order():
    slices = Slices("x", ("a", "b", "c"), torch.tensor([[-1, -1], [2, -1], [-1, 0], [1, 2]]))
    place, number = slices.expand(torch.tensor([3, 0, 1, 3, 2], dtype=torch.int32))
    assert list(zip(place.tolist(), number.tolist(), strict=True)) == [(0, 1), (0, 2), (2, 2), (3, 1), (3, 2), (4, 0)]


def test_no_rows_have_no_memberships():
    place, number = Slices("x", ("a",), torch.tensor([[0]])).expand(torch.tensor([], dtype=torch.int32))
    assert len(place) == len(number) == 0


def test_rows_are_warm_by_a_training_event():
    slices = warmth_slices(torch.tensor([0, 1, 0, 2, 0]))
    assert [labels_of(slices, row) for row in range(5)] == [["cold"], ["warm"], ["cold"], ["warm"], ["cold"]]


def test_deciles_are_tenths_of_the_items_from_the_least_popular():
    counts = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    slices = popularity_slices(torch.cat([torch.tensor([999]), counts]))
    assert labels_of(slices, 0) == []
    for item, count in enumerate(counts.tolist(), start=1):
        assert labels_of(slices, item) == [f"decile {count // 20 + 1}"]


def test_equally_popular_items_are_in_one_decile():
    """Six of ten items have no event; their mean rank is that of the third and fourth."""
    slices = popularity_slices(torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]))
    found = [labels_of(slices, item)[0] for item in range(1, 11)]
    assert found == ["decile 4"] * 6 + ["decile 7", "decile 8", "decile 9", "decile 10"]


def test_a_column_of_ids_has_a_slice_a_value():
    column = Column("age", torch.tensor([0, 2, 1, 2], dtype=torch.int32), Vocabulary([18, 25]))
    slices = column_slices(column)
    assert slices.name == "age"
    assert [labels_of(slices, row) for row in range(4)] == [["(unknown)"], ["25"], ["18"], ["25"]]


def test_a_list_counts_in_each_of_its_values_once():
    genres = torch.tensor([[0, 0, 0], [3, 0, 0], [0, 1, 2], [2, 2, 1], [3, 0, 3]], dtype=torch.int32)
    slices = column_slices(Column("genres", genres, Vocabulary(["Action", "Drama", "unknown"])))
    found = [sorted(labels_of(slices, row)) for row in range(5)]
    assert found == [["(unknown)"], ["unknown"], ["Action", "Drama"], ["Action", "Drama"], ["unknown"]]
    assert genres[3].tolist() == [2, 2, 1], "the column itself is left as it was"


@pytest.mark.parametrize("side", ["users", "items"])
def test_every_column_of_the_world_gives_each_row_a_slice(side, world):
    table = getattr(world, side)
    assert table.columns
    for column in table.columns.values():
        slices = column_slices(column)
        place, _ = slices.expand(torch.arange(len(table)))
        assert place.unique().tolist() == list(range(len(table)))
        assert len(slices.labels) == column.cardinality
