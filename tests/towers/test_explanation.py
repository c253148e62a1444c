from __future__ import annotations

import pytest
import torch

from towerzoo.towers.explanation import explain


def test_a_history_and_what_is_told_are_features_like_others(with_history):
    _, recommender = with_history
    person = recommender.person(7, features={"gender": "F"}, liked=[3, 4], disliked=[5])
    told = explain(recommender, person, 9)
    values = {(effect.side, effect.feature): effect.value for effect in told.effects}
    held = int((recommender.model.user_tower.encoder("met").lists(torch.tensor([7])) >= 0).sum())
    assert values == {
        ("user", "user_id"): "7",
        ("user", "gender"): "F",
        ("user", "met"): f"{held + 3} events",
        ("item", "movie_id"): "9",
    }
    tower, item = recommender.model.user_tower, recommender.item_vectors.factors[9]
    row = torch.tensor([7])
    columns = recommender.person_vectors.columns([person], row)
    columns["met"] = torch.full((1, 1), -1)
    without = recommender.model.score.user_factors(tower.encode(columns), row)[0] @ item
    (change,) = [effect.change for effect in told.effects if effect.feature == "met"]
    assert change == pytest.approx(told.logit - without.item(), abs=1e-5)
    assert {near.liked for near in told.nearest} <= {True, False}


def test_biases_are_effects_of_their_own(plain):
    _, recommender = plain
    biases = recommender.model.score.biases
    biases.user.weight[7], biases.item.weight[9] = 0.5, -0.25
    effects = {(e.side, e.feature): e for e in explain(recommender, recommender.person(7), 9).effects}
    assert effects["user", "bias"].change == pytest.approx(0.5 - biases.user.weight[0].item(), abs=1e-5)
    assert effects["item", "bias"].change == pytest.approx(-0.25 - biases.item.weight[0].item(), abs=1e-5)
    assert effects["item", "bias"].value == "-0.250"


def test_what_a_person_likes_is_near(plain):
    _, recommender = plain
    told = explain(recommender, recommender.person(features={"gender": "F"}, liked=[3], disliked=[9, 4]), 9)
    assert {near.row: near.liked for near in told.nearest} == {3: True, 4: False}
    assert told.candidates == 38  # of 40 without the two that she told, the explained one back among them
