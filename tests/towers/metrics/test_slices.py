from __future__ import annotations

import json

import pytest
import torch

from towerzoo.datasets import Column, Vocabulary
from towerzoo.towers.metrics.auc import exact_auc
from towerzoo.towers.metrics.pairs import SplitMetrics
from towerzoo.towers.metrics.ranking import Ranking, RankingTask, rank
from towerzoo.towers.metrics.slices import (
    Slices,
    column_slices,
    item_slices,
    pair_slices,
    popularity_slices,
    user_slices,
    warmth_slices,
)


def labels_of(slices: Slices, row: int) -> list[str]:
    return [slices.labels[number] for number in slices.expand(torch.tensor([row]))[1].tolist()]


def test_memberships_are_in_the_order_of_rows():
    slices = Slices("x", ("a", "b", "c"), torch.tensor([[-1, -1], [2, -1], [-1, 0], [1, 2]]))
    expanded = slices.expand(torch.tensor([3, 0, 1, 3, 2], dtype=torch.int32))
    assert list(zip(*(side.tolist() for side in expanded), strict=True)) == [
        (0, 1),
        (0, 2),
        (2, 2),
        (3, 1),
        (3, 2),
        (4, 0),
    ]


def test_no_rows_have_no_memberships():
    position, number = Slices("x", ("a",), torch.tensor([[0]])).expand(torch.tensor([], dtype=torch.int32))
    assert len(position) == len(number) == 0


def test_rows_with_a_training_event_are_warm():
    slices = warmth_slices(torch.tensor([0, 1, 0, 2, 0]))
    assert [labels_of(slices, row) for row in range(5)] == [["cold"], ["warm"], ["cold"], ["warm"], ["cold"]]


def test_deciles_are_tenths_of_the_items_from_the_least_popular():
    counts = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    slices = popularity_slices(torch.cat([torch.tensor([999]), counts]))
    assert labels_of(slices, 0) == []
    for item, count in enumerate(counts.tolist(), start=1):
        assert labels_of(slices, item) == [f"decile {count // 20 + 1}"]


def test_equally_popular_items_are_in_one_decile():
    """Six of ten items have no event; their mean rank lies between the third and the fourth."""
    slices = popularity_slices(torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]))
    actual = [labels_of(slices, item)[0] for item in range(1, 11)]
    assert actual == ["decile 4"] * 6 + ["decile 7", "decile 8", "decile 9", "decile 10"]


def test_a_column_of_ids_has_a_slice_a_value():
    column = Column("age", torch.tensor([0, 2, 1, 2], dtype=torch.int32), Vocabulary([18, 25]))
    slices = column_slices(column)
    assert slices.name == "age"
    assert [labels_of(slices, row) for row in range(4)] == [["(unknown)"], ["25"], ["18"], ["25"]]


def test_a_list_counts_in_each_of_its_values_once():
    genres = torch.tensor([[0, 0, 0], [3, 0, 0], [0, 1, 2], [2, 2, 1], [3, 0, 3]], dtype=torch.int32)
    slices = column_slices(Column("genres", genres, Vocabulary(["Action", "Drama", "unknown"])))
    actual = [sorted(labels_of(slices, row)) for row in range(5)]
    assert actual == [["(unknown)"], ["unknown"], ["Action", "Drama"], ["Action", "Drama"], ["unknown"]]
    assert genres[3].tolist() == [2, 2, 1], "the column itself is left as it was"


@pytest.mark.parametrize("side", ["users", "items"])
def test_every_column_of_the_world_gives_each_row_a_slice(side, world):
    table = getattr(world, side)
    assert table.columns
    for column in table.columns.values():
        slices = column_slices(column)
        position, _ = slices.expand(torch.arange(len(table)))
        assert position.unique().tolist() == list(range(len(table)))
        assert len(slices.labels) == column.cardinality


KS = (1, 5, 20)


@pytest.fixture(scope="module")
def ranking(world) -> Ranking:
    events = world.interactions
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(len(table), 4, generator=generator) for table in (world.users, world.items))
    counts = torch.bincount(events.item[200:], minlength=len(world.items))
    return rank(users, items, RankingTask(events.user[:200], events.item[:200], None, counts, KS))


