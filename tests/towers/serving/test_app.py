from __future__ import annotations

import json
import re

import pytest
import torch

from towerzoo.towers.recommend.explanation import explain
from towerzoo.towers.recommend.items import allowed_items
from towerzoo.towers.serving.schema import Limits

HUGE = 10**30


def values(items):
    return [(item.id, item.title, item.score, item.probability) for item in items]


def served(response):
    return [(item["id"], item["title"], item["score"], item["probability"]) for item in response["items"]]


def expected(recommender, k, *, where=(), user=None, **options):
    person = recommender.person(user, **options)
    allowed, _ = allowed_items(recommender.items, where)
    (items,) = recommender.answers(recommender.top_items([person], k, allowed=allowed), [person])
    return [pytest.approx(item, abs=1e-5) for item in values(items)]


@pytest.mark.parametrize("k", [1, 10])
def test_a_known_user_gets_the_items_of_the_recommender(service, recommender, k):
    response = service.recommend(user=5, k=k)
    assert served(response) == expected(recommender, k, user=5)
    assert len(response["items"]) == k
    assert response["notes"] == []
    assert service.recommend(user="5", k=k) == response, "raw ids may be strings"


def test_a_new_user_gets_items_by_features(service, recommender):
    response = service.recommend(features={"gender": "F"})
    assert served(response) == expected(recommender, 10, features={"gender": "F"})
    assert response["notes"] == []


def test_a_new_user_gets_items_by_liked_titles(service, recommender):
    title = recommender.names.title(5)
    response = service.recommend(liked=[title.upper(), recommender.names.id(9)], k=5)
    assert served(response) == expected(recommender, 5, liked=[title, recommender.names.id(9)])
    assert not {title, recommender.names.title(9)} & {item["title"] for item in response["items"]}
    assert all(item["probability"] is None for item in response["items"])
    assert "no history" in response["notes"][0]


def test_seen_and_excluded_items_are_left_out(service, recommender):
    everything = service.recommend(user=3, k=90, keep_seen=True)["items"]
    unseen = service.recommend(user=3, k=90)["items"]
    seen = set(recommender.events.item[recommender.events.user == recommender.users.ids.row(3)].tolist())
    assert len(everything) - len(unseen) == len(seen) > 0
    first = unseen[0]["id"]
    assert first not in {item["id"] for item in service.recommend(user=3, exclude=[first])["items"]}


def test_conditions_filter_items_and_an_empty_list_has_a_reason(service, recommender):
    response = service.recommend(user=3, where=["genres=Drama"], details=True)
    assert served(response) == expected(recommender, 10, user=3, where=["genres=Drama"])
    assert all("Drama" in item["features"]["genres"] for item in response["items"])
    empty = service.recommend(user=3, where=["genres=Drama", "genres!=Drama"], details=True)
    assert (empty["items"], empty["notes"]) == ([], ["the list is empty: no item meets all conditions"])
    everything = [recommender.names.id(row) for row in range(1, len(recommender.items))]
    empty = service.recommend(user=3, exclude=everything)
    assert (empty["items"], empty["notes"]) == ([], ["the list is empty: all candidates are seen or excluded"])


def test_details_name_the_most_similar_liked_items(service, recommender):
    for item in service.recommend(user=3, k=5, details=True)["items"]:
        row = recommender.names.row(item["id"])
        events = recommender.events
        liked = events.item[(events.user == recommender.users.ids.row(3)) & (events.label > 0.5)].long().unique()
        cosines = recommender.item_vectors.directions[liked] @ recommender.item_vectors.directions[row]
        best = liked[cosines.argsort(descending=True)[:2]].tolist()
        assert [near["id"] for near in item["like"]] == [recommender.names.id(row) for row in best]
    assert "like" not in service.recommend(user=3)["items"][0]


def test_notes_report_unknown_values(service):
    response = service.recommend(features={"gender": "?", "town": "Oslo"})
    assert response["notes"][0] == "gender '?' is not known"
    assert re.match(r"feature 'town' is not one of the user tower", response["notes"][1])
    assert service.recommend(user=10**6, features={"gender": "F"})["notes"] == ["user 1000000 is not known"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"user": 10**6}, r"the person must be a known user, or .* got the unknown id 1000000. Features: gender\."),
        ({}, r"the person must be .* got nobody"),
        ({"user": True, "k": 0, "kk": 1}, r"(?s)^user must .*\nk must be greater than or equal to 1, got 0\.\nkk must"),
        ({"user": 1, "k": 91}, r"^k must be from 1 to 90, the number of items, got 91"),
        ({"user": 1, "k": "10"}, r"^k must be a whole number, got '10'\.$"),
        ({"user": 1, "k": HUGE}, r"^k must be less than or equal to 100, got 1000"),
        ({"user": HUGE}, r"^user must be a whole number or a string of at most 200 characters, got 1000"),
        ({"user": "x" * 201}, r"^user must be a whole number or a string .* got 'xxx.*\.\.\.\.$"),
        ({"user": 1, "kk": 3}, r"^kk must be left out, because no parameter has this name, got 3\.$"),
        ({"user": 1, "liked": "Heat"}, r"^liked must be a list, got 'Heat'\.$"),
        ({"user": 1, "liked": ["No such film"]}, r"an item must be a known raw id or title, got 'No such film'"),
        ({"user": 1, "where": ["tone=Drama"]}, r"a filter must name a column of the items, got 'tone'"),
        ({"user": 1, "features": {"gender": {}}}, r"^features.gender must be a number, a string, null, or a list"),
        ({"user": 1, "run": "other"}, r"^run must be a served run, got 'other'\. .*Runs: tiny\.$"),
        (b"", r"^the body must be JSON, got EOF"),
        (b"[1]", r"^the body must be a JSON object, got \[1\]\.$"),
        (b"\xff\xfe", r"^the body must be JSON"),
        (b'{"user": "\\ud800"}', r"^the body must be JSON"),
        (b'{"user": NaN}', r"must be"),
        (b"[" * 50_000, r"^the body must be JSON, got recursion limit exceeded"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict | bytes) else None,
)
def test_invalid_requests_are_rejected_with_the_reason(service, body, why):
    assert re.search(why, service.rejected("POST", "/recommend", body, status=422))


