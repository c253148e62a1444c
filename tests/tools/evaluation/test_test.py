from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
import yaml

from towerzoo.tools.test import main
from towerzoo.tools.train import main as train

FIGURES = ("valid", "test", "baselines", "protocol", "fingerprint")


@pytest.fixture(autouse=True)
def no_shipped_records(records_file):
    """So that the tests' results are not looked up in the shipped records."""


def metrics_of(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def record_of(run: Path, **changes) -> dict:
    """A record that the run reaches exactly; `loss_offset` moves its expected loss."""
    metrics = metrics_of(run)
    test = metrics["test"] | {"loss": metrics["test"]["loss"] + changes.get("loss_offset", 0.0)}
    return {
        "tolerance": {"loss": 0.004, "auc": 0.002, "accuracy": 0.003},
        "fingerprint": changes.get("fingerprint", metrics["fingerprint"]),
        "runs": [
            {
                "seed": 7,
                "test": test,
                "epochs": 2,
                "seconds": 1.0,
                "device": "cpu",
                "threads": 1,
                "torch": "2",
                "commit": "abc",
                "date": "2026-11-24",
            }
        ],
    }


def test_a_run_tested_again_gives_what_training_stored_to_the_last_bit(invoke, finished_run):
    trained = metrics_of(finished_run)
    result = invoke(main, finished_run, "--device", "cpu")
    tested = metrics_of(finished_run)
    assert result.exit_code == 0, result.output
    assert {key: tested[key] for key in FIGURES} == {key: trained[key] for key in FIGURES}
    assert list(tested) == list(trained)
    assert tested["best_epoch"] == trained["best_epoch"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_run_trained_on_a_gpu_is_tested_alike_on_both_devices(invoke, tiny_config, tmp_path):
    assert invoke(train, tiny_config, "--device", "cuda", "--out", tmp_path / "gpu").exit_code == 0
    (run,) = (tmp_path / "gpu" / "tiny").iterdir()
    trained = metrics_of(run)
    for device in ("cuda", "cpu"):
        assert invoke(main, run, "--device", device).exit_code == 0
        assert metrics_of(run)["fingerprint"] == trained["fingerprint"]
        for metric, value in trained["test"].items():
            assert metrics_of(run)["test"][metric] == pytest.approx(value, abs=0.01)


def test_figures_are_measured_anew_and_stored(invoke, finished_run):
    trained = metrics_of(finished_run)
    stale = trained | {"test": {"loss": 9.0, "auc": 0.0, "accuracy": 0.0}}
    (finished_run / "metrics.json").write_text(json.dumps(stale))
    invoke(main, finished_run, "--device", "cpu")
    assert metrics_of(finished_run)["test"] == trained["test"]


def test_the_weights_that_are_tested_are_those_of_model_safetensors(invoke, finished_run, make_model_of):
    trained = metrics_of(finished_run)
    run, model = make_model_of(finished_run)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.5)
    run.save_weights(model)
    invoke(main, finished_run, "--device", "cpu")
    assert metrics_of(finished_run)["test"]["loss"] != trained["test"]["loss"]
    assert metrics_of(finished_run)["baselines"] == trained["baselines"]


@pytest.fixture
def make_model_of():
    """Rebuilds the model of a run with the run's weights."""
    from towerzoo.towers.model.build import build_model, load_data, read_experiment
    from towerzoo.towers.runs.folder import RunFolder

    def make(path: Path):
        run = RunFolder.open(path)
        experiment, _ = read_experiment(run.config)
        model = build_model(experiment, load_data(experiment).schema)
        run.load_weights(model)
        return run, model

    return make


def test_the_table_shows_the_run_beside_its_baselines(invoke, finished_run):
    output = invoke(main, finished_run, "--device", "cpu").output
    metrics = metrics_of(finished_run)
    for name, figures in {"this run": metrics["test"], **metrics["baselines"]}.items():
        (line,) = (line for line in output.splitlines() if line.startswith(name))
        assert line.split()[-4:] == [f"{figures[metric]:.4f}" for metric in ("loss", "auc", "accuracy", "user_auc")]
    best = max(figures["auc"] for name, figures in metrics["baselines"].items() if name != "best reachable")
    (line,) = (line for line in output.splitlines() if line.startswith("over the best baseline"))
    assert line.split()[-3] == f"{metrics['test']['auc'] - best:+.4f}"
    assert "scored 200 pairs in" in output
    assert "configs/results.yaml has no record of tiny." in output


def test_a_checkpoint_stores_its_figures_beside_itself(invoke, finished_run, tiny_config):
    before = (finished_run / "metrics.json").read_bytes()
    checkpoint = finished_run / "checkpoints" / "best.ckpt"
    result = invoke(main, tiny_config, "--checkpoint", checkpoint, "--device", "cpu")
    assert result.exit_code == 0, result.output
    stored = json.loads((checkpoint.parent / "best.metrics.json").read_text())
    assert {key: stored[key] for key in FIGURES} == {key: json.loads(before)[key] for key in FIGURES}
    assert (finished_run / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "status", "verdict"),
    [
        ({}, 0, "reached"),
        ({"loss_offset": -0.003}, 0, "reached"),  # worse than the mean, within the tolerance
        ({"loss_offset": -0.005}, 1, "missed"),
        ({"loss_offset": +0.5}, 0, "reached"),  # better than the record is no fault
    ],
)
def test_check_compares_with_the_record(invoke, finished_run, records_file, changes, status, verdict):
    records_file.write_text(yaml.safe_dump({"tiny": record_of(finished_run, **changes)}))
    checked = invoke(main, finished_run, "--check", "--device", "cpu")
    (line,) = (line for line in checked.output.splitlines() if line.startswith("loss"))
    assert line.endswith(verdict)
    assert checked.exit_code == status


