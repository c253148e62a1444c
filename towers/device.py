"""The precision of training: not every processor is faster in bfloat16."""

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
"""How many times as long bfloat16 must take before it is told; below it is noise."""
FASTER = 0.8
"""How many times as long bfloat16 may take to be chosen; so far below 1 that a processor always chooses the same."""


def settled_precision(experiment: Experiment, device: torch.device) -> Experiment:
    """Returns an experiment that says in which precision it trains, where it left that to the device.

    `auto` becomes `bf16-mixed` on a GPU since Ampere and on a processor that is faster in bfloat16, else `32-true`.
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
    """Returns what to change where an experiment trains in bfloat16 on a processor that is slower in it, else None."""
    if device.type != "cpu" or not experiment.trainer.precision.startswith("bf16"):
        return None
    slow = why_slow()
    return f"{slow} Add --set trainer.precision={AUTO}." if slow else None


def why_slow() -> str | None:
    """Returns how much slower bfloat16 is on this processor; None where it is not."""
    ratio = bfloat16_ratio()
    if ratio < SLOWER:
        return None
    return f"bfloat16 matrix products take {ratio:.1f} times as long as float32 ones on this processor."


def bfloat16_ratio() -> float:
    """Returns how many times as long matrix products take in bfloat16 as in float32 on this processor."""
    return _product_seconds(torch.bfloat16) / _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """Returns the shortest time of some matrix products, of the size of a tower's."""
    vectors, weight = torch.ones(EVENTS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        functional.linear(vectors, weight)
        times.append(time.perf_counter() - started)
    return min(times)


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


def torch_device(device: str) -> torch.device:
    """Returns the device that a name stands for.

    Raises:
        TrainingError: It is `cuda`, and this machine has no GPU that torch can use.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "--device must be a device of this machine, got 'cuda'. Torch finds no GPU; use --device cpu."
        )
    return torch.device(device)
