from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from towerzoo.registry import CATALOGUE

Write = Callable[..., Path]

GOOD = """\
data:
  name: synthetic
  label: {positive_from: 4}
  split: random
user_tower:
  features:
    age: {encoder: embedding, dim: 8}
  block: {name: linear-act-dropout, act: relu}
  widths: [16, 8]
item_tower:
  features:
    genres: {encoder: embedding-bag, dim: 8, pooling: mean}
  block: linear-act-dropout
  widths: [8]
score: cosine
loss: bce-with-logits
optimizer: {name: adam, lr: 1e-3}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a text into the working folder, which is a temporary one, so that messages show plain file names."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str, name: str = "mine.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return Path(name)

    return write_file


@pytest.fixture
def good() -> str:
    """A config without any mistake, on 17 known lines."""
    return GOOD


@pytest.fixture
def restored_registries() -> Iterator[None]:
    """Takes away what a test registers."""
    before = {registry: dict(registry._parts) for registry in CATALOGUE.values()}
    yield
    for registry, parts in before.items():
        registry._parts = parts
