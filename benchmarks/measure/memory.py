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
"""What Linux takes, written to clear_refs, as: let the peak be what is resident now (man 5 proc)."""


class PeakMemory:
    """The most memory in use since it was made, above that at its start.

    On CUDA it is what torch has allocated; on the CPU what the process has resident, which Linux alone tells. What an
    allocator had kept for itself before the start, and uses now, does not show.

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
            torch.cuda.init()  # type: ignore[no-untyped-call]  # which has no memory to tell of before
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
        else:
            _give_back_free_memory()
            with suppress(OSError):
                CLEAR.write_text(RESET_PEAK)
            self._start = _status("VmRSS")
            peak = _status("VmHWM")
            # A sandbox may take the write and do nothing; the peak would then be an earlier measurement's.
            if self._start is None or peak is None or peak > self._start + (1 << 20):
                self._start = None

    def growth(self) -> int | None:
        """Returns bytes; None where they are not known."""
        peak = torch.cuda.max_memory_allocated() if self._cuda else _status("VmHWM")
        if self._start is None or peak is None:
            return None
        return max(0, peak - self._start)


def _status(field: str) -> int | None:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _give_back_free_memory() -> None:
    # Otherwise what an earlier measurement freed is still resident, and this one grows into it unseen.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
