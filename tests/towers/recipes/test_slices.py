from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from towerzoo.datasets import Column, Table
from towerzoo.registry.errors import RunError
from towerzoo.towers.metrics.plan import EvaluationPlan
from towerzoo.towers.model.build import build_model, load_data, read_experiment
from towerzoo.towers.recipes.slices import mask_biases, mask_columns, require_columns, sliced


@pytest.fixture
def data(make_experiment):
    return load_data(make_experiment())


def test_masked_features_are_unknown_and_all_others_stay(data):
    before = data.schema
    mask_columns(data, ["gender", "movie_id"])
    assert not data.schema.users.columns["gender"].values.any()
    assert not data.schema.items.columns["movie_id"].values.any()
    assert len(data.schema.items) == len(before.items), "rows are kept"
    for name in ("user_id", "age"):
        assert data.schema.users.columns[name] is before.users.columns[name]


@pytest.fixture
def data_of_incomes(data):
    incomes = Column("income", torch.tensor([20.0, 10.0, 30.0]))
    users = Table("user_id", {"user_id": data.schema.users.columns["user_id"], "income": incomes})
    data.schema = replace(data.schema, users=users)
    return data


def test_masked_numbers_are_those_of_nobody(data_of_incomes):
    data = data_of_incomes
    mask_columns(data, ["income"])
    assert data.schema.users.columns["income"].values.tolist() == [20.0, 20.0, 20.0]


def test_the_biases_of_masked_ids_go_and_those_of_others_stay(make_experiment, data):
    score = {"name": "dot", "user_bias": True, "item_bias": True, "global_bias": True}
    model = build_model(make_experiment(score=score), data.schema)
    biases = model.score.biases
    for parameter in biases.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    mask_biases(model, data, ["movie_id", "gender"])
    assert not biases.item.weight.any()
    assert bool((biases.user.weight == 0.5).all())
    assert biases.everyone == 0.5


def test_numbers_can_be_masked_and_are_nothing_to_slice_by(data_of_incomes):
    require_columns(data_of_incomes, ["income", "title"], ["user_id", "title", "user-warmth"])
    message = r"--by must be a column of ids of users or items, got 'income', which holds numbers\. Known: "
    with pytest.raises(RunError, match=message) as caught:
        require_columns(data_of_incomes, ["income"], ["income", "genres", "income"])
    assert "income" not in str(caught.value).partition("Known: ")[2]


def test_a_text_can_be_masked(data):
    mask_columns(data, ["title"])
    assert not data.schema.items.column("title").values.any()


def test_slices_of_pairs_are_those_of_scoring_them_apart(make_experiment, data):
    model = build_model(make_experiment(), data.schema)
    found = sliced(model, data, EvaluationPlan(), ["gender", "popularity", "item-warmth", "user-warmth"])
    rows = data.split.test.long()
    user, item = data.schema.interactions.user[rows], data.schema.interactions.item[rows]
    right = (model.eval()(user, item) > 0) == (data.labels[rows] > 0.5)
    gender = data.schema.users.columns["gender"]
    for number, name in enumerate(gender.vocabulary.values, start=1):
        mine = gender.values[user.long()] == number
        assert found["gender"][name]["events"] == int(mine.sum())
        assert found["gender"][name]["accuracy"] == pytest.approx(right[mine].double().mean().item())
    for figures in found.values():
        assert sum(slice_["events"] for slice_ in figures.values()) == len(rows)


def test_slices_of_rankings_are_means_over_their_users_and_items(make_experiment):
    overrides = [
        "data.label={positive_from: 1}",
        "data.split=leave-last-out",
        "loss=full-softmax",
        "training.early_stopping=null",
    ]
    experiment, _ = read_experiment(
        "quickstart", ["data.users=60", "data.items=50", "data.interactions=900", *overrides]
    )
    data = load_data(experiment)
    model = build_model(experiment, data.schema)
    found = sliced(model, data, EvaluationPlan.of(experiment), ["gender", "popularity"])
    users = torch.unique(data.schema.interactions.user[data.split.test.long()])
    assert sum(slice_["users"] for slice_ in found["gender"].values()) == len(users)
    assert sum(slice_["pairs"] for slice_ in found["popularity"].values()) == len(data.split.test)
