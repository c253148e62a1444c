"""Trains an experiment, tests its best weights, and writes a run folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from towerzoo.datasets import TwoTowerData
from towerzoo.registry.errors import ConfigError, Problem, RunError
from towerzoo.registry.experiment import AUTO, Experiment
from towerzoo.registry.files import os_errors_as
from towerzoo.towers.device import precision_advice, settle_process, settled_precision, torch_device
from towerzoo.towers.model.build import load_data
from towerzoo.towers.recipes.evaluate import evaluate
from towerzoo.towers.recipes.profile import profile_step
from towerzoo.towers.runs.checkpoints import load_state, read_checkpoint
from towerzoo.towers.runs.environment import environment
from towerzoo.towers.runs.epochs import read_epochs
from towerzoo.towers.runs.events import save_events
from towerzoo.towers.runs.folder import FORMAT, REPORT, VERSION, RunFolder
from towerzoo.towers.runs.report import write_report
from towerzoo.towers.runs.summary import data_table, result_table, step_table
from towerzoo.towers.runs.tables import require_same_data, save_tables
from towerzoo.towers.training.callbacks import FiniteLoss
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.fit import epochs_left, fit, last_checkpoint, stopped_early
from towerzoo.towers.training.module import TrainingModule, build_module
from towerzoo.towers.training.rank_processes import several_ranks
from towerzoo.towers.training.rules import require_divisible, require_gpu
from towerzoo.towers.training.trainer import make_trainer, require_devices


def train(experiment: Experiment, *, name: str, out: Path, device: str, console: Console) -> RunFolder:
    """Trains an experiment from the start.

    Args:
        experiment: The experiment.
        name: The config's name, and the name of the folder of its runs.
        out: The folder of all runs.
        device: `cpu`, `cuda` or `auto`.
        console: Where to print progress and results.

    Returns:
        The finished run.

    Raises:
        TowerZooError: The data, the device or the disk is not usable, or the loss is not finite.
        Interrupted: A signal stopped training; the run can be resumed.
    """
    experiment, data, module = _prepare(experiment, device, console)
    run = RunFolder.create(out, name)
    about = environment(torch_device(device)) | {"seed": experiment.seed, "devices": experiment.trainer.devices}
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    run.write_json(
        "environment.json", {"format": FORMAT, "version": VERSION, "config": name, "started": started, **about}
    )
    run.save_experiment(experiment)
    save_tables(run, data)
    save_events(run, data)
    console.print(f"run: {run.path}", soft_wrap=True)
    _fit(experiment, data, module, run, device, console)
    _test_and_report(experiment, data, module, run, device, console)
    return run


def resume(run: RunFolder, experiment: Experiment, *, device: str, console: Console) -> RunFolder:
    """Resumes a run after its last whole epoch; on a CPU, the result is bit-equal to a run that never stopped.

    Args:
        run: The run.
        experiment: Its experiment, perhaps with more epochs.
        device: `cpu`, `cuda` or `auto`.
        console: Where to print progress and results.

    Raises:
        RunError: Nothing is left to train, or the checkpoint is damaged or belongs to another architecture.
    """
    report, trained, checkpoint = run.path / REPORT, run.last.exists(), last_checkpoint(run)
    if trained and report.exists():
        finished = checkpoint["epoch"] + 1
        if stopped_early(checkpoint, experiment):
            raise RunError(
                f"{run.path} stopped early with patience {_patience(experiment)}. To train on, add "
                "--set training.early_stopping.patience=N with a larger N, or --set training.early_stopping=null."
            )
        if finished >= experiment.training.max_epochs:
            raise RunError(
                f"training.max_epochs must be more than the {finished} finished epochs of {run.path}, "
                f"got {experiment.training.max_epochs}. Add --set training.max_epochs={finished + 1} or more."
            )
    experiment, data, module = _prepare(experiment, device, console, trained=trained)
    require_same_data(run, data, experiment)
    if trained:
        load_state(module, checkpoint["state_dict"], run.last)
    run.save_experiment(experiment)
    with os_errors_as(RunError, report, "removed"):
        report.unlink(missing_ok=True)
    console.print(f"resuming: {run.path}", soft_wrap=True)
    _fit(experiment, data, module, run, device, console)
    _test_and_report(experiment, data, module, run, device, console)
    return run


def try_out(experiment: Experiment, *, device: str, console: Console) -> None:
    """Runs one batch each of training, validation and test on one device, and saves nothing."""
    experiment, data, module = _prepare(experiment, device, console)
    batches = DataModule(data)
    trainer = make_trainer(experiment, device, fast_dev_run=True, callbacks=[FiniteLoss()], logger=False)
    trainer.fit(module, batches)
    trainer.test(module, batches, verbose=False)
    console.print("One batch each of training, validation and test passed; nothing was saved.")


def profile_training(experiment: Experiment, *, device: str, console: Console) -> None:
    """Trains a few steps on one device, prints which parts of a step take how long, and saves nothing.

    Raises:
        TowerZooError: The towers are compiled, or training fails as in `train`.
    """
    if experiment.training.execution != "eager":
        hint = "The layers of compiled towers cannot be timed. Add --set training.execution=eager."
        problem = Problem("training.execution", "eager for --profile", experiment.training.execution, hint)
        raise ConfigError([problem])
    experiment, data, module = _prepare(experiment, device, console)
    samples = experiment.data.batch_size * experiment.trainer.accumulate_grad_batches
    console.print(step_table(profile_step(experiment, data, module, device), samples))


def _patience(experiment: Experiment) -> int | None:
    stopping = experiment.training.early_stopping
    return stopping.patience if stopping else None


def _prepare(
    experiment: Experiment, device: str, console: Console, *, trained: bool = False
) -> tuple[Experiment, TwoTowerData, TrainingModule]:
    """Checks the device, and returns the experiment with its precision settled, its data and its model."""
    requested = experiment.trainer.precision
    experiment = settled_precision(experiment, torch_device(device))
    make_trainer(experiment, device, callbacks=[], logger=False)
    require_devices(experiment, device)
    require_gpu(experiment, torch_device(device))
    console.print(settle_process(torch_device(device)))
    if requested == AUTO:
        console.print(f"precision: {experiment.trainer.precision}, the fastest on this device")
    if advice := precision_advice(experiment, torch_device(device)):
        console.print(advice, soft_wrap=True)
    with console.status(f"loading {experiment.data.name}"):
        data = load_data(experiment)
    module = build_module(experiment, data.schema, trained=trained)
    require_divisible(experiment, module.model)
    console.print(data_table(data))
    console.print(Text(module.model.describe()), soft_wrap=True)
    return experiment, data, module


def _fit(
    experiment: Experiment, data: TwoTowerData, module: TrainingModule, run: RunFolder, device: str, console: Console
) -> None:
    """Trains on the experiment's number of devices; a run without epochs left needs one."""
    size = experiment.trainer.devices if epochs_left(last_checkpoint(run), experiment) else 1
    if size > 1:
        console.print(f"{size} devices: this process and {size - 1} more share each batch")
    with several_ranks(run, size, torch_device(device)) as ranks:
        fit(experiment, data, module, run, device, ranks, console)


def _test_and_report(
    experiment: Experiment, data: TwoTowerData, module: TrainingModule, run: RunFolder, device: str, console: Console
) -> None:
    """Tests the best epoch's weights and writes the results; the report comes last, and marks the run as finished."""
    best = read_checkpoint(run.best)
    load_state(module, best["state_dict"], run.best)
    run.save_weights(module.model, module.loss)
    rows = read_epochs(run)
    metrics = {
        "best_epoch": best["epoch"],
        "epochs": len(rows),
        "train_seconds": round(sum(row["seconds"] for row in rows), 1),
        **evaluate(module, data, experiment, device),
    }
    run.write_json("metrics.json", metrics)
    write_report(run, metrics, module.model)
    console.print(result_table(metrics))
    console.print(f"report: {run.path / REPORT}", soft_wrap=True)
