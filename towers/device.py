"""The device that computes: its threads, its memory and its fastest precision."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import torch
from torch.nn import functional

from towerzoo.registry.errors import TrainingError
from towerzoo.registry.experiment import AUTO, Experiment

EVENTS, WIDTH, REPEATS = 1_024, 256, 20
SLOWER = 1.1
"""From this ratio of times on, bfloat16 is reported as slower; less is noise."""
FASTER = 0.8
"""Up to this ratio of times, bfloat16 is chosen; far enough below 1 that a processor always chooses the same."""


def settled_precision(experiment: Experiment, device: torch.device) -> Experiment:
    """Replaces the precision `auto` of an experiment by the device's fastest one.

    This is `bf16-mixed` on GPUs since Ampere and on processors that are faster in bfloat16, otherwise `32-true`.
    """
    if experiment.trainer.precision != AUTO:
        return experiment
    chosen = "bf16-mixed" if _faster_in_bfloat16(device) else "32-true"
    trainer = experiment.trainer.model_copy(update={"precision": chosen})
    return experiment.model_copy(update={"trainer": trainer})


def _faster_in_bfloat16(device: torch.device) -> bool:
    return (
        bool(torch.cuda.is_bf16_supported(including_emulation=False))
        if device.type == "cuda"
        else bfloat16_ratio() < FASTER
    )


def precision_advice(experiment: Experiment, device: torch.device) -> str | None:
    """Returns advice if an experiment trains in bfloat16 on a processor that is slower in it, otherwise None."""
    if device.type != "cpu" or not experiment.trainer.precision.startswith("bf16"):
        return None
    slow = why_slow()
    return f"{slow} Add --set trainer.precision={AUTO}." if slow else None


def why_slow() -> str | None:
    """Returns a sentence about how much slower bfloat16 is on this processor; None if it is not."""
    ratio = bfloat16_ratio()
    if ratio < SLOWER:
        return None
    return f"bfloat16 matrix products take {ratio:.1f} times as long as float32 ones on this processor."


def bfloat16_ratio() -> float:
    """Returns the time of bfloat16 matrix products on this processor, as a multiple of the float32 time."""
    return _product_seconds(torch.bfloat16) / _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """Returns the shortest time of a matrix product of a tower's size."""
    vectors, weight = torch.ones(EVENTS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        functional.linear(vectors, weight)
        times.append(time.perf_counter() - started)
    return min(times)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
LARGEST_REUSED = 32 << 20
"""Bytes of the largest block of memory that is kept for reuse; the maximum of glibc."""
MOST_KEPT = (1 << 31) - 1
"""Bytes kept at the top of the heap; the maximum of mallopt's int."""

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def settle_process(device: torch.device) -> str:
    """Sets up this process: its threads, its memory allocator, and the precision of matrix products on a GPU.

    - Threads: torch's choice or OMP_NUM_THREADS, but no more than the container's CPU quota, since further threads only
      wait.
    - Memory: by default glibc returns large blocks to the system at once, and every training step maps and zeroes them
      again. Blocks up to 32 MiB are kept instead.
    - On a GPU, float32 matrix products may use TF32.

    Returns:
        One line that describes the settings.
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
    """Returns the whole CPUs, at least 1, that the container may use; None without a limit."""
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or `max`
        return None


def _keep_freed_memory() -> bool:
    """Returns whether the C library accepted the setting; the user's own settings have priority."""
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_REUSED)) and bool(mallopt(M_TRIM_THRESHOLD, MOST_KEPT))


def torch_device(device: str) -> torch.device:
    """Returns the device with a name.

    Raises:
        TrainingError: The name is `cuda`, and torch finds no GPU.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "--device must be a device of this machine, got 'cuda'. Torch finds no GPU; use --device cpu."
        )
    return torch.device(device)