def test_a_missed_record_is_told_but_no_failure_without_check(invoke, finished_run, records_file):
    records_file.write_text(yaml.safe_dump({"tiny": record_of(finished_run, loss_offset=-1.0)}))
    result = invoke(main, finished_run, "--device", "cpu")
    assert "missed" in result.output
    assert result.exit_code == 0


def test_check_without_a_record_fails(invoke, finished_run):
    result = invoke(main, finished_run, "--check", "--device", "cpu")
    assert result.exit_code == 1
    assert "configs/results.yaml has no record of tiny." in result.output


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--check",), 1)])
def test_a_record_of_another_protocol_is_not_compared_with(invoke, finished_run, records_file, options, status):
    records_file.write_text(yaml.safe_dump({"tiny": record_of(finished_run, fingerprint="0" * 12)}))
    result = invoke(main, finished_run, *options, "--device", "cpu")
    assert result.exit_code == status
    found = metrics_of(finished_run)["fingerprint"]
    assert f"The run has protocol {found}, and the record {'0' * 12}." in result.output
    assert "reached" not in result.output


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


DAMAGES = {
    "missing": Path.unlink,
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "random bytes": lambda path: path.write_bytes(bytes(range(256)) * 40),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["environment.json", "schema.json", "metrics.json", "model.safetensors"])
def test_a_damaged_run_is_refused(invoke, finished_run, name, damage):
    DAMAGES[damage](finished_run / name)
    result = invoke(main, finished_run, "--device", "cpu")
    assert result.exit_code == 1
    if damage == "missing":
        expected = f"error: {finished_run} has no {name}. "
    else:
        expected = f"error: {finished_run / name} is damaged: "
    assert result.output.startswith(expected)
    assert result.output.rstrip().endswith(("copy the whole folder again.", "Copy the run folder again."))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_config_is_refused(invoke, finished_run, damage):
    DAMAGES[damage](finished_run / "config.yaml")
    result = invoke(main, finished_run, "--device", "cpu")
    assert result.exit_code == 1
    assert "config.yaml" in result.output


@pytest.mark.parametrize("name", ["nowhere", "tiny.yaml"])
def test_what_is_no_folder_is_refused(invoke, tmp_path, tiny_config, name):
    result = invoke(main, tmp_path / name)
    assert result.exit_code == 1
    assert f"{tmp_path / name} must be a run folder, got " in result.output


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.seed=1", "The dataset's users are not the ones that"),
        ("data.users=81", "The dataset's users are not the ones that"),
        ("data.interactions=1900", "The dataset's events, labels or split are not the ones that"),
        ("data.label.positive_from=3", "The dataset's events, labels or split are not the ones that"),
        ("data.split.fractions=[0.7,0.2,0.1]", "The dataset's events, labels or split are not the ones that"),
    ],
)
def test_other_data_is_refused_and_the_figures_are_kept(invoke, finished_run, override, expected):
    before = (finished_run / "metrics.json").read_bytes()
    result = invoke(main, finished_run, "--device", "cpu", "--set", override)
    assert result.exit_code == 1
    assert f"{expected} {finished_run} was trained on." in result.output
    assert (finished_run / "metrics.json").read_bytes() == before


