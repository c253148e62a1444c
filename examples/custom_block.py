"""Custom parts: a block, a pooling and a dataset, each registered under the name that `custom_block.yaml` uses.

That config names this file under `imports`; nothing in TowerZoo is edited.
"""

import numpy as np
import torch
from torch import Tensor, nn

from towerzoo.datasets import ColumnNames, Interactions, StarSchema, encode_table
from towerzoo.registry import BLOCKS, DATASETS, POOLINGS
from towerzoo.registry.ranges import Count, Rate


@BLOCKS.register("linear-layernorm-gelu")
def linear_layernorm_gelu(in_features: int, out_features: int, *, dropout: Rate = 0.1) -> list[nn.Module]:
    """Linear, layer normalisation, GELU, dropout."""
    return [nn.Linear(in_features, out_features), nn.LayerNorm(out_features), nn.GELU(), nn.Dropout(dropout)]


@POOLINGS.register("first-and-mean")
class FirstAndMeanPooling(nn.Module):
    """Half the first vector, half the mean of all that the mask lets count."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        weights = mask.unsqueeze(-1).to(vectors.dtype)
        mean = (vectors * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
        return 0.5 * vectors[:, 0] + 0.5 * mean


@DATASETS.register("song-plays")
class SongPlays:
    """Listeners of three countries and songs of one to three moods; listeners like the mood of their country."""

    def __init__(self, *, listeners: Count = 300, songs: Count = 120, plays: Count = 12_000) -> None:
        self.listeners, self.songs, self.plays = listeners, songs, plays

    def columns(self) -> ColumnNames:
        return ColumnNames(users=("listener", "country"), items=("song", "moods"), feedback=("liked",))

    def load(self) -> StarSchema:
        random = np.random.default_rng(7)
        countries = random.choice(["Chile", "Japan", "Kenya"], self.listeners).tolist()
        moods = [
            random.permutation(["calm", "bright", "wild"])[: random.integers(1, 4)].tolist() for _ in range(self.songs)
        ]
        users = encode_table("listener", {"listener": list(range(self.listeners)), "country": countries})
        items = encode_table("song", {"song": list(range(self.songs)), "moods": moods})
        favourite = {"Chile": "calm", "Japan": "bright", "Kenya": "wild"}
        listener = random.integers(self.listeners, size=self.plays)
        song = random.integers(self.songs, size=self.plays)
        matches = [favourite[countries[u]] in moods[i] for u, i in zip(listener, song, strict=True)]
        liked = random.random(self.plays) < np.where(matches, 0.8, 0.2)
        events = Interactions(
            user=torch.from_numpy(users.ids.encode(listener)),
            item=torch.from_numpy(items.ids.encode(song)),
            feedback={"liked": torch.from_numpy(liked.astype(np.float32))},
        )
        return StarSchema(users, items, events, digest=f"song-plays {self.listeners} {self.songs} {self.plays}")
