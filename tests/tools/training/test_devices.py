"""Training on several devices through the command."""

import csv
import json
import re
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from towerzoo.tools.test import main as evaluate
from towerzoo.tools.train import main as train
from towerzoo.towers.training import trainer

PLAIN = [f"{tower}.block={{name: linear-act-dropout, dropout: 0.0}}" for tower in ("user_tower", "item_tower")]
CLOCK = {"seconds", "samples_per_second"}


def sets(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def run_of(out: Path) -> Path:
    (run,) = out.glob("*/*")
    return run


def history(run: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((run / "epochs.csv").open())
    return [{name: float(value) for name, value in row.items() if name not in CLOCK} for row in rows]


def test_two_devices_train_like_one(tiny_config, tmp_path, invoke):
    common = [*sets(*PLAIN, "optimizer={name: sgd, lr: 0.5}"), "--device", "cpu"]
    alone = invoke(train, tiny_config, "--out", tmp_path / "one", *common)
    assert alone.exit_code == 0, alone.output
    one_epoch = sets("training.max_epochs=1", "trainer.devices=2")
    result = invoke(train, tiny_config, "--out", tmp_path / "two", *common, *one_epoch)
    assert result.exit_code == 0, result.output
    assert "2 devices: this process and 1 more share each batch" in result.output
    assert result.output.count("epoch   0  train loss") == 1
    one, two = run_of(tmp_path / "one"), run_of(tmp_path / "two")
    files = [sorted(str(file.relative_to(run)) for file in run.rglob("*") if "events.out" not in file.name)
             for run in (one, two)]  # fmt: skip
    assert files[0] == files[1]
    assert len(list(two.glob("tensorboard/events.out.tfevents.*"))) == 1
    assert json.loads((two / "environment.json").read_text())["devices"] == 2
    # What is left is trained on one device; how many they are changes nothing.
    resumed = invoke(train, "--resume", two, "--device", "cpu", *sets("training.max_epochs=2", "trainer.devices=1"))
    assert resumed.exit_code == 0, resumed.output
    weights = [safetensors.torch.load_file(run / "model.safetensors") for run in (one, two)]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)
    for row, other in zip(history(one), history(two), strict=True):
        assert other == pytest.approx(row, rel=1e-3)
    assert invoke(evaluate, two, "--device", "cpu").exit_code == 0
    figures = [json.loads((run / "metrics.json").read_text())["test"] for run in (one, two)]
    assert figures[1] == pytest.approx(figures[0], rel=1e-3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.devices=auto"], "trainer.devices must be a whole number >= 1, got 'auto'."),
        (["trainer.devices=-1"], "trainer.devices must be a whole number >= 1, got -1"),
        (["trainer.devices=true"], "trainer.devices must be a whole number >= 1, got True"),
        (["trainer.strategy=ddp"], "must be a known key, got 'strategy'.\n    TowerZoo divides batches itself"),
        (
            ["trainer.devices=4", "data.batch_size=3"],
            "data.batch_size must be at least the 4 of trainer.devices, got 3",
        ),
        (
            ["trainer.devices=2", "trainer.precision=16-mixed"],
            "trainer.precision must be one of bfloat16 or float32 where several devices train, got '16-mixed'",
        ),
        (
            ["trainer.devices=2", "user_tower.block=linear-bn-tanh-dropout"],
            "the towers' blocks must be without batch normalisation where several devices train, got 'blocks with it'",
        ),
        (
            ["trainer.devices=2", "training.unique=true", "user_tower.features.user_id.penalty=0.1"],
            "the penalty of encoder 'embedding' must be 0 where several devices train on distinct users and items",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_indivisible_settings_are_reported_and_leave_nothing(tiny_config, tmp_path, invoke, overrides, message):
    result = invoke(train, tiny_config, "--out", tmp_path / "runs", "--device", "cpu", *sets(*PLAIN, *overrides))
    assert result.exit_code == 1
    assert message in re.sub(r"\S+ \(--set\): ", "", result.output), result.output
    assert not (tmp_path / "runs").exists()


def test_an_indivisible_run_cannot_resume_on_several_devices(finished_run, invoke):
    config = (finished_run / "config.yaml").read_text()
    more = sets("training.max_epochs=3", "trainer.devices=2")
    result = invoke(train, "--resume", finished_run, "--device", "cpu", *more)
    assert result.exit_code == 1
    assert "must be without batch normalisation where several devices train" in result.output
    assert (finished_run / "config.yaml").read_text() == config


def test_more_devices_than_gpus_are_reported(monkeypatch, make_experiment):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    message = r"trainer.devices must be at most the 1 GPUs that torch finds, got 2. Lower it, or use --device cpu"
    with pytest.raises(trainer.TrainingError, match=message):
        trainer.require_devices(make_experiment(trainer={"devices": 2}), "cuda")


def test_a_rank_that_cannot_start_is_reported_with_its_output(tiny_config, tmp_path, invoke, monkeypatch):
    monkeypatch.setattr(
        "towerzoo.towers.training.rank_processes.sys", type("", (), {"executable": "/bin/false", "stderr": sys.stderr})
    )
    result = invoke(
        train, tiny_config, "--out", tmp_path / "runs", "--device", "cpu", *sets(*PLAIN, "trainer.devices=2")
    )
    assert result.exit_code == 1
    assert "The process of rank 1 ended with exit status 1. Fix its error and continue with --resume" in result.output


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="this machine has fewer than two GPUs")
def test_two_gpus_train_to_the_weights_of_one(tiny_config, tmp_path, invoke):
    softmax = ["label={positive_from: 1}", "split=leave-last-out"]
    common = sets(*PLAIN, *(f"data.{part}" for part in softmax), "loss=sampled-softmax", "training={max_epochs: 2}",
                  "optimizer={name: sgd, lr: 0.5}", "data.batch_size=24")  # fmt: skip
    for devices in (1, 2):
        out = tmp_path / str(devices)
        result = invoke(
            train, tiny_config, "--out", out, "--device", "cuda", *common, *sets(f"trainer.devices={devices}")
        )
        assert result.exit_code == 0, result.output
    one, two = (safetensors.torch.load_file(run_of(tmp_path / n) / "model.safetensors") for n in ("1", "2"))
    torch.testing.assert_close(two, one, rtol=1e-2, atol=1e-3)  # products are of TF32
