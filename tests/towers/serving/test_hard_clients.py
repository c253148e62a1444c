"""Clients that send too much, too slowly or too little, or that disconnect."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from towerzoo.towers.serving import http as http
from towerzoo.towers.serving.schema import Limits

HEAD = b"POST /recommend HTTP/1.1\r\nhost: 127.0.0.1\r\n"
BODY = b'{"user": 1, "k": 1}'
WHOLE = HEAD + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)


def connect(service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """Reads until the service closes."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


def exchange(service, data: bytes) -> bytes:
    """Sends data on a new connection; returns the response once the service closes the connection."""
    with connect(service) as connection:
        connection.sendall(data)
        return read_all(connection)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(http, "SECONDS_TO_SEND", 0.3)
    monkeypatch.setattr(http, "SECONDS_TO_READ", 0.3)


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


LENGTH, CHUNKED = b"content-length: %d\r\n\r\n", b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [LENGTH % 1025 + b" " * 1025, LENGTH % 5_000_000 + b" " * 5_000_000, CHUNKED + chunks(*[b" " * 1024] * 100)],
    ids=["longer", "much longer", "chunked"],
)
def test_a_long_body_is_rejected_with_the_reason(start, trained, body):
    service = start(trained, limits=Limits(body=1024))
    response = exchange(service, HEAD + body)
    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"the request body must be at most 1,024 bytes, got " in response
    assert exchange(service, HEAD + CHUNKED + chunks(BODY[:5], BODY[5:])).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("start", "piece"),
    [(HEAD + LENGTH % 10**12, bytes(65_536)), (b"GET / HTTP/1.1\r\nx: ", b"y" * 8192)],
    ids=["body", "head"],
)
def test_an_endless_request_is_cut_off(service, start, piece):
    with connect(service) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.sendall(start + 1000 * piece)


@pytest.mark.parametrize(
    "part", [b"", b"\r\n", b"POST /rec", HEAD, HEAD + b"content-length: 100\r\n\r\n{", WHOLE[:-1]], ids=range(6)
)
def test_an_incomplete_request_is_closed_with_the_reason(service, impatient, part):
    started = time.monotonic()
    response = exchange(service, part)
    assert time.monotonic() - started < 5
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"The request was incomplete after 10 seconds" in response


def test_a_complete_request_before_an_incomplete_one_is_answered(service, impatient):
    assert exchange(service, WHOLE + HEAD).startswith(b"HTTP/1.1 200 ")


def test_slow_clients_do_not_delay_others(service):
    slow = [connect(service) for _ in range(50)]
    for connection in slow:
        connection.sendall(WHOLE[:-3])
    assert service.recommend(user=1)["items"]
    for connection in slow:  # slow clients are answered once their request is complete
        connection.sendall(WHOLE[-3:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        connection.close()


def test_a_client_that_does_not_read_is_dropped(service, impatient):
    request = b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    before = service.connections
    with connect(service) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(request * 100)
        deadline = time.monotonic() + 5
        while service.connections > before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert service.connections <= before
    assert service.recommend(user=1)["items"]


def test_disconnected_clients_leave_nothing_behind(service):
    for part in (b"", HEAD, WHOLE[:-2], WHOLE, WHOLE * 5):
        for _ in range(5):
            with connect(service) as connection:
                connection.sendall(part)
    assert service.recommend(user=1)["items"]
    assert service.call("GET", "/metrics")[1].count("towerzoo_waiting 0.0") == 1


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 999]
)
def test_invalid_http_is_rejected(service, garbage):
    assert exchange(service, garbage).startswith(b"HTTP/1.1 400 ")
    assert service.recommend(user=1)["items"]


def test_a_long_head_is_rejected_with_the_reason(service):
    response = exchange(service, b"GET / HTTP/1.1\r\nx: %b\r\n" % (b"y" * 70_000))
    assert response.startswith(b"HTTP/1.1 431 ")
    assert b"The head of the request must be at most 65,536 bytes" in response
