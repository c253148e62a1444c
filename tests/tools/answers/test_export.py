"""The bundle of a run with every encoder."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ExportError
from towerzoo.tools.export import main
from towerzoo.towers.export.check import check
from towerzoo.towers.export.reader import Bundle
from towerzoo.towers.recommend.recommender import Recommender

pytestmark = pytest.mark.usefixtures("quick_exporter")

CONFIG = """\
seed: 7
data:
  name: synthetic
  users: 60
  items: 40
  interactions: 1500
  label: {column: rating, positive_from: 4}
  split: {name: temporal, fractions: [0.8, 0.1, 0.1]}
  batch_size: 512
user_tower:
  features:
    user_id: {encoder: hashed-embedding, dim: 4, buckets: 20, hashes: 2}
    gender: {encoder: pretrained, path: VECTORS, dim: 4}
    age: {encoder: bucketized, dim: 4, buckets: 3}
    occupation: {encoder: embedding, dim: 4}
    events: {encoder: history, dim: 4, last: 5, by: label, pooling: {name: recency, slots: 5}}
  block: linear-bn-tanh-dropout
  widths: [8]
item_tower:
  features:
    movie_id: {encoder: numeric, transform: quantile}
    genres: {encoder: embedding-bag, dim: 4, max_length: 3}
    title: {encoder: letter-trigrams, dim: 4, pooling: sqrtn}
  block: linear-act-dropout
  widths: [8]
score: {name: dot, user_bias: true, item_bias: true, global_bias: true}
loss: bce-with-logits
optimizer: {name: adam, lr: 1e-2}
training: {max_epochs: 1}
"""
FILES = {
    *("README.md", "bundle.json", "vocabularies.json", "items.json", "reader.py"),
    *(f"{side}_tower.{kind}" for side in ("user", "item") for kind in ("onnx", "pt2")),
    *("item_vectors.npy", "item_vectors.parquet", "item_vectors_int8.npy", "item_scales.npy"),
}
NO_TORCH = """\
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "towerzoo", "pandas", "pyarrow", "onnx", "onnxscript"):
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, invoke) -> Path:
    from towerzoo.tools.train import main as train

    folder = tmp_path_factory.mktemp("every_encoder")
    np.savez(folder / "vectors.npz", ids=["F", "M"], vectors=np.arange(8.0).reshape(2, 4))
    config = folder / "every.yaml"
    config.write_text(CONFIG.replace("VECTORS", str(folder / "vectors.npz")))
    named = yaml.safe_load(config.read_text())
    used = {spec["encoder"] for tower in ("user_tower", "item_tower") for spec in named[tower]["features"].values()}
    assert used == set(ENCODERS.names()), "add new encoders to CONFIG"
    result = invoke(train, config, "--device", "cpu", "--out", folder / "runs")
    assert result.exit_code == 0, result.output
    (path,) = (folder / "runs" / "every").iterdir()
    return path


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory, invoke) -> Path:
    """The exported bundle."""
    to = tmp_path_factory.mktemp("bundles") / "deep" / "every"
    result = invoke(main, run, "--to", to)
    assert result.exit_code == 0, result.output
    assert "user tower: user_id, gender, age, occupation, events to 10 factors" in result.output
    assert f"bundle: {to} (format 1, opset 18); start with its README.md" in result.output
    return to


@pytest.fixture
def bundle(folder) -> Bundle:
    return Bundle(folder)


@pytest.fixture(scope="module")
def recommender(run) -> Recommender:
    return Recommender.open(run)


def test_the_bundle_is_complete_and_describes_itself(run, folder):
    assert {file.name for file in folder.iterdir()} == FILES
    assert [file.name for file in folder.parent.iterdir()] == ["every"], "no temporary files remain"
    about = json.loads((folder / "bundle.json").read_text())
    assert (about["format"], about["version"], about["opset"]) == ("towerzoo-bundle", 1, 18)
    assert about["run"] == f"every/{run.name}"
    assert about["fingerprint"] == json.loads((run / "metrics.json").read_text())["fingerprint"]
    assert (about["parity"]["users"], about["parity"]["items"]) == (61, 41)
    assert max(about["parity"]["onnx"], about["parity"]["program"]) <= about["parity"]["tolerance"] == 1e-5
    assert about["int8_recall"].keys() == {"10"}, "the catalogue has fewer than 100 items"


def test_the_readme_example_runs_without_torch(folder):
    readme = (folder / "README.md").read_text()
    code = "".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH + code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    *items, last = done.stdout.splitlines()
    assert len(items) == 10
    assert last.startswith("logit of the new item: ")