def of_slice(slices: Slices, label: str) -> set[int]:
    """Returns the rows of a slice."""
    number = slices.labels.index(label)
    return {row for row, members in enumerate(slices.members.tolist()) if number in members}


@pytest.mark.parametrize("column", ["genres", "movie_id"])
def test_figures_of_pairs_equal_those_of_the_slice_alone(column, world):
    events = world.interactions
    slices = column_slices(world.items.columns[column])
    logits = torch.randn(len(events), generator=torch.Generator().manual_seed(1)).round(decimals=1)
    labels = (events.feedback["rating"] >= 4).float()
    actual = pair_slices(slices, events.item, logits, labels)
    assert set(actual) == {label for label in slices.labels if of_slice(slices, label) & set(events.item.tolist())}
    for label, figures in actual.items():
        rows = of_slice(slices, label)
        inside = torch.tensor([item in rows for item in events.item.tolist()])
        metrics = SplitMetrics()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[inside], labels[inside])
        metrics.update(loss, logits[inside], labels[inside])
        expected = {name: value.item() for name, value in metrics.compute().items()}
        assert figures == {"events": int(inside.sum()), **{k: pytest.approx(v) for k, v in expected.items()}}
    if column == "genres":
        assert sum(figures["events"] for figures in actual.values()) > len(events), "films have several genres"


def test_a_slice_of_all_pairs_has_the_figures_of_all():
    logits, labels = torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.tensor([1, 0, 0, 0])
    actual = pair_slices(Slices("all", ("all",), torch.zeros(9, 1).long()), torch.tensor([8, 0, 3, 3]), logits, labels)
    assert actual["all"]["auc"] == exact_auc([(logits.clone(), labels > 0)])
    assert actual["all"]["accuracy"] == 0.75


def test_a_slice_of_one_class_has_no_auc():
    slices = warmth_slices(torch.tensor([0, 1]))
    actual = pair_slices(slices, torch.tensor([0, 0, 1]), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 1, 0]))
    assert actual["cold"]["auc"] is None
    assert actual["cold"]["loss"] is not None
    assert json.loads(json.dumps(actual, allow_nan=False)) == actual


@pytest.mark.parametrize("column", ["age", "user_id"])
def test_figures_of_users_are_means_over_the_slice(column, world, ranking):
    slices = column_slices(world.users.columns[column])
    actual = user_slices(slices, ranking)
    assert len(actual) > 1
    for label, figures in actual.items():
        inside = of_slice(slices, label)
        positions = [position for position, user in enumerate(ranking.users.tolist()) if user in inside]
        assert list(figures) == ["users", *ranking.user_metrics]
        assert figures["users"] == len(positions) > 0
        for name, values in ranking.user_metrics.items():
            assert figures[name] == pytest.approx(sum(values[positions].tolist()) / len(positions))
    assert sum(figures["users"] for figures in actual.values()) == len(ranking.users)


def test_figures_of_items_equal_a_plain_loop(world, ranking):
    slices = column_slices(world.items.columns["genres"])
    actual = item_slices(slices, ranking)
    assert len(actual) > 3
    tops = ranking.top.tolist()
    pairs = list(zip(ranking.position.tolist(), ranking.item.tolist(), strict=True))
    for label, figures in actual.items():
        of_label = [(position, item) for position, item in pairs if item in of_slice(slices, label)]
        users = {position for position, _ in of_label}
        assert (figures["pairs"], figures["users"]) == (len(of_label), len(users))
        for k in KS:
            hits = [(position, item) for position, item in of_label if item in tops[position][:k]]
            assert figures[f"recall@{k}"] == pytest.approx(len(hits) / len(of_label))
            assert figures[f"hit_rate@{k}"] == pytest.approx(len({position for position, _ in hits}) / len(users))
    assert any(figures["pairs"] > figures["users"] for figures in actual.values())


def test_slices_without_a_relevant_item_are_left_out(world, ranking):
    counts = torch.bincount(world.interactions.item, minlength=len(world.items))
    actual = item_slices(popularity_slices(counts), ranking)
    assert sum(figures["pairs"] for figures in actual.values()) == len(ranking.item)
    assert list(item_slices(warmth_slices(torch.bincount(ranking.item, minlength=len(world.items))), ranking)) == [
        "warm"
    ]
