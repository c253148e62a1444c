"""Requests that are made from the service's own schema, right and wrong ones, and those nobody thought of."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

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
