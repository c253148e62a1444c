"""Requests that are made from the service's own schema, right and wrong ones, and those nobody thought of."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.serving.answers import RunAnswers
from towerzoo.towers.serving.schema import Limits, recommend_model

CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]
BOUNDED = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_no_request_of_the_schema_fails_the_service(service):
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{service.port}/openapi.json", config=SchemathesisConfig())
    asked = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @BOUNDED
        @given(case=operation.as_strategy())
        def ask(case):
            response = case.call(timeout=5)
            case.validate_response(response, checks=CHECKS)
            asked.add(case.operation.path)

        ask()
    assert asked == set(service.call("GET", "/openapi.json")[1]["paths"])
    assert service.recommend(user=1)["items"]


def test_a_question_that_cannot_be_answered_leaves_those_beside_it_alone(trained):
    """Of a streamed run, what people have met is not known; whoever asks for it spoils no other's answer."""
    recommender = Recommender.open(trained)
    recommender.events = recommender.events._replace(whole=False)
    ask = recommend_model(Limits(items=100, body=1_000, batch=8))
    asks = [ask(user=1), ask(user=1, keep_seen=True, k=3), ask(features={"gender": "F"}, k=91), ask(liked=[4], k=2)]
    refused, kept, longer, new = RunAnswers(trained, recommender).recommend(asks)
    assert isinstance(refused, RequestError)
    assert "streamed" in str(refused)
    assert len(kept["items"]) == 3
    assert "k must be from 1 to 90" in str(longer)
    assert len(new["items"]) == 2
    assert "streamed" in RunAnswers(trained, recommender).explain(ask(user=1), "1")["notes"][-1]