def test_similar_items_are_those_of_the_recommender(service, recommender):
    _, response = service.call("GET", "/items/7/similar?k=3")
    (items,) = recommender.answers(recommender.nearest_items(torch.tensor([recommender.names.row(7)]), 3))
    assert served(response) == [pytest.approx(item, abs=1e-5) for item in values(items)]
    assert response["of"] == {"id": 7, "title": recommender.names.title(recommender.names.row(7))}
    assert "got 'Face/Off (1997)'" in service.rejected("GET", "/items/Face%2FOff%20(1997)/similar", status=422)
    assert "k must be from 1 to" in service.rejected("GET", "/items/7/similar?k=100", status=422)


def test_an_explanation_is_that_of_the_recommender(service, recommender):
    _, response = service.call("GET", "/explain?user=3&item=7")
    explanation = explain(recommender, recommender.person(3), recommender.names.row(7))
    assert (response["rank"], response["candidates"]) == (explanation.rank, explanation.candidates)
    assert response["score"] == pytest.approx(explanation.score, abs=1e-5)
    assert [(effect["feature"], pytest.approx(effect["change"], abs=1e-5)) for effect in response["effects"]] == [
        (effect.feature, effect.change) for effect in explanation.effects
    ]
    assert [near["id"] for near in response["nearest"]] == [near.id for near in explanation.nearest]
    _, new = service.call("GET", "/explain?feature=gender%3DF&liked=9&item=7")
    assert [near["id"] for near in new["nearest"]] == [9]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/explain?item=7", "nobody"),
        ("/explain?user=3", r"^item must be given, got nothing\.$"),
        ("/explain?item=7&feature=gender", r"^feature\.0 must be"),
        ("/items/7/similar?top_k=3", r"^top_k must be left out, because no parameter has this name, got '3'\.$"),
        ("/items?title=a&k=3&run=tiny&run=x", r"^k must be left out.*\nrun must be given once, got 2 values\.$"),
        ("/explain?item=7&feature=gender=F&feature=gender=M", r"^feature must name each feature once, got gender=F, "),
        ("/users/any?name=tiny", r"^name must be left out"),
    ],
)
def test_invalid_parameters_are_rejected(service, path, why):
    assert re.search(why, service.rejected("GET", path, status=422))
    assert service.call("GET", "/explain?item=7&liked=9&liked=8")[0] == 200, "a list may be given several times"


def test_parameters_of_the_body_are_rejected_in_the_address(service):
    why = service.rejected("POST", "/recommend?run=tiny&k=3", {"user": 1}, status=422)
    assert [line.split()[0] for line in why.splitlines()] == ["run", "k"]


def test_a_search_ignores_case(service, recommender):
    title = recommender.names.title(4)
    _, response = service.call("GET", f"/items?title={title[4:12].strip().replace(' ', '%20').upper()}")
    assert title in [item["title"] for item in response["items"]]
    assert service.call("GET", "/items?title=no-such-title")[1]["items"] == []


def test_runs_and_random_users_are_described(service, recommender):
    _, response = service.call("GET", "/runs")
    (run,) = response["runs"]
    assert (run["name"], run["users"], run["items"], run["most_items"]) == ("tiny", 80, 90, 100)
    assert run["user_features"] == [{"name": "gender", "kind": "value", "values": ["F", "M"]}]
    assert "genres" in [feature["name"] for feature in run["item_features"]]
    assert recommender.users.ids.row(service.call("GET", "/users/any")[1]["user"])


def test_health_metrics_and_wrong_routes(service):
    assert service.call("GET", "/health") == (200, {"status": "ok"})
    service.recommend(user=1)
    status, text = service.call("GET", "/metrics")
    assert status == 200
    assert re.search(r'towerzoo_requests_total\{path="/recommend",status="200"\} [1-9]', text)
    assert re.search(r"towerzoo_batch_size_count [1-9]", text)
    assert 'towerzoo_run{name="tiny"' in text
    assert service.rejected("GET", "/nothing", status=404) == "There is no route GET /nothing. See /openapi.json."
    assert service.rejected("GET", "/recommend", status=405) == "There is no route GET /recommend. Use POST."
    assert "/nothing" not in service.call("GET", "/metrics")[1]


def test_the_schema_shows_the_limits_and_loads_nothing_from_elsewhere(start, trained):
    service = start(trained, limits=Limits(items=7))
    _, schema = service.call("GET", "/openapi.json")
    operation = schema["paths"]["/recommend"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["k"]["maximum"] == 7
    assert set(operation["responses"]) >= {"200", "401", "413", "422", "503"}
    assert "k must be less than or equal to 7" in service.rejected(
        "POST", "/recommend", {"user": 1, "k": 8}, status=422
    )
    assert "http" not in json.dumps(schema)
    assert service.call("GET", "/docs")[0] == 404


def test_requests_choose_one_of_two_runs_by_name(start, trained, runs):
    service = start(trained, runs)
    first, second = service.call("GET", "/runs")[1]["runs"]
    assert (first["name"], second["name"]) == ("tiny-1", "tiny-2")
    assert service.recommend(user=1)["run"] == first["run"] == trained.name
    assert service.recommend(user=1, run="tiny-2")["run"] == second["run"] != first["run"]
