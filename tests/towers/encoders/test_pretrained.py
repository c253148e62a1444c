from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from towerzoo.datasets import Column, encode_column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ConfigError, DataError
from towerzoo.towers.encoders.pretrained import read_vectors
from towerzoo.towers.model.build import load_data
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module

CITIES = encode_column("city", ["a", "b", "c", "a"])
IDS = np.array(["c", "x", "a"])
VECTORS = np.array([[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0]])


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "vectors.npz"
    np.savez(path, ids=IDS, vectors=VECTORS)
    return path


def build(path: Path, column: Column = CITIES, **parameters: Any) -> Any:
    return ENCODERS.build({"encoder": "pretrained", "path": str(path), "dim": 2, **parameters}, column=column)


def test_ids_have_their_vectors_and_others_zeros(file):
    encoder = build(file)
    assert encoder.out_features == 2
    assert encoder(CITIES.values).tolist() == [[0, 0], [-5, 6], [0, 0], [1, 2], [-5, 6]]
    assert "1 of 3 ids without a vector, frozen" in repr(encoder)


def test_whole_numbers_are_ids_too(tmp_path):
    np.savez(tmp_path / "vectors.npz", ids=np.array([20, 10], np.uint16), vectors=[[1.0], [2.0]])
    films = encode_column("film", [10, 20, 30])
    assert build(tmp_path / "vectors.npz", films, dim=1)(films.values).tolist() == [[0], [2], [1], [0]]


@pytest.mark.parametrize("trainable", [False, True])
def test_training_changes_the_vectors_where_asked_to(file, trainable):
    encoder = build(file, trainable=trainable)
    head = torch.nn.Linear(2, 1)
    before = encoder(CITIES.values).detach().clone()
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=0.1, weight_decay=0.1)
    head(encoder(CITIES.values)).sum().backward()
    optimizer.step()
    assert torch.equal(encoder(CITIES.values), before) is not trainable
    assert ("trainable" if trainable else "frozen") in repr(encoder)


def test_errors_are_raised_when_vectors_are_needed(file):
    def refuses(message: str, **parameters: Any) -> None:
        encoder = build(**{"path": file, **parameters})
        with pytest.raises(DataError, match=message):
            encoder(CITIES.values)

    refuses(r"none\.npz must be a file of vectors, got no such file", path=file.with_name("none.npz"))
    refuses(r"must have vectors of 3 numbers, the dim of feature 'city', got 2\. Set dim: 2\.", dim=3)
    other = encode_column("city", [1, 2])
    message = (
        r"must have vectors of ids of feature 'city', such as 1, 2, got none of them, but 'c', 'x', 'a'\. Text and"
    )
    refuses(message, column=other)
    np.savez(file, ids=IDS[:0], vectors=VECTORS[:0])
    refuses(r"such as 'a', 'b', 'c', got none of them, but nothing\.")
    refuses(r"such as none, got none of them, but nothing\.", column=encode_column("city", []))


def test_loaded_weights_need_no_file(file):
    trained = build(file, trainable=True)
    with torch.no_grad():
        trained.embedding.weight += 1
    state = copy.deepcopy(trained.state_dict())
    file.unlink()
    loaded = build(file, trainable=True)
    loaded.load_state_dict(state)
    assert torch.equal(loaded(CITIES.values), trained(CITIES.values))
    assert repr(loaded) == repr(trained)


def test_a_run_is_tested_without_the_file(make_experiment, make_trainer, tmp_path):
    path = tmp_path / "vectors.npz"
    np.savez(path, ids=np.arange(1, 41), vectors=np.random.default_rng(0).standard_normal((40, 8)))
    features = {"movie_id": {"encoder": "pretrained", "path": str(path), "dim": 8}}
    experiment = make_experiment(item_tower={"features": features, "block": "linear-act-dropout", "widths": [8]})
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    make_trainer().fit(model, DataModule(data))
    run = RunFolder(tmp_path)
    run.save_weights(model.model, model.loss)
    expected = make_trainer().test(model, DataModule(data), verbose=False)
    path.unlink()

    again = build_module(experiment, data.schema, trained=True)
    with pytest.raises(DataError, match="got no such file"):
        make_trainer().test(again, DataModule(data), verbose=False)
    run.load_weights(again.model)
    assert make_trainer().test(again, DataModule(data), verbose=False) == expected


def test_errors_of_files_are_raised_when_the_model_is_built(make_experiment, world, tmp_path):
    features = {
        "movie_id": {"encoder": "pretrained", "path": str(tmp_path / "films.npz"), "dim": 8},
        "genres": {"encoder": "embedding-bag", "dim": 4, "max_length": 6},
    }
    users = {"user_id": {"encoder": "pretrained", "path": str(tmp_path / "people.parquet"), "dim": 12}}
    experiment = make_experiment(item_tower={"features": features}, user_tower={"features": users})
    with pytest.raises(DataError, match=r"people\.parquet must be a file of vectors, got no.*\n.*films\.npz must be a"):
        build_module(experiment, world)
    assert build_module(experiment, world, trained=True).model.item_tower.out_features == 12


@pytest.mark.parametrize(
    ("column", "found"), [(Column("x", torch.zeros(3)), "numbers"), (encode_column("x", [["a"]]), "id lists")]
)
def test_other_columns_are_an_error(file, column, found):
    message = rf"feature 'x' must be a feature of single ids for encoder 'pretrained', got '{found}'"
    with pytest.raises(ConfigError, match=message):
        build(file, column)


ROWS = [[1.0, 2.0], [3.0, -4.5], [0.0, 0.25]]


