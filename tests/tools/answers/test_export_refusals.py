"""What an export refuses, and that it leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest
import torch

from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ExportError
from towerzoo.tools.export import main
from towerzoo.towers.encoders.embedding import EmbeddingEncoder
from towerzoo.towers.export.check import check_in_fresh_process

pytestmark = pytest.mark.usefixtures("quick_exporter")


class PicksByValue(EmbeddingEncoder):
    """As a person might write it: Python looks at the ids."""

    def forward(self, ids):
        return torch.stack([self.embedding.weight[i] * (-1 if i % 2 else 1) for i in ids.tolist()])


@pytest.fixture
def out(tmp_path):
    """Where nothing lies, and nothing may lie after a failure."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_a_part_that_cannot_be_exported_is_named(invoke, finished_run, out, monkeypatch):
    monkeypatch.setitem(ENCODERS._parts, "embedding", PicksByValue)
    result = invoke(main, finished_run, "--to", out / "deep" / "bundle")
    assert result.exit_code == 1
    assert (
        "error: user_tower.features.user_id must be a part that torch.export and ONNX can hold, got PicksByValue: "
        in result.output
    )
    assert "Let it compute by operators of torch on whole tensors, or train without it." in result.output
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["config.yaml", "schema.json", "users.parquet", "events.parquet", "model.safetensors", "metrics.json"]
)
def test_a_run_that_lacks_a_file_is_refused(invoke, finished_run, out, name):
    (finished_run / name).unlink()
    result = invoke(main, finished_run, "--to", out / "bundle")
    assert result.exit_code == 1
    assert f"{finished_run} must be a run folder with {name}, got one without it." in result.output
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("module", ["onnx", "onnxscript", "onnxruntime"])
def test_software_that_is_missing_is_told(invoke, finished_run, out, monkeypatch, module):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else find(name, *rest))
    result = invoke(main, finished_run, "--to", out / "bundle")
    assert result.exit_code == 1
    assert f"{module} must be installed to export, got none. Run pip install 'towerzoo[export]'." in result.output


def test_a_place_that_is_taken_is_refused(invoke, finished_run, out):
    (out / "file").write_text("mine")
    for to, found in ((out, "with other files"), (out / "file", "the file")):
        for force in ((), ("--force",)):
            result = invoke(main, finished_run, "--to", to, *force)
            assert result.exit_code == 1
            assert "error: --to must be a new or empty folder, got " in result.output
            assert found in result.output
    earlier = out / "earlier"
    earlier.mkdir()
    (earlier / "bundle.json").write_text(json.dumps({"format": "towerzoo-bundle", "version": 0}))
    result = invoke(main, finished_run, "--to", earlier)
    assert result.exit_code == 1
    assert f"got a bundle in '{earlier}'. Choose another folder, or add --force." in " ".join(result.output.split())
    assert sorted(path.name for path in out.iterdir()) == ["earlier", "file"]


@pytest.mark.parametrize("to", [".", "..", ""])
def test_the_current_folder_is_not_replaced(invoke, finished_run, out, monkeypatch, to):
    (out / "empty").mkdir()
    monkeypatch.chdir(out / "empty")
    result = invoke(main, finished_run, "--to", to)
    assert result.exit_code == 1
    assert "error: --to must be another folder than the current one, got '.'" in result.output.replace("..", ".")
    assert [path.name for path in out.iterdir()] == ["empty"]


def test_a_full_disk_leaves_the_earlier_bundle(invoke, finished_run, out, room_for):
    bundle = out / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text(json.dumps({"format": "towerzoo-bundle", "version": 1}))
    with room_for(1_000):
        result = invoke(main, finished_run, "--to", bundle, "--force")
    assert result.exit_code == 1
    assert f"error: {bundle} must be a folder that can be written, got 'File too large'." in result.output
    assert [path.name for path in out.iterdir()] == ["bundle"]
    assert [path.name for path in bundle.iterdir()] == ["bundle.json"]


def test_a_check_that_cannot_run_is_told(finished_run, out, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ExportError, match="the check of the bundle must end, got exit status 1: nothing"):
        check_in_fresh_process(finished_run, out)
