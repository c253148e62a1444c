"""Fits a model to its data, epoch by epoch, into a run folder."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console

from towerzoo.datasets import TwoTowerData
from towerzoo.registry.errors import RunError, TrainingError
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.files import os_errors_as
from towerzoo.towers.metrics.plan import mode, monitor
from towerzoo.towers.runs.checkpoints import read_checkpoint
from towerzoo.towers.runs.epochs import read_epochs
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.runs.summary import epoch_text
from towerzoo.towers.training.callbacks import (
    EpochCheckpoints,
    EpochProgress,
    EpochSeeds,
    FiniteLoss,
    StopEarly,
    StopOnSignal,
)
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.epoch_log import EpochLog
from towerzoo.towers.training.module import TrainingModule
from towerzoo.towers.training.optimizers import OPTIMIZER
from towerzoo.towers.training.ranks import GradientSums, Ranks
from towerzoo.towers.training.trainer import make_trainer


def fit(
    experiment: Experiment,
    data: TwoTowerData,
    module: TrainingModule,
    run: RunFolder,
    device: str,
    ranks: Ranks,
    console: Console | None = None,
) -> None:
    """Trains from the run's last checkpoint, or from the start if it has none.

    Args:
        experiment: The experiment.
        data: Its data.
        module: Its model, loss and optimizer.
        run: The folder for checkpoints and epochs.csv, which only the first rank writes.
        device: `cpu`, `cuda` or `auto`.
        ranks: The processes that train.
        console: Where the first rank reports each epoch; None for the other ranks.

    Raises:
        TowerZooError: The disk is full, the loss is not finite, or no epoch was finished.
        Interrupted: A signal stopped training.
    """
    checkpoint = last_checkpoint(run)
    callbacks: list[Callback] = [EpochSeeds(experiment.seed, ranks), FiniteLoss(ranks)]
    if ranks.size > 1:
        callbacks.append(GradientSums(ranks))
    stopping, watched = experiment.training.early_stopping, monitor(experiment)
    if stopping:
        better = mode(watched.partition("/")[2])
        callbacks.append(StopEarly(watched, mode=better, patience=stopping.patience, check_on_train_epoch_end=True))
    log = None
    if console is not None:
        new = type(module.configure_optimizers()).__name__
        if (earlier := checkpoint.get(OPTIMIZER, new)) != new:
            console.print(f"optimizer: {new} starts from scratch; the epochs so far were trained with {earlier}")
        rows = [row for row in read_epochs(run) if row["epoch"] <= checkpoint["epoch"]] if run.last.exists() else []
        log = EpochLog(run, rows, lambda row: console.print(epoch_text(row), soft_wrap=True))
        callbacks.append(StopOnSignal(run))
        if console.is_terminal:
            callbacks.append(EpochProgress(console))
        callbacks += [log, EpochCheckpoints(run, watched)]
    trainer = make_trainer(
        experiment,
        device,
        rank=ranks.rank if ranks.size > 1 else None,
        logger=TensorBoardLogger(run.path, name="", version="tensorboard") if ranks.first else False,
        callbacks=callbacks,
        # A run that was killed during its test has no epochs left.
        max_epochs=checkpoint["epoch"] + 1 + epochs_left(checkpoint, experiment),
    )
    module.ranks = ranks
    batches = DataModule(data, share=(ranks.rank, ranks.size))
    try:
        with os_errors_as(RunError, run.path):
            trainer.fit(module, batches, ckpt_path=str(run.last) if run.last.exists() else None, weights_only=True)
    finally:
        module.ranks = Ranks()
    if log is not None and not log.rows:
        raise TrainingError("No epoch finished. Check trainer.limit_train_batches.")


def last_checkpoint(run: RunFolder) -> dict[str, Any]:
    """Returns the checkpoint of the last finished epoch, or `{"epoch": -1}` if there is none."""
    return read_checkpoint(run.last) if run.last.exists() else {"epoch": -1}


def epochs_left(checkpoint: dict[str, Any], experiment: Experiment) -> int:
    """Returns the largest number of epochs left to train after a checkpoint."""
    finished: int = checkpoint["epoch"] + 1
    return 0 if stopped_early(checkpoint, experiment) else max(0, experiment.training.max_epochs - finished)


def stopped_early(checkpoint: dict[str, Any], experiment: Experiment) -> bool:
    """Returns whether early stopping has ended training."""
    states = [state for name, state in checkpoint.get("callbacks", {}).items() if name.startswith("StopEarly")]
    stopping = experiment.training.early_stopping
    return stopping is not None and any(state["wait_count"] >= max(1, stopping.patience) for state in states)
