"""A tiny config, a run of it that was trained once, and a way to call commands as a user does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from towerzoo.towers.runs import records

TINY = """\
seed: 7
data:
  name: synthetic
  users: 80
  items: 40
  interactions: 2000
  label: {column: rating, positive_from: 4}
  split: {name: random, fractions: [0.8, 0.1, 0.1]}
  batch_size: 256
user_tower: &tower
  features: {user_id: {encoder: embedding, dim: 4}, gender: {encoder: embedding, dim: 4}}
  block: {name: dropout-linear-bn-tanh, dropout: 0.3}
  widths: [8]
  init: xavier-normal
item_tower:
  <<: *tower
  features: {movie_id: {encoder: embedding, dim: 4}, genres: {encoder: embedding-bag, dim: 4, max_length: 6}}
score: {name: cosine, scale: 10.0}
loss: bce-with-logits
optimizer: {name: adam, lr: 1e-2}
training: {max_epochs: 2, early_stopping: {monitor: valid/loss, patience: 3}}
"""

Invoke = Callable[..., Result]


def _invoke(command: click.Command, *args: object) -> Result:
    result = CliRunner().invoke(command, [str(arg) for arg in args], prog_name=command.name)
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception  # what a user would see as a traceback
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="session")
def invoke() -> Invoke:
    """Calls a command with arguments; fails where a traceback would reach the user."""
    return _invoke


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    """tiny.yaml: 80 users, 40 items, 2,000 generated events, two epochs of a second each at most."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run that all copies are made from; not to be changed."""
    from towerzoo.tools.train import main

    folder = tmp_path_factory.mktemp("trained")
    config = folder / "tiny.yaml"
    config.write_text(TINY)
    result = _invoke(main, config, "--device", "cpu", "--out", folder / "runs")
    assert result.exit_code == 0, result.output
    (run,) = (folder / "runs" / "tiny").iterdir()
    return run


@pytest.fixture
def finished_run(trained_once: Path, tmp_path: Path) -> Path:
    """A finished run of the tiny config, to test, to resume or to damage."""
    return Path(shutil.copytree(trained_once, tmp_path / "runs" / "tiny" / trained_once.name))


@pytest.fixture
def records_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The records' file in place of the shipped configs/results.yaml; not written yet."""
    path = tmp_path / "results.yaml"
    monkeypatch.setattr(records, "results_file", lambda: path)
    return path
