from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from towerzoo.towers import process_settings
from towerzoo.towers.process_settings import settle_process

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
    told = settle_process(CPU)
    assert torch.get_num_threads() == threads
    assert f"cpu: {threads} CPU thread" in told


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
        "from towerzoo.towers.process_settings import settle_process\n"
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
