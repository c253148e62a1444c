"""Requests that are generated from the service's own schema, valid and invalid ones, and mixed batches."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.serving.answers import RunAnswers
from towerzoo.towers.serving.schema import Limits, recommend_request

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
    called = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @BOUNDED
        @given(case=operation.as_strategy())
        def call(case):
            response = case.call(timeout=5)
            case.validate_response(response, checks=CHECKS)
            called.add(case.operation.path)

        call()
    assert called == set(service.call("GET", "/openapi.json")[1]["paths"])
    assert service.recommend(user=1)["items"]


def test_an_unanswerable_request_does_not_affect_others_of_its_batch(trained):
    """A streamed run does not know which items users have seen, so it must not leave them out."""
    recommender = Recommender.open(trained)
    recommender.events = recommender.events._replace(whole=False)
    request = recommend_request(Limits(items=100, body=1_000, batch=8))
    batch = [request(user=1), request(user=1, keep_seen=True, k=3), request(features={"gender": "F"}, k=91)]
    rejected, kept, too_long, new = RunAnswers(trained, recommender).recommend([*batch, request(liked=[4], k=2)])
    assert isinstance(rejected, RequestError)
    assert "trained on a stream" in str(rejected)
    assert len(kept.items) == 3
    assert "k must be from 1 to 90" in str(too_long)
    assert len(new.items) == 2
    assert "streamed" in RunAnswers(trained, recommender).explain(request(user=1), "1").notes[-1]
