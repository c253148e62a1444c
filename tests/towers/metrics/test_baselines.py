from __future__ import annotations

from math import log

import pytest
import torch

from towerzoo.datasets import Batch, Column, Interactions, Split, StarSchema, Table, TwoTowerData, Vocabulary
from towerzoo.towers.metrics.baselines import (
    PRIOR_EVENTS,
    baselines,
    fit_biases,
    item_scores,
    ranking_baselines,
    training_biases,
)
from towerzoo.towers.metrics.plan import PAIR_METRICS, RANKING_METRICS, USER_METRICS
from towerzoo.towers.metrics.ranking import RankingTask, rank
from towerzoo.towers.model.build import load_data
from towerzoo.towers.retrieval.seen_items import SeenItems

USERS = Table("user_id", {"user_id": Column("user_id", torch.arange(3, dtype=torch.int32), Vocabulary([1, 2]))})
ITEMS = Table("item_id", {"item_id": Column("item_id", torch.arange(4, dtype=torch.int32), Vocabulary([1, 2, 3]))})

# Training: item 1 is liked 3 of 3 times, item 2 never of 1; a share of 3/4. Item 3 is only tested.
ITEM = [1, 1, 1, 2, 1, 2, 1, 2, 3]
LABEL = [1, 1, 1, 0, 1, 0, 1, 1, 0]
SPLIT = Split(torch.arange(4), torch.tensor([4, 5]), torch.tensor([6, 7, 8]))
TEST_LABELS = [1, 1, 0]


def make_data(**feedback: torch.Tensor) -> TwoTowerData:
    events = Interactions(
        torch.ones(len(ITEM), dtype=torch.int32),
        torch.tensor(ITEM, dtype=torch.int32),
        {"rating": torch.tensor(LABEL, dtype=torch.float32), **feedback},
    )
    labels = torch.tensor(LABEL, dtype=torch.float32)
    return TwoTowerData(StarSchema(USERS, ITEMS, events, ""), labels, SPLIT, batch_size=2, seed=0)


def loss_of(probabilities: list[float]) -> float:
    return -sum(log(p if label else 1 - p) for p, label in zip(probabilities, TEST_LABELS, strict=True)) / 3


def baselines_of(data: TwoTowerData) -> dict[str, dict[str, float]]:
    return baselines(data, training_biases(data))


@pytest.mark.parametrize(
    ("name", "probabilities", "auc", "accuracy"),
    [
        ("constant", [0.75] * 3, 0.5, 2 / 3),
        # Smoothed towards the share: 0.84 and 0.625 are liked, 0.75 is not, so one pair of two is in order.
        ("item mean", [(3 + 5 * 0.75) / (3 + 5), (0 + 5 * 0.75) / (1 + 5), 0.75], 0.5, 2 / 3),
        ("best reachable", [0.9, 0.6, 0.2], 1.0, 1.0),
    ],
)
def test_predictions_of_a_baseline(name, probabilities, auc, accuracy):
    assert PRIOR_EVENTS == 5
    figures = baselines_of(make_data(probability=torch.tensor([0.5] * 6 + [0.9, 0.6, 0.2])))[name]
    assert set(figures) == {*PAIR_METRICS, *USER_METRICS}
    assert [figures[metric] for metric in PAIR_METRICS] == pytest.approx([loss_of(probabilities), auc, accuracy])


def fitted(events: Batch, n_users: int, n_items: int, at_once: int = 1_000) -> tuple[torch.Tensor, torch.Tensor]:
    columns = (column.split(at_once) for column in events[:3])
    parts = [Batch(*chunk) for chunk in zip(*columns, strict=True)]
    return fit_biases(lambda: iter(parts), events.label.double().mean(), n_users, n_items)


