from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from towerzoo.registry.config import load_config
from towerzoo.registry.errors import RunError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.runs import folder as run_folder
from towerzoo.towers.runs.documents import Environment, Identity, Metrics, Schema
from towerzoo.towers.runs.folder import FORMAT, VERSION, RunFolder

IDENTITY = {"format": FORMAT, "version": VERSION, "config": "tanh"}
METRICS = {
    "protocol": {"label": "rating >= 4"},
    "fingerprint": "0123456789ab",
    "valid": {"loss": 0.5},
    "test": {"loss": 0.5, "auc": float("nan")},
    "baselines": {"constant": {"loss": 0.7}},
    "best_epoch": 1,
    "epochs": 2,
    "train_seconds": 3.5,
    "test_seconds": 0.5,
}
TABLE = {
    "key": "id",
    "columns": {"id": {"kind": "id", "shape": [2], "sha256": "0", "vocabulary": ["é", 2]}},
    "texts": {},
}
SCHEMA = {"data_digest": "0", "events": {"test": "1:0"}, "streamed": False, "users": TABLE, "items": TABLE}
ENVIRONMENT = IDENTITY | {
    "started": "2026-11-24T03:45:10+00:00",
    "seed": 7,
    "device": "cpu (x)",
    "threads": 2,
    "packages": {"torch": "2.9", "pandas": None},
    "commit": None,
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "tiny")


def read_config(path: Path) -> Experiment:
    return Experiment.model_validate(load_config(path).value)


def test_runs_of_one_second_are_numbered(tmp_path, monkeypatch):
    class Still:
        @classmethod
        def now(cls):
            from datetime import datetime

            return datetime(2026, 11, 24, 3, 45, 10)

    monkeypatch.setattr(run_folder, "datetime", Still)
    names = [RunFolder.create(tmp_path, "tiny").path.name for _ in range(3)]
    assert names == ["2026-11-24T03-45-10", "2026-11-24T03-45-10-2", "2026-11-24T03-45-10-3"]


@pytest.mark.parametrize("out", ["/proc/towerzoo", "a_file", "a_file/deeper"])
def test_a_folder_that_cannot_be_made_is_reported(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("")
    with pytest.raises(RunError, match=rf"^{out}/tiny/\S+ cannot be created: [A-Z].+\. C"):
        RunFolder.create(Path(out), "tiny")


@pytest.mark.parametrize(
    ("document", "content"), [(Metrics, METRICS), (Schema, SCHEMA), (Environment, ENVIRONMENT)], ids=["m", "s", "e"]
)
def test_documents_come_back_with_all_their_keys(run, document, content):
    run.write_json(document.FILE, content | {"devices": [1, "東京"]})
    again = run.read(document).model_dump()
    assert json.dumps(again, sort_keys=True) == json.dumps(content | {"devices": [1, "東京"]}, sort_keys=True)


@pytest.mark.parametrize(
    ("document", "content", "reason"),
    [
        (Metrics, b"", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (Metrics, b'{"a": 1', "Invalid JSON: EOF while parsing an object at line 1 column 7"),
        (Metrics, b"\xff\xfe", "Invalid JSON: "),
        (Metrics, b"[1, 2]", "Input should be an object"),
        (Metrics, METRICS | {"test": {}}, "test: Dictionary should have at least 1 item after validation, not 0"),
        (
            Metrics,
            METRICS | {"test": {"auc": "high"}, "epochs": 2.5, "best_epoch": None},
            "best_epoch: Input should be a valid integer; epochs: Input should be a valid integer; "
            "test.auc: Input should be a valid number",
        ),
        (Identity, {"hello": 1}, "format: Field required; version: Field required; config: Field required"),
        (Environment, ENVIRONMENT | {"packages": []}, "packages: Input should be an object"),
        (Environment, ENVIRONMENT | {"seed": True}, "seed: Input should be a valid integer"),
        (Schema, SCHEMA | {"events": None}, "events: Input should be an object"),
        (Schema, SCHEMA | {"users": {"key": "id"}}, "users.columns: Field required; users.texts: Field required"),
    ],
)
def test_a_damaged_document_is_reported(run, document, content, reason):
    run.write(document.FILE, content if isinstance(content, bytes) else json.dumps(content))
    with pytest.raises(RunError) as caught:
        run.read(document)
    start, end = f"{run.path / document.FILE} is damaged: {reason}", ". Copy the run folder again."
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)


def test_a_file_that_cannot_be_read_is_reported(run, monkeypatch):
    run.write_json("metrics.json", {})

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RunError, match=r"metrics\.json cannot be read: Permission denied\. Change its permissions"):
        run.read(Metrics)


