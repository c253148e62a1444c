from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from towerzoo.datasets import Column, encode_column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ConfigError, DataError
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


def test_what_is_wrong_is_told_when_vectors_are_asked_for(file):
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


def test_what_is_wrong_with_files_is_told_when_the_model_is_built(make_experiment, world, tmp_path):
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