def write(folder: Path, suffix: str, ids: object, vectors: object = ROWS) -> Path:
    path = folder / f"vectors{suffix}"
    if suffix == ".npz":
        np.savez(path, ids=np.array(ids), vectors=np.array(vectors))
    else:
        pq.write_table(pa.table({"id": ids, "vector": vectors, "more": ids}), path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("ids", [[3, 1, 2], ["b", "", "é"]], ids=["numbers", "text"])
def test_ids_and_vectors_are_those_of_the_file(tmp_path, suffix, ids):
    found, vectors = read_vectors(write(tmp_path, suffix, ids))
    assert found.tolist() == ids
    assert vectors.tolist() == ROWS
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    "form", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)], ids=str
)
def test_every_list_type_of_arrow_is_read(tmp_path, form):
    path = write(tmp_path, ".parquet", pa.array([3, 1, 2], pa.int32()), pa.array(ROWS, form))
    found, vectors = read_vectors(path)
    assert (found.tolist(), vectors.tolist()) == ([3, 1, 2], ROWS)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_wrong_ids_and_vectors_are_reported(tmp_path, suffix):
    def refuses(message: str, ids: object, vectors: object = ROWS) -> None:
        with pytest.raises(DataError, match=rf"vectors{suffix} must {message}"):
            read_vectors(write(tmp_path, suffix, ids, vectors))

    refuses(r"have every id once, got 1 more often, such as 7\. Remove the others\.", [7, 7, 1])
    refuses(r"have every id once, got 1 more often, such as 'a'\.", ["a", "a", "a"])
    refuses(r"have finite vectors, got 2 of 3 that are not\.", [1, 2, 3], [[1.0, np.inf], [np.nan, np.nan], [0.0, 0.0]])
    refuses(r"have ids of whole numbers or text, got float\. Convert them\.", [0.5, 1.0, 2.0])


def test_arrays_must_match(tmp_path):
    message = r"must have ids \(N,\) and vectors \(N, D\), got ids of shape \(2,\) and vectors of shape \(3, 2\)\. Give"
    with pytest.raises(DataError, match=message):
        read_vectors(write(tmp_path, ".npz", [1, 2]))
    with pytest.raises(DataError, match=r"got ids of shape \(3,\) and vectors of shape \(3,\)"):
        read_vectors(write(tmp_path, ".npz", [1, 2, 3], [1.0, 2.0, 3.0]))
    with pytest.raises(DataError, match=r"got ids of shape \(1, 3\) and vectors of shape \(1, 2\)"):
        read_vectors(write(tmp_path, ".npz", [[1, 2, 3]], [[1.0, 2.0]]))


def test_lists_must_exist_and_have_one_length(tmp_path):
    with pytest.raises(
        DataError, match=r"whole file of ids and vectors, got vectors of 1 to 2 numbers\. Write it again"
    ):
        read_vectors(write(tmp_path, ".parquet", [1, 2], [[1.0], [1.0, 2.0]]))
    with pytest.raises(DataError, match=r"got rows without an id or a vector\."):
        read_vectors(write(tmp_path, ".parquet", [1, None], [[1.0], [2.0]]))
    with pytest.raises(DataError, match=r"got rows without an id or a vector\."):
        read_vectors(write(tmp_path, ".parquet", [1, 2], [[1.0], None]))
    with pytest.raises(DataError, match=r"must have finite vectors, got 1 of 2"):
        read_vectors(write(tmp_path, ".parquet", [1, 2], [[1.0], [None]]))
    with pytest.raises(DataError, match=r"must be a whole file of ids and vectors, got "):
        read_vectors(write(tmp_path, ".parquet", [1, 2], [1.0, 2.0]))


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_file_may_be_empty(tmp_path, suffix):
    ids = pa.array([], pa.int64()) if suffix == ".parquet" else np.zeros(0, np.int64)
    vectors = pa.array([], pa.list_(pa.float32())) if suffix == ".parquet" else np.zeros((0, 2))
    found, read = read_vectors(write(tmp_path, suffix, ids, vectors))
    assert len(found) == len(read) == 0


def test_a_missing_or_foreign_file_is_reported(tmp_path):
    with pytest.raises(
        DataError, match=r"none\.npz must be a file of vectors, got no such file\. Relative paths start"
    ):
        read_vectors(tmp_path / "none.npz")
    (tmp_path / "vectors.csv").write_text("id,vector")
    with pytest.raises(DataError, match=r"vectors\.csv must be a \.parquet or \.npz file, got '\.csv'\. Convert it\."):
        read_vectors(tmp_path / "vectors.csv")


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"neither", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_reported(tmp_path, suffix, content):
    path = tmp_path / f"vectors{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"must be a whole file of ids and vectors, got .*\. Write it again\."):
        read_vectors(path)


def test_no_code_is_run(tmp_path):
    path = tmp_path / "vectors.npz"
    np.savez(path, ids=np.array([1, "a"], dtype=object), vectors=np.zeros((2, 2)))
    with pytest.raises(DataError, match="got Object arrays cannot be loaded"):
        read_vectors(path)


def test_missing_names_are_reported(tmp_path):
    path = tmp_path / "vectors.npz"
    np.savez(path, ids=np.zeros(1, np.int64), vector=np.zeros((1, 2)))
    with pytest.raises(
        DataError, match=r"must have an array 'vectors', got a file without it\. Rename the one it has\."
    ):
        read_vectors(path)
    pq.write_table(pa.table({"ids": [1], "vector": [[1.0]]}), tmp_path / "vectors.parquet")
    with pytest.raises(DataError, match=r"must have a column 'id', got a file without it\."):
        read_vectors(tmp_path / "vectors.parquet")
