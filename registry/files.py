"""Files: their digest, and errors of the operating system as sentences."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from towerzoo.registry.errors import TowerZooError, one_line

ADVICE: Final = {
    errno.ENOENT: "Check the path.",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Change its permissions, or choose another path."),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free space, or choose another path."),
}
"""What to do about an error of the operating system, by its number."""


def file_digest(path: Path) -> str:
    """Returns the hex SHA-256 of a file, which is read a block at a time."""
    digest = hashlib.sha256()  # hashlib.file_digest is new in Python 3.11
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def os_problem(error: OSError, path: object, action: str = "written", advice: str = "") -> str:
    """Returns a sentence on an error of the operating system, and what to do about it.

    Args:
        error: What it raised; pyarrow gives the error's number in the message alone.
        path: The file or folder.
        action: What could not be done: `written`, `read`, `created`, `removed`.
        advice: What to do where that depends on the file; otherwise `ADVICE` by the error's number.

    Example:
        >>> os_problem(OSError(errno.ENOSPC, "No space left on device"), "runs/tiny/metrics.json")
        'runs/tiny/metrics.json cannot be written: No space left on device. Free space, or choose another path.'
    """
    code = error_number(error)
    reason = os.strerror(code) if code else one_line(error)
    return f"{path} cannot be {action}: {reason}. {advice or ADVICE.get(code, 'Choose another path.')}"


def error_number(error: OSError) -> int:
    """Returns the number of an error of the operating system; 0 where it has none."""
    return error.errno or next(map(int, re.findall(r"errno (\d+)", str(error))), 0)


@contextmanager
def os_errors_as(kind: type[TowerZooError], path: object, action: str = "written", advice: str = "") -> Iterator[None]:
    """Turns errors of the operating system into a TowerZooError with the sentence of `os_problem`.

    Example:
        >>> from towerzoo.registry.errors import RunError
        >>> with os_errors_as(RunError, "nowhere", "read"):
        ...     open("nowhere")
        Traceback (most recent call last):
        ...
        towerzoo.registry.errors.RunError: nowhere cannot be read: No such file or directory. Check the path.
    """
    try:
        yield
    except OSError as error:
        raise kind(os_problem(error, path, action, advice)) from error
