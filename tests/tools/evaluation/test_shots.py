"""`tools/test.py --shots`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from towerzoo.tools import train
from towerzoo.tools.test import main


@pytest.fixture
def run(invoke, tiny_config: Path, tmp_path: Path) -> Path:
    history = "user_tower.features.met={encoder: history, dim: 4}"
    out = ("--device", "cpu", "--out", tmp_path / "runs", "--set", "training.max_epochs=1", "--set", history)
    result = invoke(train.main, tiny_config, *out)
    assert result.exit_code == 0, result.output
    (run,) = (tmp_path / "runs" / "tiny").iterdir()
    return run


def test_figures_are_shown_stored_and_drawn(invoke, run):
    report = (run / "report.html").read_text()
    assert "New users" not in report
    before = json.loads((run / "metrics.json").read_text())
    result = invoke(main, run, "--shots", "4,0, 1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics["shots"]) == ["0", "1", "4", "all"]
    assert metrics["test"] == before["test"], "those of the run as it is"
    for figures in metrics["shots"].values():
        assert f"{figures['auc']:.4f}" in result.output
    page = (run / "report.html").read_text()
    assert page.count("<img") == report.count("<img") + 1
    for k, figures in metrics["shots"].items():
        assert f"<tr><td>{k}</td>" in page
        assert f"{figures['loss']:.4f}" in page

    plain = invoke(main, run, "--device", "cpu")
    assert "events of a new user" in result.output
    assert "events of a new user" not in plain.output

    (run / "report.html").unlink()
    invoke(main, run, "--shots", "1", "--device", "cpu")
    assert not (run / "report.html").exists(), "it would say that nothing is left to finish"


def test_a_run_without_a_history_is_refused_before_its_data_is_read(invoke, finished_run):
    before = (finished_run / "metrics.json").read_bytes()
    result = invoke(main, finished_run, "--shots", "0,1", "--device", "cpu", "--set", "data.interactions=999999999999")
    assert result.exit_code == 1
    assert "--shots must be given with a run whose user tower has a history encoder" in result.output
    assert (finished_run / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("text", ["1,x", "-1", "", "1.5", "²"])
def test_other_than_numbers_of_events_are_refused(invoke, finished_run, text):
    result = invoke(main, finished_run, f"--shots={text}")
    assert result.exit_code == 2
    assert f"must be whole numbers >= 0, got {text!r}. Write them as 0,1,2,4." in result.output


def test_a_checkpoint_has_no_shots(invoke, finished_run):
    result = invoke(main, finished_run, "--shots", "1", "--checkpoint", "x.ckpt")
    assert result.exit_code == 2
    assert "--mask, --by and --shots take a RUN" in result.output
