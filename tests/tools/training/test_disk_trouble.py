"""Files that cannot be written; a limit on the size of files stands in for a full disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from towerzoo.tools import test, train
from towerzoo.tools.measure import compare, results

FULL = r"cannot be written: File too large. Free space, or choose another path."


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_no_half_files(folder: Path) -> None:
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    assert [name for name in names if name.startswith(".") or name.endswith((".partial", ".tmp"))] == []


@pytest.mark.parametrize(
    ("size", "failing"),
    [(100, "environment.json"), (9_000, "checkpoints/best.ckpt"), (29_000, "curves.png")],
)
def test_training_on_a_full_disk_reports_the_file_and_leaves_no_partial_one(
    invoke, room_for, tiny_config, tmp_path, size, failing
):
    with room_for(size):
        result = invoke(train.main, tiny_config, "--device", "cpu", "--out", tmp_path / "runs")
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    assert result.exit_code == 1
    assert f"error: {run / failing} {FULL}" in result.output
    assert not (run / failing).exists()
    assert_no_half_files(run)


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_resuming_writes_the_last_files_of_a_run(invoke, room_for, tiny_config, tmp_path, finished_run, max_epochs):
    with room_for(29_000):
        invoke(train.main, tiny_config, "--device", "cpu", "--out", tmp_path / "out")
    (run,) = (tmp_path / "out" / "tiny").iterdir()
    assert not (run / "report.html").exists()
    result = invoke(train.main, "--resume", run, "--device", "cpu", "--set", f"training.max_epochs={max_epochs}")
    assert result.exit_code == 0, result.output
    assert "epoch   2" not in result.output, "no epoch is trained beyond the last"
    assert files(run).keys() >= {name for name in files(finished_run) if "tensorboard" not in name}
    expected, found = (json.loads((folder / "metrics.json").read_text()) for folder in (finished_run, run))
    for key in ("test", "valid", "best_epoch", "epochs"):
        assert found[key] == expected[key]
    assert (run / "model.safetensors").read_bytes() == (finished_run / "model.safetensors").read_bytes()


def test_a_finished_run_whose_resuming_failed_can_be_resumed(invoke, room_for, finished_run):
    more = ("--resume", finished_run, "--device", "cpu", "--set", "training.max_epochs=3")
    with room_for(29_000):
        assert invoke(train.main, *more).exit_code == 1
    result = invoke(train.main, *more)
    assert result.exit_code == 0, result.output
    assert json.loads((finished_run / "metrics.json").read_text())["epochs"] == 3
    assert "3 epochs, best epoch" in (finished_run / "report.html").read_text()


def test_testing_on_a_full_disk_keeps_the_previous_metrics(invoke, room_for, finished_run):
    before = files(finished_run)
    with room_for(200):
        result = invoke(test.main, finished_run, "--device", "cpu")
    assert result.exit_code == 1
    assert f"error: {finished_run / 'metrics.json'} {FULL}" in result.output
    assert files(finished_run) == before


def test_comparing_on_a_full_disk_leaves_no_partial_picture(invoke, room_for, finished_run, tmp_path):
    with room_for(200):
        result = invoke(compare.main, finished_run, "--out", tmp_path / "curves.png")
    assert result.exit_code == 1
    assert f"error: {tmp_path / 'curves.png'} {FULL}" in result.output
    assert not (tmp_path / "curves.png").exists()
    assert_no_half_files(tmp_path)


def test_recording_on_a_full_disk_keeps_records_and_readme(invoke, room_for, finished_run, tmp_path, records_file):
    about = finished_run / "environment.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"commit": "0123456789"}))
    assert invoke(results.main, "add", finished_run).exit_code == 0
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    before = files(tmp_path)
    for command, target in ((("add", finished_run), records_file), (("table", "--write", readme), readme)):
        with room_for(200):
            result = invoke(results.main, *command)
        assert result.exit_code == 1
        assert f"error: {target} {FULL}" in result.output
        assert files(tmp_path) == before


@pytest.mark.parametrize("out", ["/proc/towerzoo", "tiny.yaml"])
def test_an_unusable_out_folder_is_reported(invoke, tiny_config, monkeypatch, out):
    monkeypatch.chdir(tiny_config.parent)
    before = files(tiny_config.parent)
    result = invoke(train.main, tiny_config, "--device", "cpu", "--out", out)
    assert result.exit_code == 1
    assert f"error: {out}/tiny/" in result.output
    assert " cannot be created: " in result.output
    assert files(tiny_config.parent) == before
