from __future__ import annotations

import json
import re

import pytest
import torch

from towerzoo.towers.recommend.explanation import explain
from towerzoo.towers.recommend.items import allowed_items
from towerzoo.towers.serving.schema import Limits

HUGE = 10**30


def listed(answers):
    return [(answer.id, answer.title, answer.score, answer.probability) for answer in answers]


def got(answer):
    return [(item["id"], item["title"], item["score"], item["probability"]) for item in answer["items"]]


def expected(recommender, k, *, where=(), keep_seen=False, **person):
    someone = recommender.person(person.pop("user", None), **person)
    allowed, _ = allowed_items(recommender.items, where)
    top = recommender.recommend([someone], k, keep_seen=keep_seen, allowed=allowed)
    return [pytest.approx(answer, abs=1e-5) for answer in listed(recommender.answers(top, [someone])[0])]


@pytest.mark.parametrize("k", [1, 10])
def test_a_known_user_gets_what_the_recommender_gives(service, recommender, k):
    answer = service.recommend(user=5, k=k)
    assert got(answer) == expected(recommender, k, user=5)
    assert len(answer["items"]) == k
    assert answer["notes"] == []


def test_a_raw_id_may_come_as_text(service):
    assert got(service.recommend(user="5")) == got(service.recommend(user=5))


def test_somebody_new_is_known_by_features(service, recommender):
    answer = service.recommend(features={"gender": "F"})
    assert got(answer) == expected(recommender, 10, features={"gender": "F"})
    assert answer["notes"] == []
    assert got(answer) != got(service.recommend(features={"gender": "M"}))


def test_somebody_new_is_known_by_titles(service, recommender):
    title = recommender.names.title(5)
    answer = service.recommend(liked=[title.upper(), recommender.names.id(9)], k=5)
    assert got(answer) == expected(recommender, 5, liked=[title, recommender.names.id(9)])
    assert not {title, recommender.names.title(9)} & {item["title"] for item in answer["items"]}
    assert all(item["probability"] is None for item in answer["items"])
    assert "no history" in answer["notes"][0]


def test_seen_and_excluded_items_are_left_out(service, recommender):
    kept = service.recommend(user=3, k=90, keep_seen=True)["items"]
    usual = service.recommend(user=3, k=90)["items"]
    met = set(recommender.events.item[recommender.events.user == recommender.users.ids.row(3)].tolist())
    assert met
    assert len(kept) - len(usual) == len(met)
    first = usual[0]["id"]
    assert first not in {item["id"] for item in service.recommend(user=3, exclude=[first])["items"]}


def test_conditions_filter_and_an_empty_list_says_why(service, recommender):
    answer = service.recommend(user=3, where=["genres=Drama"], details=True)
    assert got(answer) == expected(recommender, 10, user=3, where=["genres=Drama"])
    assert all("Drama" in item["features"]["genres"] for item in answer["items"])
    none = service.recommend(user=3, where=["genres=Drama", "genres!=Drama"])
    assert none["items"] == []
    assert none["notes"] == ["the list is empty: no item meets all conditions"]
    everything = [recommender.names.id(row) for row in range(1, len(recommender.items))]
    gone = service.recommend(user=3, exclude=everything)
    assert (gone["items"], gone["notes"]) == (
        [],
        ["the list is empty: all that might be recommended is seen or excluded"],
    )


def test_details_name_what_an_item_is_like_of_what_was_liked(service, recommender):
    for item in service.recommend(user=3, k=5, details=True)["items"]:
        row = recommender.names.row(item["id"])
        events = recommender.events
        own = events.item[(events.user == recommender.users.ids.row(3)) & (events.label > 0.5)].long().unique()
        cosines = recommender.item_vectors.directions[own] @ recommender.item_vectors.directions[row]
        best = own[cosines.argsort(descending=True)[:2]].tolist()
        assert [near["id"] for near in item["like"]] == [recommender.names.id(one) for one in best]
    assert "like" not in service.recommend(user=3)["items"][0]


