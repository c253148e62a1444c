from __future__ import annotations

import pytest
import torch

from towerzoo.benchmarks.measure.measuring import Effort, Measure
from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.roofline import Roofline


class FakeBenchmark:
    """Calls what it is given, as pytest-benchmark's pedantic mode does."""

    def __init__(self):
        self.extra_info = {}

    def pedantic(self, target, args=(), kwargs=None, rounds=1):
        for _ in range(rounds):
            result = target(*args, **(kwargs or {}))
        return result


@pytest.fixture
def measure():
    return Measure(
        benchmark=FakeBenchmark(),
        suite="towers",
        name="tower",
        params={"precision": "bf16"},
        device="cpu",
        effort=Effort(rounds=3, pairs=5, seconds=0.0, samples=1),
        roofline=lambda: Roofline(float32=100.0, bf16=400.0, copy_rate=1.0),
    )


def test_a_rate_is_the_median_of_the_rounds_after_a_warm_up(measure):
    values = iter([1000.0, 20.0, 10.0, 30.0])
    record = measure.rate(lambda: next(values), flops=2.0, batch_size=8)
    assert (record.value, record.lowest, record.highest, record.rounds) == (20.0, 10.0, 30.0, 3)
    assert record.params == {"precision": "bf16", "batch_size": 8}
    assert record.roofline_share == pytest.approx(20.0 * 2.0 / 400.0)
    assert record.key == "tower (bf16, batch_size 8)"
    assert measure.records == [record]
    assert Record.model_validate(measure.benchmark.extra_info) == record


def test_the_roofline_is_that_of_the_precision(measure):
    measure.params = {}
    assert measure.rate(lambda: 20.0, flops=2.0).roofline_share == pytest.approx(0.4)


def test_a_roofline_is_measured_only_for_known_operations(measure):
    measure.roofline = lambda: pytest.fail("measured")
    record = measure.rate(lambda: 0.5, unit="s", memory=False, breakdown=lambda: {"dropout": 0.1})
    assert (record.flops, record.roofline_share, record.peak_memory) == (None, None, None)
    assert record.breakdown == {"dropout": 0.1}
    assert record.less_is_better


def test_calls_are_counted_in_samples(measure):
    calls = []
    record = measure.calls(lambda: calls.append(1), samples=8)
    # One to warm up, one to find how many fill a round, and at least one per round.
    assert len(calls) >= 5
    assert 0 < record.lowest <= record.value <= record.highest
    assert record.unit == "samples/s"


def test_a_pair_alternates_and_leaves_its_ratio_and_its_spread(measure):
    ours, baseline, calls = iter([99.0, 20.0, 30.0, 25.0, 35.0, 40.0]), iter([99.0, *[10.0] * 5]), []

    def run(name, values):
        calls.append(name)
        return next(values)

    record = measure.pair(lambda: run("a", ours), lambda: run("b", baseline), target=2.5, flops=1.0)
    assert calls == ["a", "b"] * 6
    assert (record.value, record.lowest, record.highest, record.rounds) == (30.0, 20.0, 40.0, 5)
    assert record.pair is not None
    assert record.pair.model_dump() == {"baseline": 10.0, "ratio": 3.0, "lowest": 2.0, "highest": 4.0, "target": 2.5}
    assert record.pair.verdict == "reached"


def test_the_memory_of_a_pair_excludes_the_baseline(measure):
    if PeakMemory("cpu").growth() is None:
        pytest.skip("this system does not report a process's peak of memory")

    def takes(bytes_: int) -> float:
        return float(torch.ones(bytes_ // 4)[0])

    record = measure.pair(lambda: takes(1 << 26), lambda: takes(1 << 28), target=1.0)
    assert 0.9 * (1 << 26) < record.peak_memory < 1 << 27
    assert measure.pair(lambda: 1.0, lambda: 1.0, target=1.0, memory=lambda: 7).peak_memory == 7


def test_a_rate_of_zero_is_refused(measure):
    with pytest.raises(ValueError, match="greater than 0"):
        measure.rate(lambda: 0.0)
