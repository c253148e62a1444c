"""What a person reads of a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from towerzoo.towers.export.tower import SIDES


def export_lines(about: dict[str, Any], to: Path) -> Iterator[str]:
    """Returns what was exported and how well, line by line.

    Args:
        about: The bundle's bundle.json.
        to: The bundle.
    """
    for side in SIDES:
        names = ", ".join(some["name"] for some in about["towers"][side]["inputs"])
        yield f"{side} tower: {names} to {about['factors']} factors"
    parity = about["parity"]
    yield (
        f"from torch differ at most: ONNX {parity['onnx']:.1e}, exported programs {parity['program']:.1e} "
        f"({parity['users']} users, {parity['items']} items; {parity['tolerance']:g} allowed)"
    )
    found = ", ".join(f"{share:.1%} of the best {k}" for k, share in about["int8_recall"].items())
    if found:
        yield f"int8 item vectors find {found}"
    yield f"bundle: {to} (format {about['version']}, opset {about['opset']}); start with its README.md"
