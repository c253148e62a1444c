"""Logs one row an epoch: its metrics, time and speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from towerzoo.towers.runs.epochs import Row, write_epochs
from towerzoo.towers.runs.folder import RunFolder


class EpochLog(Checkpoint):
    """Writes one row of epochs.csv an epoch, and passes it to `report`.

    A `Checkpoint`, because Lightning runs those last, after the model has logged the epoch's metrics.

    Args:
        run: The folder of epochs.csv.
        rows: The rows of earlier epochs of a resumed run.
        report: Called with each new row.
    """

    def __init__(self, run: RunFolder, rows: list[Row], report: Callable[[Row], None]) -> None:
        self.run = run
        self.rows = rows
        self.report = report
        self._started = 0.0
        self._trained = 0.0
        self._samples = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._started = time.perf_counter()
        self._trained = 0.0
        self._samples = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts samples, and the training time without validation."""
        self._samples += len(batch.pool)
        self._trained = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the epoch's row."""
        metrics = {
            name: value.item()
            for part in ("train/", "valid/")
            for name, value in trainer.callback_metrics.items()
            if name.startswith(part)
        }
        row: Row = {"epoch": trainer.current_epoch, **metrics}
        row["seconds"] = round(time.perf_counter() - self._started, 3)
        row["samples_per_second"] = round(self._samples / max(self._trained, 1e-9))
        self.rows.append(row)
        write_epochs(self.run, self.rows)
        self.report(row)
