"""TowerZoo as tools/train.py uses it: config, data, model, and Lightning with the callbacks of training."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import LambdaCallback

from towerzoo.benchmarks.measure.training_epoch import Clock
from towerzoo.towers.device import settle_process
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.callbacks import EpochCheckpoints, EpochSeeds, FiniteLoss, StopOnSignal
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.trainer import make_trainer

PACKAGES = ("towerzoo", "torch", "pytorch-lightning", "numpy", "pandas")


class Worker:
    """Prepares, trains and tests as `tools/train.py` does.

    Args:
        settings: Data folder, scratch folder, steps, seed, config and overrides. Sizes and batch size are the config's.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        settle_process(torch.device("cpu"))
        self.settings, self.scratch = settings, Path(settings["scratch"])
        os.environ["TOWERZOO_CACHE"] = str(self.scratch / "cache")
        data = {"name": "movielens-1m", "root": settings["data"], "offline": True}
        given = [f"data.{key}={json.dumps(value)}" for key, value in data.items()]
        self.experiment, _ = read_experiment(
            settings["config"], [*given, f"seed={settings['seed']}", *settings["overrides"]]
        )

    def prepare(self) -> int:
        """Loads the raw files, not their cache."""
        shutil.rmtree(self.scratch / "cache", ignore_errors=True)
        self.data = load_data(self.experiment)
        return len(self.data.labels)

    def train(self) -> tuple[int, float]:
        """Trains some steps."""
        clock, steps = Clock("cpu"), self.settings["steps"]
        trainer = self._trainer([clock], self._run(), max_epochs=1, limit_train_batches=steps, limit_val_batches=0)
        self.module = build_module(self.experiment, self.data.schema)
        trainer.fit(self.module, DataModule(self.data))
        samples = min(steps * self.experiment.data.batch_size, len(self.data.split.train))
        return samples, clock.seconds

    def evaluate(self) -> tuple[int, float, float]:
        """Tests the last model."""
        trainer = make_trainer(self.experiment, "cpu", logger=False, callbacks=[])
        started = time.perf_counter()
        figures = trainer.test(self.module, DataModule(self.data), verbose=False)[0]
        return len(self.data.split.test), time.perf_counter() - started, float(figures["test/auc"])

    def fit(self, until: Callable[[float], bool]) -> None:
        """Trains epochs, at most as many as the config allows, and saves their checkpoints."""

        def ask(trainer: Trainer, model: LightningModule) -> None:
            trainer.should_stop = until(trainer.callback_metrics["valid/auc"].item())

        run = self._run()
        callbacks = [LambdaCallback(on_train_epoch_end=ask), EpochCheckpoints(run, "valid/auc")]
        self._trainer(callbacks, run).fit(build_module(self.experiment, self.data.schema), DataModule(self.data))

    def _run(self) -> RunFolder:
        return RunFolder.create(self.scratch / "runs", "peers")

    def _trainer(self, further: list[Callback], run: RunFolder, **arguments: Any) -> Any:
        callbacks = [EpochSeeds(self.experiment.seed), FiniteLoss(), StopOnSignal(run), *further]
        return make_trainer(self.experiment, "cpu", callbacks=callbacks, logger=False, **arguments)
