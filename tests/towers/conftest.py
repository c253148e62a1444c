"""Finished runs of small models, each trained once."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from towerzoo.registry import Registry
from towerzoo.registry.errors import PartError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.recipes.train import train
from towerzoo.towers.recommend.recommender import Recommender

EMBEDDING = {"encoder": "embedding", "dim": 4}
HISTORY = {"encoder": "history", "dim": 4, "by": "feedback", "pooling": "sqrtn"}
TEMPORAL = {"name": "temporal", "fractions": [0.8, 0.1, 0.1]}


@pytest.fixture
def rejects(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Registers a part as `mine` and checks that its use fails, with its file, the problem and its contract."""

    def check(registry: Registry, part: Any, use: Callable[[], object], problem: str) -> None:
        monkeypatch.setitem(registry._parts, "mine", part)
        contract = f"The {registry.kind} is called with"
        with pytest.raises(PartError, match=rf"(?s)\w+\S*: {registry.kind} 'mine' must .*{problem}.* {contract}"):
            use()

    return check


@pytest.fixture(scope="session")
def make_run(
    tmp_path_factory: pytest.TempPathFactory, make_experiment: Callable[..., Experiment]
) -> Callable[..., tuple[Experiment, Path]]:
    """Trains for one epoch, once for each name, and returns the experiment and the run's folder; not to be changed."""
    runs = tmp_path_factory.mktemp("runs")

    def make(name: str, **sections: Any) -> tuple[Experiment, Path]:
        experiment = make_experiment(**{"training": {"max_epochs": 1}, **sections})
        folders = sorted((runs / name).glob("*"))
        if not folders:
            train(experiment, name=name, out=runs, device="cpu", console=Console(file=io.StringIO()))
            folders = sorted((runs / name).glob("*"))
        return experiment, folders[0]

    return make


@pytest.fixture
def plain(make_run: Callable[..., tuple[Experiment, Path]]) -> tuple[Experiment, Recommender]:
    """A run with biases of users and items."""
    experiment, path = make_run("plain", score={"name": "cosine", "scale": 10.0, "user_bias": True, "item_bias": True})
    return experiment, Recommender.open(path)


@pytest.fixture
def with_history(make_run: Callable[..., tuple[Experiment, Path]]) -> tuple[Experiment, Recommender]:
    """A run whose users have histories, and whose split is in time."""
    features = {"user_id": EMBEDDING, "gender": EMBEDDING, "events": HISTORY}
    experiment, path = make_run(
        "with_history",
        data={"split": TEMPORAL},
        user_tower={"features": features, "widths": [4], "block": "linear-act-dropout"},
        item_tower={"features": {"movie_id": EMBEDDING}},
        score="dot",
    )
    return experiment, Recommender.open(path)