def test_the_bundle_recommends_the_same_items_as_the_run(bundle, recommender):
    user = {"user_id": 7, "occupation": None, "gender": "?", "events": [(3, 1), (999, 0)]}
    model, n_items = recommender.model, len(recommender.items)
    row = torch.tensor([recommender.users.ids.row(7)])
    columns = {name: values.clone() for name, values in model.user_tower.inputs(row).items()}
    for name in ("gender", "age", "occupation"):
        columns[name][:] = 0
    columns["events"][:] = torch.tensor([[recommender.items.ids.row(3) + n_items, 0, -1, -1, -1]])
    factors = model.score.user_factors(model.user_tower.encode(columns), row)
    logits = (factors @ recommender.item_vectors.factors[1:].T)[0].detach()
    expected = {recommender.items.ids.values[row]: logits[row].item() for row in logits.topk(6).indices.tolist()}
    best = next(iter(expected))
    actual = dict(bundle.recommend(user, k=5, exclude=[best, "nothing"]))
    assert list(actual) == list(expected)[1:]
    assert list(actual.values()) == pytest.approx(list(expected.values())[1:], abs=1e-5)


def test_ties_keep_the_order_of_items(bundle, monkeypatch):
    monkeypatch.setattr(bundle, "_vectors", np.zeros_like(bundle._vectors))
    ids = bundle.items["id"]
    assert [item for item, _ in bundle.recommend({}, 3, exclude=[ids[1]])] == [ids[0], *ids[2:4]]


def test_a_new_item_gets_a_vector_from_its_features(bundle, recommender):
    row = 5
    title, genres = recommender.items.texts["title"][row], recommender.items.columns["genres"]
    raw = {"title": title, "genres": genres.vocabulary.decode([id for id in genres.values[row].tolist() if id])}
    model = recommender.model
    columns = model.item_tower.inputs(torch.tensor([row]))
    columns["movie_id"] = torch.zeros_like(columns["movie_id"])
    expected = model.score.item_factors(model.item_tower.encode(columns), torch.tensor([0])).detach().numpy()
    np.testing.assert_allclose(bundle.item_factors([raw]), expected, atol=1e-5)
    unseen = bundle.item_factors([{"title": f"{title} 新"}])
    assert not np.allclose(unseen, bundle.item_factors([{}])), "an unseen title shares trigrams with known titles"


@pytest.mark.parametrize("size", [1, 2, 7])
def test_batches_may_have_any_size(folder, bundle, size):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "user_tower.onnx")
    inputs = bundle.inputs("user", [{"user_id": 1, "events": [(1, 1)]}] * size)
    (factors,) = session.run(["factors"], inputs)
    program = torch.export.load(folder / "user_tower.pt2").module()
    again = program({name: torch.from_numpy(values) for name, values in inputs.items()})
    assert factors.shape == (size, 10)
    np.testing.assert_allclose(factors, again.numpy(), atol=1e-5)
    np.testing.assert_allclose(factors, factors[:1].repeat(size, axis=0), atol=1e-6)


def test_every_file_of_item_vectors_has_the_same_order(folder, recommender):
    vectors = np.load(folder / "item_vectors.npy")
    np.testing.assert_allclose(vectors, recommender.item_vectors.factors[1:].numpy(), atol=1e-6)
    table = pq.read_table(folder / "item_vectors.parquet")
    items = json.loads((folder / "items.json").read_text())
    assert table["id"].to_pylist() == items["id"] == list(recommender.items.ids.values)
    assert table["title"].to_pylist() == items["title"] == list(recommender.items.texts["title"][1:])
    assert np.array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), vectors)
    numbers, scales = np.load(folder / "item_vectors_int8.npy"), np.load(folder / "item_scales.npy")
    assert numbers.dtype == np.int8
    assert (np.abs(numbers * scales - vectors) <= scales / 2 + 1e-6).all()


def test_the_towers_contain_no_user_data(folder, recommender):
    """The item tower holds no user's features, history or bias."""
    program = torch.export.load(folder / "item_tower.pt2")
    assert not any("user" in name for name in program.state_dict)
    shapes = [list(values.shape) for values in (*program.state_dict.values(), *program.constants.values())]
    assert [41, 1] in shapes, "item biases"
    assert len(recommender.users) not in [size for shape in shapes for size in shape]


def test_int8_vectors_rank_nearly_like_the_exact_ones(folder, recommender):
    exact, near = Bundle(folder), Bundle(folder, int8=True)
    users = [{"user_id": user} for user in range(1, len(recommender.users))]
    shared = [len(dict(exact.recommend(user, 10)).keys() & dict(near.recommend(user, 10)).keys()) for user in users]
    assert sum(shared) / (10 * len(users)) > 0.9
    assert exact.about["int8_recall"]["10"] > 0.9


def test_a_damaged_tower_is_reported(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    tower = copy / "item_tower.onnx"
    tower.write_bytes(tower.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"{tower} is missing or damaged: .*\. Copy or export the bundle again"):
        Bundle(copy).item_factors([{}])


def test_the_check_rejects_a_bundle_that_disagrees_with_the_run(run, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    vectors = np.load(copy / "item_vectors.npy")
    vectors[3, 2] += 0.01
    np.save(copy / "item_vectors.npy", vectors)
    with pytest.raises(ExportError, match=r"item_vectors.npy must agree with torch within 1e-05, got .*0.0"):
        check(run, copy)
    vocabularies = json.loads((copy / "vocabularies.json").read_text())
    vocabularies["user"]["occupation"]["values"].reverse()
    (copy / "vocabularies.json").write_text(json.dumps(vocabularies))
    with pytest.raises(ExportError, match="the user tower's program must agree with torch"):
        check(run, copy)
