"""Load tests of the HTTP service on loopback: closed loops of clients that read and check every answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.folder import RunFolder

TIMEOUT: Final = 10.0
"""Seconds after which a request counts as lost."""


@dataclass
class Load:
    """The outcome of a load.

    Attributes:
        seconds: Its length.
        latencies: Seconds of each answered request, in the order of the answers.
        statuses: Answers by status.
        errors: Requests without a complete answer of the right number of items, by problem.
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
        """Requests without a correct answer."""
        return sum(self.errors.values()) + sum(count for status, count in self.statuses.items() if status != 200)

    def percentile(self, share: float) -> float:
        """Returns a percentile, from 0 to 100, of the latencies in milliseconds."""
        return float(np.percentile(self.latencies, share)) * 1e3 if self.latencies else float("nan")


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
    """Lets clients request recommendations, each as soon as it has its last answer.

    Args:
        host: A loopback address.
        port: Port of the service.
        users: Raw ids to draw from at random.
        clients: Concurrent connections.
        seconds: Length of the load.
        k: Items that every answer must have.
        token: Bearer token, if the service needs one.
        most: Largest number of requests.
    """
    load = Load()
    requests = [_request(user, k, token) for user in users]
    started = time.perf_counter()
    loops = [
        _ask(load, host, port, requests, k, started + seconds, most // clients, random.Random(seed))
        for seed in range(clients)
    ]
    await asyncio.gather(*loops)
    load.seconds = time.perf_counter() - started
    return load


async def _ask(
    load: Load, host: str, port: int, requests: Sequence[bytes], k: int, until: float, most: int, draw: random.Random
) -> None:
    """Runs one client: one connection, one request at a time."""
    writer: asyncio.StreamWriter | None = None
    for _ in range(most):
        if time.perf_counter() >= until:
            break
        if writer is None:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:  # a service that ends takes no more connections; no request is lost
                return
        asked = time.perf_counter()
        writer.write(draw.choice(requests))
        try:
            status, last, body = await asyncio.wait_for(_answer(reader), TIMEOUT)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            load.errors[str(error) or "no answer in time"] += 1
            status, last, body = 0, True, b""
        else:
            load.latencies.append(time.perf_counter() - asked)
            load.statuses[status] += 1
        if status == 200 and body.count(b'"score"') != k:
            load.errors[f"an answer without {k} items"] += 1
        if last:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """Returns the status and the body of an answer, and whether the service closes the connection after it."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head[9:12]), b"connection: close" in head, body


def _request(user: int | str, k: int, token: str | None) -> bytes:
    body = json.dumps({"user": user, "k": k}).encode()
    lines = ["POST /recommend HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def load_service(run: str, *, clients: int, seconds: float, k: int, swaps: int) -> tuple[str, bool]:
    """Serves a run in its own process and puts it under load.

    Args:
        run: The run folder.
        clients: Concurrent clients.
        seconds: Length of the load.
        k: Items per answer.
        swaps: Reloads of the run during the load.

    Returns:
        Rate, latencies, errors and memory as text, and whether every request and the service succeeded.

    Raises:
        RunError: The run cannot be served.
    """
    folder = RunFolder.open(run)
    users = pq.read_table(folder.path / "users.parquet").column(0).to_pylist()[1:]
    token = secrets.token_urlsafe()
    command = [sys.executable, "-u", "-m", "towerzoo.tools.serve", str(folder.path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TOWERZOO_TOKEN": token})

    def put(seconds: float) -> Load:
        return _run_load(put_under_load("127.0.0.1", port, users, seconds=seconds, clients=clients, k=k, token=token))

    try:
        port = _port_of(process)
        put(min(3.0, seconds))
        before = _resident(process.pid)
        swapped: list[int] = []
        swapping = threading.Thread(target=_swap, args=(port, token, swaps, seconds, swapped))
        swapping.start()
        load = put(seconds)
        swapping.join()
        growth = _resident(process.pid) / before - 1
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    text = (
        f"{len(load.latencies):,} answers in {load.seconds:.0f} s: {load.rate:,.0f} requests/s, {load.failed} failed; "
        f"p50 {load.percentile(50):.1f} ms, p99 {load.percentile(99):.1f} ms, longest {load.percentile(100):.0f} ms; "
        f"memory {before:.0f} MB {growth:+.1%}; {len(swapped)} swaps; exit status {status}"
    )
    errors = [f"{count} x {problem}" for problem, count in load.errors.items()]
    return "\n".join([text, *errors]), not (load.failed or status)


def _run_load(coroutine: Coroutine[Any, Any, Load]) -> Load:
    """Runs a load, with uvloop if it is installed, which takes less of the cores."""
    with contextlib.suppress(ImportError):
        import uvloop

        load: Load = uvloop.run(coroutine)
        return load
    return asyncio.run(coroutine)


def _port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"ready: http://127\.0\.0\.1:(\d+)", line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return int(match[1])
    raise RunError(f"The service ended with exit status {process.wait()} before it was ready. Its message is above.")


def _resident(pid: int) -> float:
    """Returns a process's resident memory in megabytes, on Linux."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else float("nan")


def _swap(port: int, token: str, swaps: int, seconds: float, swapped: list[int]) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/reload", b"", {"authorization": f"Bearer {token}"})
    for _ in range(swaps):
        time.sleep(seconds / (swaps + 1))
        with urllib.request.urlopen(request, timeout=120) as answer:
            swapped.append(answer.status)
