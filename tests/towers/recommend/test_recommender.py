from __future__ import annotations

import shutil

import pyarrow as pa
import pytest
import torch

from towerzoo.registry.errors import RequestError, RunError
from towerzoo.towers.encoders.events import NO_EVENT
from towerzoo.towers.model.build import build_model, load_data
from towerzoo.towers.recommend.items import allowed_items
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import LIKES_UNUSED, NEAR_LIKES, Recommender

EMBEDDING = {"encoder": "embedding", "dim": 4}
HISTORY = {"encoder": "history", "dim": 4, "by": "feedback", "pooling": "sqrtn"}
TEMPORAL = {"name": "temporal", "fractions": [0.8, 0.1, 0.1]}


def logits(recommender: Recommender, person: Person) -> torch.Tensor:
    return recommender.factors([person]) @ recommender.item_vectors.factors.T


@pytest.mark.parametrize("kind", ["plain", "with_history"])
def test_a_run_scores_as_its_model_does_in_test(kind, request):
    experiment, recommender = request.getfixturevalue(kind)
    data = load_data(experiment)
    model = build_model(experiment, data.schema)
    model.load_state_dict(recommender.model.state_dict())
    users, items = torch.tensor([1, 7, 33]), torch.arange(len(data.schema.items))
    with torch.no_grad():
        expected = model.eval().user_factors(users, as_of="test") @ model.item_factors(items).T
    people = [recommender.person(recommender.users.ids.values[row - 1]) for row in users.tolist()]
    torch.testing.assert_close(recommender.factors(people) @ recommender.item_vectors.factors.T, expected)


@pytest.mark.parametrize("kind", ["plain", "with_history"])
def test_giving_known_features_changes_nothing(kind, request):
    _, recommender = request.getfixturevalue(kind)
    raw = recommender.users.columns["gender"]
    gender = raw.vocabulary.decode([int(raw.values[7])])[0]
    known, given = recommender.person(7), recommender.person(7, features={"gender": gender})
    torch.testing.assert_close(logits(recommender, given), logits(recommender, known))
    other = recommender.person(7, features={"gender": "M" if gender == "F" else "F"})
    assert not torch.allclose(logits(recommender, other), logits(recommender, known))


def test_lists_leave_out_items_seen_in_any_part_of_the_split(plain):
    _, recommender = plain
    people = [recommender.person(user) for user in (1, 2, 3)]
    top = recommender.top_items(people, 10)
    for person, items in zip(people, top.items.tolist(), strict=True):
        seen = set(recommender.events.item[recommender.events.user == person.row].tolist())
        order = logits(recommender, person)[0].argsort(descending=True).tolist()
        assert items == ([row for row in order if row not in seen | {0}] + [0] * 10)[:10]
    kept = recommender.top_items(people, 10, keep_seen=True)
    for person, items in zip(people, kept.items.tolist(), strict=True):
        assert items == [row for row in logits(recommender, person)[0].argsort(descending=True).tolist() if row][:10]


def test_given_excluded_and_filtered_items_are_left_out(plain):
    _, recommender = plain
    everything = recommender.top_items([recommender.person(features={"gender": "F"})], 39).items[0].tolist()
    first, second, third = everything[:3]
    someone = recommender.person(
        features={"gender": "F"}, liked=[first], disliked=[str(second)], exclude=[recommender.names.title(third)]
    )
    assert recommender.top_items([someone], 36).items[0].tolist() == everything[3:]
    assert recommender.top_items([someone], 36, keep_seen=True).items[0, :3].tolist() == [first, second, everything[3]]
    allowed, _ = allowed_items(recommender.items, ["movie_id>=30"])
    chosen = recommender.top_items([someone], 20, allowed=allowed)
    assert [row for row in chosen.items[0].tolist() if row] == [row for row in everything[3:] if row >= 30]


def test_answers_have_ids_titles_and_probabilities(plain):
    _, recommender = plain
    people = [recommender.person(1), recommender.person(liked=[3])]
    top = recommender.top_items(people, 2, keep_seen=True)
    (best, _), (near, _) = recommender.answers(top, people)
    row = int(top.items[0, 0])
    assert best.title == recommender.items.texts["title"][row]
    assert best.id == recommender.items.ids.values[row - 1]
    assert best.probability == pytest.approx(1 / (1 + 2.718281828**-best.score))
    assert near.probability is None
    assert people[1].notes == (NEAR_LIKES,)


def test_without_a_history_one_liked_item_gives_its_nearest_items(make_run):
    _, path = make_run("unbiased")
    recommender = Recommender.open(path)
    liked = recommender.top_items([recommender.person(liked=[3])], 5)
    similar = recommender.nearest_items(torch.tensor([3]), 5)
    assert torch.equal(liked.items, similar.items)
    torch.testing.assert_close(liked.scores, 10 * similar.scores)
    assert 3 not in similar.items
    assert recommender.person(1, liked=[3]).notes == (LIKES_UNUSED,)
    assert torch.equal(
        logits(recommender, recommender.person(1, liked=[3])), logits(recommender, recommender.person(1))
    )


