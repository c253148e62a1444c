"""LibRecommender's TwoTower, point-wise on labels, with its own data, loader, TensorFlow trainer and evaluation.

Its tower is BatchNorm -> Linear -> ReLU -> BatchNorm -> Dropout, with no option for tanh; its score is an unscaled
cosine. Its evaluation encodes each user and item once, as TowerZoo's does; the encoding is part of the timing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from libreco.algorithms import TwoTower
from libreco.data import DatasetFeat
from libreco.evaluation import evaluate
from libreco.tfops import tf
from libreco.training import tf_trainer
from libreco.training.dispatch import get_trainer

PACKAGES = ("LibRecommender", "tensorflow-cpu", "torch", "numpy", "pandas")
SLOTS = 6


class Worker:
    """Prepares, trains and tests with LibRecommender.

    Args:
        settings: Data folder, batch size, threads, steps, seed and sizes.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def prepare(self) -> int:
        """Reads and merges with pandas, and lets LibRecommender encode its columns."""
        folder = Path(self.settings["data"])
        users = _read(folder / "users.dat", ["user", "gender", "age", "occupation", "zip_code"])
        items = _read(folder / "movies.dat", ["item", "title", "genres"])
        ratings = _read(folder / "ratings.dat", ["user", "item", "rating", "timestamp"])
        genres = [f"genre{slot}" for slot in range(SLOTS)]
        lists = [(text.split("|") + ["missing"] * SLOTS)[:SLOTS] for text in items["genres"]]
        items = pd.concat([items[["item"]], pd.DataFrame(lists, columns=genres)], axis=1)
        frame = ratings.merge(users, on="user").merge(items, on="item")
        frame["label"] = (frame["rating"] >= 4).astype(np.float32)
        frame = frame[["user", "item", "label", "gender", "age", "occupation", *genres]]
        order = np.random.default_rng(self.settings["seed"]).permutation(len(frame))
        ends = [int(0.8 * len(frame)), int(0.9 * len(frame))]
        train, valid, test = (frame.iloc[rows].reset_index(drop=True) for rows in np.split(order, ends))
        self.train_data, self.data_info = DatasetFeat.build_trainset(
            train,
            user_col=["gender", "age", "occupation"],
            item_col=genres,
            sparse_col=["gender", "age", "occupation"],
            multi_sparse_col=[genres],
            pad_val=["missing"],
        )
        self.valid, self.test = DatasetFeat.build_evalset(valid), DatasetFeat.build_evalset(test)
        return len(frame)

    def train(self) -> tuple[int, float]:
        """Trains some steps."""
        self._build()
        whole, samples = tf_trainer.get_batch_loader, 0

        def first_batches(*arguments: Any) -> Any:
            nonlocal samples
            for batch in islice(whole(*arguments), self.settings["steps"]):
                samples += len(batch.labels)
                yield batch

        # The trainer makes its loader with this function.
        tf_trainer.get_batch_loader = first_batches
        try:
            started = time.perf_counter()
            self._epoch()
            return samples, time.perf_counter() - started
        finally:
            tf_trainer.get_batch_loader = whole

    def evaluate(self) -> tuple[int, float, float]:
        """Tests the last model."""
        started = time.perf_counter()
        auc = self._auc(self.test)
        return len(self.test), time.perf_counter() - started, auc

    def fit(self, until: Callable[[float], bool]) -> None:
        """Trains epochs."""
        self._build()
        stop = False
        while not stop:
            self._epoch()
            stop = until(self._auc(self.valid))

    def _build(self) -> None:
        tf.reset_default_graph()
        threads = self.settings["threads"]
        self.model = TwoTower(
            "ranking",
            self.data_info,
            loss_type="cross_entropy",
            norm_embed=True,
            n_epochs=1,
            embed_size=self.settings["embedding"],
            hidden_units=self.settings["widths"],
            dropout_rate=self.settings["dropout"],
            lr=self.settings["lr"],
            batch_size=self.settings["batch_size"],
            seed=self.settings["seed"],
            tf_sess_config={"intra_op_parallelism_threads": threads, "inter_op_parallelism_threads": threads},
        )
        self.model.build_model()
        self.trainer = get_trainer(self.model)
        # It halves the batch size for sampled negatives, although none are sampled here.
        self.trainer.batch_size = self.settings["batch_size"]

    def _epoch(self) -> None:
        self.trainer.run(
            self.train_data,
            neg_sampling=False,
            verbose=0,
            shuffle=True,
            eval_data=None,
            metrics=None,
            k=10,
            eval_batch_size=8192,
            eval_user_num=None,
            num_workers=0,
        )

    def _auc(self, data: Any) -> float:
        self.model.set_embeddings()
        self.model.assign_embedding_oov()
        return float(evaluate(self.model, data, neg_sampling=False, metrics=["roc_auc"])["roc_auc"])


def _read(file: Path, names: list[str]) -> Any:
    return pd.read_csv(file, sep="::", engine="python", header=None, names=names, encoding="latin-1")
