"""One trained run, and services on it in this process, on loopback ports."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from towerzoo.registry.experiment import Experiment
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.serving.app import create_app
from towerzoo.towers.serving.runs import open_runs
from towerzoo.towers.serving.server import Server, bind

OLD, NEW = "2026-01-01T00-00-00", "2026-01-01T00-00-00-2"
TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="session")
def trained(make_run: Callable[..., tuple[Experiment, Path]]) -> Path:
    """A finished run; tests must not change it."""
    embedding = {"encoder": "embedding", "dim": 4}
    _, path = make_run(
        "tiny",
        data={"users": 80, "items": 90, "interactions": 2_000, "seed": 0},
        user_tower={
            "features": {"user_id": embedding, "gender": embedding},
            "widths": [8],
            "block": "linear-bn-tanh-dropout",
        },
    )
    return path


@pytest.fixture(scope="session")
def recommender(trained: Path) -> Recommender:
    """The recommender whose results the service should return."""
    return Recommender.open(trained)


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A folder with one run; `add_newer` adds another."""
    shutil.copytree(trained, tmp_path / "runs" / "tiny" / OLD)
    return tmp_path / "runs" / "tiny"


@pytest.fixture
def add_newer(trained: Path, runs: Path) -> Callable[[], Path]:
    """Adds a newer run."""
    return lambda: Path(shutil.copytree(trained, runs / NEW))


@dataclass
class Service:
    """A running service."""

    port: int
    server: Server
    token: str | None = None

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self.server.server_state.connections)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Sends a request on a new connection; returns the status and the JSON, or the text of another type."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        sent = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, data, sent | (headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text) if "json" in response.headers["content-type"] else text

    def recommend(self, **request: Any) -> Any:
        """Returns the response to a request that must succeed."""
        status, response = self.call("POST", "/recommend", request)
        assert status == 200, response
        return response

    def rejected(self, method: str, path: str, body: Any = None, *, status: int) -> str:
        """Returns the problems of a request that must be rejected with this status."""
        actual, response = self.call(method, path, body)
        assert (actual, list(response)) == (status, ["problems"]), response
        return "\n".join(response["problems"])


@contextlib.contextmanager
def serving(*sources: Path, with_index: bool = False, **arguments: Any) -> Iterator[Service]:
    """Serves runs in a thread, and shuts down like after SIGTERM."""
    app = create_app(open_runs(sources, with_index=with_index), **arguments)
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    ready = threading.Event()
    server = Server(app, on_ready=ready.set, reload=lambda: app.state.reload())
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield Service(port, server, arguments.get("token"))
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    """Starts services."""
    with contextlib.ExitStack() as running:
        yield lambda *sources, **arguments: running.enter_context(serving(*sources, **arguments))


@pytest.fixture(scope="session")
def service(trained: Path) -> Iterator[Service]:
    """A service without a token, for tests that change nothing."""
    with serving(trained) as running:
        yield running
