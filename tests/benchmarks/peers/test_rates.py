import dataclasses

import pytest

from towerzoo.benchmarks.peers.rates import measure_rates
from towerzoo.benchmarks.peers.time_to_auc import MEASURE, SHORTFALL, time_to_auc
from towerzoo.registry.errors import PeerError


@pytest.fixture
def told():
    return {}


def test_each_measure_against_each_peer(make_system, settings, fake_source, told):
    systems = {
        "ours": make_system(fake_source.replace("500, 0.5", "500, 0.25"), "ours"),
        "peer": make_system(name="peer"),
        "mortal": make_system(fake_source.replace("return 500, 0.5", "raise SystemExit('farewell')"), "mortal"),
        "idle": make_system(fake_source.replace("return 1000", "return 0"), "idle"),
        "locked": dataclasses.replace(make_system(name="locked"), python=settings.data),
        "absent": make_system("import no_such_peer", "absent"),
    }
    records, versions = measure_rates(systems, ["ours"], settings, rounds=2, failed=told.__setitem__)
    measured = [(record.name, record.params["baseline"]) for record in records]
    assert measured == [
        ("prepare", "against peer"),
        ("prepare", "against mortal"),
        ("train", "against peer"),
        ("evaluate", "against peer"),
    ]
    train = records[2]
    assert (train.value, train.pair.baseline, train.pair.ratio) == (2000.0, 1000.0, 2.0)
    assert "farewell" in str(told["mortal"])
    assert "no_such_peer" in str(told["absent"])
    assert "idle's samples in the answer to 'prepare' must be a number" in str(told["idle"])
    assert "locked must have a Python that starts, got 'Permission denied'" in str(told["locked"])
    assert set(told) == {"mortal", "idle", "locked", "absent"}
    assert versions == {}


def test_versions_that_differ_are_told_apart(make_system, settings, fake_source, told):
    source = fake_source.replace("PACKAGES = ()", "PACKAGES = ('torch',)")
    other = source + "\nimport importlib.metadata\nimportlib.metadata.version = lambda name: '1.0'\n"
    systems = {"ours": make_system(source, "ours"), "peer": make_system(other, "peer")}
    _, versions = measure_rates(systems, ["ours"], settings, rounds=1, failed=told.__setitem__)
    assert versions["torch of peer"] == "1.0" != versions["torch"]


@pytest.mark.parametrize(("lost", "what"), [("ours", "TowerZoo"), ("peer", "--peers")])
def test_nobody_is_left(make_system, settings, told, lost, what):
    systems = {name: make_system(*(["import x_y_z"] if name == lost else []), name=name) for name in ("ours", "peer")}
    with pytest.raises(PeerError, match=f"{what} must have a system that runs, got none. What became of each"):
        measure_rates(systems, ["ours"], settings, rounds=1, failed=told.__setitem__)
    assert lost in told


def test_time_to_auc_counts_from_the_start_of_the_process(make_system, settings, fake_source, told):
    slow = fake_source.replace("self.settings = settings", "self.settings = settings; time.sleep(0.3)")
    short = fake_source.replace("(0.6, 0.7, 0.75)", "(0.6, 0.65)")
    systems = {
        "ours": make_system(name="ours"),
        "slow": make_system(slow, "slow"),
        "short": make_system(short, "short"),
    }
    records = time_to_auc(systems, ["ours"], settings, rounds=2, failed=told.__setitem__)
    assert [(record.name, record.params["system"], record.unit) for record in records] == [
        (MEASURE, "ours", "s"),
        (MEASURE, "slow", "s"),
        (SHORTFALL, "short", "AUC"),
        (MEASURE, "ours", "runs/h"),
    ]
    assert records[1].lowest >= 0.3
    assert records[1].rounds == 2
    assert records[2].value == 0.65
    assert records[3].params["baseline"] == "against slow"
    assert len({record.key for record in records}) == 4
    assert "short must reach a validation AUC of 0.7 in 600 s, got 0.6500 after 2 epochs" in str(told["short"])
