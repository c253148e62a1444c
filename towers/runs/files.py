"""Writes files whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from towerzoo.registry.errors import RunError
from towerzoo.registry.files import os_errors_as


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    write_whole_with(path, lambda temporary: temporary.write_bytes(data))


def write_whole_with(target: Path, writer: Callable[[Path], object]) -> None:
    """Lets `writer` write a temporary file beside the target, and renames it to the target once it is complete.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    temporary = _temporary(target)
    with os_errors_as(RunError, target):
        try:
            writer(temporary)
            temporary.replace(target)
        finally:
            with suppress(OSError):  # the parent may be no folder, which is reported above
                temporary.unlink()


def require_writable(target: Path) -> None:
    """Checks that a file can be written, before doing the work whose result it will hold.

    Raises:
        RunError: The target is a folder, or its own folder is missing or read-only.
    """
    with os_errors_as(RunError, target):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        temporary = _temporary(target)
        temporary.touch()
        temporary.unlink()


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder beside the target, which replaces the target when the block ends.

    If the block fails, the target stays as it was and nothing else is left behind. A link stays a link: the folder that
    it points to is replaced.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    target = Path(os.path.realpath(target))
    missing = [folder for folder in target.parents if not folder.exists()]
    temporary, former = _temporary(target), _temporary(target)
    with os_errors_as(RunError, target):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if target.exists():
                target.rename(former)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if former.exists():
                former.rename(target)
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()
            raise
        shutil.rmtree(former, ignore_errors=True)


def _temporary(target: Path) -> Path:
    return target.parent / f".{uuid.uuid4().hex}.{target.name}"