@pytest.mark.parametrize("last", [None, 3])
def test_given_items_count_as_the_latest_events(make_run, last):
    pooling = {"pooling": {"name": "recency", "slots": 3}, "last": 3} if last else {}
    features = {"gender": EMBEDDING, "events": {**HISTORY, **pooling}}
    _, path = make_run(
        f"given{last}",
        data={"split": TEMPORAL},
        user_tower={"features": features, "combine": "sum"},
        item_tower={"features": {"movie_id": EMBEDDING}},
        score="dot",
    )
    recommender = Recommender.open(path)
    recommender.model.user_tower.requires_grad_(False)
    encoder = recommender.model.user_tower.encoder("events")
    if last:
        encoder.pooling.slots.copy_(torch.tensor([1.0, -1.0, 0.5]))
    events = recommender.events
    held = events.history.position >= 0
    ratings = events.history.kinds["feedback"]
    liked_kind, disliked_kind = (
        int(
            ratings[(events.label[held][events.history.position[held].argsort()] > 0.5) == positive].bincount().argmax()
        )
        for positive in (True, False)
    )
    assert liked_kind > disliked_kind
    given = [4 + liked_kind * 41, 9 + liked_kind * 41, 2 + disliked_kind * 41]
    for row in (0, 5):
        own = [number for number in encoder.inputs(torch.tensor([row]), as_of="test")[0].tolist() if number != NO_EVENT]
        person = Person(row, liked=(4, 9), disliked=(2,))
        columns = recommender.model.user_tower.inputs(torch.tensor([row])) | {"events": torch.tensor([[*given, *own]])}
        expected = recommender.model.user_tower.encode(columns)
        # Beside somebody with a longer history, whose padding must not come between.
        both = recommender.factors([person, Person(6, liked=(1,)), Person(row)])
        torch.testing.assert_close(both[0], expected[0])
        torch.testing.assert_close(both[2], recommender.model.user_factors(torch.tensor([row]), as_of="test")[0])


def test_to_a_history_an_added_item_is_an_unknown_one(with_history):
    _, recommender = with_history
    added = pa.table({"movie_id": [901, 902]})
    recommender.append(added)
    person = recommender.person(7, liked=[901], disliked=[902])
    assert person.notes == ("to a history '901' is an unknown item", "to a history '902' is an unknown item")
    expected = logits(recommender, Person(7, liked=(0,), disliked=(0,)))
    torch.testing.assert_close(logits(recommender, person), expected)
    assert not {41, 42} & set(recommender.top_items([person], 40).items[0].tolist())


def test_a_run_answers_without_its_data_and_elsewhere(plain, make_run, tmp_path, monkeypatch):
    _, recommender = plain
    _, path = make_run("plain")
    shutil.copytree(path, tmp_path / "moved")
    monkeypatch.setattr("towerzoo.datasets.Synthetic.load", lambda self: pytest.fail("the data was read"))
    moved = Recommender.open(tmp_path / "moved")
    assert torch.equal(moved.item_vectors.factors, recommender.item_vectors.factors)


@pytest.mark.parametrize("k", [0, 41])
def test_k_must_be_in_the_catalogue(plain, k):
    _, recommender = plain
    with pytest.raises(RequestError, match=f"k must be from 1 to 40, the number of items, got {k}"):
        recommender.top_items([Person(1)], k)
    with pytest.raises(RequestError, match="k must be from 1 to 40"):
        recommender.nearest_items(torch.tensor([1]), k)


def test_items_without_vectors_are_not_similar(make_run):
    _, path = make_run(
        "biases",
        user_tower={"features": {}},
        item_tower={"features": {}},
        score={"name": "dot", "user_bias": True, "item_bias": True},
    )
    recommender = Recommender.open(path)
    assert recommender.top_items([recommender.person(1)], 3).items.shape == (1, 3)
    with pytest.raises(RequestError, match="have biases, but no vectors"):
        recommender.nearest_items(torch.tensor([1]), 3)
    liking = recommender.person(liked=[3])
    assert liking.notes == (LIKES_UNUSED,), "nothing is near to it"
    assert recommender.is_probability(liking)


@pytest.mark.parametrize("name", ["events.parquet", "items.parquet", "model.safetensors", "config.yaml", "schema.json"])
def test_a_run_that_lacks_a_file_says_which(make_run, tmp_path, name):
    _, path = make_run("plain")
    shutil.copytree(path, tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(RunError, match=rf"has no {name}\."):
        Recommender.open(tmp_path / "copy")


def test_logits_against_candidates_are_no_probabilities(make_run):
    _, path = make_run(
        "softmax",
        loss="full-softmax",
        evaluation={"pairs": False, "ranking": {"at": [10]}},
        data={"label": {"column": "rating", "positive_from": 4}},
        training={"max_epochs": 1, "early_stopping": None},
    )
    recommender = Recommender.open(path)
    people = [recommender.person(1)]
    assert recommender.answers(recommender.top_items(people, 1, keep_seen=True), people)[0][0].probability is None


def test_a_streamed_run_cannot_leave_out_seen_items(plain):
    experiment, whole = plain
    events = whole.events._replace(whole=False)
    streamed = Recommender(experiment, whole.model, whole.users, whole.items, events)
    with pytest.raises(RequestError, match=r"trained on a stream, .* Pass --keep-seen, and --exclude for"):
        streamed.top_items([Person(features={}), Person(1)], 3)
    assert streamed.top_items([Person(1)], 3, keep_seen=True).items.shape == (1, 3)
    assert streamed.top_items([Person()], 3).items.shape == (1, 3)


def test_users_are_encoded_once_unless_described_otherwise(plain):
    experiment, run = plain
    recommender = Recommender(experiment, run.model, run.users, run.items, run.events)
    made = []
    encode = recommender.model.user_factors
    recommender._known.encode = lambda rows: made.append(rows.tolist()) or encode(rows)
    for rows in ([3, 1, 3], [2, 1], [1]):
        found = recommender.factors([Person(row) for row in rows])
        torch.testing.assert_close(found, encode(torch.tensor(rows)))
    assert made == [[1, 3], [2]]
    given = recommender.person(1, features={"gender": "F"})
    other = recommender.person(1, features={"gender": "M"})
    assert not torch.equal(recommender.factors([given]), recommender.factors([other]))