def test_what_is_not_known_is_told_in_notes(service):
    answer = service.recommend(features={"gender": "?", "town": "Oslo"})
    assert answer["notes"][0] == "gender '?' is not known"
    assert re.match(r"feature 'town' is not one of the user tower", answer["notes"][1])
    assert service.recommend(user=10**6, features={"gender": "F"})["notes"] == ["user 1000000 is not known"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"user": 10**6}, r"the person must be a known user, or .* got the unknown id 1000000. Features: gender\."),
        ({}, r"the person must be .* got nobody"),
        ({"user": 1, "k": 0}, r"^k must be greater than or equal to 1, got 0\.$"),
        ({"user": 1, "k": 101}, r"^k must be less than or equal to 100, got 101\.$"),
        ({"user": 1, "k": 91}, r"^k must be from 1 to 90, the number of items, got 91"),
        ({"user": 1, "k": "10"}, r"^k must be a whole number, got '10'\.$"),
        ({"user": 1, "k": HUGE}, r"^k must be less than or equal to 100, got 1000"),
        ({"user": HUGE}, r"^user must be a whole number or a text of at most 200 letters, got 1000"),
        ({"user": True}, r"^user must be a whole number or a text of at most 200 letters, got True\.$"),
        ({"user": "x" * 201}, r"^user must be a whole number or a text .* got 'xxx.*\.\.\.\.$"),
        ({"user": 1, "kk": 3}, r"^kk must be left out, since nothing is called so, got 3\.$"),
        ({"user": 1, "liked": "Heat"}, r"^liked must be a list, got 'Heat'\.$"),
        ({"user": 1, "liked": ["No such film"]}, r"an item must be a known raw id or title, got 'No such film'"),
        ({"user": 1, "where": ["genres"]}, r"a filter must be COLUMN=VALUE"),
        ({"user": 1, "where": ["tone=Drama"]}, r"a filter must name a column of the items, got 'tone'"),
        ({"user": 1, "features": {"gender": {}}}, r"^features.gender must be a number, a text, null, or a list"),
        ({"user": 1, "run": "other"}, r"^run must be one that is served, got 'other'\. .*Runs: tiny\.$"),
        (b"{", r"^the body must be JSON, got EOF"),
        (b"", r"^the body must be JSON, got EOF"),
        (b"[1]", r"^the body must be an object, got \[1\]\.$"),
        (b"\xff\xfe", r"^the body must be JSON"),
        (b'{"user": "\\ud800"}', r"^the body must be JSON"),
        (b'{"user": NaN}', r"must be"),
        (b"[" * 50_000, r"^the body must be JSON, got recursion limit exceeded"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict | bytes) else None,
)
def test_what_cannot_be_answered_is_refused_with_the_reason(service, body, why):
    assert re.search(why, service.refused("POST", "/recommend", body, status=422))


def test_all_problems_come_at_once(service):
    _, answer = service.call("POST", "/recommend", {"user": True, "k": 0, "kk": 1})
    assert len(answer["problems"]) == 3


def test_similar_items_are_the_recommenders(service, recommender):
    _, answer = service.call("GET", "/items/7/similar?k=3")
    (near,) = recommender.answers(recommender.similar(torch.tensor([recommender.names.row(7)]), 3))
    assert got(answer) == [pytest.approx(one, abs=1e-5) for one in listed(near)]
    assert answer["of"] == {"id": 7, "title": recommender.names.title(recommender.names.row(7))}
    assert "an item must be a known raw id" in service.refused("GET", "/items/nothing/similar", status=422)
    assert "got 'Face/Off (1997)'" in service.refused("GET", "/items/Face%2FOff%20(1997)/similar", status=422)
    assert "k must be from 1 to" in service.refused("GET", "/items/7/similar?k=100", status=422)