def test_biases_are_the_optimum_of_the_penalised_likelihood(world):
    """By gradients that are taken without the formulas of the fit."""
    events = world.interactions
    user, item, labels = events.user.long(), events.item.long(), (events.feedback["rating"] >= 4).double()
    biases = fitted(Batch(events.user, events.item, labels.float()), len(world.users), len(world.items))
    for bias in biases:
        assert bias[0] == 0
        assert bias.abs().max() > 0.1
        bias.requires_grad_()
    logits = torch.logit(labels.mean()) + biases[0][user] + biases[1][item]
    penalty = sum(bias.square().sum() for bias in biases) / 2
    (torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum") + penalty).backward()
    # At zero biases a user or item with many events of one class has a slope of more than 5.
    assert all(bias.grad.abs().max() < 0.05 for bias in biases), [bias.grad.abs().max() for bias in biases]


def test_biases_do_not_depend_on_the_batches(world):
    events = world.interactions
    labelled = Batch(events.user, events.item, (events.feedback["rating"] >= 4).float())
    sizes = len(world.users), len(world.items)
    for one, other in zip(fitted(labelled, *sizes), fitted(labelled, *sizes, at_once=7), strict=True):
        torch.testing.assert_close(one, other)


def test_users_and_items_without_events_have_no_bias():
    one = torch.ones(2, dtype=torch.int32)
    users, items = fitted(Batch(one, one, torch.tensor([1.0, 0.0])), 3, 4)
    assert users.tolist() == [0, 0, 0]  # half of its events are positive, and so is half of all
    assert items.tolist() == [0, 0, 0, 0]


def test_certain_probabilities_give_finite_losses():
    certain = torch.tensor([0.5] * 6 + [1.0, 1.0, 0.0])
    assert baselines_of(make_data(probability=certain))["best reachable"]["loss"] == pytest.approx(0, abs=1e-6)


def test_the_best_reachable_is_known_for_generated_data_only(world):
    assert list(baselines_of(make_data())) == ["constant", "item mean", "user + item bias"]
    parts = torch.arange(1500).split(500)
    generated = TwoTowerData(
        world, (world.interactions.feedback["rating"] >= 4).float(), Split(*parts), batch_size=2, seed=0
    )
    actual = baselines_of(generated)
    assert list(actual) == ["constant", "item mean", "user + item bias", "best reachable"]
    losses = {name: figures["loss"] for name, figures in actual.items()}
    assert min(losses, key=losses.get) == "best reachable"


def test_biases_are_fitted_only_where_there_are_two_classes():
    data = make_data()
    data.labels = torch.ones_like(data.labels)
    assert training_biases(data) is None


KS = (1, 10, 25)


@pytest.fixture
def data(make_experiment) -> TwoTowerData:
    return load_data(make_experiment())


@pytest.fixture
def task(data) -> RankingTask:
    """The liked items of the test split, without items that users saw in training."""
    events, split, n_items = data.schema.interactions, data.split, len(data.schema.items)
    liked = split.test[data.labels[split.test] > 0.5]
    seen = SeenItems(events.user[split.train], events.item[split.train], len(data.schema.users))
    counts = torch.bincount(events.item[split.train], minlength=n_items)
    return RankingTask(events.user[liked], events.item[liked], seen, counts, KS)


def test_scores_equal_a_plain_loop_over_training_events(data):
    train, events = data.split.train.tolist(), data.schema.interactions
    actual = item_scores(data, training_biases(data))
    labels = data.labels[data.split.train].tolist()
    share = sum(labels) / len(labels)
    for item in range(len(data.schema.items)):
        of_item = [label for row, label in zip(train, labels, strict=True) if events.item[row] == item]
        assert actual["popularity"][item] == len(of_item)
        assert actual["positive popularity"][item] == sum(of_item)
        smoothed = (sum(of_item) + PRIOR_EVENTS * share) / (len(of_item) + PRIOR_EVENTS)
        assert actual["item mean"][item].item() == pytest.approx(smoothed)
    assert torch.equal(actual["user + item bias"], training_biases(data)[1])


def test_baselines_rank_the_models_task(data, task):
    actual = ranking_baselines(data, task, training_biases(data))
    assert list(actual) == ["random", "popularity", "positive popularity", "item mean", "user + item bias"]
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
    assert actual["popularity"]["hit_rate@10"] == pytest.approx(hits / len(relevant))
    assert actual["popularity"]["popularity@10"] > actual["random"]["popularity@10"]


def test_random_lists_find_items_by_chance(data):
    """Without seen items, the share of the catalogue that a list holds; and two lists share as much."""
    n_users, n_items = len(data.schema.users), len(data.schema.items)
    user = torch.arange(1, n_users).repeat_interleave(n_items - 1)
    everything = RankingTask(
        user, torch.arange(1, n_items).repeat(n_users - 1), None, torch.ones(n_items).long(), (10,)
    )
    actual = ranking_baselines(data, everything, training_biases(data))["random"]
    assert actual["recall@10"] == pytest.approx(10 / (n_items - 1)), "all items are relevant"
    assert actual["precision@10"] == 1
    assert actual["coverage@10"] == 1
    # 40 items and 60 users with one set of item vectors: chance is 0.25.
    assert actual["overlap@10"] == pytest.approx(10 / (n_items - 1), abs=0.05)


def test_equal_data_have_equal_baselines(data, task):
    assert ranking_baselines(data, task, training_biases(data)) == ranking_baselines(data, task, training_biases(data))


def test_no_baseline_beats_a_perfect_model(data, task):
    n_users, n_items = len(data.schema.users), len(data.schema.items)
    known = torch.zeros(n_users, n_items)
    known[task.user.long(), task.item.long()] = 1.0
    figures = rank(known, torch.eye(n_items), task).figures()
    assert figures["ndcg@10"] == pytest.approx(1)
    for baseline in ranking_baselines(data, task, training_biases(data)).values():
        assert all(figures[f"{metric}@{k}"] >= baseline[f"{metric}@{k}"] for metric in RANKING_METRICS[:6] for k in KS)
        assert figures["ndcg@10"] > 1.1 * baseline["ndcg@10"]
