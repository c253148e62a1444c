from __future__ import annotations

import re

import pytest

from towerzoo.registry.errors import ServingError
from towerzoo.towers.serving.security import TOKEN_VARIABLE, read_token, require_safe_host

TOKEN = "a-token-of-the-tests"


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


def test_the_token_is_read_from_a_file_or_the_environment(tmp_path, monkeypatch):
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(f"{TOKEN[::-1]}\n")
    assert read_token(tmp_path / "token") == TOKEN[::-1]


@pytest.mark.parametrize("text", ["", "short", "with a space in the middle", "ünïcödé-is-no-header", "x" * 20 + "\x07"])
def test_an_invalid_token_is_reported_without_showing_it(text, tmp_path):
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(
        ServingError, match=r"the token of .*token must be at least 16 printable ASCII characters"
    ) as error:
        read_token(tmp_path / "token")
    assert not text or text not in str(error.value)


def test_an_unreadable_token_file_is_reported(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "binary"):
        with pytest.raises(ServingError, match=rf"--token-file must be a readable text file, got .*{name}"):
            read_token(tmp_path / name)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "10.0.0.1", "::", "example.org"])
def test_other_machines_may_reach_only_a_service_with_a_token(host):
    with pytest.raises(
        ServingError, match=re.escape(f"--host must be a loopback address without a token, got {host!r}")
    ):
        require_safe_host(host, None)
    require_safe_host(host, TOKEN)


def test_only_the_page_health_and_schema_are_open_without_the_token(start, trained):
    service = start(trained, token=TOKEN)
    assert service.recommend(user=1)["items"]
    wrong = ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"bearer {TOKEN}", "Bearer \xff"]
    for header in wrong:
        for request in ("POST /recommend", "GET /runs", "GET /metrics", "POST /reload", "GET /x"):
            status, answer = service.call(*request.split(), headers={"authorization": header})
            assert status == 401
            assert answer["problems"][0].startswith("Authorization must be 'Bearer' and the service's token, got ")
    for path in ("/", "/health", "/openapi.json"):
        assert service.call("GET", path, headers={"authorization": ""})[0] == 200
    assert service.call("GET", "/health", headers={"host": "service.example.org"})[0] == 200


def test_a_service_without_a_token_answers_only_loopback_names(service):
    for host in ("localhost:8000", "127.0.0.1", "[::1]:80"):
        assert service.call("GET", "/runs", headers={"host": host})[0] == 200
    status, answer = service.call("GET", "/runs", headers={"host": "rebound.example.org"})
    assert status == 403
    assert "Host must be a loopback name without a token, got 'rebound.example.org'" in answer["problems"][0]
