from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from towerzoo.tools.measure.compare import main

PNG = b"\x89PNG\r\n\x1a\n"


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def other_run(finished_run: Path, tmp_path: Path) -> Path:
    """A run of another config on the same protocol, with a better loss and a worse AUC."""
    path = Path(shutil.copytree(finished_run, tmp_path / "runs" / "other" / finished_run.name))
    change_json(path / "environment.json", config="other")
    test = json.loads((path / "metrics.json").read_text())["test"]
    change_json(path / "metrics.json", best_epoch=0, test=test | {"loss": 0.1234, "auc": 0.0567})
    return path


def test_one_table_and_one_picture(invoke, finished_run, other_run, tmp_path):
    picture = tmp_path / "curves.png"
    result = invoke(main, finished_run, other_run, "--out", picture)
    assert result.exit_code == 0, result.output
    head, first, second, last = result.output.splitlines()
    assert head.split("  ")[0] == "run"
    test = json.loads((finished_run / "metrics.json").read_text())["test"]
    figures = [f"{test[metric]:.4f}" for metric in ("loss", "auc", "accuracy")]
    assert first.split() == ["tiny", "1", *figures]
    assert second.split() == ["other", "0", "0.1234", "0.0567", figures[2]]
    assert last == f"curves: {picture}"
    assert picture.read_bytes().startswith(PNG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "runs"]


def test_labels_are_as_short_as_possible(invoke, finished_run, tmp_path):
    later = shutil.copytree(finished_run, finished_run.with_name("later"))
    same_time = shutil.copytree(finished_run, tmp_path / "elsewhere" / "tiny" / finished_run.name)
    out = ("--out", tmp_path / "c.png")
    rows = invoke(main, finished_run, later, *out).output.splitlines()[1:3]
    assert [row.split()[:2] for row in rows] == [["tiny", finished_run.name], ["tiny", "later"]]
    output = invoke(main, finished_run, same_time, *out).output
    assert len(output.splitlines()) >= 4, "runs of one config and time are still two runs"
    shutil.rmtree(later)
    for again in (finished_run, finished_run.parent):
        once = invoke(main, finished_run, again, *out).output.splitlines()
        assert [row.split()[0] for row in once] == ["run", "tiny", "curves:"]


def test_other_protocols_are_refused_naming_the_fields(invoke, finished_run, other_run, tmp_path):
    protocol = json.loads((other_run / "metrics.json").read_text())["protocol"]
    change_json(other_run / "metrics.json", protocol=protocol | {"label": "rating >= 3", "seen_items": "left out"})
    result = invoke(main, finished_run, other_run, "--out", tmp_path / "c.png")
    assert result.exit_code == 1
    assert (
        "error: The protocols of tiny and other differ in label, seen_items, so their results cannot be compared."
        in result.output
    )
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize("name", ["metrics.json", "epochs.csv"])
def test_an_unfinished_run_is_refused(invoke, finished_run, other_run, tmp_path, name):
    (other_run / name).unlink()
    result = invoke(main, finished_run, other_run, "--out", tmp_path / "c.png")
    assert result.exit_code == 1
    assert f"{other_run} has no {name}." in result.output


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("metrics.json", {"best_epoch": {}}, "best_epoch: Input should be a valid integer"),
        ("environment.json", {"config": ["tiny"]}, "config: Input should be a valid string"),
    ],
)
def test_a_value_of_a_wrong_type_is_reported_with_its_file_and_key(
    invoke, finished_run, other_run, tmp_path, name, changes, reason
):
    change_json(other_run / name, **changes)
    result = invoke(main, finished_run, other_run, "--out", tmp_path / "c.png")
    assert result.exit_code == 1
    assert result.output == f"error: {other_run / name} is damaged: {reason}. Copy the run folder again.\n"


def test_a_run_without_one_of_the_figures_has_none_in_the_table(invoke, finished_run, other_run, tmp_path):
    change_json(other_run / "metrics.json", test={"loss": 0.1234})
    result = invoke(main, finished_run, other_run, "--out", tmp_path / "c.png")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[2].split() == ["other", "0", "0.1234", "-", "-"]


def test_a_damaged_log_of_epochs_is_reported(invoke, finished_run, tmp_path):
    (finished_run / "epochs.csv").write_text("a,b\n1,2\n")
    result = invoke(main, finished_run, "--out", tmp_path / "c.png")
    assert result.exit_code == 1
    assert f"{finished_run / 'epochs.csv'} is damaged: it has no column epoch, " in result.output


@pytest.mark.parametrize("out", ["/proc/towerzoo/curves.png", "missing/curves.png", "."])
def test_a_picture_that_cannot_be_written_is_reported(invoke, finished_run, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    result = invoke(main, finished_run, "--out", out)
    assert result.exit_code == 1
    assert f"error: {Path(out)} cannot be written: " in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == before
