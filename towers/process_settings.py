"""Settings of the whole process that training's speed depends on."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
LARGEST_REUSED = 32 << 20
"""Bytes of the largest piece of memory that is kept for reuse; the most that glibc allows."""
MOST_KEPT = (1 << 31) - 1
"""Bytes that are kept at the top of the heap; the most that mallopt's int can say."""

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def settle_process(device: torch.device) -> str:
    """Chooses threads, what becomes of freed memory, and the precision of matrix products on a GPU.

    - Threads: torch's own choice or OMP_NUM_THREADS, but no more than a container's CPU quota, beyond which threads
      wait for each other.
    - Memory: by default glibc gives large pieces back to the system at once, and every training step has them mapped
      and zeroed anew. Pieces up to 32 MiB are kept instead.
    - On a GPU, float32 matrix products may use TF32.

    Returns:
        One line that says what was chosen.
    """
    chosen = []
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        chosen.append("TF32 matrix products")
    threads = min(torch.get_num_threads(), _cpu_quota() or torch.get_num_threads())
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    chosen.append(f"{threads} CPU {'thread' if threads == 1 else 'threads'}")
    if _keep_freed_memory():
        chosen.append("freed memory kept for reuse")
    return f"{device.type}: {', '.join(chosen)}"


def _cpu_quota() -> int | None:
    """Returns the whole CPUs, at least 1, that a container may use; None where nothing limits it."""
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or `max`
        return None


def _keep_freed_memory() -> bool:
    """Returns whether the C library could be told so; a person's own setting of it goes first."""
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_REUSED)) and bool(mallopt(M_TRIM_THRESHOLD, MOST_KEPT))
