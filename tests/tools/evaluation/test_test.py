from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
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


def test_a_run_tested_again_has_the_figures_of_training_to_the_last_bit(invoke, finished_run):
    trained = metrics_of(finished_run)
    stale = trained | {"test": {"loss": 9.0, "auc": 0.0, "accuracy": 0.0}}
    (finished_run / "metrics.json").write_text(json.dumps(stale))
    result = invoke(main, finished_run, "--device", "cpu")
    assert result.exit_code == 0, result.output
    tested = metrics_of(finished_run)
    assert list(tested) == list(trained)
    assert tested | {"test_seconds": trained["test_seconds"]} == trained


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_run_trained_on_a_gpu_has_the_same_figures_on_both_devices(invoke, tiny_config, tmp_path):
    assert invoke(train, tiny_config, "--device", "cuda", "--out", tmp_path / "gpu").exit_code == 0
    (run,) = (tmp_path / "gpu" / "tiny").iterdir()
    trained = metrics_of(run)
    for device in ("cuda", "cpu"):
        assert invoke(main, run, "--device", device).exit_code == 0
        assert metrics_of(run)["fingerprint"] == trained["fingerprint"]
        for metric, value in trained["test"].items():
            assert metrics_of(run)["test"][metric] == pytest.approx(value, abs=0.01)


def test_the_weights_of_model_safetensors_are_tested(invoke, finished_run):
    trained = metrics_of(finished_run)
    path = finished_run / "model.safetensors"
    state = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: -1.5 * state[name] if "weight" in name else state[name] for name in state}, path)
    invoke(main, finished_run, "--device", "cpu")
    assert metrics_of(finished_run)["test"]["loss"] != trained["test"]["loss"]
    assert metrics_of(finished_run)["baselines"] == trained["baselines"]


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
    ("options", "changes", "status", "shown"),
    [
        (("--check",), {}, 0, "reached"),
        (("--check",), {"loss_offset": -0.003}, 0, "reached"),  # worse than the mean, within the tolerance
        (("--check",), {"loss_offset": -0.005}, 1, "missed"),
        (("--check",), {"loss_offset": +0.5}, 0, "reached"),  # better than the record
        ((), {"loss_offset": -1.0}, 0, "missed"),
        (("--check",), None, 1, "configs/results.yaml has no record of tiny."),
        ((), {"fingerprint": "0" * 12}, 0, f", and the record {'0' * 12}."),
        (("--check",), {"fingerprint": "0" * 12}, 1, f", and the record {'0' * 12}."),
    ],
)
def test_a_run_is_compared_with_its_record(invoke, finished_run, records_file, options, changes, status, shown):
    if changes is not None:
        records_file.write_text(yaml.safe_dump({"tiny": record_of(finished_run, **changes)}))
    result = invoke(main, finished_run, *options, "--device", "cpu")
    assert result.exit_code == status
    assert shown in result.output
    assert ("against the record" in result.output) is (shown in ("reached", "missed"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        ("metrics.json", Path.unlink, "{run} has no metrics.json. Finish the run with tools/train.py --resume, or"),
        ("schema.json", truncate, "{run}/schema.json is damaged: Invalid JSON"),
        ("model.safetensors", truncate, "{run}/model.safetensors is damaged: "),
        ("config.yaml", truncate, "{run}/config.yaml"),
    ],
)
def test_a_damaged_run_is_refused(invoke, finished_run, name, damage, expected):
    damage(finished_run / name)
    result = invoke(main, finished_run, "--device", "cpu")
    assert result.exit_code == 1
    assert expected.format(run=finished_run) in result.output


@pytest.mark.parametrize("name", ["nowhere", "tiny.yaml"])
def test_a_path_that_is_not_a_folder_is_refused(invoke, tmp_path, tiny_config, name):
    result = invoke(main, tmp_path / name)
    assert result.exit_code == 1
    assert f"{tmp_path / name} must be a run folder, got " in result.output


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.users=81", "The dataset's users are not the ones that"),
        ("data.label.positive_from=3", "The dataset's events, labels or split are not the ones that"),
    ],
)
def test_other_data_is_refused_and_the_figures_are_kept(invoke, finished_run, override, expected):
    before = (finished_run / "metrics.json").read_bytes()
    result = invoke(main, finished_run, "--device", "cpu", "--set", override)
    assert result.exit_code == 1
    assert f"{expected} {finished_run} was trained on." in result.output
    assert (finished_run / "metrics.json").read_bytes() == before


def test_weights_of_another_architecture_are_refused(invoke, finished_run):
    widths = [option for side in ("user", "item") for option in ("--set", f"{side}_tower.widths=[16,8]")]
    result = invoke(main, finished_run, "--device", "cpu", *widths)
    assert result.exit_code == 1
    weights = finished_run / "model.safetensors"
    assert f"{weights} holds the weights of another architecture. Missing key(s) in " in result.output
    assert "user_tower.mlp." in result.output


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (truncate, "error: The checkpoint {} is damaged. Copy it again, or use another."),
        (
            lambda path: torch.save({"state_dict": {"a": torch.ones(1)}, "epoch": 1}, path),
            'error: {} holds the weights of another architecture. Missing key(s) in state_dict: "model.user_tower.',
        ),
    ],
    ids=["damaged", "another model"],
)
def test_a_damaged_or_foreign_checkpoint_is_refused(invoke, finished_run, tiny_config, damage, expected):
    checkpoint = finished_run / "checkpoints" / "best.ckpt"
    damage(checkpoint)
    result = invoke(main, tiny_config, "--checkpoint", checkpoint, "--device", "cpu")
    assert result.exit_code == 1
    assert expected.format(checkpoint) in result.output
    assert not checkpoint.with_name("best.metrics.json").exists()


