"""Puts a service under load on loopback: closed loops of clients, every answer read and checked.

A client of its own, since a general one would take more of the two cores than the service does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np

SECONDS_TO_ANSWER: Final = 10.0
"""After which a request counts as lost."""
HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length: "


@dataclass
class Load:
    """What came of a load.

    Attributes:
        seconds: How long it ran.
        latencies: Seconds of each answered request, in order of the answers.
        statuses: Answers by status.
        errors: Requests without a whole answer of the right number of items, by what was wrong.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Requests that were not answered as they should be."""
        return sum(self.errors.values()) + sum(count for status, count in self.statuses.items() if status != 200)

    def percentile(self, share: float) -> float:
        """Returns the latency in milliseconds that a share, from 0 to 100, of the requests did not exceed."""
        return float(np.percentile(self.latencies, share)) * 1e3 if self.latencies else float("nan")


class _Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.received = b""
        self.last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(HEAD_END)
        if not end or self.answer is None or self.answer.done():
            return
        place = head.lower().find(LENGTH)
        length = int(head[place + len(LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(body) >= length:
            self.received = body[length:]
            self.last = b"connection: close" in head.lower()
            self.answer.set_result((int(head[9:12]), body[:length]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("the connection was closed before the answer"))
        self.transport = None


async def put_under_load(
    host: str,
    port: int,
    users: Sequence[int | str],
    *,
    clients: int,
    seconds: float,
    k: int = 10,
    token: str | None = None,
    most: int = 10_000_000,
) -> Load:
    """Lets clients ask for recommendations, each as soon as it has the answer before.

    Args:
        host: A loopback address.
        port: Where the service listens.
        users: Raw ids that are asked for at random.
        clients: Connections at one time.
        seconds: For how long.
        k: Items a user, which every answer must have.
        token: What the service asks for, if anything.
        most: Requests after which it ends in any case.
    """
    load = Load()
    requests = [_request(user, k, token) for user in users]
    started = time.perf_counter()
    until = started + seconds
    loops = [_ask(load, host, port, requests, k, until, most // clients, seed) for seed in range(clients)]
    await asyncio.gather(*loops)
    load.seconds = time.perf_counter() - started
    return load


async def _ask(
    load: Load, host: str, port: int, requests: Sequence[bytes], k: int, until: float, most: int, seed: int
) -> None:
    choose = random.Random(seed)
    loop = asyncio.get_running_loop()
    client = _Client()
    for _ in range(most):
        if time.perf_counter() >= until:
            break
        try:
            if client.transport is None or client.last:
                _, client = await loop.create_connection(_Client, host, port)
        except OSError:  # at its end a service takes no more connections, and no request is lost by it
            return
        assert client.transport is not None
        asked = time.perf_counter()
        client.answer = loop.create_future()
        client.transport.write(choose.choice(requests))
        try:
            status, body = await asyncio.wait_for(client.answer, SECONDS_TO_ANSWER)
        except (OSError, asyncio.TimeoutError) as error:
            load.errors[str(error) or "no answer in time"] += 1
            client.transport = None
            continue
        load.latencies.append(time.perf_counter() - asked)
        load.statuses[status] += 1
        if status == 200 and body.count(b'"score"') != k:
            load.errors[f"an answer without {k} items"] += 1
    if client.transport is not None:
        client.transport.close()


def _request(user: int | str, k: int, token: str | None) -> bytes:
    body = json.dumps({"user": user, "k": k}).encode()
    lines = ["POST /recommend HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def run_load(coroutine: Coroutine[Any, Any, Load]) -> Load:
    """Runs a load in uvloop where that is installed, which takes less of the cores."""
    with contextlib.suppress(ImportError):
        import uvloop

        loaded: Load = uvloop.run(coroutine)
        return loaded
    return asyncio.run(coroutine)
