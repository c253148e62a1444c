"""TowerZoo by its public path: config, data, model, and Lightning with the callbacks that training uses."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback

from towerzoo.benchmarks.measure.training_epoch import Clock
from towerzoo.towers.device import settle_process
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.callbacks import EpochCheckpoints, EpochSeeds, FiniteLoss, StopOnSignal
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.trainer import make_trainer

PACKAGES = ("towerzoo", "torch", "pytorch-lightning", "numpy", "pandas")


class Samples(Callback):
    """Counts the samples of an epoch, which may end before the steps that it is given."""

    count = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts."""
        self.count += len(batch.label)


class Until(Callback):
    """Asks after each epoch whether to stop."""

    def __init__(self, until: Callable[[float], bool]) -> None:
        self.until = until

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Asks with the validation AUC, which is known by now."""
        trainer.should_stop = self.until(trainer.callback_metrics["valid/auc"].item())


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
        """Loads the raw files, not what was cached of them."""
        shutil.rmtree(self.scratch / "cache", ignore_errors=True)
        self.data = load_data(self.experiment)
        return len(self.data.labels)

    def train(self) -> tuple[int, float]:
        """Trains some steps."""
        clock, samples = Clock("cpu"), Samples()
        trainer = self._trainer(
            [clock, samples], self._run(), max_epochs=1, limit_train_batches=self.settings["steps"], limit_val_batches=0
        )
        self.module = build_module(self.experiment, self.data.schema)
        trainer.fit(self.module, DataModule(self.data))
        return samples.count, clock.seconds

    def evaluate(self) -> tuple[int, float, float]:
        """Tests the last model."""
        trainer = make_trainer(self.experiment, "cpu", logger=False, callbacks=[])
        started = time.perf_counter()
        figures = trainer.test(self.module, DataModule(self.data), verbose=False)[0]
        return len(self.data.split.test), time.perf_counter() - started, float(figures["test/auc"])

    def fit(self, until: Callable[[float], bool]) -> None:
        """Trains epochs, at most those of the config, and saves their checkpoints."""
        run = self._run()
        trainer = self._trainer([Until(until), EpochCheckpoints(run, "valid/auc")], run)
        trainer.fit(build_module(self.experiment, self.data.schema), DataModule(self.data))

    def _run(self) -> RunFolder:
        return RunFolder.create(self.scratch / "runs", "peers")

    def _trainer(self, further: list[Callback], run: RunFolder, **arguments: Any) -> Any:
        callbacks = [EpochSeeds(self.experiment.seed), FiniteLoss(), StopOnSignal(run), *further]
        return make_trainer(self.experiment, "cpu", callbacks=callbacks, logger=False, **arguments)
