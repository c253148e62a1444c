"""MovieLens-1M's files of a small generated world, and workers that are not what they should be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from towerzoo.benchmarks.peers.ml_1m_files import write_files
from towerzoo.benchmarks.peers.settings import Settings
from towerzoo.benchmarks.peers.systems import System
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


@pytest.fixture(scope="session")
def ml_1m(world: StarSchema, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with users.dat, movies.dat and ratings.dat of the world."""
    folder = tmp_path_factory.mktemp("ml-1m")
    write_files(world, folder)
    return folder


@pytest.fixture
def settings(ml_1m: Path) -> Settings:
    """Settings that need little time."""
    return Settings(ml_1m, threads=1, steps=2, target_auc=0.7, batch_size=256, embedding=4, widths=(8, 8))


@pytest.fixture
def make_system(tmp_path: Path) -> Callable[..., System]:
    """Makes a system of a worker's source, which is by default a worker that only says that it worked."""

    def make(source: str = FAKE, name: str = "fake") -> System:
        file = tmp_path / f"{name}.py"
        file.write_text(source)
        return System(name, file, Path(sys.executable))

    return make


@pytest.fixture
def fake_source() -> str:
    """The source of a worker that only says that it worked."""
    return FAKE
