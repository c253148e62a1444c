from __future__ import annotations

import pyarrow as pa
import pytest
import torch

from towerzoo.towers.recommend.explanation import explain
from towerzoo.towers.recommend.recommender import Recommender


def test_histories_and_given_items_are_features_like_others(with_history):
    _, recommender = with_history
    person = recommender.person(7, features={"gender": "F"}, liked=[3, 4], disliked=[5])
    explanation = explain(recommender, person, 9)
    values = {(effect.side, effect.feature): effect.value for effect in explanation.effects}
    held = int((recommender.model.user_tower.encoder("events").inputs(torch.tensor([7]), as_of="test") >= 0).sum())
    assert values == {
        ("user", "user_id"): "7",
        ("user", "gender"): "F",
        ("user", "events"): f"{held + 3} events",
        ("item", "movie_id"): "9",
    }
    tower, item = recommender.model.user_tower, recommender.item_vectors.factors[9]
    row = torch.tensor([7])
    columns = recommender.person_vectors.inputs([person], row)
    columns["events"] = torch.full((1, 1), -1)
    without = recommender.model.score.user_factors(tower.encode(columns), row)[0] @ item
    (change,) = [effect.change for effect in explanation.effects if effect.feature == "events"]
    assert change == pytest.approx(explanation.score - without.item(), abs=1e-5)
    assert {near.liked for near in explanation.nearest} <= {True, False}


def test_biases_are_effects_of_their_own(plain):
    _, recommender = plain
    biases = recommender.model.score.biases
    biases.user.weight[7], biases.item.weight[9] = 0.5, -0.25
    effects = {(e.side, e.feature): e for e in explain(recommender, recommender.person(7), 9).effects}
    assert effects["user", "bias"].change == pytest.approx(0.5 - biases.user.weight[0].item(), abs=1e-5)
    assert effects["item", "bias"].change == pytest.approx(-0.25 - biases.item.weight[0].item(), abs=1e-5)
    assert effects["item", "bias"].value == "-0.250"


@pytest.mark.parametrize(("bias", "probability"), [(-2000.0, 0.0), (2000.0, 1.0)])
def test_however_large_a_logit_is_it_has_a_probability(plain, bias, probability):
    _, recommender = plain
    recommender.model.score.biases.item.weight[9] = bias
    explanation = explain(recommender, recommender.person(7), 9)
    assert explanation.probability == probability
    top = recommender.top_items([recommender.person(7)], 40, keep_seen=True)
    (answers,) = recommender.answers(top, [recommender.person(7)])
    assert [answer.probability for answer in answers if answer.id == recommender.names.id(9)] == [probability]


def test_liked_items_are_near(plain):
    _, recommender = plain
    explanation = explain(recommender, recommender.person(features={"gender": "F"}, liked=[3], disliked=[9, 4]), 9)
    assert {recommender.names.row(near.id): near.liked for near in explanation.nearest} == {3: True, 4: False}
    assert explanation.candidates == 38  # of 40 without the two given ones, but with the explained one


def test_ranks_are_positions_in_lists_among_equal_scores_too(make_run):
    """With genres alone many items have the same vector, and with whole numbers exactly the same score."""
    user_tower = {"features": {"user_id": {"encoder": "embedding", "dim": 4}}}
    item_tower = {"features": {"genres": {"encoder": "embedding-bag", "dim": 4, "max_length": 1}}}
    _, path = make_run("genres_alone", user_tower=user_tower, item_tower=item_tower, score="dot")
    recommender = Recommender.open(path)
    for parameter in recommender.model.parameters():
        parameter.mul_(8).round_()
    assert len(torch.unique(recommender.item_vectors.factors, dim=0)) < len(recommender.items) / 2
    people = [recommender.person(user) for user in range(1, 9)]
    together = recommender.top_items(people, 40, keep_seen=True).items.tolist()
    for person, rows in zip(people, together, strict=True):
        assert recommender.top_items([person], 40, keep_seen=True).items.tolist() == [rows]
        seen = set(recommender.seen.of(torch.tensor([person.row]))[1].tolist())
        unmet = [row for row in rows if row not in seen]
        assert [explain(recommender, person, row).rank for row in unmet] == list(range(1, len(unmet) + 1))


def test_a_streamed_run_notes_that_it_does_not_know_seen_items(plain):
    _, recommender = plain
    explanation = explain(recommender, recommender.person(7), 9)
    assert explanation.notes == []
    recommender.events = recommender.events._replace(whole=False)
    assert [
        "the rank counts items that the user saw in training" in note
        for note in explain(recommender, recommender.person(7), 9).notes
    ] == [True]
    assert explain(recommender, recommender.person(liked=[3]), 9).notes == []


@pytest.mark.parametrize("encoder", ["letter-trigrams", "embedding"])
def test_an_added_item_is_explained_by_its_own_text(make_run, encoder):
    features = {"user_id": {"encoder": "embedding", "dim": 4}}, {"title": {"encoder": encoder, "dim": 4}}
    towers = {side: {"features": some} for side, some in zip(("user_tower", "item_tower"), features, strict=True)}
    _, path = make_run(f"titles_{encoder}", **towers, score="dot")
    recommender = Recommender.open(path)
    known = recommender.names.title(9)
    for added in ({"movie_id": [901], "title": ["A Fresh Air"]}, {"movie_id": [902, 903], "title": [known, ""]}):
        recommender.append(pa.table(added))
    first, again, nothing = (explain(recommender, recommender.person(7), row) for row in (41, 42, 43))
    of_titles = [
        effect for explanation in (first, again, nothing) for effect in explanation.effects if effect.side == "item"
    ]
    assert [effect.value for effect in of_titles] == ["A Fresh Air", known, "unknown"]
    assert of_titles[0].change == pytest.approx(first.score, abs=1e-5)  # without a title the vector is zero
    assert again.score == pytest.approx(explain(recommender, recommender.person(7), 9).score, abs=1e-5)
    assert (of_titles[2].change, nothing.score) == (0, 0)
