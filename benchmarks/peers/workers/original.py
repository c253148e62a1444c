"""The original script's way with data: one merged frame, of which the dataset takes a row at a time.

The structure is that of configs/tanh_bn_dropout_first.yaml in plain PyTorch: nn.Dropout, Adam, every pair encoded anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.functional.classification import binary_auroc

PACKAGES = ("torch", "pandas")
USER, ITEM = ("user_id", "gender", "age", "occupation"), ("movie_id",)
SLOTS, SCALE = 6, 10.0

Row = tuple[Tensor, Tensor, Tensor, Tensor]


class Ratings(Dataset[Row]):
    """User ids (4,), item id (1,), genres (6,) and label of a rating, out of a merged frame."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: int) -> Row:
        row = self.frame.iloc[index]
        return (
            torch.tensor([row[name] for name in USER], dtype=torch.long),
            torch.tensor([row[name] for name in ITEM], dtype=torch.long),
            torch.tensor(row["genres"], dtype=torch.long),
            torch.tensor(row["label"], dtype=torch.float32),
        )


class Tower(nn.Module):
    """Embeddings, concatenated, and Dropout -> Linear -> BatchNorm -> Tanh a width."""

    def __init__(self, sizes: list[int], settings: dict[str, Any], *, genres: int = 0) -> None:
        super().__init__()
        dim = settings["embedding"]
        self.embeddings = nn.ModuleList(nn.Embedding(size, dim) for size in sizes)
        self.genres = nn.Embedding(genres, dim, padding_idx=0) if genres else None
        layers: list[nn.Module] = []
        width = dim * (len(sizes) + bool(genres))
        for out in settings["widths"]:
            layers += [nn.Dropout(settings["dropout"]), nn.Linear(width, out), nn.BatchNorm1d(out), nn.Tanh()]
            width = out
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.xavier_normal_(module.weight)

    def forward(self, ids: Tensor, genres: Tensor | None = None) -> Tensor:
        """Maps ids (B, F) and genres (B, 6) to vectors (B, D)."""
        columns = [embedding(ids[:, i]) for i, embedding in enumerate(self.embeddings)]
        if self.genres is not None:
            columns.append(self.genres(genres).mean(dim=1))
        vectors: Tensor = self.layers(torch.cat(columns, dim=1))
        return vectors


class Worker:
    """Prepares, trains and tests as the script does.

    Args:
        settings: Data folder, batch size, steps, seed and sizes.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.loaders: dict[str, DataLoader[Row]] = {}
        self.sizes: dict[str, int] = {}

    def prepare(self) -> int:
        """Reads the three files with pandas' Python engine, merges and encodes them, and splits the frame."""
        folder = Path(self.settings["data"])
        users = _read(folder / "users.dat", ["user_id", "gender", "age", "occupation", "zip_code"])
        items = _read(folder / "movies.dat", ["movie_id", "title", "genres"])
        ratings = _read(folder / "ratings.dat", ["user_id", "movie_id", "rating", "timestamp"])
        names = sorted({name for text in items["genres"] for name in text.split("|")})
        numbers = {name: number for number, name in enumerate(names, start=1)}
        items["genres"] = [_pad([numbers[name] for name in text.split("|")]) for text in items["genres"]]
        frame = ratings.merge(users, on="user_id").merge(items, on="movie_id")
        for name in (*USER, *ITEM):
            frame[name], values = pd.factorize(frame[name], sort=True)
            self.sizes[name] = len(values)
        self.sizes["genres"] = len(names) + 1
        frame["label"] = (frame["rating"] >= 4).astype(np.float32)
        order = np.random.default_rng(self.settings["seed"]).permutation(len(frame))
        ends = [int(0.8 * len(frame)), int(0.9 * len(frame))]
        for part, rows in zip(("train", "valid", "test"), np.split(order, ends), strict=True):
            dataset = Ratings(frame.iloc[rows].reset_index(drop=True))
            self.loaders[part] = DataLoader(dataset, batch_size=self.settings["batch_size"], shuffle=part == "train")
        return len(frame)

    def train(self) -> tuple[int, float]:
        """Trains some steps."""
        self._build()
        started = time.perf_counter()
        samples = self._epoch(self.settings["steps"])
        return samples, time.perf_counter() - started

    def evaluate(self) -> tuple[int, float, float]:
        """Tests the last model."""
        started = time.perf_counter()
        samples, auc = self._measure("test")
        return samples, time.perf_counter() - started, auc

    def fit(self, until: Callable[[float], bool]) -> None:
        """Trains epochs."""
        self._build()
        stop = False
        while not stop:
            self._epoch(None)
            stop = until(self._measure("valid")[1])

    def _build(self) -> None:
        torch.manual_seed(self.settings["seed"])
        self.user_tower = Tower([self.sizes[name] for name in USER], self.settings)
        self.item_tower = Tower([self.sizes[name] for name in ITEM], self.settings, genres=self.sizes["genres"])
        towers = nn.ModuleList([self.user_tower, self.item_tower])
        self.towers, self.optimizer = towers, torch.optim.Adam(towers.parameters(), lr=self.settings["lr"])

    def _logits(self, user: Tensor, item: Tensor, genres: Tensor) -> Tensor:
        return SCALE * nn.functional.cosine_similarity(self.user_tower(user), self.item_tower(item, genres))

    def _epoch(self, steps: int | None) -> int:
        self.towers.train()
        loss_function, samples = nn.BCEWithLogitsLoss(), 0
        for user, item, genres, label in islice(self.loaders["train"], steps):
            loss = loss_function(self._logits(user, item, genres), label)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            samples += len(label)
        return samples

    @torch.no_grad()
    def _measure(self, part: str) -> tuple[int, float]:
        self.towers.eval()
        batches = [(self._logits(*features), label) for *features, label in self.loaders[part]]
        logits, labels = (torch.cat(column) for column in zip(*batches, strict=True))
        return len(labels), binary_auroc(logits, labels.long()).item()


def _read(file: Path, names: list[str]) -> Any:
    return pd.read_csv(file, sep="::", engine="python", header=None, names=names, encoding="latin-1")


def _pad(genres: list[int]) -> list[int]:
    return (genres + [0] * SLOTS)[:SLOTS]
