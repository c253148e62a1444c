"""MovieLens-1M's files of a small generated world, and fake workers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from towerzoo.benchmarks.peers.systems import Settings, System
from towerzoo.datasets import StarSchema

FAKE = """
import time
PACKAGES = ()
class Worker:
    def __init__(self, settings):
        self.settings = settings
    def prepare(self):
        return 1000
    def train(self):
        return 500, 0.5
    def evaluate(self):
        return 100, 0.25, 0.75
    def fit(self, until):
        for auc in (0.6, 0.7, 0.75):
            if until(auc):
                return
"""


def decoded(world: StarSchema, table: str, name: str) -> list[Any]:
    """Returns the raw values of a column."""
    column = getattr(world, table).columns[name]
    return list(column.vocabulary.decode(column.values[1:].tolist()))


@pytest.fixture(scope="session")
def ml_1m(world: StarSchema, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with users.dat, movies.dat and ratings.dat of the world."""
    folder = tmp_path_factory.mktemp("ml-1m")
    users = zip(*(decoded(world, "users", name) for name in ("user_id", "gender", "age")), strict=True)
    movies = zip(decoded(world, "items", "movie_id"), world.items.texts["title"][1:], strict=True)
    events = world.interactions
    assert events.timestamp is not None
    columns = (events.user, events.item, events.feedback["rating"].int(), events.timestamp)
    lines = {
        "users": [f"{user}::{gender}::{age}::{row % 21}::00000\n" for row, (user, gender, age) in enumerate(users)],
        "movies": [
            f"{movie}::{title}::{'Drama|War' if row % 2 else 'War'}\n" for row, (movie, title) in enumerate(movies)
        ],
        # The raw ids of the world are its row numbers.
        "ratings": ["::".join(map(str, row)) + "\n" for row in zip(*(one.tolist() for one in columns), strict=True)],
    }
    for name, texts in lines.items():
        (folder / f"{name}.dat").write_text("".join(texts), encoding="latin-1")
    return folder


@pytest.fixture
def settings(ml_1m: Path) -> Settings:
    """Settings that need little time."""
    return Settings(ml_1m, threads=1, samples=512, target_auc=0.7, embedding=4, widths=(8, 8))


@pytest.fixture
def make_system(tmp_path: Path) -> Callable[..., System]:
    """Makes a system from the source of its worker; by default, the worker only pretends to work."""

    def make(source: str = FAKE, name: str = "fake", **changes: Any) -> System:
        file = tmp_path / f"{name}.py"
        file.write_text(source)
        fields = {"batch_size": 256, "layers": 2, **changes}
        return System(name, file, Path(sys.executable), **fields)

    return make


@pytest.fixture
def fake_source() -> str:
    """The source of the worker that only pretends to work."""
    return FAKE
