from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from towerzoo.registry.errors import RunError
from towerzoo.towers.runs import folder as run_folder
from towerzoo.towers.model.build import read_experiment
from towerzoo.towers.runs.folder import FORMAT, VERSION, RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "tiny")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_runs_of_one_second_are_numbered(tmp_path, monkeypatch):
    class Still:
        @classmethod
        def now(cls):
            from datetime import datetime

            return datetime(2026, 11, 24, 3, 45, 10)

    monkeypatch.setattr(run_folder, "datetime", Still)
    names = [RunFolder.create(tmp_path, "tiny").path.name for _ in range(3)]
    assert names == ["2026-11-24T03-45-10", "2026-11-24T03-45-10-2", "2026-11-24T03-45-10-3"]
    for number in range(4, 100):
        (tmp_path / "tiny" / f"2026-11-24T03-45-10-{number}" / "checkpoints").mkdir(parents=True)
    with pytest.raises(RunError, match=r"tiny must be free for a new run, got 99 runs of this second\. Wait a moment"):
        RunFolder.create(tmp_path, "tiny")


@pytest.mark.parametrize("out", ["/proc/towerzoo", "a_file", "a_file/deeper"])
def test_a_place_where_no_folder_can_be_made_is_told(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("")
    with pytest.raises(
        RunError, match=rf"^{out}/tiny/\S+ must be a folder that can be made, got '.+'\. .* another folder"
    ):
        RunFolder.create(Path(out), "tiny")


def test_json_comes_back(run):
    value = {"text": "Amélie ± 東京", "number": 0.1, "none": None, "list": [1, "a"]}
    run.write_json("metrics.json", value)
    assert run.read_json("metrics.json", "text", "none") == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b'{"a": 1', "Expecting"),
        (b"\xff\xfe", "codec can't decode"),
        (b"[1, 2]", "no JSON object"),
        (b'{"a": 1}', "one without b, c"),
    ],
)
def test_damaged_json_is_told(run, content, reason):
    (run.path / "metrics.json").write_bytes(content)
    with pytest.raises(RunError, match=f"metrics.json must be a whole json file, got .*{reason}.*Copy the run folder"):
        run.read_json("metrics.json", "a", "b", "c")


def test_all_values_of_wrong_types_that_are_asked_for_are_told(run):
    wrong = {
        "test": {"auc": "high", "loss": 0.5},
        "epochs": 2.5,
        "train_seconds": 3,
        "protocol": [1],
        "best_epoch": None,
    }
    run.write_json("metrics.json", wrong)
    with pytest.raises(RunError) as told:
        run.read_json("metrics.json", "test", "epochs", "train_seconds", "best_epoch")
    path = run.path / "metrics.json"
    assert str(told.value).splitlines() == [
        f"{path}: test.auc must be a number, got 'high'. Copy the run folder again.",
        f"{path}: best_epoch must be a whole number, got None. Copy the run folder again.",
        f"{path}: epochs must be a whole number, got 2.5. Copy the run folder again.",
    ]
    assert run.read_json("metrics.json", "train_seconds") == wrong


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("packages", {"numpy": "2"}, "packages.torch must be text, got nothing"),
        ("packages", None, "packages must be a mapping with torch, got None"),
        ("commit", 7, "commit must be text or null, got 7"),
        ("seed", True, "seed must be a whole number, got True"),
    ],
)
def test_a_fact_of_another_type_is_told(run, key, value, reason):
    run.write_json("environment.json", {key: value})
    with pytest.raises(RunError, match=rf"environment\.json: {reason}\. Copy the run folder again\.$"):
        run.read_json("environment.json", key)


def test_a_file_that_cannot_be_read_is_told(run, monkeypatch):
    run.write_json("metrics.json", {})

    def refuse(self, encoding=None):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(RunError, match=r"metrics\.json must be a whole json file, got .*Permission denied"):
        run.read_json("metrics.json")


def test_weights_come_back(run):
    model, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    model(torch.randn(8, 3))
    run.save_weights(model)
    run.load_weights(other)
    assert {name: t.tolist() for name, t in other.state_dict().items()} == {
        name: t.tolist() for name, t in model.state_dict().items()
    }


def test_weights_that_are_no_contiguous_tensors_are_saved(run):
    model = nn.Linear(2, 3)
    model.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
    run.save_weights(model)
    other = nn.Linear(2, 3)
    run.load_weights(other)
    assert torch.equal(other.weight, model.weight)


def test_own_parts_travel_with_the_run(run, tmp_path):
    parts = tmp_path / "my_parts.py"
    parts.write_text("PARTS = 1\n")
    config = tmp_path / "own.yaml"
    config.write_text("base: quickstart.yaml\nimports: [my_parts.py]\n")
    experiment, _ = read_experiment(config)
    run.save_experiment(experiment)
    parts.unlink()
    again, _ = read_experiment(run.config)
    assert again.imports == [str((run.path / "imports" / "my_parts.py").resolve())]
    assert again.model_dump(exclude={"imports"}) == experiment.model_dump(exclude={"imports"})
    run.save_experiment(again)  # as resuming does
    assert (run.path / "imports" / "my_parts.py").read_text() == "PARTS = 1\n"


def test_own_parts_of_one_file_name_are_kept_apart(run, tmp_path):
    config = tmp_path / "own.yaml"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "parts.py").write_text(f"FOLDER = {folder!r}\n")
    config.write_text("base: quickstart.yaml\nimports: [a/parts.py, b/parts.py]\n")
    experiment, _ = read_experiment(config)
    run.save_experiment(experiment)
    again, _ = read_experiment(run.config)
    assert [Path(source).read_text() for source in again.imports] == ["FOLDER = 'a'\n", "FOLDER = 'b'\n"]


def test_a_folder_of_runs_means_the_newest_that_is_finished(tmp_path):
    runs = tmp_path / "tanh"
    for time in ("2026-11-24T10-00-00", "2026-11-24T09-00-00", "2026-11-24T10-00-00-2", "2026-11-24T10-00-00-10"):
        (runs / time).mkdir(parents=True)
        RunFolder(runs / time).write_json("environment.json", {"format": FORMAT, "version": VERSION, "config": time})
        if not time.endswith("-10"):
            (runs / time / "report.html").touch()
    (runs / "2027-not-a-run").mkdir()
    assert RunFolder.open(runs).name == "2026-11-24T10-00-00-2"
    assert RunFolder.open(runs, unfinished=True).name == "2026-11-24T10-00-00-10"
    (runs / "2026-11-24T10-00-00-10" / "report.html").touch()
    assert RunFolder.open(runs).name == "2026-11-24T10-00-00-10"
    assert RunFolder.open(runs / "2026-11-24T09-00-00").name == "2026-11-24T09-00-00"


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_folder_without_runs_is_told(tmp_path, unfinished):
    with pytest.raises(RunError, match=r"must be a run folder with environment\.json, got one without it"):
        RunFolder.open(tmp_path, unfinished=unfinished)


def test_a_run_that_does_not_say_its_config_is_told(tmp_path):
    run = RunFolder(tmp_path)
    run.write_json("environment.json", {"format": FORMAT, "version": VERSION})
    with pytest.raises(RunError, match=r"environment\.json must be a whole json file, got one without config"):
        _ = RunFolder.open(tmp_path).name
