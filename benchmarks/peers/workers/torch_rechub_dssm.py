"""torch-rechub's DSSM, data generator and trainer for matching.

Its tower is Linear -> BatchNorm -> Tanh -> Dropout; its score is an unscaled cosine, as published.
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
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.matching import DSSM
from torch_rechub.trainers import MatchTrainer
from torch_rechub.utils.data import DataGenerator

PACKAGES = ("torch-rechub", "torch", "numpy", "pandas")
USER, ITEM = ("user_id", "gender", "age", "occupation"), ("movie_id",)
SLOTS = 6


class Worker:
    """Prepares, trains and tests with torch-rechub.

    Args:
        settings: Data folder, batch size, steps, seed and sizes.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.sizes: dict[str, int] = {}

    def prepare(self) -> int:
        """Reads and merges as its own MovieLens preprocessing does, encodes ids from 1, and makes its loaders."""
        folder = Path(self.settings["data"])
        users = _read(folder / "users.dat", ["user_id", "gender", "age", "occupation", "zip_code"])
        items = _read(folder / "movies.dat", ["movie_id", "title", "genres"])
        ratings = _read(folder / "ratings.dat", ["user_id", "movie_id", "rating", "timestamp"])
        names = sorted({name for text in items["genres"] for name in text.split("|")})
        numbers = {name: number for number, name in enumerate(names, start=1)}
        padded = [([numbers[name] for name in text.split("|")] + [0] * SLOTS)[:SLOTS] for text in items["genres"]]
        table = np.array(padded)
        items["row"] = range(len(items))
        frame = ratings.merge(users, on="user_id").merge(items[["movie_id", "row"]], on="movie_id")
        columns: dict[str, Any] = {"genres": table[frame["row"].to_numpy()]}
        self.sizes["genres"] = len(names) + 1
        for name in (*USER, *ITEM):
            codes, values = pd.factorize(frame[name], sort=True)
            columns[name], self.sizes[name] = codes + 1, len(values) + 1
        label = (frame["rating"].to_numpy() >= 4).astype(np.float32)
        order = np.random.default_rng(self.settings["seed"]).permutation(len(frame))
        parts = np.split(order, [int(0.8 * len(frame)), int(0.9 * len(frame))])
        train, valid, test = (({key: column[rows] for key, column in columns.items()}, label[rows]) for rows in parts)
        self.test_samples = len(test[1])
        self.loaders = DataGenerator(*train).generate_dataloader(
            x_val=valid[0], y_val=valid[1], x_test=test[0], y_test=test[1], batch_size=self.settings["batch_size"]
        )
        return len(frame)

    def train(self) -> tuple[int, float]:
        """Trains some steps."""
        self._build()
        samples = 0

        def first_batches() -> Any:
            nonlocal samples
            for x, y in islice(self.loaders[0], self.settings["steps"]):
                samples += len(y)
                yield x, y

        started = time.perf_counter()
        self.trainer.train_one_epoch(first_batches())
        return samples, time.perf_counter() - started

    def evaluate(self) -> tuple[int, float, float]:
        """Tests the last model."""
        started = time.perf_counter()
        auc = float(self.trainer.evaluate(self.trainer.model, self.loaders[2]))
        return self.test_samples, time.perf_counter() - started, auc

    def fit(self, until: Callable[[float], bool]) -> None:
        """Trains epochs."""
        self._build()
        stop = False
        while not stop:
            self.trainer.train_one_epoch(self.loaders[0])
            stop = until(float(self.trainer.evaluate(self.trainer.model, self.loaders[1])))

    def _build(self) -> None:
        torch.manual_seed(self.settings["seed"])
        dim = self.settings["embedding"]
        user = [SparseFeature(name, self.sizes[name], dim) for name in USER]
        item = [
            *(SparseFeature(name, self.sizes[name], dim) for name in ITEM),
            SequenceFeature("genres", self.sizes["genres"], dim, pooling="mean", padding_idx=0),
        ]
        # It has no name for tanh, but takes a class.
        tower = {"dims": self.settings["widths"], "activation": torch.nn.Tanh, "dropout": self.settings["dropout"]}
        optimizer = {"lr": self.settings["lr"]}
        self.trainer = MatchTrainer(DSSM(user, item, tower, tower), mode=0, optimizer_params=optimizer)


def _read(file: Path, names: list[str]) -> Any:
    return pd.read_csv(file, sep="::", engine="python", header=None, names=names, encoding="ISO-8859-1")
