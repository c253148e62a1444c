"""Whole measurements, and the workers that run in TowerZoo's own environment."""

import dataclasses
import json

import pytest

from towerzoo.benchmarks.peers.run import measure_peers
from towerzoo.benchmarks.peers.systems import peer_systems, towerzoo_system
from towerzoo.benchmarks.peers.workers import original, towerzoo_lightning
from towerzoo.benchmarks.peers.workers.serve import Desk
from towerzoo.registry.errors import ConfigError, PeerError

OURS = "tanh_bn_dropout_first data.batch_size=256"


@pytest.fixture(params=["towerzoo", "original"])
def desk(request, settings, tmp_path, monkeypatch):
    """The desk of either worker."""
    monkeypatch.setenv("TOWERZOO_CACHE", "")  # restored after the worker has changed it
    if request.param == "towerzoo":
        system, worker = towerzoo_system("TowerZoo", OURS), towerzoo_lightning.Worker
    else:
        (system,), worker = peer_systems(["original script"], 1024), original.Worker
    given = json.loads(settings.line(system, tmp_path)) | {"batch_size": 256, "steps": 2}
    return Desk(worker(given), given)


def test_a_worker_prepares_trains_and_evaluates(desk):
    assert desk.answer("prepare")["samples"] == 1500
    train = desk.answer("train")
    assert train["samples"] == 2 * 256
    assert train["seconds"] > 0
    evaluation = desk.answer("evaluate")
    assert evaluation["samples"] == 150
    assert 0 <= evaluation["auc"] <= 1
    if isinstance(desk.worker, original.Worker):
        layers = desk.worker.model.user_mlp
        assert [type(layer).__name__ for layer in layers] == ["Dropout", "Linear", "BatchNorm1d", "Tanh"] * 2
        assert (layers[1].in_features, desk.worker.model.item_mlp[1].in_features) == (4 * 4, 2 * 4)


def test_a_worker_fits_until_it_has_to_stop(desk):
    desk.settings |= {"target_auc": 1.0, "bound": 0.0}
    answer = desk.answer("time-to-auc")
    assert (answer["epochs"], answer["reached"]) == (1, False)
    assert 0.3 < answer["auc"] < 1


def test_rates_are_measured(settings, monkeypatch):
    monkeypatch.setenv("PEERS_VENV", "/nowhere")
    lines = []
    result = measure_peers(
        dataclasses.replace(settings, target_auc=None, samples=1),
        peers=["original script", "RecBole"],
        configs=[OURS],
        rounds=1,
        report=lines.append,
    )
    assert lines[0].startswith("left out: RecBole, batch 1,024: RecBole has no Python at /nowhere/bin/python: No such")
    assert (result.suite, result.origin.quick, result.origin.threads) == ("peers", True, 1)
    assert [(record.name, record.params["system"]) for record in result.records] == [
        (name, system)
        for name in ("prepare", "train", "evaluate")
        for system in ("original script", f"TowerZoo, {OURS}")
    ]


def test_the_time_to_an_auc_is_measured_at_three_batch_sizes(settings, monkeypatch):
    monkeypatch.setenv("PEERS_VENV", "/nowhere")
    settings = dataclasses.replace(settings, target_auc=1.0, bound=0.0)
    result = measure_peers(settings, peers=["RecBole"], configs=["tanh"], rounds=1, report=str)
    assert [(record.name, record.params["batch_size"]) for record in result.records] == [
        ("best AUC", size) for size in (1024, 4096, 16384)
    ]


def test_bad_input():
    with pytest.raises(PeerError, match=r"^--peer must name a peer, got 'RecBol'\. Did you mean 'RecBole'\?"):
        peer_systems(["RecBol"], 1024)
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        towerzoo_system("TowerZoo", "tanh_bn optimizer.lr=much")