def test_weights_of_another_architecture_are_refused(invoke, finished_run):
    result = invoke(main, finished_run, "--device", "cpu", "--set", "user_tower.widths=[16]")
    assert result.exit_code == 1  # a tower of 16 and one of 8
    result = invoke(
        main, finished_run, "--device", "cpu", "--set", "user_tower.widths=[16,8]", "--set", "item_tower.widths=[16,8]"
    )
    assert result.exit_code == 1
    weights = finished_run / "model.safetensors"
    assert f"{weights} must hold the weights of this architecture, got no user_tower.mlp." in result.output
    assert " more. Use the config and the data that it was trained with." in result.output


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def plant_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Bomb(path.with_name("exploded")), "epoch": 1}, protocol=2))


def plant_torch_file(path: Path) -> None:
    torch.save({"state_dict": Bomb(path.with_name("exploded")), "epoch": 1}, path)


DAMAGED, FOREIGN = (
    "must be a whole checkpoint, got a damaged one.",
    "must be a whole checkpoint, got one with more than",
)
ANOTHER = "must be a checkpoint of TowerZoo, got another file."


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(Path.unlink, "must be a checkpoint, got no such file.", id="missing"),
        pytest.param(truncate, DAMAGED, id="truncated early"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-100]), DAMAGED, id="truncated late"),
        pytest.param(DAMAGES["empty"], DAMAGED, id="empty"),
        pytest.param(DAMAGES["random bytes"], FOREIGN, id="random bytes"),
        pytest.param(plant_pickle, FOREIGN, id="pickle that runs code"),
        pytest.param(plant_torch_file, FOREIGN, id="torch file that runs code"),
        pytest.param(lambda path: torch.save({"weight": torch.ones(2)}, path), ANOTHER, id="plain state dict"),
        pytest.param(lambda path: torch.save([1, 2], path), ANOTHER, id="list"),
        pytest.param(lambda path: torch.save({"state_dict": {"a": 1}, "epoch": 1}, path), ANOTHER, id="no tensors"),
        pytest.param(
            lambda path: torch.save({"state_dict": {"a": torch.ones(1)}, "epoch": 1}, path),
            "must hold the weights of this architecture, got no user_tower.",
            id="another model",
        ),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused(invoke, finished_run, tiny_config, damage, expected):
    checkpoint = finished_run / "checkpoints" / "best.ckpt"
    damage(checkpoint)
    result = invoke(main, tiny_config, "--checkpoint", checkpoint, "--device", "cpu")
    assert result.exit_code == 1
    assert f"error: {checkpoint} {expected}" in result.output
    assert "weights_only" not in result.output
    assert not checkpoint.with_name("exploded").exists()
    assert not checkpoint.with_name("best.metrics.json").exists()


@pytest.mark.parametrize("override", ["data.seed=1", "data.split.fractions=[0.7,0.2,0.1]"])
def test_a_checkpoint_in_its_run_is_not_tested_on_other_data(invoke, finished_run, tiny_config, override):
    checkpoint = finished_run / "checkpoints" / "best.ckpt"
    result = invoke(main, tiny_config, "--checkpoint", checkpoint, "--device", "cpu", "--set", override)
    assert result.exit_code == 1
    assert f"are not the ones that {finished_run} was trained on." in result.output
    assert not checkpoint.with_name("best.metrics.json").exists()


def test_a_checkpoint_may_lie_anywhere(invoke, finished_run, tiny_config, tmp_path, monkeypatch):
    (tmp_path / "lonely.ckpt").write_bytes((finished_run / "checkpoints" / "best.ckpt").read_bytes())
    monkeypatch.chdir(tmp_path)
    result = invoke(main, tiny_config, "--checkpoint", "lonely.ckpt", "--device", "cpu")
    assert result.exit_code == 0, result.output
    stored = json.loads((tmp_path / "lonely.metrics.json").read_text())
    assert stored["test"] == metrics_of(finished_run)["test"]


def test_the_planted_pickle_would_execute_code(tmp_path):
    plant_pickle(tmp_path / "best.ckpt")
    pickle.loads((tmp_path / "best.ckpt").read_bytes())
    assert (tmp_path / "exploded").exists()


def test_a_checkpoint_needs_a_config_not_a_run(invoke, finished_run):
    result = invoke(main, finished_run, "--checkpoint", finished_run / "checkpoints" / "best.ckpt")
    assert result.exit_code == 1
    assert f"CONFIG must be a file to test --checkpoint with, got '{finished_run}'." in result.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_told(invoke, finished_run):
    result = invoke(main, finished_run, "--device", "cuda")
    assert result.exit_code == 1
    assert "--device must be a device of this machine, got 'cuda'." in result.output
