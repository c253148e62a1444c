import dataclasses

import pytest

from towerzoo.benchmarks.peers.rates import in_turn, measure_rates, rate_records, time_to_auc
from towerzoo.registry.errors import PeerError


@pytest.fixture
def errors():
    """The errors of systems that failed, by name."""
    return {}


@pytest.fixture
def failed(errors):
    return lambda system, error: errors.__setitem__(system.name, str(error))


def test_systems_take_turns_and_the_warm_up_does_not_count(failed):
    calls = []

    def run(system):
        calls.append(system)
        return float(len(calls))

    assert in_turn(["a", "b"], run, rounds=2, warm_up=True, failed=failed) == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
    assert calls == ["a", "b"] * 3
    assert in_turn(["a"], run, rounds=2, warm_up=False, failed=failed) == {"a": [7.0, 8.0]}


def test_one_system_fails_and_the_others_go_on():
    failures, calls = [], []

    def run(system):
        calls.append(system)
        if system == "a" and calls.count("a") > 2:
            raise PeerError("gone")
        return 1.0

    values = in_turn(["a", "b"], run, rounds=3, warm_up=True, failed=lambda *failure: failures.append(failure))
    assert values == {"b": [1.0, 1.0, 1.0]}
    assert [(system, str(error)) for system, error in failures] == [("a", "gone")]


def test_every_system_has_a_record_and_only_equal_terms_are_compared(make_system):
    ours = make_system(name="TowerZoo", config="x")
    values = {
        ours: [10.0, 30.0, 20.0],
        dataclasses.replace(ours, precision="bf16-mixed"): [50.0] * 3,
        dataclasses.replace(ours, unique=True): [60.0] * 3,
        dataclasses.replace(ours, layers=1): [70.0] * 3,
        make_system(name="RecBole"): [5.0, 10.0, 20.0],
        make_system(name="RecBole", batch_size=512): [7.0] * 3,
    }
    *alone, pair = rate_records("train", values, threads=2)
    assert [record.value for record in alone] == [20.0, 50.0, 60.0, 70.0, 10.0, 7.0]
    assert (alone[0].suite, alone[0].unit, alone[0].pair) == ("peers", "samples/s", None)
    shared = {"batch_size": 256, "layers": 2, "precision": "32-true", "threads": 2}
    assert alone[4].params == {"system": "RecBole", **shared}
    assert pair.params == {"system": "TowerZoo", "baseline": "RecBole", **shared}
    assert pair.pair.model_dump() == {"baseline": 10.0, "ratio": 2.0, "lowest": 1.0, "highest": 3.0, "target": 1.0}


def test_systems_that_fail_are_left_out(make_system, settings, fake_source, errors, failed):
    dies = fake_source.replace("return 500, 0.5", "raise SystemExit('farewell')")
    systems = [
        make_system(fake_source.replace("500, 0.5", "500, 0.25"), "ours", config="x"),
        make_system(name="peer"),
        make_system(dies, "mortal"),
        make_system(fake_source.replace("return 1000", "return 0"), "idle"),
        dataclasses.replace(make_system(name="locked"), python=settings.data),
        make_system("import no_such_peer", "absent"),
    ]
    records, versions = measure_rates(systems, settings, rounds=2, failed=failed)
    rates = [(record.name, record.params["system"], record.value) for record in records if record.name != "prepare"]
    assert rates == [
        *(("train", name, rate) for name, rate in (("ours", 2000.0), ("peer", 1000.0), ("ours", 2000.0))),
        *(("evaluate", name, 400.0) for name in ("ours", "peer", "ours")),
    ]
    assert "farewell" in errors["mortal"]
    assert "no_such_peer" in errors["absent"]
    assert "idle's samples in the answer to 'prepare' must be positive" in errors["idle"]
    assert "locked has no Python at " in errors["locked"]
    assert set(errors) == {"mortal", "idle", "locked", "absent"}
    assert versions == {}


def test_versions_that_differ_are_recorded_by_system(make_system, settings, fake_source, failed):
    source = fake_source.replace("PACKAGES = ()", "PACKAGES = ('torch',)")
    other = source + "\nimport importlib.metadata\nimportlib.metadata.version = lambda name: '1.0'\n"
    systems = [make_system(source, "ours", config="x"), make_system(other, "peer")]
    _, versions = measure_rates(systems, settings, rounds=1, failed=failed)
    assert versions["torch of peer"] == "1.0" != versions["torch"]


@pytest.mark.parametrize("lost", ["ours", "peer"])
def test_a_comparison_needs_towerzoo_and_a_peer(make_system, settings, errors, failed, lost):
    broken = {lost: {"source": "import x_y_z"}}
    systems = [
        make_system(name=name, config=config, **broken.get(name, {})) for name, config in (("ours", "x"), ("peer", ""))
    ]
    with pytest.raises(PeerError, match=r"^A comparison needs TowerZoo and a peer that run\."):
        measure_rates(systems, settings, rounds=1, failed=failed)
    assert lost in errors


def test_time_to_auc_counts_from_the_start_of_the_process(make_system, settings, fake_source, errors, failed):
    slow = fake_source.replace("self.settings = settings", "self.settings = settings; time.sleep(0.3)")
    short = fake_source.replace("(0.6, 0.7, 0.75)", "(0.6, 0.65)")
    systems = [make_system(slow, "slow"), make_system(short, "short")]
    reached, missed = time_to_auc(systems, settings, rounds=2, failed=failed)
    assert (reached.name, reached.params["system"], reached.unit, reached.rounds) == ("time to AUC", "slow", "s", 2)
    assert reached.lowest >= 0.3
    assert (missed.name, missed.params["system"], missed.unit, missed.value) == ("best AUC", "short", "AUC", 0.65)
    assert "short, batch 256 reached a validation AUC of 0.6500 instead of 0.7 in 2 epochs" in errors["short"]
