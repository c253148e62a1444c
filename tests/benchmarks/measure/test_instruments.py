"""What measures: pairs, stopwatch, memory, roofline, operations, ways to execute, options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from towerzoo.benchmarks.measure import memory as peak_memory
from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.record import alternate
from towerzoo.benchmarks.measure.roofline import (
    GPU_WARM_UPS,
    forward_flops,
    measure_roofline,
    stopwatch,
    training_flops,
)
from towerzoo.benchmarks.suites.options import SuiteOptions, why_absent, why_not
from towerzoo.registry.errors import RunError, TrainingError
from towerzoo.towers.training.rules import MODES


def test_pairs_alternate_after_a_warm_up_each():
    calls = []

    def run(name, values):
        calls.append(name)
        return values.pop(0)

    ours, theirs = [9.0, 2.0, 6.0, 3.0], [9.0, 1.0, 2.0, 2.0]
    pair = alternate("x", lambda: run("a", ours), lambda: run("b", theirs), unit="rows/s", target=2.0, rounds=3)
    assert calls == ["a", "b"] * 4
    assert (pair.value, pair.baseline, pair.ratio, pair.lowest, pair.highest) == (3.0, 2.0, 2.0, 1.5, 3.0)
    assert str(pair).endswith("ratio 2.00 (1.50 to 3.00), target 2 reached")


def test_a_stopwatch_repeats_a_step_until_a_round_is_filled(monkeypatch):
    calls = []
    monkeypatch.setattr("towerzoo.benchmarks.measure.roofline.time.perf_counter", lambda: len(calls) / 4)
    rate = stopwatch(lambda: calls.append(1), samples=3, device="cpu", seconds=1.25)
    before = len(calls)
    assert rate() == pytest.approx(12.0), "three samples each quarter of a second"
    assert len(calls) - before == 5


def test_a_gpu_is_warm_and_has_done_all_when_its_clock_is_read(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    stopwatch(lambda: calls.append("step"), samples=3, device="cuda", seconds=0.0)
    assert calls == [*["step"] * GPU_WARM_UPS, "wait", "step", "wait"]


def test_the_memory_of_a_gpu_that_nothing_has_used_yet_is_known(monkeypatch):
    calls = []
    for name, value in {"init": None, "reset_peak_memory_stats": None, "memory_allocated": 5}.items():
        monkeypatch.setattr(torch.cuda, name, lambda name=name, value=value: calls.append(name) or value)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 12)
    assert PeakMemory("cuda").growth() == 7
    assert calls == ["init", "reset_peak_memory_stats", "memory_allocated"]


def test_memory_that_was_taken_shows_after_it_was_given_back():
    peak = PeakMemory("cpu")
    if peak.growth() is None:
        pytest.skip("this system does not tell a process's peak")
    torch.ones(1 << 24).sum()
    # Linux counts pages a processor in batches.
    assert 0.9 * (1 << 26) < peak.growth() < 1 << 27


def test_an_earlier_peak_does_not_show():
    torch.ones(1 << 25).sum()
    peak = PeakMemory("cpu")
    if peak.growth() is None:
        pytest.skip("this system does not tell a process's peak")
    assert peak.growth() < 1 << 24


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
    assert roofline.rate("bf16") == roofline.bf16
    assert roofline.rate("float32") == roofline.float32


def test_operations_are_those_of_the_linear_layers():
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(256, 300), nn.Tanh(), nn.Linear(300, 128))
    assert forward_flops(module) == 2 * (256 * 300 + 300 * 128)
    assert training_flops(module) == 3 * forward_flops(module)


def test_compiling_is_asked_for_on_a_cpu_and_graphs_need_a_gpu():
    told = {name: (why_not(name, "cpu", asked=False), why_not(name, "cpu", asked=True)) for name in MODES}
    assert told["eager"] == (None, None)
    assert told["compile"] == ("compiling on a CPU takes minutes; ask for it with --compile", None)
    assert told["cuda-graphs"] == ("CUDA graphs need a GPU",) * 2
    assert [why_not(name, "cuda", asked=False) for name in MODES] == [None] * 3


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"device": "tpu"}, RunError, r"^--device must be a device, got 'tpu'\. .*Devices: auto, cpu, cuda\.$"),
        ({"device": "CPU0"}, RunError, r"^--device must be a device, got 'CPU0'\. Did you mean 'cpu'\?"),
        ({"precision": "bfloat16"}, RunError, r"^--precision must be a precision, got 'bfloat16'\. .*bf16, float32\.$"),
        ({"events": 99}, RunError, r"^--events must be a whole number >= 100, got 99\. Try 100000\.$"),
    ],
)
def test_wrong_options_are_told(options, error, expected):
    with pytest.raises(error, match=expected):
        SuiteOptions(**options)


def test_all_wrong_options_are_told_at_once():
    with pytest.raises(RunError) as raised:
        SuiteOptions(device="tpu", precision="half", events=99)
    wrong = [line.partition(" ")[0] for line in str(raised.value).splitlines()]
    assert wrong == ["--device", "--precision", "--events"]


def test_an_absent_gpu_is_told_or_skipped():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match=r"^--device must be a device of this machine, got 'cuda'\."):
        SuiteOptions(device="cuda")
    assert why_absent("cuda") == "torch finds no GPU"
    assert why_absent("cpu") is None


def test_options_go_to_pytest_as_they_are():
    options = SuiteOptions(device="cpu", precision="bf16", quick=True, compiled=True, events=500)
    assert options.as_arguments() == ["--device=cpu", "--precision=bf16", "--events=500", "--quick", "--compile"]
    assert options.precisions == ("bf16",)
    assert SuiteOptions(device="cpu").as_arguments() == ["--device=cpu"]
    assert SuiteOptions().precisions == ("float32", "bf16")
