from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from towerzoo.benchmarks.baselines.bare_loop import BareDSSM, BareLoop, bare_process
from towerzoo.benchmarks.baselines.pandas_loading import load_with_pandas
from towerzoo.datasets import Synthetic
from towerzoo.registry.errors import PeerError
from towerzoo.towers.model.build import build_model, read_experiment

WORLD = "data={name: synthetic, users: 60, items: 40, interactions: 1500, label: {positive_from: 4}, split: random}"


@pytest.fixture(scope="module")
def world():
    return Synthetic(users=60, items=40, interactions=1500).load()


@pytest.fixture(scope="module")
def config_model(world):
    experiment, _ = read_experiment("tanh_bn_dropout_first", [WORLD])
    return build_model(experiment, world)


@pytest.fixture(scope="module")
def loop(world):
    labels = (world.interactions.feedback["rating"] >= 4).float()
    return BareLoop(world, labels, torch.arange(1000), batch_size=64, device="cpu")


def test_the_bare_model_has_the_structure_of_the_config(config_model, loop):
    bare = BareDSSM(loop.cardinalities)
    assert str(bare.user_mlp) == str(config_model.user_tower.mlp)
    assert str(bare.item_mlp) == str(config_model.item_tower.mlp)
    count, expected = (sum(weights.numel() for weights in model.parameters()) for model in (bare, config_model))
    assert count == expected


def test_the_bare_model_is_plain_torch_whatever_towerzoo_registers(loop):
    bare = BareDSSM(loop.cardinalities)
    plain = {nn.Sequential, nn.ModuleList, nn.Embedding, nn.Dropout, nn.Linear, nn.BatchNorm1d, nn.Tanh}
    assert {type(module) for module in bare.modules()} == {BareDSSM, *plain}
    assert {module.p for module in bare.modules() if isinstance(module, nn.Dropout)} == {0.3}


def test_the_bare_model_scores_as_the_config_does(world, config_model, loop):
    bare = BareDSSM(loop.cardinalities).eval()
    config_model.eval()
    # The order of both: the users' embeddings and layers, then the items'.
    theirs = [p for tower in (config_model.user_tower, config_model.item_tower) for p in tower.parameters()]
    bare_users = [*bare.user_embeddings.parameters(), *bare.user_mlp.parameters()]
    bare_items = [*bare.item_embedding.parameters(), *bare.genre_embedding.parameters(), *bare.item_mlp.parameters()]
    with torch.no_grad():
        for bare_weights, other in zip([*bare_users, *bare_items], theirs, strict=True):
            bare_weights.copy_(other)
        events = world.interactions
        expected = config_model(events.user[:50], events.item[:50])
        actual = bare(loop.users[:50], loop.movie[:50], loop.genres[:50])
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_round_trains(loop):
    assert loop.rate(2) > 0


def test_a_process_that_has_ended_is_reported(monkeypatch):
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    expected = r"bare_loop ended with status 1 instead of answering 1 steps\. Its error is above\.$"
    with bare_process("cpu", []) as process, pytest.raises(PeerError, match=expected):
        process.rate(1)


def test_pandas_gives_the_tensors_that_the_loop_needs(tmp_path):
    (tmp_path / "ratings.dat").write_text("2::10::5::1\n1::30::3::2\n2::30::4::3\n")
    (tmp_path / "users.dat").write_text("1::F::1::10::00000\n2::M::25::3::11111\n")
    (tmp_path / "movies.dat").write_text("10::A (1990)::Drama|Comedy\n30::B (1991)::Drama\n")
    columns = load_with_pandas(tmp_path)
    assert columns["user_id"].tolist() == [2, 1, 2]
    assert columns["gender"].tolist() == [2, 1, 2]
    assert columns["genres"].tolist() == [[2, 1, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]]
    assert columns["label"].tolist() == [1.0, 0.0, 1.0]
