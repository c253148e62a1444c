"""The processor of this machine."""

from __future__ import annotations

from pathlib import Path

INTEL = "GenuineIntel"
"""Vendor id of the processors that Intel's math library (MKL) runs at full speed on."""


def processor_field(name: str) -> str | None:
    """Returns a field of the first processor in /proc/cpuinfo, such as `model name`; None if it is unknown.

    Example:
        >>> processor_field("no such field") is None
        True
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for field, _, value in fields if field.strip() == name), None)
