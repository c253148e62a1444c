"""A run that was trained once, and a service on it in this process, on a port of loopback."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from towerzoo.towers.assembly import read_experiment
from towerzoo.towers.recommender import Recommender
from towerzoo.towers.serving.app import create_app
from towerzoo.towers.serving.served_run import open_runs
from towerzoo.towers.serving.server import Server, bind
from towerzoo.towers.training import train

CONFIG = """\
seed: 7
data:
  name: synthetic
  users: 80
  items: 90
  interactions: 2000
  label: {column: rating, positive_from: 4}
  split: {name: random, fractions: [0.8, 0.1, 0.1]}
  batch_size: 256
user_tower: &tower
  features: {user_id: {encoder: embedding, dim: 4}, gender: {encoder: embedding, dim: 4}}
  block: {name: dropout-linear-bn-tanh, dropout: 0.3}
  widths: [8]
item_tower:
  <<: *tower
  features: {movie_id: {encoder: embedding, dim: 4}, genres: {encoder: embedding-bag, dim: 4, max_length: 6}}
score: {name: cosine, scale: 10.0}
loss: bce-with-logits
optimizer: {name: adam, lr: 1e-2}
training: {max_epochs: 2}
"""
OLD, NEW = "2026-01-01T00-00-00", "2026-01-01T00-00-00-2"
TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "tiny.yaml").write_text(CONFIG)
    experiment, _ = read_experiment(folder / "tiny.yaml")
    train(experiment, name="tiny", out=folder / "runs", device="cpu", console=Console(file=io.StringIO()))
    (run,) = (folder / "runs" / "tiny").iterdir()
    return run


@pytest.fixture(scope="session")
def recommender(trained: Path) -> Recommender:
    """What the service should answer."""
    return Recommender.open(trained)


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A folder of runs with one in it, to which others are added by `add_newer`."""
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
        """How many connections it holds."""
        return len(self.server.server_state.connections)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Asks in a connection of its own; returns status and JSON, or text where it is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        sent = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, data, sent | (headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text) if "json" in response.headers["content-type"] else text

    def recommend(self, **asked: Any) -> Any:
        """Returns an answer that must come."""
        status, answer = self.call("POST", "/recommend", asked)
        assert status == 200, answer
        return answer

    def refused(self, method: str, path: str, body: Any = None, *, status: int) -> str:
        """Returns why a request is refused, which must have this status."""
        found, answer = self.call(method, path, body)
        assert (found, list(answer)) == (status, ["problems"]), answer
        return "\n".join(answer["problems"])


@contextlib.contextmanager
def serving(*sources: Path, **arguments: Any) -> Iterator[Service]:
    """Serves runs in a thread, and ends as SIGTERM does, when all is answered."""
    app = create_app(open_runs(sources), **arguments)
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
    """Starts services on runs."""
    with contextlib.ExitStack() as running:
        yield lambda *sources, **arguments: running.enter_context(serving(*sources, **arguments))


@pytest.fixture(scope="session")
def service(trained: Path) -> Iterator[Service]:
    """A service without a token on the one run, for questions that change nothing."""
    with serving(trained) as running:
        yield running