@pytest.mark.parametrize("contiguous", [True, False])
def test_weights_come_back(run, contiguous):
    model, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    model(torch.randn(8, 3))
    if not contiguous:
        model, other = nn.Linear(2, 3), nn.Linear(2, 3)
        model.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
    run.save_weights(model, nn.Identity())
    run.load_weights(other)
    assert {name: t.tolist() for name, t in other.state_dict().items()} == {
        name: t.tolist() for name, t in model.state_dict().items()
    }


def test_damaged_weights_are_reported(run):
    run.write("model.safetensors", b"\x00" * 20)
    with pytest.raises(RunError, match=r"model\.safetensors is damaged: .+\. Copy the run folder again"):
        run.load_weights(nn.Linear(2, 3))


def test_custom_parts_travel_with_the_run(run, tmp_path):
    config = tmp_path / "own.yaml"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "parts.py").write_text(f"FOLDER = {folder!r}\n")
    config.write_text("base: quickstart.yaml\nimports: [a/parts.py, b/parts.py]\n")
    experiment = read_config(config)
    run.save_experiment(experiment)
    for folder in ("a", "b"):
        (tmp_path / folder / "parts.py").unlink()
    again = read_config(run.config)
    assert [Path(source).parent for source in again.imports] == [run.path.resolve() / "imports"] * 2
    assert again.model_dump(exclude={"imports"}) == experiment.model_dump(exclude={"imports"})
    run.save_experiment(again)  # as resuming does
    assert [Path(source).read_text() for source in again.imports] == ["FOLDER = 'a'\n", "FOLDER = 'b'\n"]


def test_a_folder_of_runs_stands_for_the_newest_finished_one(tmp_path):
    runs = tmp_path / "tanh"
    for time in ("2026-11-24T10-00-00", "2026-11-24T09-00-00", "2026-11-24T10-00-00-2", "2026-11-24T10-00-00-10"):
        (runs / time).mkdir(parents=True)
        RunFolder(runs / time).write_json("environment.json", IDENTITY | {"config": time})
        if not time.endswith("-10"):
            (runs / time / "report.html").touch()
    (runs / "2027-not-a-run").mkdir()
    assert RunFolder.open(runs).name == "2026-11-24T10-00-00-2"
    assert RunFolder.open(runs, unfinished=True).name == "2026-11-24T10-00-00-10"
    (runs / "2026-11-24T10-00-00-10" / "report.html").touch()
    assert RunFolder.open(runs).name == "2026-11-24T10-00-00-10"
    assert RunFolder.open(runs / "2026-11-24T09-00-00").name == "2026-11-24T09-00-00"


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_folder_without_runs_is_reported(tmp_path, unfinished):
    with pytest.raises(RunError, match=rf"^{tmp_path} has no environment\.json\. Finish the run with .* --resume, or"):
        RunFolder.open(tmp_path, unfinished=unfinished)


@pytest.mark.parametrize("changes", [{"version": 1}, {"format": "another-run"}])
def test_a_run_of_another_format_says_which_one_wrote_it(tmp_path, changes):
    other = IDENTITY | changes
    RunFolder(tmp_path).write_json("environment.json", other)
    expected = (
        rf"^{tmp_path} was written in format {other['format']} {other['version']}, and this version of TowerZoo "
        rf"reads {FORMAT} {VERSION}\. Train it again, or use the version that wrote it\.$"
    )
    with pytest.raises(RunError, match=expected):
        RunFolder.open(tmp_path)
