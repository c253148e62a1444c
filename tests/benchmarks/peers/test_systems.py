import sys
from pathlib import Path

import pytest

from towerzoo.benchmarks.peers.systems import BASELINES, WORKERS, baseline_systems, towerzoo_system
from towerzoo.registry.errors import RunError


def test_every_baseline_has_a_worker():
    systems = baseline_systems(list(BASELINES))
    assert [system.name for system in systems] == ["recbole", "torch-rechub", "librecommender", "original"]
    assert all(system.worker.is_file() for system in systems)
    workers = {file.name for file in WORKERS.glob("*.py")} - {"__init__.py", "serve.py"}
    assert workers == {*BASELINES.values(), "towerzoo_lightning.py"}


def test_whose_python(monkeypatch):
    monkeypatch.setenv("PEERS_VENV", "/opt/peers")
    recbole, original = baseline_systems(["recbole", "original"])
    assert (recbole.python, original.python) == (Path("/opt/peers/bin/python"), Path(sys.executable))
    monkeypatch.delenv("PEERS_VENV")
    assert baseline_systems(["recbole"])[0].python.parts[-3:] == (".venv-peers", "bin", "python")


def test_peers_workers_do_not_import_towerzoo():
    # The original runs in TowerZoo's own environment; the others could not.
    for name in {*BASELINES.values(), "serve.py"} - {"original.py"}:
        assert "import towerzoo" not in (WORKERS / name).read_text()
        assert "from towerzoo" not in (WORKERS / name).read_text()


def test_an_unknown_peer():
    message = r"--peers must be systems with a worker, got 'recbol'\. Did you mean 'recbole'\? Peers: libre"
    with pytest.raises(RunError, match=message):
        baseline_systems(["original", "recbol"])


def test_no_peer():
    with pytest.raises(
        RunError, match=r"--peers must name at least one system, got none\. Peers: librecommender, original"
    ):
        baseline_systems([])


def test_a_config_with_overrides():
    system = towerzoo_system("fast trainer.precision=bf16-mixed 'data.split={name: random}'")
    assert (system.config, system.overrides) == ("fast", ("trainer.precision=bf16-mixed", "data.split={name: random}"))


@pytest.mark.parametrize("text", ["", "fast 'a=b"])
def test_a_config_that_is_none(text):
    with pytest.raises(RunError, match=r"--towerzoo must be a config and KEY\.PATH=VALUE overrides, got "):
        towerzoo_system(text)
