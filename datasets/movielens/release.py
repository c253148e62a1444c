"""The published MovieLens archives, and where their files are found on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towerzoo.datasets.movielens.download import extract, fetch, locked
from towerzoo.datasets.schema.cache import cache_folder
from towerzoo.registry.errors import DataError


@dataclass(frozen=True)
class Release:
    """One published archive.

    Attributes:
        name: The dataset's registered name.
        folder: The folder in the archive.
        files: The files that are read.
        sha256: Hex digest of the archive.
        urls: Where it is: GroupLens, whose certificate has lapsed more than once, and a mirror of the same bytes.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    sha256: str
    urls: tuple[str, ...]

    @property
    def advice(self) -> str:
        """What a person can do who has no network."""
        return (
            f"Get {self.urls[0]} on another machine, set TOWERZOO_DATA to a folder of your choice and unpack it "
            f"so that $TOWERZOO_DATA/{self.folder}/{self.files[0]} is there, or name the unpacked folder as data.root."
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

    Looks in `root` alone where that is given: a name that someone wrote down is never filled by a download, so that a
    slip of the pen is an error and not a copy of the data in an odd place. Else in `$TOWERZOO_DATA/<folder>`, then in
    the cache folder among earlier downloads; then it downloads there. A folder under TOWERZOO_DATA that has some of the
    files and lacks others is an error; one that has none is passed over.

    Raises:
        DataError: The files are not there and cannot be downloaded.
    """
    if root is not None:
        named = Path(os.path.expanduser(root))  # noqa: PTH111  (of an unknown user it stays, and is told as missing)
        next_step = "Put the files there, or leave root out to have them found or downloaded."
        _refuse_incomplete(release, "data.root", named, next_step)
        return named
    looked_in = []
    if os.environ.get("TOWERZOO_DATA"):
        given = Path(os.environ["TOWERZOO_DATA"]).expanduser() / release.folder
        looked_in.append(str(given))
        if len(_missing(release, given)) < len(release.files):
            next_step = "Put them there, or take the others away to have all downloaded."
            _refuse_incomplete(release, f"$TOWERZOO_DATA/{release.folder}", given, next_step)
            return given
    folder = cache_folder() / "downloads" / release.folder
    looked_in.append(str(folder))
    if not _missing(release, folder):
        return folder
    if offline:
        raise DataError(
            f"{release.name} must be on this machine where offline is true, got no {', '.join(release.files)} in "
            f"{' or '.join(looked_in)}. Leave offline out to download it. {release.advice}"
        )
    with locked(folder.with_name(f"{release.folder}.lock")):
        if _missing(release, folder):  # another process may have been first
            archive = folder.with_name(f"{release.folder}.zip")
            fetch(release.urls, archive, sha256=release.sha256, advice=release.advice)
            extract(archive, folder, folder=release.folder)
            archive.unlink()
    return folder


def _missing(release: Release, folder: Path) -> list[str]:
    return [name for name in release.files if not (folder / name).is_file()]


def _refuse_incomplete(release: Release, where: str, folder: Path, next_step: str) -> None:
    missing = _missing(release, folder)
    if missing:
        raise DataError(
            f"{where} must be a folder with {', '.join(release.files)}, "
            f"got {str(folder)!r} without {', '.join(missing)}. {next_step}"
        )
