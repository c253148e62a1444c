"""A run of every encoder, exported; and what refuses to be."""

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
    met: {encoder: history, dim: 4, last: 5, by: label, pooling: {name: recency, slots: 5}}
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
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "towerzoo", "pandas", "pyarrow", "onnx", "onnxscript"):
            raise ImportError(f"{name} is not needed by a bundle")
sys.meta_path.insert(0, Nothing())
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
    assert used == set(ENCODERS.names()), "a new encoder is exported here as well"
    result = invoke(train, config, "--device", "cpu", "--out", folder / "runs")
    assert result.exit_code == 0, result.output
    (path,) = (folder / "runs" / "every").iterdir()
    return path


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory, invoke):
    """The bundle, and what the command printed."""
    folder = tmp_path_factory.mktemp("bundles") / "deep" / "every"
    result = invoke(main, run, "--to", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


@pytest.fixture
def bundle(exported) -> Bundle:
    return Bundle(exported[0])


@pytest.fixture(scope="module")
def recommender(run) -> Recommender:
    return Recommender.open(run)


def test_the_bundle_is_whole_and_says_what_it_is(run, exported):
    folder, output = exported
    assert {file.name for file in folder.iterdir()} == FILES
    assert [file.name for file in folder.parent.iterdir()] == ["every"], "nothing temporary is left"
    about = json.loads((folder / "bundle.json").read_text())
    assert (about["format"], about["version"], about["opset"]) == ("towerzoo-bundle", 1, 18)
    assert about["run"] == f"every/{run.name}"
    assert about["fingerprint"] == json.loads((run / "metrics.json").read_text())["fingerprint"]
    assert about["parity"]["users"] == 61
    assert about["parity"]["items"] == 41
    assert max(about["parity"]["onnx"], about["parity"]["program"]) <= about["parity"]["tolerance"] == 1e-5
    assert about["int8_recall"].keys() == {"10"}, "there are fewer than 100 items"
    assert "user tower: user_id, gender, age, occupation, met to 10 factors" in output
    assert f"bundle: {folder} (format 1, opset 18); start with its README.md" in output


def test_the_example_runs_in_a_fresh_process_without_torch(exported):
    folder, _ = exported
    readme = (folder / "README.md").read_text()
    code = "".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH + code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    *items, last = done.stdout.splitlines()
    assert len(items) == 10
    assert last.startswith("logit of that item: ")


def test_the_bundle_recommends_what_the_run_does(bundle, recommender):
    person = {"user_id": 7, "occupation": None, "gender": "?", "met": [(3, 1), (999, 0)]}
    told = recommender.person(7, features={"occupation": "?", "gender": "?", "age": "?"})
    lists = recommender.model.user_tower.columns(torch.tensor([told.row]))
    n_items = len(recommender.items)
    columns = {name: values.clone() for name, values in lists.items()}
    for name in ("gender", "age", "occupation"):
        columns[name][:] = 0
    columns["met"][:] = torch.tensor([[recommender.items.ids.row(3) + n_items, 0, -1, -1, -1]])
    model = recommender.model
    factors = model.score.user_factors(model.user_tower.encode(columns), torch.tensor([told.row]))
    logits = (factors @ recommender.item_vectors.factors[1:].T)[0].detach()
    expected = {recommender.items.ids.values[row]: logits[row].item() for row in logits.topk(6).indices.tolist()}
    best = next(iter(expected))
    found = dict(bundle.recommend(person, k=5, exclude=[best, "nothing"]))
    assert list(found) == list(expected)[1:]
    assert list(found.values()) == pytest.approx(list(expected.values())[1:], abs=1e-5)


def test_the_bundle_keeps_the_order_of_items_of_equal_logits(bundle, monkeypatch):
    monkeypatch.setattr(bundle, "_vectors", np.zeros_like(bundle._vectors))
    ids = bundle.items["id"]
    assert [item for item, _ in bundle.recommend({}, 3, exclude=[ids[1]])] == [ids[0], *ids[2:4]]


def test_a_new_item_has_the_vector_of_its_features(bundle, recommender):
    row = 5
    title, genres = recommender.items.texts["title"][row], recommender.items.columns["genres"]
    raw = {"title": title, "genres": genres.vocabulary.decode([id for id in genres.values[row].tolist() if id])}
    columns = {
        name: values.clone() for name, values in recommender.model.item_tower.columns(torch.tensor([row])).items()
    }
    columns["movie_id"][:] = 0
    vectors = recommender.model.item_tower.encode(columns)
    expected = recommender.model.score.item_factors(vectors, torch.tensor([0])).detach().numpy()
    np.testing.assert_allclose(bundle.item_factors([raw]), expected, atol=1e-5)
    unheard = bundle.item_factors([{"title": f"{title} 新"}])
    assert not np.allclose(unheard, bundle.item_factors([{}])), "a title that was never met shares trigrams with others"


@pytest.mark.parametrize("size", [1, 2, 7])
def test_batches_are_of_any_size(exported, bundle, size):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported[0] / "user_tower.onnx")
    assert {some.name: some.shape[0] for some in session.get_inputs()} == dict.fromkeys(
        ("user_id", "gender", "age", "occupation", "met"), "batch"
    )
    inputs = bundle.user_inputs([{"user_id": 1, "met": [(1, 1)]}] * size)
    (factors,) = session.run(["factors"], inputs)
    program = torch.export.load(exported[0] / "user_tower.pt2").module()
    again = program({name: torch.from_numpy(values) for name, values in inputs.items()})
    assert factors.shape == (size, 10)
    np.testing.assert_allclose(factors, again.numpy(), atol=1e-5)
    np.testing.assert_allclose(factors, factors[:1].repeat(size, axis=0), atol=1e-6)


