"""Stopping and resuming: the result is bit-equal to a run that never stopped."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from towerzoo.tools.train import main

CLOCK = ("seconds", "samples_per_second")


def run_of(out: Path) -> Path:
    (run,) = out.glob("*/*")
    return run


def history(run: Path) -> list[dict[str, str]]:
    rows = csv.DictReader((run / "epochs.csv").open())
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


def assert_equal_runs(one: Path, other: Path) -> None:
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert history(one) == history(other)


@pytest.fixture
def start(tiny_config, tmp_path):
    """Starts a long run in its own process, and waits for its first checkpoint."""
    processes = []

    def begin(epochs: int) -> tuple[subprocess.Popen, Path]:
        train = [sys.executable, "-m", "towerzoo.tools.train", str(tiny_config), "--out", str(tmp_path / "runs")]
        sets = ["--set", f"training={{max_epochs: {epochs}}}", "--device", "cpu"]
        process = subprocess.Popen([*train, *sets], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        deadline = time.monotonic() + 120
        while not list((tmp_path / "runs").glob("*/*/checkpoints/last.ckpt")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no checkpoint came"
            time.sleep(0.02)
        return process, run_of(tmp_path / "runs")

    yield begin
    for process in processes:
        process.kill()


def test_an_optimizer_of_another_class_starts_from_scratch_and_reports_it(tiny_config, tmp_path, invoke):
    invoke(main, tiny_config, "--out", tmp_path / "runs", "--set", "training={max_epochs: 2}")
    run = run_of(tmp_path / "runs")
    note = "optimizer: Adagrad starts from scratch; the epochs so far were trained with Adam"
    result = invoke(main, "--resume", run, "--set", "optimizer=adagrad", "--set", "training.max_epochs=3")
    assert (result.exit_code, note in result.output) == (0, True), result.output
    (state,) = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"]
    assert {name for values in state["state"].values() for name in values} == {"step", "sum"}
    assert int(state["state"][0]["step"]) == 7  # those of the last epoch alone: 1,600 events in batches of 256
    again = invoke(main, "--resume", run, "--set", "training.max_epochs=4")
    assert (again.exit_code, "starts from scratch" in again.output) == (0, False), again.output


def step_size(run: Path) -> float:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"][0][
        "lr"
    ]


def test_a_schedule_spans_all_epochs_of_a_resumed_run(tiny_config, tmp_path, invoke):
    for out, epochs in (("whole", 2), ("runs", 1)):
        sets = ["--set", "training.schedule=one-cycle", "--set", f"training.max_epochs={epochs}"]
        invoke(main, tiny_config, "--out", tmp_path / out, *sets)
    run = run_of(tmp_path / "runs")
    result = invoke(main, "--resume", run, "--set", "training.max_epochs=2")
    assert result.exit_code == 0, result.output
    assert step_size(run) == step_size(run_of(tmp_path / "whole"))


def test_a_resumed_run_trains_with_the_optimizer_settings_of_its_config(tiny_config, tmp_path, invoke):
    invoke(main, tiny_config, "--out", tmp_path / "runs", "--set", "training={max_epochs: 1}")
    run = run_of(tmp_path / "runs")
    result = invoke(main, "--resume", run, "--set", "training.max_epochs=2", "--set", "optimizer.lr=0.125")
    assert result.exit_code == 0, result.output
    assert step_size(run) == 0.125
    assert "lr: 0.125" in (run / "config.yaml").read_text()


def test_a_moved_run_resumes_and_keeps_its_best_epoch(tiny_config, tmp_path, invoke):
    """The best epoch may lie before the stop; a moved folder must still know it."""
    sets = ["--set", "optimizer.lr=0.3", "--set", "data.interactions=1500", "--set", "training.early_stopping=null"]
    invoke(main, tiny_config, "--out", tmp_path / "whole", *sets, "--set", "training={max_epochs: 5}")
    invoke(main, tiny_config, "--out", tmp_path / "runs", *sets, "--set", "training={max_epochs: 4}")
    moved = run_of(tmp_path / "runs").rename(tmp_path / "moved")
    result = invoke(main, "--resume", moved, "--set", "training.max_epochs=5")
    assert result.exit_code == 0, result.output
    assert_equal_runs(moved, run_of(tmp_path / "whole"))


def test_kill_loses_at_most_an_epoch(start, invoke, tiny_config, tmp_path):
    process, run = start(epochs=2_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(history(run))
    result = invoke(main, "--resume", run, "--set", f"training.max_epochs={finished + 2}")
    assert result.exit_code == 0, result.output
    invoke(main, tiny_config, "--out", tmp_path / "whole", "--set", f"training={{max_epochs: {finished + 2}}}")
    assert_equal_runs(run, run_of(tmp_path / "whole"))


def test_a_signal_saves_and_advises_how_to_resume(start, invoke):
    process, run = start(epochs=2_000)
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM stopped training in epoch" in printed
    assert f"python tools/train.py --resume {run}" in printed
    assert "Traceback" not in printed
    finished = len(history(run))
    result = invoke(main, "--resume", run, "--set", f"training.max_epochs={finished + 1}")
    assert result.exit_code == 0, result.output
    assert len(history(run)) == finished + 1


def test_a_run_that_stopped_early_trains_on_only_with_more_patience(tiny_config, tmp_path, invoke):
    # No two epochs at this step size have the same validation loss.
    sets = ["--set", "optimizer.lr=0.3", "--set", "training={max_epochs: 40, early_stopping: {patience: 1}}"]
    invoke(main, tiny_config, "--out", tmp_path / "early", "--device", "cpu", *sets)
    run = run_of(tmp_path / "early")
    weights, rows = (run / "model.safetensors").read_bytes(), history(run)
    assert len(rows) < 40
    result = invoke(main, "--resume", run)
    assert result.exit_code == 1
    assert f"{run} stopped early with patience 1. To train on, add" in result.output

    for name in ("model.safetensors", "metrics.json", "report.html"):  # as if killed during its test
        (run / name).unlink()
    result = invoke(main, "--resume", run)
    assert result.exit_code == 0, result.output
    assert history(run) == rows
    assert (run / "model.safetensors").read_bytes() == weights
    assert (run / "report.html").exists()

    for more, override in enumerate(("training.early_stopping.patience=99", "training.early_stopping=null"), start=1):
        epochs = f"training.max_epochs={len(rows) + more}"
        result = invoke(main, "--resume", run, "--set", override, "--set", epochs)
        assert result.exit_code == 0, result.output
        assert len(history(run)) == len(rows) + more


def test_a_run_without_epochs_left_is_refused(finished_run, invoke):
    result = invoke(main, "--resume", finished_run)
    assert result.exit_code == 1
    assert "training.max_epochs must be more than the 2 finished epochs of" in result.output
    assert "Add --set training.max_epochs=3 or more." in result.output


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda run: (run / "environment.json").unlink(),
            "has no environment.json.",
        ),
        (lambda run: (run / "config.yaml").unlink(), "has no config.yaml."),
        (lambda run: os.truncate(run / "checkpoints" / "last.ckpt", 1000), "last.ckpt is damaged."),
        (lambda run: (run / "epochs.csv").unlink(), "has no epochs.csv."),
        (lambda run: (run / "schema.json").write_text("{"), "schema.json is damaged: "),
    ],
)
def test_a_damaged_run_is_reported(finished_run, invoke, damage, message):
    damage(finished_run)
    result = invoke(main, "--resume", finished_run, "--set", "training.max_epochs=3")
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("user_tower.features.gender.dim=5", "holds the weights of another architecture. "),
        ("data.users=90", "The dataset's users are not the ones that"),
    ],
)
def test_another_model_or_other_data_cannot_resume(finished_run, invoke, override, message):
    config = (finished_run / "config.yaml").read_text()
    result = invoke(main, "--resume", finished_run, "--set", "training.max_epochs=3", "--set", override)
    assert result.exit_code == 1
    assert message in result.output
    assert (finished_run / "config.yaml").read_text() == config
