"""An epoch as tools/train.py trains it, timed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback

from towerzoo.benchmarks.measure.roofline import synchronize
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.callbacks import EpochSeeds, FiniteLoss, StopOnSignal
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.trainer import make_trainer

COMPILING_STEPS = 5
"""Untimed steps of a compiled model; the first ones compile."""
TRAINER_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed"}
"""Lightning's name of each precision."""


class Clock(Callback):
    """Times an epoch, from its start or a later step to the end of its last step's bookkeeping.

    Args:
        device: `cpu` or `cuda`.
        skip: Steps before the clock starts.
    """

    def __init__(self, device: str, skip: int = 0) -> None:
        self.device, self.skip = device, skip
        self.seconds = 0.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Starts."""
        self._start()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Restarts after the steps to skip."""
        if batch_idx + 1 == self.skip:
            self._start()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stops after the epoch's metrics and before the model leaves the GPU."""
        synchronize(self.device)
        self.seconds = time.perf_counter() - self._started

    def _start(self) -> None:
        synchronize(self.device)
        self._started = time.perf_counter()


def epoch_rate(experiment: Experiment, data: TwoTowerData, *, steps: int, device: str, skip: int = 0) -> float:
    """Trains a new model for an epoch and returns samples a second.

    It includes seeds, signals, the check for finite losses, and loss, AUC and accuracy, as in training, but neither
    checkpoints nor history nor validation.

    Args:
        experiment: What to train.
        data: Its data.
        steps: Steps of the epoch; those that compile are added, if the data has enough.
        device: `cpu` or `cuda`.
        skip: Untimed steps at its start, in eager execution.
    """
    if experiment.training.execution != "eager":
        # A large batch has two timed steps, and an epoch may be no longer than that.
        skip = COMPILING_STEPS
        steps = min(steps + skip, max(steps, len(data.split.train) // experiment.data.batch_size))
        skip = min(skip, steps - 1)
    experiment = experiment.model_copy(
        update={"trainer": experiment.trainer.model_copy(update={"limit_train_batches": steps})}
    )
    clock = Clock(device, skip)
    callbacks = [EpochSeeds(experiment.seed), FiniteLoss(), StopOnSignal(RunFolder(Path(os.devnull))), clock]
    trainer = make_trainer(experiment, device, callbacks=callbacks, logger=False, limit_val_batches=0, max_epochs=1)
    trainer.fit(build_module(experiment, data.schema), DataModule(data))
    return float((steps - skip) * experiment.data.batch_size / clock.seconds)
