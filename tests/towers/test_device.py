from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from towerzoo.registry.experiment import TrainerOptions
from towerzoo.towers import device as module
from towerzoo.towers import device as process_settings
from towerzoo.towers.device import bfloat16_ratio, precision_advice, settle_process, settled_precision
from towerzoo.towers.training.trainer import make_trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restored_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("content", "threads"),
    [
        ("max 100000", 4),
        ("200000 100000", 2),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("900000 100000", 4),
        ("?", 4),
    ],
)
def test_threads_stay_within_a_containers_quota(content, threads, tmp_path, monkeypatch):
    quota = tmp_path / "cpu.max"
    quota.write_text(content + "\n")
    monkeypatch.setattr(process_settings, "CPU_QUOTA", quota)
    torch.set_num_threads(4)
    line = settle_process(CPU)
    assert torch.get_num_threads() == threads
    assert f"cpu: {threads} CPU thread" in line


def test_without_a_quota_threads_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(process_settings, "CPU_QUOTA", tmp_path / "none")
    torch.set_num_threads(3)
    settle_process(CPU)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_a_persons_own_allocator_settings_go_first(name, monkeypatch):
    monkeypatch.setenv(name, "x")
    assert "freed memory" not in settle_process(CPU)


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch):
    monkeypatch.setattr(process_settings.ctypes, "CDLL", lambda name: object())
    assert "freed memory" not in settle_process(CPU)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_mapped_once():
    """Counts page faults of repeated large allocations in a fresh process, with the setting and without."""
    code = (
        "import resource, sys, torch\n"
        "from towerzoo.towers.device import settle_process\n"
        "torch.set_num_threads(1)\n"
        "if sys.argv[1] == 'kept': assert 'freed memory kept' in settle_process(torch.device('cpu'))\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def use(): [torch.ones(5_000_000) for _ in range(4)]\n"
        "for _ in range(5): use()\n"
        "before = faults()\n"
        "for _ in range(20): use()\n"
        "print(faults() - before)\n"
    )
    faults = {
        how: int(subprocess.run([sys.executable, "-c", code, how], check=True, capture_output=True, text=True).stdout)
        for how in ("kept", "default")
    }
    # A system that maps memory in advance, or large pages, may not fault by default either.
    assert faults["kept"] <= faults["default"] / 10


@pytest.fixture
def take(monkeypatch):
    """Lets bfloat16 take so many times as long as float32."""
    return lambda ratio: monkeypatch.setattr(module, "bfloat16_ratio", lambda: ratio)


@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, "bf16-mixed"), (0.9, "32-true"), (8.0, "32-true")])
def test_a_processor_trains_in_what_is_faster(make_experiment, take, ratio, chosen):
    take(ratio)
    experiment = make_experiment(trainer={"precision": "auto", "gradient_clip_val": 1.0})
    settled = settled_precision(experiment, torch.device("cpu"))
    assert settled.trainer == TrainerOptions(precision=chosen, gradient_clip_val=1.0)
    assert make_trainer(experiment, "cpu", callbacks=[], logger=False).precision == chosen


@pytest.mark.parametrize(("native", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_trains_in_bfloat16_where_it_has_it(make_experiment, monkeypatch, native, chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: native or including_emulation)
    settled = settled_precision(make_experiment(trainer={"precision": "auto"}), torch.device("cuda"))
    assert settled.trainer == TrainerOptions(precision=chosen)


@pytest.mark.parametrize("trainer", [{}, {"precision": "16-mixed"}], ids=str)
def test_what_a_person_chose_is_left(make_experiment, take, trainer):
    take(0.5)
    experiment = make_experiment(trainer=trainer)
    assert settled_precision(experiment, torch.device("cpu")) is experiment


@pytest.mark.parametrize(
    ("precision", "device", "ratio", "advised"),
    [
        ("bf16-mixed", "cpu", 2.0, True),
        ("bf16-true", "cpu", 2.0, True),
        ("bf16-mixed", "cpu", 0.5, False),
        ("bf16-mixed", "cpu", 1.05, False),
        ("32-true", "cpu", 2.0, False),
        ("bf16-mixed", "cuda", 2.0, False),
    ],
)
def test_slow_bfloat16_is_advised_against(make_experiment, take, precision, device, ratio, advised):
    take(ratio)
    advice = precision_advice(make_experiment(trainer={"precision": precision}), torch.device(device))
    expected = "bfloat16 matrix products take 2.0 times as long as float32 ones on this processor. Add"
    assert (advice or "").startswith(expected) is advised


def test_nothing_is_said_where_no_precision_is_given(make_experiment):
    assert precision_advice(make_experiment(), torch.device("cpu")) is None


def test_products_take_time():
    assert bfloat16_ratio() > 0
