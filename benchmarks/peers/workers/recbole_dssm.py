"""RecBole's DSSM, point-wise on labels of ratings, with its own dataset, loaders and trainer.

Its tower is Dropout -> Linear -> BatchNorm -> Tanh, as in configs/tanh_bn_dropout_first.yaml; its score is an unscaled
cosine, as published.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.context_aware_recommender import DSSM
from recbole.trainer import Trainer
from recbole.utils import init_seed

PACKAGES = ("recbole", "torch", "numpy", "pandas")
NAME = "movies"  # RecBole has settings of its own for names like ml-1m


class Worker:
    """Prepares, trains and tests with RecBole.

    Args:
        settings: Data folder, scratch folder, batch size, steps, seed and sizes.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.folder = Path(settings["scratch"]) / NAME
        self.config = Config(
            model="DSSM",
            dataset=NAME,
            config_dict={
                "data_path": settings["scratch"],
                "checkpoint_dir": f"{settings['scratch']}/saved",
                "use_gpu": False,
                "seed": settings["seed"],
                "reproducibility": False,
                "show_progress": False,
                "load_col": {
                    "inter": ["user_id", "item_id", "rating"],
                    "user": ["user_id", "gender", "age", "occupation"],
                    "item": ["item_id", "genres"],
                },
                "seq_separator": "|",
                "threshold": {"rating": 4},
                "train_neg_sample_args": None,
                "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "none", "order": "RO", "mode": "labeled"},
                "metrics": ["AUC"],
                "valid_metric": "AUC",
                "train_batch_size": settings["batch_size"],
                "embedding_size": settings["embedding"],
                "mlp_hidden_size": settings["widths"],
                "dropout_prob": settings["dropout"],
                "learning_rate": settings["lr"],
            },
        )

    def prepare(self) -> int:
        """Writes files in RecBole's format with as little work as possible, and lets RecBole read and split them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        raw = Path(self.settings["data"])
        for file, suffix, header in (
            ("users.dat", "user", "user_id:token gender:token age:token occupation:token zip_code:token"),
            ("movies.dat", "item", "item_id:token title:token genres:token_seq"),
            ("ratings.dat", "inter", "user_id:token item_id:token rating:float timestamp:float"),
        ):
            rows = (raw / file).read_text(encoding="latin-1").replace("::", "\t")
            (self.folder / f"{NAME}.{suffix}").write_text("\t".join(header.split()) + "\n" + rows, encoding="utf-8")
        init_seed(self.config["seed"], self.config["reproducibility"])
        dataset = create_dataset(self.config)
        self.loaders = data_preparation(self.config, dataset)
        return len(dataset)

    def train(self) -> tuple[int, float]:
        """Trains some steps."""
        self._build()
        samples = 0

        def first_batches() -> Any:
            nonlocal samples
            for batch in islice(self.loaders[0], self.settings["steps"]):
                samples += len(batch)
                yield batch

        started = time.perf_counter()
        self.trainer._train_epoch(first_batches(), 0)
        return samples, time.perf_counter() - started

    def evaluate(self) -> tuple[int, float, float]:
        """Tests the last model."""
        started = time.perf_counter()
        result = self.trainer.evaluate(self.loaders[2], load_best_model=False)
        return len(self.loaders[2].dataset), time.perf_counter() - started, float(result["auc"])

    def fit(self, until: Callable[[float], bool]) -> None:
        """Trains epochs."""
        self._build()
        epoch, stop = 0, False
        while not stop:
            self.trainer._train_epoch(self.loaders[0], epoch)
            epoch += 1
            stop = until(float(self.trainer._valid_epoch(self.loaders[1])[0]))

    def _build(self) -> None:
        init_seed(self.config["seed"], self.config["reproducibility"])
        self.trainer = Trainer(self.config, DSSM(self.config, self.loaders[0].dataset).to(self.config["device"]))
