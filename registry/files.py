"""Facts about files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_digest(path: Path) -> str:
    """Returns the hex SHA-256 of a file, which is read a block at a time."""
    digest = hashlib.sha256()  # hashlib.file_digest is new in Python 3.11
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
