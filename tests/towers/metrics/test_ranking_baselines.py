from __future__ import annotations

import pytest
import torch

from towerzoo.datasets import TwoTowerData
from towerzoo.towers.metrics.baselines import PRIOR_EVENTS, training_biases
from towerzoo.towers.metrics.lists import LIST_METRICS
from towerzoo.towers.metrics.ranking import RankingTask, rank
from towerzoo.towers.metrics.ranking_baselines import item_scores, ranking_baselines
from towerzoo.towers.model.build import load_data
from towerzoo.towers.retrieval.seen_items import SeenItems

KS = (1, 10, 25)


@pytest.fixture
def data(make_experiment) -> TwoTowerData:
    return load_data(make_experiment())


@pytest.fixture
def task(data) -> RankingTask:
    """The liked items of the test split, without what users met in training."""
    events, split, n_items = data.schema.interactions, data.split, len(data.schema.items)
    liked = split.test[data.labels[split.test] > 0.5]
    seen = SeenItems(events.user[split.train], events.item[split.train], len(data.schema.users))
    counts = torch.bincount(events.item[split.train], minlength=n_items)
    return RankingTask(events.user[liked], events.item[liked], seen, counts, KS)


def test_scores_are_those_of_a_plain_loop_over_training_events(data):
    train, events = data.split.train.tolist(), data.schema.interactions
    found = item_scores(data, training_biases(data))
    labels = data.labels[data.split.train].tolist()
    share = sum(labels) / len(labels)
    for item in range(len(data.schema.items)):
        mine = [label for row, label in zip(train, labels, strict=True) if events.item[row] == item]
        assert found["popularity"][item] == len(mine)
        assert found["positive popularity"][item] == sum(mine)
        smoothed = (sum(mine) + PRIOR_EVENTS * share) / (len(mine) + PRIOR_EVENTS)
        assert found["item mean"][item].item() == pytest.approx(smoothed)
    assert torch.equal(found["user + item bias"], training_biases(data)[1])


def test_baselines_get_the_models_task(data, task):
    found = ranking_baselines(data, task, training_biases(data))
    assert list(found) == ["random", "popularity", "positive popularity", "item mean", "user + item bias"]
    popular = item_scores(data, training_biases(data))["popularity"].tolist()
    events, split = data.schema.interactions, data.split
    seen = set(zip(events.user[split.train].tolist(), events.item[split.train].tolist(), strict=True))
    relevant: dict[int, set[int]] = {}
    for user, item in zip(task.user.tolist(), task.item.tolist(), strict=True):
        relevant.setdefault(user, set()).add(item)
    hits = 0
    for user, items in relevant.items():
        candidates = [item for item in range(1, len(popular)) if (user, item) not in seen]
        hits += bool(items & set(sorted(candidates, key=lambda item: (-popular[item], item))[:10]))
    assert found["popularity"]["hit_rate@10"] == pytest.approx(hits / len(relevant))
    assert found["popularity"]["popularity@10"] > found["random"]["popularity@10"]


def test_random_lists_find_what_chance_does(data):
    """Without seen items, the share of the catalogue that a list holds; and two lists share as much."""
    n_users, n_items = len(data.schema.users), len(data.schema.items)
    user = torch.arange(1, n_users).repeat_interleave(n_items - 1)
    everything = RankingTask(
        user, torch.arange(1, n_items).repeat(n_users - 1), None, torch.ones(n_items).long(), (10,)
    )
    found = ranking_baselines(data, everything, training_biases(data))["random"]
    assert found["recall@10"] == pytest.approx(10 / (n_items - 1)), "all items are relevant"
    assert found["precision@10"] == 1
    assert found["coverage@10"] == 1
    # 40 items and 60 users with one set of item vectors: chance is 0.25.
    assert found["overlap@10"] == pytest.approx(10 / (n_items - 1), abs=0.05)


def test_equal_data_have_equal_baselines(data, task):
    assert ranking_baselines(data, task, training_biases(data)) == ranking_baselines(data, task, training_biases(data))


def test_no_baseline_beats_a_model_that_knows(data, task):
    n_users, n_items = len(data.schema.users), len(data.schema.items)
    known = torch.zeros(n_users, n_items)
    known[task.user.long(), task.item.long()] = 1.0
    figures = rank(known, torch.eye(n_items), task).figures()
    assert figures["ndcg@10"] == pytest.approx(1)
    for baseline in ranking_baselines(data, task, training_biases(data)).values():
        assert all(figures[f"{metric}@{k}"] >= baseline[f"{metric}@{k}"] for metric in LIST_METRICS for k in KS)
        assert figures["ndcg@10"] > 1.1 * baseline["ndcg@10"]