def test_a_checkpoint_in_its_run_is_not_tested_on_other_data(invoke, finished_run, tiny_config):
    checkpoint = finished_run / "checkpoints" / "best.ckpt"
    result = invoke(main, tiny_config, "--checkpoint", checkpoint, "--device", "cpu", "--set", "data.seed=1")
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


def test_a_checkpoint_needs_a_config_not_a_run(invoke, finished_run):
    result = invoke(main, finished_run, "--checkpoint", finished_run / "checkpoints" / "best.ckpt")
    assert result.exit_code == 1
    assert f"CONFIG must be a file with --checkpoint, got the folder '{finished_run}'." in result.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_device_is_reported(invoke, finished_run):
    result = invoke(main, finished_run, "--device", "cuda")
    assert result.exit_code == 1
    assert "--device must be a device of this machine, got 'cuda'." in result.output


def test_all_unknown_columns_are_reported_at_once(invoke, finished_run):
    before = (finished_run / "metrics.json").read_bytes()
    options = ("--mask", "gendr", "--mask", "title", "--mask", "popularity", "--by", "titel", "--by", "gender")
    result = invoke(main, finished_run, *options, "--device", "cpu")
    assert result.exit_code == 1
    first, second, third = result.output.splitlines()
    assert first.startswith("error: --mask must be a column of users or items, got 'gendr'. Did you mean 'gender'?")
    assert second.startswith("--mask must be a column of users or items, got 'popularity'. Known: age,")
    assert third.startswith("--by must be a column of ids of users or items, got 'titel'. Did you mean 'title'? Known:")
    assert (finished_run / "metrics.json").read_bytes() == before


def test_a_masked_test_differs_and_stores_nothing(invoke, finished_run):
    before = metrics_of(finished_run)
    result = invoke(main, finished_run, "--mask", "movie_id", "--mask", "user_id", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "hidden from the model: movie_id, user_id; nothing was stored." in result.output
    assert metrics_of(finished_run) == before
    assert f"{before['test']['loss']:.4f}" not in result.output.split("constant")[0]


def test_slices_are_shown_and_stored(invoke, finished_run):
    result = invoke(main, finished_run, "--by", "gender", "--device", "cpu")
    assert result.exit_code == 0, result.output
    stored = metrics_of(finished_run)["slices"]["gender"]
    assert set(stored) == {"F", "M"}
    assert f"{stored['F']['auc']:.4f}" in result.output


def test_figures_of_new_users_are_shown_stored_and_drawn(invoke, tiny_config, tmp_path):
    history = "user_tower.features.seen={encoder: history, dim: 4}"
    out = ("--device", "cpu", "--out", tmp_path / "runs", "--set", "training.max_epochs=1", "--set", history)
    assert invoke(train, tiny_config, *out).exit_code == 0
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    report, before = (run / "report.html").read_text(), metrics_of(run)
    assert "New users" not in report
    result = invoke(main, run, "--shots", "4,0, 1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "events of a new user" in result.output
    metrics, page = metrics_of(run), (run / "report.html").read_text()
    assert list(metrics["shots"]) == ["0", "1", "4", "all"]
    assert metrics["test"] == before["test"], "the figures of the unchanged run"
    assert page.count("<img") == report.count("<img") + 1
    for k, figures in metrics["shots"].items():
        assert f"{figures['auc']:.4f}" in result.output
        assert f"<tr><td>{k}</td>" in page
    (run / "report.html").unlink()
    invoke(main, run, "--shots", "1", "--device", "cpu")
    assert not (run / "report.html").exists(), "a report marks a run as finished"


def test_a_run_without_a_history_is_refused_before_its_data_is_read(invoke, finished_run):
    result = invoke(main, finished_run, "--shots", "0,1", "--device", "cpu", "--set", "data.interactions=999999999999")
    assert result.exit_code == 1
    assert "--shots needs a run whose user tower has a history encoder" in result.output


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--shots=1,x",), "must be whole numbers >= 0, got '1,x'. Write them as 0,1,2,4."),
        (("--shots=",), "must be whole numbers >= 0, got ''."),
        (("--shots=²",), "must be whole numbers >= 0, got '²'."),
        (("--checkpoint", "x.ckpt", "--by", "gender"), "--mask, --by and --shots need a RUN; they cannot be used with"),
        (("--checkpoint", "x.ckpt", "--shots", "1"), "--mask, --by and --shots need a RUN; they cannot be used with"),
        (("--mask", "gender", "--check"), "--check compares the unmasked run; it cannot be used with --mask."),
    ],
)
def test_usage_errors(invoke, finished_run, options, expected):
    result = invoke(main, finished_run, *options)
    assert result.exit_code == 2
    assert expected in " ".join(result.output.split())
