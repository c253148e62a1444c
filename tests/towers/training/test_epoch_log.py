from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from towerzoo.datasets import Batch
from towerzoo.towers.model.build import load_data
from towerzoo.towers.runs.epochs import read_epochs
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training import epoch_log
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.epoch_log import EpochLog
from towerzoo.towers.training.module import build_module

FIGURES = [f"{part}/{name}" for part in ("train", "valid") for name in ("loss", "auc", "accuracy")]


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


def test_every_epoch_has_a_row_of_its_own_figures(run, make_experiment, make_trainer):
    experiment = make_experiment()
    data = load_data(experiment)
    reported: list = []
    log = EpochLog(run, [], reported.append)
    trainer = make_trainer(max_epochs=2, callbacks=[log], enable_checkpointing=True)
    trainer.fit(build_module(experiment, data.schema), DataModule(data))
    rows = read_epochs(run)
    assert rows == log.rows == reported
    of_users = ["valid/user_auc", "valid/calibration_error"]
    assert [list(row) for row in rows] == [["epoch", *FIGURES, *of_users, "seconds", "samples_per_second"]] * 2
    first, last = rows
    assert (first["epoch"], last["epoch"]) == (0, 1)
    assert [last[name] for name in FIGURES] == [trainer.callback_metrics[name].item() for name in FIGURES]
    assert first["train/loss"] != last["train/loss"]


def test_rows_of_earlier_epochs_are_kept_and_time_and_samples_are_the_epochs_own(run, monkeypatch):
    clock = iter([100.0, 101.0, 104.0, 106.5])  # start, two batches, end with validation
    monkeypatch.setattr(epoch_log.time, "perf_counter", lambda: next(clock))
    earlier = {"epoch": 2, "train/loss": 0.75, "seconds": 1.0, "samples_per_second": 9}
    log = EpochLog(run, [earlier], lambda row: None)
    trainer = SimpleNamespace(callback_metrics={"train/loss": torch.tensor(0.5)}, current_epoch=3)
    log.on_train_epoch_start(trainer, None)
    for size in (10, 6):
        log.on_train_batch_end(trainer, None, None, Batch(*torch.zeros(3, size)), 0)
    log.on_train_epoch_end(trainer, None)
    row = {"epoch": 3, "train/loss": 0.5, "seconds": 6.5, "samples_per_second": 4}
    assert read_epochs(run) == log.rows == [earlier, row]
