from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

import pytest
import yaml

from towerzoo.tools.measure.results import main
from towerzoo.towers.runs import records

MARKED = "# Title ±\n<!-- results:begin -->\nstale\n<!-- results:end -->\nThe end.\n"


@pytest.fixture
def make_run(finished_run: Path, tmp_path: Path):
    """Makes a run of a seed with a test loss, of a clean commit by default."""

    def make(seed: int, loss: float, *, config: str = "tiny", commit: str | None = "0123456789", **metrics) -> Path:
        path = Path(shutil.copytree(finished_run, tmp_path / "made" / f"{config}-{seed}-{loss}"))
        for name, changes in (
            ("environment.json", {"seed": seed, "config": config, "commit": commit}),
            ("metrics.json", {"test": {"loss": loss, "auc": 0.75, "accuracy": 0.5}, **metrics}),
        ):
            file = path / name
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return path

    return make


def test_runs_are_added_by_config_and_seed(invoke, make_run, records_file):
    losses = [0.5, 0.52, 0.57]
    runs = [make_run(seed, loss) for seed, loss in zip((3, 1, 2), losses, strict=True)]
    result = invoke(main, "add", *runs, make_run(1, 0.9, config="other"))
    assert result.exit_code == 0, result.output
    assert result.output == "recorded 4 runs\n"
    content = yaml.safe_load(records_file.read_text())
    assert list(content) == ["tiny", "other"]
    assert [run["seed"] for run in content["tiny"]["runs"]] == [1, 2, 3]
    assert content["tiny"]["runs"][2]["test"] == {"loss": 0.5, "auc": 0.75, "accuracy": 0.5}
    assert content["tiny"]["runs"][2]["commit"] == "0123456789"
    table = invoke(main, "table").output
    mean, spread = statistics.fmean(losses), statistics.stdev(losses)
    assert f"| `tiny.yaml` | {mean:.4f} ± {spread:.4f} | 0.7500 ± 0.0000 | 0.5000 ± 0.0000 | 3 |" in table
    assert "| `other.yaml` | 0.9000 | 0.7500 | 0.5000 | 1 | 2 |" in table
    assert "commit 0123456789; " in table


def test_the_same_seed_replaces(invoke, make_run, records_file):
    assert invoke(main, "add", make_run(1, 0.5), make_run(2, 0.6)).exit_code == 0
    result = invoke(main, "add", make_run(1, 0.4))
    assert result.output == "recorded 1 run\n"
    runs = yaml.safe_load(records_file.read_text())["tiny"]["runs"]
    assert [(run["seed"], run["test"]["loss"]) for run in runs] == [(1, 0.4), (2, 0.6)]


def test_published_figures_and_tolerance_are_kept(invoke, make_run, records_file):
    invoke(main, "add", make_run(1, 0.5))
    content = yaml.safe_load(records_file.read_text())
    published = {"loss": 0.55, "auc": 0.8158, "accuracy": 0.7442}
    tolerance = {"loss": 0.1, "auc": 0.2, "accuracy": 0.3}
    content["tiny"] |= {"published": published, "tolerance": tolerance}
    records_file.write_text(yaml.safe_dump(content, sort_keys=False))
    invoke(main, "add", make_run(2, 0.5))
    kept = yaml.safe_load(records_file.read_text())["tiny"]
    assert (kept["published"], kept["tolerance"]) == (published, tolerance)
    assert "| 0.550 / 0.8158 / 0.7442 |" in invoke(main, "table").output


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"commit": "0123456789+"}, "was not trained at a clean commit but at 0123456789+. Commit, then train."),
        ({"commit": None}, "was not trained at a clean commit but at None."),
        ({"fingerprint": "f" * 12}, f"The run has protocol {'f' * 12}, and the record "),
    ],
)
def test_a_run_that_cannot_be_compared_is_not_recorded(invoke, make_run, records_file, changes, expected):
    invoke(main, "add", make_run(1, 0.5))
    before = records_file.read_bytes()
    result = invoke(main, "add", make_run(3, 0.5), make_run(2, 0.5, **changes))
    assert result.exit_code == 1
    assert expected in result.output
    assert records_file.read_bytes() == before


def test_the_table_is_put_between_the_marks(invoke, make_run, tmp_path, records_file):
    invoke(main, "add", make_run(1, 0.5))
    readme = tmp_path / "README.md"
    readme.write_text(MARKED, encoding="utf-8")
    for _ in range(2):  # writing it again changes nothing
        assert invoke(main, "table", "--write", readme).exit_code == 0
        text = readme.read_text(encoding="utf-8")
        table = invoke(main, "table").output
        assert text == f"# Title ±\n<!-- results:begin -->\n{table}<!-- results:end -->\nThe end.\n"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("nothing\n", "no <!-- results:begin --> and <!-- results:end -->"),
        ("<!-- results:begin -->\n", "no <!-- results:end -->"),
        ("<!-- results:end -->\n<!-- results:begin -->\n", "no <!-- results:end -->"),
    ],
)
def test_missing_marks_are_reported(invoke, tmp_path, records_file, text, missing):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    result = invoke(main, "table", "--write", readme)
    assert result.exit_code == 1
    assert f"{readme} must hold the lines <!-- results:begin --> and, below it, " in result.output
    assert f"got {missing}. Add them" in result.output
    assert readme.read_text() == text


def test_no_records_make_an_empty_table(invoke, records_file):
    result = invoke(main, "table")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) == 2


def test_a_changed_config_is_not_recorded_as_the_shipped_one(invoke, make_run, records_file):
    result = invoke(main, "add", make_run(1, 0.5, config="quickstart"))
    assert result.exit_code == 1
    assert "differs from the shipped config quickstart in " in result.output
    assert "data.users, " in result.output
    assert "seed, " not in result.output.replace("data.seed", "")
    assert not records_file.exists()


@pytest.mark.parametrize("left_open", [True, False])
def test_values_that_a_config_leaves_to_the_device_may_differ(
    invoke, make_run, tiny_config, records_file, monkeypatch, left_open
):
    monkeypatch.setattr(records, "shipped_configs", lambda: [tiny_config])
    if left_open:
        tiny_config.write_text(tiny_config.read_text() + "trainer: {precision: auto}\n")
    run = make_run(1, 0.5)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("precision: 32-true", "precision: bf16-mixed"))
    result = invoke(main, "add", run)
    assert (result.exit_code == 0) is left_open, result.output
    assert ("differs from the shipped config tiny in trainer.precision. " in result.output) is not left_open
