import json
import sys
from pathlib import Path

from towerzoo.benchmarks.peers.systems import (
    BATCH_SIZES,
    PEERS,
    TOWERZOO,
    WORKERS,
    Settings,
    peer_systems,
    towerzoo_system,
)


def test_every_peer_has_a_worker_and_its_python(monkeypatch):
    monkeypatch.setenv("PEERS_VENV", "/opt/peers")
    systems = peer_systems(PEERS, BATCH_SIZES[0])
    assert [system.name for system in systems] == list(PEERS)
    assert {system.python for system in systems[:-1]} == {Path("/opt/peers/bin/python")}
    assert systems[-1].python == Path(sys.executable)
    assert all(system.worker.is_file() for system in systems)
    workers = {file.name for file in WORKERS.glob("*.py")} - {"__init__.py", "serve.py"}
    assert workers == {*PEERS.values(), "towerzoo_lightning.py"}
    assert "original script" not in [system.name for system in peer_systems(PEERS, BATCH_SIZES[-1])]
    monkeypatch.delenv("PEERS_VENV")
    assert peer_systems(["RecBole"], 1024)[0].python.parts[-3:] == (".venv-peers", "bin", "python")


def test_peers_workers_do_not_import_towerzoo():
    # The original script runs in TowerZoo's own environment; the others could not.
    for name in {*PEERS.values(), "serve.py"} - {"original.py"}:
        assert "import towerzoo" not in (WORKERS / name).read_text()
        assert "from towerzoo" not in (WORKERS / name).read_text()


def test_the_same_model_has_the_peers_terms():
    rows = [towerzoo_system(*row) for row in TOWERZOO]
    assert len({row.label for row in rows}) == len(rows)
    for row in (rows[0], rows[-1]):
        assert row.terms == peer_systems(["RecBole"], row.batch_size)[0].terms
    assert [row.batch_size for row in rows] == [1024, 1024, 1024, 16384, 16384, 16384]
    assert [row.layers for row in rows] == [3, 3, 3, 3, 2, 3]
    assert [row.precision for row in rows] == ["32-true", *["bf16-mixed"] * 3, "auto", "32-true"]
    assert [row.unique for row in rows] == [False, False, True, True, True, False]


def test_all_systems_train_about_as_many_samples(tmp_path):
    settings = Settings(tmp_path, threads=1)
    steps = {
        size: json.loads(settings.line(peer_systems(["RecBole"], size)[0], tmp_path))["steps"] for size in BATCH_SIZES
    }
    assert steps == {1024: 400, 4096: 100, 16384: 25}