def test_an_explanation_is_the_recommenders(service, recommender):
    _, answer = service.call("GET", "/explain?user=3&item=7")
    told = explain(recommender, recommender.person(3), recommender.names.row(7))
    assert (answer["rank"], answer["candidates"]) == (told.rank, told.candidates)
    assert answer["score"] == pytest.approx(told.logit, abs=1e-5)
    assert [(effect["feature"], pytest.approx(effect["change"], abs=1e-5)) for effect in answer["effects"]] == [
        (effect.feature, effect.change) for effect in told.effects
    ]
    assert [near["id"] for near in answer["nearest"]] == [recommender.names.id(near.row) for near in told.nearest]
    _, new = service.call("GET", "/explain?feature=gender%3DF&liked=9&item=7")
    assert [near["id"] for near in new["nearest"]] == [9]
    assert "nobody" in service.refused("GET", "/explain?item=7", status=422)
    assert "item must be given, got nothing" in service.refused("GET", "/explain?user=3", status=422)
    assert "feature.0 must be" in service.refused("GET", "/explain?item=7&feature=gender", status=422)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/items/7/similar?top_k=3", r"^top_k must be left out, since nothing is called so, got '3'\.$"),
        ("/items/7/similar?k=3&k=4", r"^k must be given once, got 2 values\.$"),
        ("/items?title=a&k=3&run=tiny&run=x", r"^k must be left out.*\nrun must be given once, got 2 values\.$"),
        ("/explain?item=7&user=3&user=4", r"^user must be given once, got 2 values\.$"),
        ("/explain?item=7&feature=gender=F&feature=gender=M", r"^feature must name each feature once, got gender=F, "),
        ("/users/any?name=tiny", r"^name must be left out"),
    ],
)
def test_an_address_that_would_be_answered_otherwise_than_it_asks_is_refused(service, path, why):
    assert re.search(why, service.refused("GET", path, status=422))
    assert service.call("GET", "/explain?item=7&liked=9&liked=8")[0] == 200, "what is a list comes several times"


def test_what_is_asked_in_a_body_is_refused_in_the_address(service):
    why = service.refused("POST", "/recommend?run=tiny&k=3", {"user": 1}, status=422)
    assert why.splitlines() == [
        f"{name} must be left out, since nothing is called so, got {value!r}."
        for name, value in (("run", "tiny"), ("k", "3"))
    ]


def test_titles_are_searched_without_regard_to_case(service, recommender):
    title = recommender.names.title(4)
    _, answer = service.call("GET", f"/items?title={title[4:12].strip().replace(' ', '%20').upper()}")
    assert title in [item["title"] for item in answer["items"]]
    assert service.call("GET", "/items?title=no-such-title")[1]["items"] == []


def test_the_page_can_ask_what_is_served(service, recommender):
    _, answer = service.call("GET", "/runs")
    (run,) = answer["runs"]
    assert (run["name"], run["users"], run["items"], run["most_items"]) == ("tiny", 80, 90, 100)
    assert run["user_features"] == [{"name": "gender", "kind": "value", "values": ["F", "M"]}]
    assert "genres" in [feature["name"] for feature in run["item_features"]]
    _, anyone = service.call("GET", "/users/any")
    assert recommender.users.ids.row(anyone["user"])


def test_health_metrics_and_wrong_paths(service):
    assert service.call("GET", "/health") == (200, {"status": "ok"})
    service.recommend(user=1)
    status, text = service.call("GET", "/metrics")
    assert status == 200
    assert re.search(r'towerzoo_requests_total\{path="/recommend",status="200"\} [1-9]', text)
    assert re.search(r"towerzoo_batch_size_count [1-9]", text)
    assert 'towerzoo_run{name="tiny"' in text
    assert "GET /nothing must be a route" in service.refused("GET", "/nothing", status=404)
    assert "GET /recommend must be POST" in service.refused("GET", "/recommend", status=405)
    service.call("GET", "/" + "never-seen" * 10)
    assert "never-seen" not in service.call("GET", "/metrics")[1]


def test_the_schema_tells_the_limits_and_asks_for_nothing_from_elsewhere(start, trained):
    service = start(trained, limits=Limits(items=7))
    _, schema = service.call("GET", "/openapi.json")
    assert schema["components"]["schemas"]["Recommend"]["properties"]["k"]["maximum"] == 7
    assert set(schema["paths"]["/recommend"]["post"]["responses"]) >= {"200", "401", "413", "422", "503"}
    assert "k must be less than or equal to 7, got 8" in service.refused(
        "POST", "/recommend", {"user": 1, "k": 8}, status=422
    )
    assert "http" not in json.dumps(schema)
    assert service.call("GET", "/docs")[0] == 404


def test_two_runs_answer_by_name(start, trained, runs):
    service = start(trained, runs)
    _, answer = service.call("GET", "/runs")
    first, second = answer["runs"]
    assert (first["name"], second["name"]) == ("tiny-1", "tiny-2")
    assert service.recommend(user=1)["run"] == first["run"] == trained.name
    assert service.recommend(user=1, run="tiny-2")["run"] == second["run"] != first["run"]
