from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from towerzoo.datasets import Batch
from towerzoo.registry.errors import RunError
from towerzoo.towers.runs import epochs
from towerzoo.towers.model.build import build_model, load_data
from towerzoo.towers.runs.epochs import EpochLog, read_epochs
from towerzoo.towers.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


FIGURES = [f"{part}/{name}" for part in ("train", "valid") for name in ("loss", "auc", "accuracy")]
COLUMNS = ["epoch", *FIGURES, "seconds", "samples_per_second"]


@pytest.fixture
def trained(run, make_experiment, make_trainer):
    """Two epochs on the small world: the callback, the reported rows and the trainer."""
    experiment = make_experiment()
    data = load_data(experiment)
    reported: list = []
    callback = EpochLog(run, [], reported.append)
    trainer = make_trainer(max_epochs=2, callbacks=[callback], enable_checkpointing=True)
    trainer.fit(build_model(experiment, data.schema), data)
    return callback, reported, trainer


def test_every_epoch_has_a_row_of_all_columns(run, trained):
    callback, reported, _ = trained
    rows = read_epochs(run)
    assert rows == callback.rows == reported
    of_users = ["valid/user_auc", "valid/calibration_error"]
    assert [list(row) for row in rows] == [["epoch", *FIGURES, *of_users, "seconds", "samples_per_second"]] * 2
    assert [row["epoch"] for row in rows] == [0, 1]
    assert isinstance(rows[0]["epoch"], int)


def test_the_row_has_the_figures_of_its_own_epoch(run, trained):
    *_, trainer = trained
    first, last = read_epochs(run)
    for name in FIGURES:
        assert last[name] == trainer.callback_metrics[name].item()
    assert first["train/loss"] != last["train/loss"]


def test_samples_and_seconds_are_those_of_the_epoch(run, monkeypatch):
    clock = iter([100.0, 101.0, 104.0, 106.5])  # start, two batches, end with validation
    monkeypatch.setattr(epochs.time, "perf_counter", lambda: next(clock))
    callback = EpochLog(run, [], lambda row: None)
    trainer = SimpleNamespace(callback_metrics={"train/loss": torch.tensor(0.5)}, current_epoch=3)
    callback.on_train_epoch_start(trainer, None)
    for size in (10, 6):
        callback.on_train_batch_end(trainer, None, None, Batch(*torch.zeros(3, size)), 0)
    callback.on_train_epoch_end(trainer, None)
    assert callback.rows == [{"epoch": 3, "train/loss": 0.5, "seconds": 6.5, "samples_per_second": 4}]


def test_rows_of_earlier_epochs_are_kept(run):
    row = dict.fromkeys(COLUMNS, 0.5) | {"epoch": 0}
    callback = EpochLog(run, [row], lambda row: None)
    metrics = {name: torch.tensor(0.25) for name in FIGURES}
    callback.on_train_epoch_end(SimpleNamespace(callback_metrics=metrics, current_epoch=1), None)
    assert [row["train/loss"] for row in read_epochs(run)] == [0.5, 0.25]


HEAD = ",".join(COLUMNS)
ROW = ",".join(["0"] * len(COLUMNS))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the columns of an empty file"),
        ("a,b\n1,2\n", "the columns a, b"),
        (f"{HEAD}\n{ROW}\n0,0.5", "float"),
        (f"{HEAD}\n{ROW},7\n", "float"),
        (f"{HEAD}\n{'x' + ROW}\n", "invalid literal"),
        (f'{HEAD}\n"{ROW}', "unexpected end"),
        (b"\xff\xfe", "codec can't decode"),
    ],
    ids=["empty", "foreign", "short row", "long row", "text", "open quote", "binary"],
)
def test_a_damaged_file_is_told(run, content, reason):
    (run.path / "epochs.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        RunError, match=f"epochs.csv must be a whole CSV file, got .*{reason}.*Copy the run folder again"
    ):
        read_epochs(run)


def test_a_missing_file_is_told(run):
    with pytest.raises(RunError, match=r"must be a run folder with epochs\.csv, got one without it\. Train it first"):
        read_epochs(run)
