"""Finds the files of a table: one file, a pattern, or a folder of shards, all in one format with the same columns."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from towerzoo.datasets.tabular import recbole_files
from towerzoo.registry.errors import DataError, nearest
from towerzoo.registry.files import file_digest

FORMATS: Final[Mapping[str, str]] = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
    ".pq": "Parquet",
    **dict.fromkeys(recbole_files.SUFFIXES, "RecBole"),
}
"""The format of a file by its suffix."""
SEPARATORS: Final = {"CSV": ",", "TSV": "\t", "RecBole": "\t"}
_COMPRESSIONS: Final = (".gz", ".bz2", ".zst")
_HEADER_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Shards:
    """The files of one table.

    Attributes:
        format: `CSV`, `TSV`, `Parquet` or `RecBole`.
        paths: The files in the order of their names; at least one.
    """

    format: str
    paths: tuple[Path, ...]

    def columns(self) -> dict[str, pa.DataType | None]:
        """Returns the columns of the first file, with the types that its header gives, without reading rows."""
        return read_header(self.paths[0], self.format)

    def digest(self) -> str:
        """Returns the hex digest of what the files contain, independent of where they are."""
        digest = hashlib.sha256(self.format.encode())
        for path in self.paths:
            with reading(path):
                digest.update(bytes.fromhex(file_digest(path)))
        return digest.hexdigest()


def find_shards(files: str, root: str | None = None) -> Shards:
    """Finds the files of a table.

    Args:
        files: A file, a pattern with `*`, `?` or `[...]`, or a folder, of which files that begin with `.` or `_` are
            skipped.
        root: The folder that a relative path starts at; None for the working directory, for files that no config names.

    Raises:
        DataError: There is no such file, or the files are in different or unknown formats.
    """
    # Unlike pathlib's, this leaves the `~` of an unknown user as it is; such a file does not exist.
    named = Path(os.path.expanduser(root or "."), os.path.expanduser(files))  # noqa: PTH111
    if named.is_dir():
        paths = [path for path in named.iterdir() if path.is_file() and not path.name.startswith((".", "_"))]
    elif named.exists():
        paths = [named]
    else:
        matches = glob.glob(str(named), recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
        paths = [Path(path) for path in matches if Path(path).is_file()]
    if not paths:
        start = "Set `root`, the folder that relative paths start at, or give" if root else "Give"
        next_step = f"{_hint(named)}{start} the whole path."
        if named.is_dir():
            next_step = "Subfolders and files that begin with . or _ are skipped; use a pattern such as '**/*.parquet'."
        raise DataError(
            f"{files!r} must be a file, a folder of files or a pattern such as 'clicks/*.parquet', "
            f"got none at {named.absolute()}. {next_step}"
        )
    paths.sort(key=str)
    formats = [FORMATS.get(_suffix(path)) for path in paths]
    faults = [
        f"{path}: the file name must end in {', '.join(FORMATS)}, got {path.name!r}. Rename the file, or move it away."
        if format is None
        else f"{path}: all files of {files!r} must have one format, got {format} here and {formats[0]} in {paths[0]}. "
        "Select the files of one format by a pattern, such as '*.parquet'."
        for path, format in zip(paths, formats, strict=True)
        if format is None or (formats[0] is not None and format != formats[0])
    ]
    if faults:
        raise DataError("\n".join(faults))
    return Shards(str(formats[0]), tuple(paths))


def read_header(path: Path, format: str) -> dict[str, pa.DataType | None]:
    """Returns the columns of a file, with the types that its header gives, without reading rows.

    Raises:
        DataError: The file cannot be read, has no header, or names a column twice.
    """
    with reading(path):
        if format == "Parquet":
            schema = pq.read_schema(path)
            names: list[str] = schema.names
            types: dict[str, pa.DataType | None] = dict(zip(names, schema.types, strict=True))
        else:
            names = _first_row(path, read_separator(path, format))
            if format == "RecBole" and names:
                return recbole_files.typed_header(names, str(path))
            types = dict.fromkeys(names)
    if not names:
        raise DataError(f"{path} is empty. Its first row must hold the column names.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has several columns called {', '.join(map(repr, repeated))}. Rename all but one.")
    return types


def read_separator(path: Path, format: str) -> str:
    """Returns the separator of a text file's fields; of CSV a semicolon if the header has one and no comma."""
    separator = SEPARATORS[format]
    with reading(path):
        names = _first_row(path, separator)
    return ";" if format == "CSV" and len(names) == 1 and ";" in names[0] else separator


def _first_row(path: Path, separator: str) -> list[str]:
    with pa.input_stream(str(path), compression="detect") as stream:
        start = stream.read(_HEADER_BYTES)
    start.partition(b"\n")[0].decode("utf-8")  # raises UnicodeDecodeError, such as for UTF-16
    text = start.decode("utf-8-sig", errors="replace")
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Reports a file that cannot be read as a DataError."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()).removesuffix(".")
        raise DataError(f"{path} cannot be read: {reason}. Repair the file, or write it again.") from None


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def _hint(named: Path) -> str:
    siblings = [path.name for path in named.parent.iterdir()] if named.parent.is_dir() else []
    similar = nearest(named.name, siblings)
    return f"Did you mean {str(named.with_name(similar))!r}? " if similar else ""
