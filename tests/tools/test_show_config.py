from __future__ import annotations

import pytest
import yaml

from towerzoo.tools.show_config import main

BASE = """\
seed: 1
data:
  name: synthetic
  label: {column: rating, positive_from: 4}
  split: random
user_tower:
  features: {user_id: {encoder: embedding, dim: 4}}
item_tower:
  features: {movie_id: {encoder: embedding, dim: 4}}
score: dot
loss: bce-with-logits
optimizer: adam
"""
OWN = """\
base: base.yaml
data:
  batch_size: 64
loss: {name: bce-with-logits}
"""


@pytest.fixture
def shown(invoke, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "own.yaml").write_text(OWN)
    result = invoke(main, "own.yaml", "--set", "seed=9", "--set", "training.max_epochs=3")
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("seed: 9", "--set"),
        ("  max_epochs: 3", "--set"),
        ("  batch_size: 64", "own.yaml:3"),
        ("  name: bce-with-logits", "own.yaml:4"),
        ("  name: synthetic", "base.yaml:3"),
        ("    positive_from: 4.0", "base.yaml:4"),
        ("    name: random", "base.yaml:5"),  # a part by its bare name
        ("  name: dot", "base.yaml:10"),
        ("    seed: 42", "default"),
        ("    name: torch-default", "default"),
        ("  fit_on: catalogue", "default"),
        ("  precision: 32-true", "default"),
        ("  early_stopping: null", "default"),
    ],
)
def test_each_value_is_shown_with_its_origin(shown, value, origin):
    parts = [line.partition("  # ") for line in shown]
    assert any(line.rstrip() == value and shown_origin == origin for line, _, shown_origin in parts), "\n".join(shown)


def test_the_whole_config_is_shown_as_yaml(shown, invoke, tmp_path):
    resolved = yaml.safe_load("\n".join(shown))
    assert "base" not in resolved
    assert resolved["user_tower"]["features"]["user_id"].items() >= {"encoder": "embedding", "dim": 4}.items()
    (tmp_path / "again.yaml").write_text("\n".join(shown))
    again = invoke(main, "again.yaml")
    assert again.exit_code == 0, again.output
    assert yaml.safe_load(again.output) == resolved


def test_origins_are_in_one_column(shown):
    assert len({line.index("  # ") for line in shown if "  # " in line}) == 1


def test_a_wrong_config_lists_all_problems(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    result = invoke(
        main, "base.yaml", "--set", "scroe=dot", "--set", "loss=bec-with-logits", "--set", "trainer.devices=2000"
    )
    assert result.exit_code == 1
    assert result.output.startswith("error: The config has 3 problems.")
    assert "Did you mean 'bce-with-logits'?" in result.output


def test_a_shipped_config_is_found_by_name(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(main, "quickstart")
    assert result.exit_code == 0
    assert yaml.safe_load(result.output)["data"]["name"] == "synthetic"
