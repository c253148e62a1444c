from __future__ import annotations

import json

import pytest
import torch

from towerzoo.towers.metrics.auc import exact_auc
from towerzoo.towers.metrics.pairs import SplitMetrics
from towerzoo.towers.metrics.ranking import Ranking, RankingTask, rank
from towerzoo.towers.metrics.slice_figures import item_slices, pair_slices, user_slices
from towerzoo.towers.metrics.slices import Slices, column_slices, popularity_slices, warmth_slices

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
def test_pairs_of_a_slice_have_the_figures_of_their_own_split(column, world):
    events = world.interactions
    slices = column_slices(world.items.columns[column])
    logits = torch.randn(len(events), generator=torch.Generator().manual_seed(1)).round(decimals=1)
    labels = (events.measures["rating"] >= 4).float()
    found = pair_slices(slices, events.item, logits, labels)
    assert set(found) == {label for label in slices.labels if of_slice(slices, label) & set(events.item.tolist())}
    for label, figures in found.items():
        rows = of_slice(slices, label)
        inside = torch.tensor([item in rows for item in events.item.tolist()])
        metrics = SplitMetrics()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[inside], labels[inside])
        metrics.update(loss, logits[inside], labels[inside])
        expected = {name: value.item() for name, value in metrics.compute().items()}
        assert figures == {"events": int(inside.sum()), **{k: pytest.approx(v) for k, v in expected.items()}}
    if column == "genres":
        assert sum(figures["events"] for figures in found.values()) > len(events), "films have several genres"


def test_one_slice_of_all_pairs_has_the_figures_of_all():
    logits, labels = torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.tensor([1, 0, 0, 0])
    found = pair_slices(Slices("all", ("all",), torch.zeros(9, 1).long()), torch.tensor([8, 0, 3, 3]), logits, labels)
    assert found["all"]["auc"] == exact_auc([(logits.clone(), labels > 0)])
    assert found["all"]["accuracy"] == 0.75


def test_a_slice_of_one_class_has_no_auc():
    slices = warmth_slices(torch.tensor([0, 1]))
    found = pair_slices(slices, torch.tensor([0, 0, 1]), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 1, 0]))
    assert found["cold"]["auc"] is None
    assert found["cold"]["loss"] is not None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("column", ["age", "user_id"])
def test_users_of_a_slice_have_the_mean_of_their_own_figures(column, world, ranking):
    slices = column_slices(world.users.columns[column])
    found = user_slices(slices, ranking)
    assert len(found) > 1
    for label, figures in found.items():
        places = [place for place, user in enumerate(ranking.users.tolist()) if user in of_slice(slices, label)]
        assert list(figures) == ["users", *ranking.user_metrics]
        assert figures["users"] == len(places) > 0
        for name, values in ranking.user_metrics.items():
            assert figures[name] == pytest.approx(sum(values[places].tolist()) / len(places))
    assert sum(figures["users"] for figures in found.values()) == len(ranking.users)


def test_items_of_a_slice_are_found_as_often_as_a_plain_loop_says(world, ranking):
    slices = column_slices(world.items.columns["genres"])
    found = item_slices(slices, ranking)
    assert len(found) > 3
    tops = ranking.top.tolist()
    pairs = list(zip(ranking.place.tolist(), ranking.item.tolist(), strict=True))
    for label, figures in found.items():
        mine = [(place, item) for place, item in pairs if item in of_slice(slices, label)]
        users = {place for place, _ in mine}
        assert (figures["pairs"], figures["users"]) == (len(mine), len(users))
        for k in KS:
            hits = [(place, item) for place, item in mine if item in tops[place][:k]]
            assert figures[f"recall@{k}"] == pytest.approx(len(hits) / len(mine))
            assert figures[f"hit_rate@{k}"] == pytest.approx(len({place for place, _ in hits}) / len(users))
    assert any(figures["pairs"] > figures["users"] for figures in found.values())


def test_slices_without_a_relevant_item_are_left_out(world, ranking):
    counts = torch.bincount(world.interactions.item, minlength=len(world.items))
    found = item_slices(popularity_slices(counts), ranking)
    assert sum(figures["pairs"] for figures in found.values()) == len(ranking.item)
    assert list(item_slices(warmth_slices(torch.bincount(ranking.item, minlength=len(world.items))), ranking)) == [
        "warm"
    ]
