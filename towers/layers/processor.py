"""What the processor says of itself."""

from __future__ import annotations

from pathlib import Path

INTEL = "GenuineIntel"
"""The vendor whose processors Intel's math library runs at full speed."""


def processor_field(name: str) -> str | None:
    """Returns a field of the first processor in /proc/cpuinfo, such as `model name`; None where it is not told.

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
