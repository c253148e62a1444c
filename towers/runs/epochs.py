"""epochs.csv: one row an epoch."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.folder import RunFolder

Row = dict[str, float | int]

FIRST, LAST = ("epoch",), ("seconds", "samples_per_second")
"""The columns of epochs.csv before and behind those of the figures, `train/...` and `valid/...`."""


class EpochLog(Checkpoint):
    """Writes one row of epochs.csv an epoch, and tells it to `report`.

    It is a Checkpoint to Lightning, which runs those after the model has logged the epoch's figures.

    Args:
        run: Where epochs.csv lies.
        rows: The rows of earlier epochs, when training resumes.
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
        """Counts samples, and the time before validation."""
        self._samples += len(batch.pool)
        self._trained = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the epoch's row."""
        figures = {
            name: value.item()
            for part in ("train/", "valid/")
            for name, value in trainer.callback_metrics.items()
            if name.startswith(part)
        }
        row: Row = {"epoch": trainer.current_epoch, **figures}
        row["seconds"] = round(time.perf_counter() - self._started, 3)
        row["samples_per_second"] = round(self._samples / max(self._trained, 1e-9))
        self.rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.run.write("epochs.csv", text.getvalue())
        self.report(row)


def read_epochs(run: RunFolder) -> list[Row]:
    """Returns the rows of epochs.csv.

    Raises:
        RunError: The file is missing or damaged.
    """
    path = run.path / "epochs.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            names = tuple(reader.fieldnames or ())
            figures = names[len(FIRST) : -len(LAST)]
            if names != (*FIRST, *figures, *LAST) or not all(name.startswith(("train/", "valid/")) for name in figures):
                raise ValueError(f"the columns {', '.join(reader.fieldnames or ()) or 'of an empty file'}")
            return [
                {key: int(value) if key == "epoch" else float(value) for key, value in row.items()} for row in reader
            ]
    except OSError:
        raise RunError(
            f"{run.path} must be a run folder with epochs.csv, got one without it. Train it first."
        ) from None
    except (TypeError, ValueError, csv.Error) as error:
        raise RunError(f"{path} must be a whole CSV file, got {error}. Copy the run folder again.") from None
