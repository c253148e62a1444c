from __future__ import annotations

import io
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from rich.console import Console
from torch import Tensor, nn

from towerzoo.datasets.batches.loaders import epoch_seed
from towerzoo.registry.errors import Interrupted, RunError, TrainingError
from towerzoo.towers.model.build import load_data
from towerzoo.towers.runs.checkpoints import read_checkpoint
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.callbacks import EpochCheckpoints, EpochProgress, EpochSeeds, FiniteLoss, StopOnSignal
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path, "tiny")


class EpochByEpoch:
    """Stands in for a Trainer: epochs end with the given values, and a checkpoint is the epoch's number."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.current_epoch = -1
        self.callback_metrics: dict[str, Tensor] = {}

    def end_epoch(self, value: float, checkpoints: EpochCheckpoints) -> None:
        self.current_epoch += 1
        self.callback_metrics = {self.monitor: torch.tensor(value)}
        checkpoints.on_train_epoch_end(self, None)

    def save_checkpoint(self, path) -> None:
        path.write_text(str(self.current_epoch))


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("valid/loss", [0.9, 0.5, 0.7], [0, 1, 1]),
        ("valid/loss", [0.5, 0.5, 0.4], [0, 0, 2]),  # equal is not better
        ("valid/auc", [0.5, 0.9, 0.7], [0, 1, 1]),
        ("valid/accuracy", [0.5, 0.4, 0.6], [0, 0, 2]),
        ("valid/auc", [0.0, -0.5, 0.0], [0, 0, 0]),
        ("valid/auc", [0.7, float("nan"), 0.6], [0, 0, 0]),
    ],
)
def test_best_holds_the_best_epoch_and_last_the_last(run, monitor, values, best):
    checkpoints, trainer = EpochCheckpoints(run, monitor), EpochByEpoch(monitor)
    for epoch, value in enumerate(values):
        trainer.end_epoch(value, checkpoints)
        assert run.best.read_text() == str(best[epoch])
        assert run.last.read_text() == str(epoch)
        assert checkpoints.best_epoch == best[epoch]
        assert checkpoints.best_value == pytest.approx(values[best[epoch]])
    assert sorted(path.name for path in run.best.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_resumed_run_knows_the_best_epoch(run):
    monitor = "valid/auc"
    before, trainer = EpochCheckpoints(run, monitor), EpochByEpoch(monitor)
    for value in (0.7, 0.9, 0.8):
        trainer.end_epoch(value, before)
    after = EpochCheckpoints(run, monitor)
    after.load_state_dict(before.state_dict())
    trainer.end_epoch(0.85, after)
    assert (run.best.read_text(), run.last.read_text(), after.best_epoch) == ("1", "3", 1)
    trainer.end_epoch(0.95, after)
    assert (run.best.read_text(), after.best_epoch) == ("4", 4)


def test_a_nan_metric_chooses_no_epoch(run):
    checkpoints, trainer = EpochCheckpoints(run, "valid/user_auc"), EpochByEpoch("valid/user_auc")
    message = r"valid/user_auc is NaN in epoch 0, so no epoch is best\. Set training\.early_stopping\.monitor"
    with pytest.raises(TrainingError, match=message):
        trainer.end_epoch(float("nan"), checkpoints)
    assert not run.last.exists()


def test_a_checkpoint_that_cannot_be_written_keeps_the_previous_one(run):
    checkpoints, trainer = EpochCheckpoints(run, "valid/loss"), EpochByEpoch("valid/loss")
    trainer.end_epoch(0.5, checkpoints)

    def fill_the_disk(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    trainer.save_checkpoint = fill_the_disk
    with pytest.raises(RunError, match=r"best\.ckpt cannot be written: No space left on device"):
        trainer.end_epoch(0.4, checkpoints)
    assert (run.best.read_text(), run.last.read_text()) == ("0", "0")
    assert sorted(path.name for path in run.best.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.fixture
def fit(make_experiment, make_trainer):
    """Trains the small world, 1,200 events in 10 batches, with callbacks."""

    def go(*callbacks, model_changes=lambda model: None, **arguments):
        experiment = make_experiment(data={"batch_size": 120})
        data = load_data(experiment)
        model = build_module(experiment, data.schema)
        model_changes(model)
        trainer = make_trainer(callbacks=list(callbacks), **arguments)
        trainer.fit(model, DataModule(data))
        return trainer

    return go


def test_checkpoints_of_lightning_hold_weights_epoch_and_state(fit, run):
    trainer = fit(EpochCheckpoints(run, "valid/loss"), max_epochs=2, enable_checkpointing=True)
    last = read_checkpoint(run.last)
    assert last["epoch"] == 1
    assert last["state_dict"].keys() == trainer.model.state_dict().keys()
    (state,) = (state for name, state in last["callbacks"].items() if "EpochCheckpoints" in name)
    assert state["best_epoch"] == read_checkpoint(run.best)["epoch"]


class NotFiniteFrom(nn.Module):
    """A loss that is a given value from the given call on, counted from 1."""

    def __init__(self, call: int, value: float) -> None:
        super().__init__()
        self.call, self.value, self.calls = call, value, 0

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        return logits.mean() + (self.value if self.calls >= self.call and self.training else 0.0)


@pytest.mark.parametrize(
    ("every", "call", "value", "expected"),
    [
        (1, 1, float("nan"), r"is nan in step 1 \(epoch 0\)"),
        (3, 7, float("inf"), r"is inf in step 7 \(epoch 0\)"),
        (50, 10, float("-inf"), r"is -inf in step 10 \(epoch 0\)"),
        (50, 14, float("nan"), r"is nan in step 14 \(epoch 1\)"),
    ],
)
def test_the_first_step_with_an_infinite_loss_is_reported(fit, monkeypatch, every, call, value, expected):
    monkeypatch.setattr(FiniteLoss, "EVERY", every)
    with pytest.raises(TrainingError, match=f"The training loss {expected}. Lower optimizer.lr"):
        fit(FiniteLoss(), model_changes=lambda m: setattr(m, "loss", NotFiniteFrom(call, value)), max_epochs=2)


def test_a_step_may_have_several_batches(fit):
    with pytest.raises(TrainingError, match=r"in step 3 \(epoch 0\)"):  # batches 5 and 6
        fit(
            FiniteLoss(),
            model_changes=lambda model: setattr(model, "loss", NotFiniteFrom(5, float("nan"))),
            accumulate_grad_batches=2,
        )


def draws(seed: int, epoch: int) -> list[float]:
    EpochSeeds(seed).on_train_epoch_start(SimpleNamespace(current_epoch=epoch), None)
    return torch.rand(4).tolist()


def test_dropout_is_a_function_of_seed_and_epoch():
    first = draws(7, 3)
    torch.rand(5)
    assert draws(7, 3) == first
    assert draws(7, 4) != first
    assert draws(8, 3) != first
    batch_order = torch.Generator().manual_seed(epoch_seed(7, 3))
    assert torch.rand(4, generator=batch_order).tolist() != first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("saved", "advice"), [(False, "No epoch is saved yet"), (True, "All epochs before 2 are saved")]
)
def test_a_signal_stops_at_the_end_of_the_batch(run, number, saved, advice):
    if saved:
        run.last.write_text("")
    before = signal.getsignal(number)
    stop, trainer = StopOnSignal(run), SimpleNamespace(current_epoch=2)
    stop.on_train_start(trainer, None)
    try:
        stop.on_train_batch_end(trainer, None, None, None, 0)
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_DFL, "a second signal kills"
        with pytest.raises(Interrupted, match=f"(?s){number.name} stopped training in epoch 2. {advice}") as stopped:
            stop.on_train_batch_end(trainer, None, None, None, 1)
    finally:
        stop.on_exception(trainer, None, None)
    assert signal.getsignal(number) is before
    assert stopped.value.signal_number == number
    assert f"--resume {run.path}" in str(stopped.value)


class SignalAt(Callback):
    """Sends a signal to this process in a hook of the first epoch."""

    def __init__(self, hook: str, number: int) -> None:
        setattr(self, hook, self.send)
        self.number = number

    def send(self, trainer, *_) -> None:
        if trainer.current_epoch == 0:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("hook", "number"),
    [
        ("on_train_start", signal.SIGINT),
        ("on_validation_start", signal.SIGTERM),
        ("on_validation_end", signal.SIGINT),
        ("on_train_epoch_end", signal.SIGTERM),
    ],
)
def test_a_signal_outside_the_steps_stops_training_too(fit, run, hook, number):
    """Lightning's own handler would end the process with status 0 here."""
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"{number.name} stopped training in epoch [01]"):
        fit(StopOnSignal(run), SignalAt(hook, number), max_epochs=3, num_sanity_val_steps=0)
    assert signal.getsignal(number) is before


def test_handlers_are_restored_after_training(fit, run):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    fit(StopOnSignal(run))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_bar_counts_and_disappears():
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=80)
    bar = EpochProgress(console)
    trainer = SimpleNamespace(current_epoch=3, num_training_batches=40)
    bar.on_train_epoch_start(trainer, None)
    for index in range(40):
        bar.on_train_batch_end(trainer, None, None, None, index)
    bar._progress.refresh()
    assert "epoch   3" in terminal.getvalue()
    assert "40/40" in terminal.getvalue()
    console.print("a line of the history")
    bar.on_train_epoch_end(trainer, None)
    shown = terminal.getvalue()
    assert shown.rindex("40/40") < shown.rindex("\x1b[2K")  # the bar's line is erased last
    assert "a line of the history\n" in shown
    bar.on_exception(trainer, None, KeyboardInterrupt())  # stopping twice does no harm
