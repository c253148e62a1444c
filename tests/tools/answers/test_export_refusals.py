"""Failed exports: the message, and that they leave no files."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

from towerzoo.registry import ENCODERS
from towerzoo.tools.export import main
from towerzoo.towers.encoders.embedding import EmbeddingEncoder

pytestmark = pytest.mark.usefixtures("quick_exporter")


class PicksByValue(EmbeddingEncoder):
    """Decides in Python by the values of a tensor, as a custom encoder might."""

    def forward(self, ids):
        return torch.stack([self.embedding.weight[i] * (-1 if i % 2 else 1) for i in ids.tolist()])


@pytest.fixture
def out(tmp_path):
    """An empty folder, which must be empty again after a failure."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def failed_export(invoke, finished_run):
    """Runs a command that must fail; returns its output."""

    def run(to, *options) -> str:
        result = invoke(main, finished_run, "--to", to, *options)
        assert result.exit_code == 1, result.output
        return " ".join(result.output.split())

    return run


def test_a_part_that_cannot_be_exported_is_reported_with_its_code(failed_export, out, monkeypatch):
    monkeypatch.setitem(ENCODERS._parts, "embedding", PicksByValue)
    output = failed_export(out / "deep" / "bundle")
    assert "error: The user tower cannot be exported. " in output
    assert f"{__file__}:" in output
    assert "Compute with torch operators on whole tensors there, or train without that part." in output
    assert list(out.iterdir()) == []


def test_a_run_without_weights_is_refused(failed_export, finished_run, out):
    (finished_run / "model.safetensors").unlink()
    assert f"{finished_run} has no model.safetensors." in failed_export(out / "bundle")
    assert list(out.iterdir()) == []


def test_missing_libraries_are_reported(failed_export, out, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else find(name, *rest))
    assert "onnx must be installed to export, got none. Run pip install 'towerzoo[export]'." in failed_export(out)


def test_only_an_earlier_bundle_is_replaced_and_only_with_force(failed_export, out):
    (out / "file").write_text("mine")
    earlier = out / "earlier"
    earlier.mkdir()
    (earlier / "bundle.json").write_text(json.dumps({"format": "towerzoo-bundle", "version": 0}))
    expected = "error: --to must be a new or empty folder, got "
    assert f"{expected}a bundle in '{earlier}'. Choose another folder, or add --force." in failed_export(earlier)
    assert f"{expected}'{out}' with other files" in failed_export(out, "--force")
    assert f"{expected}the file '{out / 'file'}'" in failed_export(out / "file", "--force")
    assert sorted(path.name for path in out.iterdir()) == ["earlier", "file"]


def test_a_full_disk_leaves_the_earlier_bundle(failed_export, out, room_for):
    bundle = out / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text(json.dumps({"format": "towerzoo-bundle", "version": 1}))
    with room_for(1_000):
        output = failed_export(bundle, "--force")
    assert "File too large" in output
    assert [path.name for path in out.iterdir()] == ["bundle"]
    assert [path.name for path in bundle.iterdir()] == ["bundle.json"]