def test_item_vectors_come_with_their_raw_ids_in_every_form(exported, recommender):
    folder, _ = exported
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


def test_nobody_is_in_the_towers(exported, recommender):
    """The towers hold what they compute with: of the users no feature and no history, of the other side no bias."""
    folder, _ = exported
    program = torch.export.load(folder / "item_tower.pt2")
    assert not any("user" in name for name in program.state_dict)
    shapes = [list(values.shape) for values in (*program.state_dict.values(), *program.constants.values())]
    assert [41, 1] in shapes, "item biases"
    assert len(recommender.users) not in [size for shape in shapes for size in shape]


def test_int8_ranks_nearly_as_the_exact_vectors(exported, recommender):
    exact, near = Bundle(exported[0]), Bundle(exported[0], int8=True)
    users = range(1, len(recommender.users))
    shared = [
        len(dict(exact.recommend({"user_id": user}, 10)).keys() & dict(near.recommend({"user_id": user}, 10)).keys())
        for user in users
    ]
    assert sum(shared) / (10 * len(users)) > 0.9
    assert exact.about["int8_recall"]["10"] > 0.9


def test_a_bundle_of_another_version_is_refused(exported, tmp_path):
    copy = shutil.copytree(exported[0], tmp_path / "copy")
    about = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(about | {"version": 2}))
    with pytest.raises(ValueError, match="must be a bundle of format towerzoo-bundle 1, got 'towerzoo-bundle 2'"):
        Bundle(copy)
    (copy / "bundle.json").write_text("{}")
    with pytest.raises(ValueError, match="must be a bundle of format towerzoo-bundle 1, got 'None None'"):
        Bundle(copy)


@pytest.mark.parametrize("side", ["user", "item"])
def test_a_damaged_tower_is_told(exported, tmp_path, side):
    copy = shutil.copytree(exported[0], tmp_path / "copy")
    tower = copy / f"{side}_tower.onnx"
    tower.write_bytes(tower.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"{tower} must be a whole file of a bundle, got .*\. Copy the bundle again"):
        getattr(Bundle(copy), f"{side}_factors")([{}])
    tower.unlink()
    with pytest.raises(ValueError, match=rf"{tower} must be a whole file of a bundle, got .*\. Copy the bundle again"):
        getattr(Bundle(copy), f"{side}_factors")([{}])


def test_an_unknown_feature_of_a_person_is_told(bundle):
    with pytest.raises(ValueError, match=r"among age, .*, user_id, got gendre\. Leave it out"):
        bundle.user_factors([{"gendre": "F"}])


def test_the_check_finds_a_bundle_that_does_not_agree(run, exported, tmp_path):
    copy = shutil.copytree(exported[0], tmp_path / "copy")
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
