"""The roofline: a device's best rates, measured on the shapes of the published towers.

A throughput says little by itself. Its share of the matrix product rate, measured in the same run, shows how much is
left to gain, and can be compared between machines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

WIDTH = 256
"""Width of the published towers' layers."""
ROWS = (1_024, 8_192)
"""Batch sizes; the faster one counts, since small ones leave a GPU idle."""
COPIED = 1 << 26
"""Bytes of the copy; larger than any cache."""
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
"""The measured precisions, by their names in parameters and options."""


class Roofline(BaseModel):
    """Upper bounds of a step's rates.

    Attributes:
        float32: Floating point operations a second of matrix products in float32.
        bf16: The same in bfloat16.
        copy_rate: Bytes a second of a memory copy, counting reads and writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    float32: float
    bf16: float
    copy_rate: float


def measure_roofline(device: str, *, seconds: float = 0.1) -> Roofline:
    """Measures a device with torch's current number of threads.

    Args:
        device: `cpu` or `cuda`.
        seconds: Length of each timing.
    """
    rates = {
        name: max(_matrix_product_rate(device, dtype, rows, seconds) for rows in ROWS) for name, dtype in DTYPES.items()
    }
    return Roofline(**rates, copy_rate=_copy_rate(device, seconds))


@torch.no_grad()
def _matrix_product_rate(device: str, dtype: torch.dtype, rows: int, seconds: float) -> float:
    vectors, gradients = (torch.randn(rows, WIDTH, device=device, dtype=dtype) for _ in range(2))
    weight = torch.randn(WIDTH, WIDTH, device=device, dtype=dtype)

    def products() -> None:
        # The three products of a linear layer: its output, and the gradients of its input and its weight.
        vectors @ weight.t()
        gradients @ weight
        gradients.t() @ vectors

    return max(
        stopwatch(products, samples=3 * 2 * rows * WIDTH * WIDTH, device=device, seconds=seconds / 3)() for _ in "abc"
    )


@torch.no_grad()
def _copy_rate(device: str, seconds: float) -> float:
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return stopwatch(lambda: target.copy_(source), samples=2 * COPIED, device=device, seconds=seconds)()


def training_flops(module: nn.Module) -> float:
    """Returns the operations of all linear layers' forward and backward pass for one row.

    A multiply-add counts as two. A layer has three products of one size: its output, and the gradients of its input and
    its weight.

    Example:
        >>> training_flops(nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 1)))
        60.0
    """
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    return float(sum(3 * 2 * layer.in_features * layer.out_features for layer in layers))


GPU_WARM_UPS = 5
"""Untimed steps on a GPU: the first compile and record a CUDA graph, the next replay it."""


def synchronize(device: str) -> None:
    """Waits until the device has finished its work; on a CPU, it always has."""
    if device == "cuda":
        torch.cuda.synchronize()


def stopwatch(run: Callable[[], object], *, samples: float, device: str, seconds: float) -> Callable[[], float]:
    """Warms `run` up and returns a function that times it.

    Args:
        run: One step.
        samples: Samples per step.
        device: `cpu` or `cuda`.
        seconds: About how long each timing runs; at least one step.

    Returns:
        A function that returns samples a second.

    Example:
        >>> stopwatch(lambda: None, samples=2, device="cpu", seconds=0.0)() > 0
        True
    """
    for _ in range(1 if device == "cpu" else GPU_WARM_UPS):
        run()  # allocates, picks kernels, compiles
    once = _time(run, 1, device)
    steps = max(1, math.ceil(seconds / once))
    return lambda: steps * samples / _time(run, steps, device)


def _time(run: Callable[[], object], steps: int, device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    for _ in range(steps):
        run()
    synchronize(device)
    return max(time.perf_counter() - started, 1e-9)
