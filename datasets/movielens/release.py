"""The published MovieLens archives: where they are found on this machine, and their download."""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towerzoo.datasets.schema.cache import cache_folder
from towerzoo.registry.errors import DataError

TIMEOUT: Final = 30.0
"""Seconds without an answer before a mirror is given up."""


@dataclass(frozen=True)
class Release:
    """One published archive.

    Attributes:
        name: The dataset's registered name.
        folder: The folder in the archive.
        files: The files that are read.
        sha256: Hex digest of the archive.
        urls: GroupLens, whose certificate has lapsed more than once, and a mirror of the same bytes.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    sha256: str
    urls: tuple[str, ...]

    @property
    def advice(self) -> str:
        """What to do without a network."""
        return (
            f"Get {self.urls[0]} on another machine, set TOWERZOO_DATA to a folder of your choice and unpack it "
            f"so that $TOWERZOO_DATA/{self.folder}/{self.files[0]} exists, or set data.root to the unpacked folder."
        )


ML_1M: Final = Release(
    "movielens-1m",
    "ml-1m",
    ("users.dat", "movies.dat", "ratings.dat"),
    "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    (
        "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        "https://huggingface.co/datasets/Recommenders/MovieLens/resolve/main/ml-1m.zip",
    ),
)
ML_100K: Final = Release(
    "movielens-100k",
    "ml-100k",
    ("u.user", "u.item", "u.genre", "u.data"),
    "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    (
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        "https://huggingface.co/datasets/Recommenders/MovieLens/resolve/main/ml-100k.zip",
    ),
)


def find(release: Release, root: str | None, *, offline: bool) -> Path:
    """Returns a folder with all files of a release.

    A given `root` is the only place searched and is never filled by a download: a misspelt path is an error, not a copy
    of the data in an odd place. Without one, `$TOWERZOO_DATA/<folder>` comes first, then earlier downloads in the cache
    folder, then a download. A folder under TOWERZOO_DATA with only some of the files is an error; one with none of them
    is skipped.

    Raises:
        DataError: The files are missing and cannot be downloaded.
    """
    if root is not None:
        folder = Path(os.path.expanduser(root))  # noqa: PTH111  (leaves the home of an unknown user as it is)
        next_step = "Put the files there, or leave root out to have them found or downloaded."
        _require_complete(release, "data.root", folder, next_step)
        return folder
    searched = []
    if os.environ.get("TOWERZOO_DATA"):
        folder = Path(os.environ["TOWERZOO_DATA"]).expanduser() / release.folder
        searched.append(str(folder))
        if len(_missing(release, folder)) < len(release.files):
            next_step = "Put them there, or remove the others to have all of them downloaded."
            _require_complete(release, f"$TOWERZOO_DATA/{release.folder}", folder, next_step)
            return folder
    folder = cache_folder() / "downloads" / release.folder
    searched.append(str(folder))
    if _missing(release, folder):
        if offline:
            raise DataError(
                f"{release.name} must be on this machine when offline is true, got no {', '.join(release.files)} in "
                f"{' or '.join(searched)}. Remove offline to download it. {release.advice}"
            )
        _download(release, folder)
    return folder


def _download(release: Release, folder: Path) -> None:
    """Downloads a release; of processes that do so at once, each puts the same whole files into place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{release.folder}-", dir=folder.parent) as scratch:
            with zipfile.ZipFile(_fetch(release, scratch)) as archive:
                archive.extractall(scratch)
            for name in release.files:
                (Path(scratch) / release.folder / name).replace(folder / name)
    except OSError as error:
        raise DataError(
            f"{folder.parent} cannot be written ({error.strerror or error}). "
            "Set TOWERZOO_CACHE to a writable folder with free space."
        ) from None


def _fetch(release: Release, scratch: str) -> str:
    """Returns the path of the archive, downloaded into a folder from the first URL that gives the right bytes."""
    import pooch

    failures = []
    for url in release.urls:
        try:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
            return str(pooch.retrieve(url, f"sha256:{release.sha256}", "archive.zip", scratch, downloader=downloader))
        except (OSError, ValueError) as error:  # no answer, a status such as 404; other bytes
            failures.append(f"\n    {url}: {error}")
    raise DataError(f"{release.name} cannot be downloaded.{''.join(failures)}\n    {release.advice}")


def _missing(release: Release, folder: Path) -> list[str]:
    return [name for name in release.files if not (folder / name).is_file()]


def _require_complete(release: Release, where: str, folder: Path, next_step: str) -> None:
    missing = _missing(release, folder)
    if missing:
        raise DataError(
            f"{where} must be a folder with {', '.join(release.files)}, "
            f"got {str(folder)!r} without {', '.join(missing)}. {next_step}"
        )
