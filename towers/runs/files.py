"""Writes files whole or not at all, and tells a person when the disk does not let it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from towerzoo.registry.errors import RunError


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    write_whole_with(path, lambda temporary: temporary.write_bytes(data))


def write_whole_with(target: Path, writer: Callable[[Path], object]) -> None:
    """Lets `writer` write a temporary file beside the target, and gives it the target's name when it is complete.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    temporary = target.parent / f".{uuid.uuid4().hex}.{target.name}"
    with told_as_run_error(target, "a file that can be written"):
        try:
            writer(temporary)
            temporary.replace(target)
        finally:
            # Not missing_ok alone: the place itself may be no folder, and that is not what went wrong first.
            with suppress(OSError):
                temporary.unlink()


def require_place(target: Path) -> None:
    """Makes sure that a file can be written to its place, before the work is done whose result it is to hold.

    Raises:
        RunError: It is a folder, or lies in none that can be written.
    """
    temporary = target.parent / f".{uuid.uuid4().hex}.{target.name}"
    with told_as_run_error(target, "a file that can be written"):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        temporary.touch()
        temporary.unlink()


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Gives a new folder beside the target, which takes the target's place and name once it is complete.

    Where the block fails, the target stays as it was, and nothing else is left. Of a link, the folder that it points to
    is the target.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    target = Path(os.path.realpath(target))
    missing = [folder for folder in target.parents if not folder.exists()]
    temporary, former = (target.parent / f".{uuid.uuid4().hex}.{target.name}" for _ in range(2))
    with told_as_run_error(target, "a folder that can be written"):
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


@contextmanager
def told_as_run_error(path: Path, expected: str) -> Iterator[None]:
    """Turns an OSError (no space, no permission, read-only) into a RunError that names the path."""
    try:
        yield
    except OSError as error:
        # Arrow's have a number only in their text.
        code = error.errno or next(map(int, re.findall(r"errno (\d+)", str(error))), None)
        reason = os.strerror(code) if code else str(error)
        raise RunError(f"{path} must be {expected}, got {reason!r}. Free space, or choose another folder.") from error
