"""The train command: the files of a run, and the errors of bad input."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch

from towerzoo.tools.train import main
from towerzoo.towers import device as precision
from towerzoo.towers.metrics.plan import EvaluationPlan

FILES = {
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "config.yaml",
    "curves.png",
    "environment.json",
    "events.parquet",
    "epochs.csv",
    "items.parquet",
    "metrics.json",
    "model.safetensors",
    "report.html",
    "schema.json",
    "users.parquet",
}


def run_of(out: Path) -> Path:
    (run,) = out.glob("*/*")
    return run


def files_of(run: Path) -> set[str]:
    return {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file() and "tensorboard" not in file.parts}


def test_a_run_holds_every_file(finished_run):
    assert files_of(finished_run) == FILES
    assert list(finished_run.glob("tensorboard/events.out.tfevents.*"))
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert {"protocol", "fingerprint", "valid", "test", "baselines", "best_epoch", "epochs"} <= metrics.keys()
    assert metrics["test"].keys() == metrics["valid"].keys() == {*EvaluationPlan().names}
    assert metrics["baselines"].keys() == {"constant", "item mean", "user + item bias", "best reachable"}


@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, "bf16-mixed"), (2.0, "32-true")])
def test_a_run_keeps_the_precision_that_its_device_chose(tiny_config, tmp_path, invoke, monkeypatch, ratio, chosen):
    monkeypatch.setattr(precision, "bfloat16_ratio", lambda: ratio)
    sets = ["trainer={precision: auto}", "training={max_epochs: 1}"]
    out = ("--device", "cpu", "--out", tmp_path / "runs")
    result = invoke(main, tiny_config, *out, *(part for s in sets for part in ("--set", s)))
    assert result.exit_code == 0, result.output
    assert f"precision: {chosen}, the fastest on this device\n" in result.output
    assert f"precision: {chosen}\n" in (run_of(tmp_path / "runs") / "config.yaml").read_text()


def test_the_tested_weights_are_those_of_the_best_epoch(tiny_config, tmp_path, invoke):
    # A step size that first learns and then overshoots makes the last epoch worse than the best.
    sets = ["optimizer.lr=0.3", "training={max_epochs: 6}", "data.interactions=1500"]
    result = invoke(main, tiny_config, "--out", tmp_path / "runs", *(part for s in sets for part in ("--set", s)))
    assert result.exit_code == 0, result.output
    run = run_of(tmp_path / "runs")
    losses = [float(row["valid/loss"]) for row in csv.DictReader((run / "epochs.csv").open())]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["best_epoch"] == losses.index(min(losses))
    assert metrics["valid"]["loss"] == pytest.approx(min(losses), abs=1e-6)


def test_the_summary_shows_data_towers_epochs_and_results(tiny_config, tmp_path, invoke):
    result = invoke(main, tiny_config, "--out", tmp_path / "runs")
    assert re.search(r"train +1,600 +5\d\.\d\d% +80 +40\n", result.output)
    assert re.search(r"all +2,000 ", result.output)
    for shown in (
        "Linear(in_features=8, out_features=8, bias=True)",
        "parameters in all",
        "epoch   0  train loss",
        "epoch   1  train loss",
        "best reachable",
        str(run_of(tmp_path / "runs")),
    ):
        assert shown in result.output


def test_equal_seeds_give_equal_weights_and_others_do_not(tiny_config, tmp_path, invoke):
    weights = []
    for index, seed in enumerate((1, 1, 2)):
        invoke(main, tiny_config, "--out", tmp_path / str(index), "--seed", seed)
        weights.append((run_of(tmp_path / str(index)) / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_fast_dev_run_saves_nothing(tiny_config, tmp_path, invoke):
    result = invoke(main, tiny_config, "--out", tmp_path / "runs", "--fast-dev-run")
    assert result.exit_code == 0
    assert "nothing was saved" in result.output
    assert not (tmp_path / "runs").exists()


def test_early_stopping_stops(tiny_config, tmp_path, invoke):
    frozen = ["--set", "optimizer={name: sgd, lr: 1e-30}"]
    patience = ["--set", "training={max_epochs: 9, early_stopping: {monitor: valid/auc, patience: 2}}"]
    # Without batch normalisation's moving statistics nothing changes from epoch to epoch, and so nothing gets better.
    plain = [f"--set={tower}.block={{name: linear-act-dropout}}" for tower in ("user_tower", "item_tower")]
    invoke(main, tiny_config, "--out", tmp_path / "runs", *frozen, *patience, *plain)
    assert len((run_of(tmp_path / "runs") / "epochs.csv").read_text().splitlines()) == 1 + 3


def test_a_nan_loss_stops_and_reports_the_step(tiny_config, tmp_path, invoke):
    # A step of 1e30 makes weights of 1e30, whose products overflow.
    sets = ["--set", "optimizer={name: sgd, lr: 1e30}", "--set", "score=dot"]
    plain = [f"--set={tower}.block={{name: linear-act-dropout, act: relu}}" for tower in ("user_tower", "item_tower")]
    result = invoke(main, tiny_config, "--out", tmp_path / "runs", *sets, *plain)
    assert result.exit_code == 1
    assert "The training loss is " in result.output
    assert "in step 2 (epoch 0). Lower optimizer.lr" in result.output


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "training.execution must be eager on a CPU, got 'compile'"),
        (["--profile"], "training.execution must be eager for --profile, got 'compile'"),
    ],
)
def test_useless_compiling_is_refused_before_data_is_read(tiny_config, tmp_path, invoke, options, expected):
    setting = ["--device", "cpu", "--set", "training.execution=compile"]
    result = invoke(main, tiny_config, "--out", tmp_path / "runs", *setting, *options)
    assert result.exit_code == 1
    assert expected in result.output
    assert "loading" not in result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("execution", ["eager", "compile", "cuda-graphs"])
def test_trains_on_a_gpu(tiny_config, tmp_path, invoke, execution):
    setting = f"training.execution={execution}"
    result = invoke(main, tiny_config, "--out", tmp_path / "runs", "--device", "cuda", "--set", setting)
    assert result.exit_code == 0, result.output
    assert files_of(run_of(tmp_path / "runs")) == FILES


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batch_size=1"], "data.batch_size must be at least 2 for blocks with batch normalisation, got 1"),
        (["data.label.positive_from=0"], "The labels of the train split must be of both classes, got only 1"),
        (["data.label.positive_from=9"], "The labels of the train split must be of both classes, got only 0"),
        (
            ["data.label.positive_from=9", "loss=sampled-softmax", "training.early_stopping=null"],
            "The labels of the train split must be 1 for some events, got only 0 in 1,600 events",
        ),
        (
            ["evaluation={ranking: {at: [10, 41]}}"],
            "evaluation.ranking.at must be at most the 40 items of the catalogue, got 41",
        ),
        (["data.interactions=5"], "split is empty|both classes"),
        (["data.split={name: random, fractions: [0.8, 0.1, 0.2]}"], "that sum to 1, got"),
        (
            ["user_tower.features.shoe_size={encoder: embedding, dim: 4}"],
            "must be a feature of the synthetic dataset's",
        ),
        (["user_tower.block.dropout=1.0"], "user_tower.block.dropout must be a number >= 0 and < 1, got 1.0"),
        (["user_tower.widths=[0]"], r"user_tower.widths\[0\] must be a whole number >= 1, got 0"),
        (["item_tower.features.genres={encoder: embedding, dim: 4}"], "must be a feature of single ids"),
        (["trainer={precision: foo}"], "trainer.precision must be 'auto', '32-true', "),
        (["trainer={max_epochs: 3}"], "Set training.max_epochs"),
        (["seed=-1"], "seed must be a whole number >= 0"),
    ],
)
def test_bad_input_is_reported_and_leaves_nothing(tiny_config, tmp_path, invoke, overrides, message):
    sets = [part for override in overrides for part in ("--set", override)]
    result = invoke(main, tiny_config, "--out", tmp_path / "runs", *sets)
    assert result.exit_code == 1
    assert re.search(message, result.output), result.output
    assert not (tmp_path / "runs").exists()


def test_config_and_resume_exclude_each_other(tiny_config, invoke):
    assert invoke(main).exit_code == 2
    assert invoke(main, tiny_config, "--resume", "x").exit_code == 2
    assert invoke(main, "--resume", "x", "--fast-dev-run").exit_code == 2
    assert invoke(main, "--resume", "x", "--profile").exit_code == 2


def test_profile_prints_the_parts_of_a_step_and_saves_nothing(tiny_config, tmp_path, invoke):
    result = invoke(main, tiny_config, "--out", tmp_path / "runs", "--profile")
    assert result.exit_code == 0, result.output
    for part in ("matrix products", "dropout", "optimizer", "samples/s"):
        assert part in result.output
    assert not (tmp_path / "runs").exists()
