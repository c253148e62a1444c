"""How much memory a measurement takes."""

from __future__ import annotations

import ctypes
import gc
import re
from contextlib import suppress
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to clear_refs, makes Linux set the peak to the current resident memory (man 5 proc)."""


class PeakMemory:
    """The peak of memory in use since this object was made, above the memory in use at that time.

    On CUDA it counts torch's allocations, on the CPU the resident memory of the process, on Linux alone. Memory that an
    allocator had already reserved is not counted.

    Args:
        device: `cpu` or `cuda`.

    Example:
        >>> peak = PeakMemory("cpu")
        >>> block = torch.ones(1_000_000)
        >>> growth = peak.growth()
        >>> growth is None or growth >= 3_500_000
        True
    """

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        self._start: int | None
        gc.collect()
        if self._cuda:
            torch.cuda.init()  # type: ignore[no-untyped-call]  # memory statistics are unavailable before
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
            return
        # Otherwise memory that an earlier measurement freed is still resident, and reusing it does not show.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            CLEAR.write_text(RESET_PEAK)
        self._start = _status("VmRSS")
        peak = _status("VmHWM")
        # A sandbox may accept the write without effect; the peak would then belong to an earlier measurement.
        if self._start is None or peak is None or peak > self._start + (1 << 20):
            self._start = None

    def growth(self) -> int | None:
        """Returns bytes, or None if they are unknown."""
        peak = torch.cuda.max_memory_allocated() if self._cuda else _status("VmHWM")
        if self._start is None or peak is None:
            return None
        return max(0, peak - self._start)


def _status(field: str) -> int | None:
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None
