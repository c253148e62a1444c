"""Stopwatch, memory, roofline, floating point operations, options of suites."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from towerzoo.benchmarks.measure import memory as peak_memory
from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.roofline import GPU_WARM_UPS, measure_roofline, stopwatch, training_flops
from towerzoo.benchmarks.suites.options import SuiteOptions
from towerzoo.registry.errors import TrainingError


def test_a_stopwatch_repeats_a_step_until_a_round_is_filled(monkeypatch):
    calls = []
    monkeypatch.setattr("towerzoo.benchmarks.measure.roofline.time.perf_counter", lambda: len(calls) / 4)
    rate = stopwatch(lambda: calls.append(1), samples=3, device="cpu", seconds=1.25)
    before = len(calls)
    assert rate() == pytest.approx(12.0), "three samples each quarter of a second"
    assert len(calls) - before == 5


def test_a_gpu_is_warm_and_has_finished_when_its_clock_is_read(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    stopwatch(lambda: calls.append("step"), samples=3, device="cuda", seconds=0.0)
    assert calls == [*["step"] * GPU_WARM_UPS, "wait", "step", "wait"]


def test_the_memory_of_an_unused_gpu_is_known(monkeypatch):
    calls = []
    for name, value in {"init": None, "reset_peak_memory_stats": None, "memory_allocated": 5}.items():
        monkeypatch.setattr(torch.cuda, name, lambda name=name, value=value: calls.append(name) or value)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 12)
    assert PeakMemory("cuda").growth() == 7
    assert calls == ["init", "reset_peak_memory_stats", "memory_allocated"]


def test_a_peak_counts_freed_memory_but_no_earlier_peak():
    torch.ones(1 << 25).sum()
    peak = PeakMemory("cpu")
    if peak.growth() is None:
        pytest.skip("this system does not report a process's peak of memory")
    assert peak.growth() < 1 << 24
    torch.ones(1 << 24).sum()
    # Linux counts pages in batches per processor.
    assert 0.9 * (1 << 26) < peak.growth() < 1 << 27


def test_a_peak_that_cannot_be_reset_is_unknown(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("VmHWM:\t 900000 kB\nVmRSS:\t 1000 kB\n")
    monkeypatch.setattr(peak_memory, "STATUS", status)
    monkeypatch.setattr(peak_memory, "CLEAR", tmp_path / "nowhere" / "clear_refs")
    assert PeakMemory("cpu").growth() is None
    monkeypatch.setattr(peak_memory, "STATUS", tmp_path / "nowhere")
    assert PeakMemory("cpu").growth() is None


def test_the_roofline_has_all_rates():
    roofline = measure_roofline("cpu", seconds=0.001)
    assert min(roofline.float32, roofline.bf16, roofline.copy_rate) > 1e6


def test_operations_are_those_of_the_linear_layers():
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(256, 300), nn.Tanh(), nn.Linear(300, 128))
    assert training_flops(module) == 3 * 2 * (256 * 300 + 300 * 128)


def test_a_missing_gpu_is_an_error():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match=r"^--device must be a device of this machine, got 'cuda'\."):
        SuiteOptions(device="cuda")


def test_options_become_pytest_arguments():
    options = SuiteOptions(device="cpu", precision="bf16", quick=True, events=500)
    assert options.as_arguments() == ["--device=cpu", "--precision=bf16", "--events=500", "--quick"]
