"""The original script: one merged frame, from which the dataset takes a row at a time.

The structure is that of configs/tanh_bn_dropout_first.yaml in plain PyTorch; evaluation encodes every pair.
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

from towerzoo.benchmarks.baselines.bare_loop import USER_IDS, BareDSSM
from towerzoo.benchmarks.baselines.pandas_loading import read_tables

PACKAGES = ("torch", "pandas")
SLOTS = 6

Row = tuple[Tensor, Tensor, Tensor, Tensor]


class Ratings(Dataset[Row]):
    """User ids (4,), item id (), genres (6,) and label of each rating of a merged frame."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: int) -> Row:
        row = self.frame.iloc[index]
        return (
            torch.tensor([row[name] for name in USER_IDS], dtype=torch.long),
            torch.tensor(row["movie_id"], dtype=torch.long),
            torch.tensor(row["genres"], dtype=torch.long),
            torch.tensor(row["label"], dtype=torch.float32),
        )


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
        tables = read_tables(Path(self.settings["data"]))
        users, items, ratings = tables["users"], tables["movies"], tables["ratings"]
        names = sorted({name for text in items["genres"] for name in text.split("|")})
        numbers = {name: number for number, name in enumerate(names, start=1)}
        items["genres"] = [
            ([numbers[name] for name in text.split("|")] + [0] * SLOTS)[:SLOTS] for text in items["genres"]
        ]
        frame = ratings.merge(users, on="user_id").merge(items, on="movie_id")
        for name in (*USER_IDS, "movie_id"):
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
        sizes = {"dim": self.settings["embedding"], "widths": self.settings["widths"]}
        self.model = BareDSSM(self.sizes, **sizes, dropout=self.settings["dropout"])
        for module in self.model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.xavier_normal_(module.weight)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.settings["lr"])

    def _epoch(self, steps: int | None) -> int:
        self.model.train()
        loss_function, samples = nn.BCEWithLogitsLoss(), 0
        for user, item, genres, label in islice(self.loaders["train"], steps):
            loss = loss_function(self.model(user, item, genres), label)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            samples += len(label)
        return samples

    @torch.no_grad()
    def _measure(self, part: str) -> tuple[int, float]:
        self.model.eval()
        batches = [(self.model(*features), label) for *features, label in self.loaders[part]]
        logits, labels = (torch.cat(column) for column in zip(*batches, strict=True))
        return len(labels), binary_auroc(logits, labels.long()).item()
