import pytest

from towerzoo.benchmarks.peers.comparison import compare


def test_ratios_are_those_of_rounds():
    values = {"plain": [10.0, 30.0, 20.0], "recbole": [5.0, 10.0, 20.0]}
    (record,) = compare("train", values, ["plain"], unit="samples/s", threads=2)
    assert (record.suite, record.name, record.unit, record.value) == ("peers", "train", "samples/s", 20.0)
    assert record.params == {"system": "plain", "baseline": "against recbole", "threads": 2}
    assert (record.lowest, record.highest, record.rounds) == (10.0, 30.0, 3)
    assert record.pair.model_dump() == {"baseline": 10.0, "ratio": 2.0, "lowest": 1.0, "highest": 3.0, "target": 1.0}


def test_every_system_of_ours_against_every_other():
    values = {"a": [1.0], "b": [1.0], "c": [1.0], "d": [1.0]}
    records = compare("prepare", values, ["a", "b", "lost"], unit="loads/s")
    pairs = [(record.params["system"], record.params["baseline"]) for record in records]
    assert pairs == [("a", "against c"), ("a", "against d"), ("b", "against c"), ("b", "against d")]
    keys = [record.key for record in compare("prepare", values, ["a", "b"], unit="loads/s")]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("measure", "system", "baseline", "target"),
    [
        ("train", "fast", "recbole", 8),
        ("train", "fast trainer.precision=32", "original", 20),
        ("train", "tanh_bn", "recbole", 1),
        ("evaluate", "tanh_bn", "recbole", 12),
        ("prepare", "tanh_bn", "original", 10),
        ("prepare", "tanh_bn", "torch-rechub", 1),
    ],
)
def test_targets(measure, system, baseline, target):
    (record,) = compare(measure, {system: [1.0], baseline: [1.0]}, [system], unit="samples/s")
    assert record.pair.target == target
