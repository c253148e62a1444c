"""What happens around epochs: seeds, checkpoints, progress, and a clean stop."""

from __future__ import annotations

import math
import signal
import threading
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from towerzoo.datasets.batches.loaders import epoch_seed
from towerzoo.registry.errors import Interrupted, RunError, TrainingError
from towerzoo.registry.files import os_errors_as
from towerzoo.towers.metrics.plan import mode
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.ranks import Ranks

DROPOUT_STREAM = 1
"""Separates the random numbers of dropout from those of the batch order, which share seed and epoch. If several ranks
train, each has its own stream after this one."""


class EpochSeeds(Callback):
    """Makes dropout a pure function of the seed and the epoch, so that a resumed run equals one that never stopped.

    Args:
        seed: The experiment's seed.
        ranks: The processes that train. Each has its own dropout; candidates are the same on all.
    """

    def __init__(self, seed: int, ranks: Ranks | None = None) -> None:
        self.seed = seed
        self.ranks = ranks or Ranks()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds all generators of torch."""
        common, local = (
            epoch_seed(self.seed, trainer.current_epoch, stream)
            for stream in (DROPOUT_STREAM, DROPOUT_STREAM + 1 + self.ranks.rank)
        )
        self.ranks.seed(common, local)


class EpochCheckpoints(Checkpoint):
    """Saves last.ckpt after every epoch, and best.ckpt after every epoch that is better than all before.

    Each is written to a temporary name and renamed, so that a kill leaves the previous epoch's file. The state holds no
    paths: a run folder can be moved and resumed.

    Args:
        run: The folder of the checkpoints.
        monitor: The validation metric that chooses the best epoch.

    Attributes:
        best_epoch: The best epoch so far.
        best_value: The metric's value in that epoch.
    """

    def __init__(self, run: RunFolder, monitor: str) -> None:
        self.run = run
        self.monitor = monitor
        self.sign = 1 if mode(monitor.partition("/")[2]) == "max" else -1
        self.best_epoch = -1
        self.best_value: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Returns the best epoch so far."""
        return {"best_epoch": self.best_epoch, "best_value": self.best_value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best epoch of a resumed run."""
        self.best_epoch = state_dict["best_epoch"]
        self.best_value = state_dict["best_value"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the epoch.

        Raises:
            TrainingError: The metric is NaN, and no earlier epoch has a value.
        """
        value = trainer.callback_metrics[self.monitor].item()
        if math.isnan(value) and self.best_value is None:
            raise TrainingError(
                f"{self.monitor} is NaN in epoch {trainer.current_epoch}, so no epoch is best. "
                "Set training.early_stopping.monitor to a metric that the validation events allow."
            )
        better = self.best_value is None or self.sign * value > self.sign * self.best_value
        if better:
            self.best_epoch, self.best_value = trainer.current_epoch, value
        for target in (self.run.best, self.run.last) if better else (self.run.last,):
            temporary = target.with_name(f".{target.name}")
            with os_errors_as(RunError, target):
                try:
                    trainer.save_checkpoint(temporary)
                    temporary.replace(target)
                finally:
                    temporary.unlink(missing_ok=True)


class StopEarly(EarlyStopping):
    """Stops after `patience` epochs without a better value; a resumed run takes its patience from its config."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores everything but the patience."""
        super().load_state_dict({**state_dict, "patience": self.patience})


class FiniteLoss(Callback):
    """Stops training when the loss is no longer finite, and names the optimizer's step, counted from 1.

    Losses are checked every `EVERY` steps and before validation, since each check waits for the GPU. With several
    ranks, the sum of their losses is checked, so that all stop at the same step.

    Args:
        ranks: The processes that train.
    """

    EVERY = 50

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.ranks = ranks or Ranks()
        self._losses: list[Tensor] = []
        self._steps: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Records the step, which several batches may share."""
        self._steps.append(trainer.global_step + 1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Records the loss, and checks all recorded losses when it is time."""
        self._losses.append(outputs["loss"].detach())
        if len(self._losses) < self.EVERY and batch_idx + 1 != trainer.num_training_batches:
            return
        losses = self.ranks.sum(torch.stack(self._losses))
        finite = losses.isfinite()
        if not finite.all():
            offset = int((~finite).nonzero()[0])
            raise TrainingError(
                f"The training loss is {losses[offset].item()} in step {self._steps[offset]} "
                f"(epoch {trainer.current_epoch}). Lower optimizer.lr, or set trainer.gradient_clip_val=1."
            )
        self._losses.clear()
        self._steps.clear()


class StopOnSignal(Callback):
    """Raises `Interrupted` at the end of the batch after SIGINT or SIGTERM; a second signal kills at once.

    A run resumes after its last whole epoch, and then equals a run that never stopped, bit by bit.

    Args:
        run: The run to resume.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._received = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replaces Lightning's handlers, which would end the process with exit status 0."""
        if threading.current_thread() is not threading.main_thread():
            return  # Python handles signals in the main thread only
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        self._received = number
        signal.signal(number, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stops training after a signal."""
        self._stop_after_signal(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stops training after a signal."""
        self._stop_after_signal(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restores the previous handlers."""
        self._restore()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the previous handlers."""
        self._restore()

    def _stop_after_signal(self, trainer: Trainer) -> None:
        if not self._received:
            return
        epoch = trainer.current_epoch
        saved = f"All epochs before {epoch} are saved" if self.run.last.exists() else "No epoch is saved yet"
        raise Interrupted(
            f"{signal.Signals(self._received).name} stopped training in epoch {epoch}. {saved}. Resume with\n"
            f"    python tools/train.py --resume {self.run.path}",
            self._received,
        )

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


class EpochProgress(Callback):
    """Shows an epoch's progress below the printed lines, and removes it afterwards.

    Args:
        console: The terminal, shared with the printed lines: Lightning's own bar would overwrite them.
    """

    EVERY = 10
    """Steps from one update of the bar to the next."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, refresh_per_second=4)
        self._task: TaskID | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the epoch's bar."""
        self._progress.start()
        description = f"epoch {trainer.current_epoch:>3}"
        self._task = self._progress.add_task(description, total=trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar."""
        if self._task is not None and (batch_idx + 1) % self.EVERY == 0:
            self._progress.update(self._task, completed=batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the bar."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Removes the bar."""
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self._progress.stop()
