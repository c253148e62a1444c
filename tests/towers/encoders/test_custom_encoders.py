"""Custom encoders can do what the built-in ones do: train, explain, encode new users and items, and export."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from rich.console import Console

from towerzoo.towers.export.bundle import export_run
from towerzoo.towers.model.build import read_experiment
from towerzoo.towers.recipes.train import train
from towerzoo.towers.recommend.explanation import explain
from towerzoo.towers.recommend.new_items import NewItems
from towerzoo.towers.recommend.recommender import Recommender

PARTS = '''
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from towerzoo.registry import ENCODERS
from towerzoo.towers.encoders import Encoder
from towerzoo.towers.encoders.events import NO_EVENT, EventsEncoder

BUCKETS, NO_WORD = 50, -1


@ENCODERS.register("custom-words")
class Words(Encoder):
    """The mean vector of a text's words, hashed into buckets."""

    def __init__(self, column, *, dim: int):
        super().__init__(column)
        self.out_features = dim
        self.embedding = nn.Embedding(BUCKETS, dim)
        self.register_buffer("words", self.read([None, *column.vocabulary.values]), persistent=False)

    def read(self, raw):
        lists = [[sum(map(ord, word)) % BUCKETS for word in (text or "").lower().split()] for text in raw]
        return pad_sequence([torch.tensor(words, dtype=torch.int64) for words in lists], True, NO_WORD)

    def unknown_like(self, values):
        return torch.full_like(values, 0 if values.dim() == 1 else NO_WORD)

    def forward(self, values):
        words = self.words[values.long()] if values.dim() == 1 else values
        mask = (words != NO_WORD).unsqueeze(-1)
        return (self.embedding(words.clamp_min(0)) * mask).sum(1) / mask.sum(1).clamp_min(1)


@ENCODERS.register("custom-events")
class LatestItems(EventsEncoder):
    """The sum of the vectors of the latest events."""

    def __init__(self, column, *, dim: int, last: int):
        super().__init__(column, last=last, by="label")
        self.out_features = dim
        self.embedding = nn.Embedding(self.n_ids, dim)

    def forward(self, events):
        mask = (events != NO_EVENT).unsqueeze(-1)
        return (self.embedding(events.clamp_min(0)) * mask).sum(1)
'''
CONFIG = """
imports: [parts.py]
data:
  name: synthetic
  users: 60
  items: 40
  interactions: 1500
  label: {column: rating, positive_from: 4}
  split: {name: temporal, fractions: [0.8, 0.1, 0.1]}
  batch_size: 128
user_tower: {features: {gender: {encoder: embedding, dim: 4}, recent: {encoder: custom-events, dim: 4, last: 3}}}
item_tower: {features: {movie_id: {encoder: embedding, dim: 4}, title: {encoder: custom-words, dim: 4}}}
score: dot
loss: bce-with-logits
optimizer: {name: adam, lr: 1e-2}
training: {max_epochs: 2}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "parts.py").write_text(PARTS)
    (folder / "own.yaml").write_text(CONFIG)
    experiment, _ = read_experiment(folder / "own.yaml")
    return train(experiment, name="own", out=folder, device="cpu", console=Console(file=io.StringIO())).path


def test_they_explain(run):
    recommender = Recommender.open(run)
    effects = {effect.feature: effect for effect in explain(recommender, recommender.person(7), 5).effects}
    assert effects["recent"].value == "3 events"
    assert effects["title"].value == recommender.names.title(5)
    assert effects["recent"].change != 0 != effects["title"].change


def test_they_encode_new_users_and_items(run):
    recommender = Recommender.open(run)
    liked = recommender.factors([recommender.person(liked=[3, 4])])
    disliked = recommender.factors([recommender.person(features={"gender": "F"}, disliked=[3, 4])])
    assert not torch.allclose(liked, disliked)
    word = recommender.items.texts["title"][5].split()[0]
    unseen = pa.table({"movie_id": [901, 902], "title": [f"{word} unseen", ""]})
    vectors = NewItems.encode(recommender.items, unseen, recommender.model).vectors(recommender.model)
    assert not torch.allclose(vectors[0], vectors[1]), "an unseen title is read by its words"


def test_they_export(run, tmp_path, quick_exporter):
    parity = export_run(run, tmp_path / "bundle")["parity"]
    assert all(math.isfinite(value) for value in parity.values() if isinstance(value, float))
