"""Fetches a file of known content from any of several places, and unpacks it without trusting it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import stat
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from towerzoo.registry.errors import DataError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; the digest still guards the result there
    fcntl = None  # type: ignore[assignment]

CHUNK: Final = 1 << 18
"""Bytes read from a connection at a time."""


class _TransferError(Exception):
    """Why one URL did not give the file."""


def fetch(urls: Sequence[str], target: Path, *, sha256: str, timeout: float = 30.0, advice: str = "") -> Path:
    """Downloads a file from the first URL that gives the right bytes.

    An interrupted transfer stays beside the target as `<name>.part` and is continued, by this or the next call and from
    whichever URL: the digest says whether the parts fit together. The target appears whole or not at all.

    Args:
        urls: Places with the same bytes, http or https, best first.
        target: Where the file goes; its folder is made.
        sha256: Hex digest of the whole file.
        timeout: Seconds without an answer before a URL is given up, > 0.
        advice: What a person can do when no URL works; ends the error message.

    Returns:
        The target.

    Raises:
        DataError: No URL gave the file (the message has the reason of each), or the target cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    reasons = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                _fetch_part(url, part, sha256, timeout)
            except _TransferError as failure:
                reasons.append(f"\n    {url}: {failure}")
            else:
                part.replace(target)
                return target
    except OSError as error:
        raise DataError(_unwritable(target.parent, error)) from None
    raise DataError(
        f"{target.name} must come with SHA-256 {sha256[:12]}... from one of {len(urls)} URLs, got it from none."
        + "".join(reasons)
        + (f"\n    {advice}" if advice else "")
    )


def _fetch_part(url: str, part: Path, sha256: str, timeout: float) -> None:
    """Makes `part` the whole file; starts over once where what an earlier call left turns out to be bad."""
    if part.exists() and file_digest(part) == sha256:
        return  # killed between the last byte and the rename
    while True:
        resumed = _transfer(url, part, timeout)
        found = file_digest(part)
        if found == sha256:
            return
        part.unlink()
        if not resumed:
            raise _TransferError(f"other bytes than expected, SHA-256 {found[:12]}...")


def _transfer(url: str, part: Path, timeout: float) -> bool:
    """Appends the rest of the file to `part`; returns whether bytes from before were kept."""
    if not url.startswith(("https://", "http://")):
        raise _TransferError("not an http or https URL")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "towerzoo", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)  # noqa: S310 - checked above
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is missing at the end, so what is there must be wrong
        raise _TransferError(f"HTTP status {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _TransferError(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(str(error) or type(error).__name__) from None
    with answer:
        content_range = answer.headers.get("Content-Range") or ""
        resumed = bool(have) and answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not content_range.startswith(f"bytes {have}-"):
            raise _TransferError(f"answered with another range than asked for: {content_range!r}")
        done = have if resumed else 0
        length = answer.headers.get("Content-Length") or ""
        total = done + int(length) if length.isdecimal() else None
        with part.open("ab" if resumed else "wb") as file:
            for chunk in _chunks(answer, _Progress(url, done, total)):
                file.write(chunk)
                done += len(chunk)
    if total is not None and done != total:
        raise _TransferError(f"the connection closed after {done:,} of {total:,} bytes")
    return resumed


def _chunks(answer: http.client.HTTPResponse, progress: _Progress) -> Iterator[bytes]:
    try:
        while True:
            # Only this line is the network's: an OSError of the disk must not be taken for one of the URL.
            try:
                chunk = answer.read(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _TransferError(str(error) or type(error).__name__) from None
            if not chunk:
                return
            progress.advance(len(chunk))
            yield chunk
    finally:
        progress.close()


class _Progress:
    """One line on stderr: rewritten while bytes come in a terminal, written once at the end elsewhere."""

    def __init__(self, url: str, done: int, total: int | None) -> None:
        self._url, self._done, self._total = url, done, total
        self._shown = 0.0

    def advance(self, count: int) -> None:
        self._done += count
        if sys.stderr.isatty() and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            sys.stderr.write(f"\r{self._text()}")
            sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write(f"\r{self._text()}\n" if sys.stderr.isatty() else f"{self._text()}\n")

    def _text(self) -> str:
        total = "" if self._total is None else f" of {self._total / 1e6:.1f}"
        return f"Downloading {self._url}: {self._done / 1e6:.1f}{total} MB"


def file_digest(path: Path) -> str:
    """Returns the hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def extract(archive: Path, target: Path, *, folder: str) -> None:
    """Unpacks one top-level folder of a zip file; the target appears whole or not at all.

    Args:
        archive: The zip file.
        target: What the folder becomes; a target that exists is replaced.
        folder: Name of the folder in the archive.

    Raises:
        DataError: The archive is not a zip file, is damaged, has no such folder, or has a member that is a link or
            would land outside the target; or the target cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as workplace:
            unpacked = Path(workplace) / folder
            with zipfile.ZipFile(archive) as bundle:
                for member in bundle.infolist():
                    _refuse_unsafe(archive, member)
                bundle.extractall(workplace)
            if not unpacked.is_dir():
                raise DataError(f"{archive} must be a zip file with a folder {folder!r}, got none. Download it again.")
            if target.exists():
                shutil.rmtree(target)
            unpacked.replace(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive} must be a whole zip file, got {str(error)!r}. Download it again.") from None
    except OSError as error:
        raise DataError(_unwritable(target.parent, error)) from None


def _unwritable(folder: Path, error: OSError) -> str:
    return (
        f"{folder} must be a folder that can be written, got {error.strerror or error!r}. "
        "Set TOWERZOO_CACHE to a folder with free space that you may write to."
    )


def _refuse_unsafe(archive: Path, member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    paths = (PurePosixPath(name), PureWindowsPath(name))
    leaves = any(path.is_absolute() or path.anchor or ".." in path.parts for path in paths)
    if leaves or stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(
            f"{archive}: a member must be a file or folder inside the archive's folder, got {name!r}. "
            "Nothing was unpacked; do not use this archive."
        )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file, so that of several processes one downloads and the others wait for it.

    Where locks do not exist (Windows, some network drives) it lets everybody through.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("ab"))
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)  # goes with the process, so a kill leaves nothing locked
        yield
