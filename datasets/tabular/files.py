"""Finds the files of a table: one file, a pattern, or a folder of shards, all of one form and with the same columns."""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from towerzoo.datasets.tabular import recbole_files
from towerzoo.registry.errors import DataError, nearest, shortened
from towerzoo.registry.files import file_digest

FORMS: Final[Mapping[str, str]] = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
    ".pq": "Parquet",
    **dict.fromkeys(recbole_files.SUFFIXES, "RecBole"),
}
"""The form of a file by its ending."""
SEPARATORS: Final = {"CSV": ",", "TSV": "\t", "RecBole": "\t"}
_COMPRESSIONS: Final = (".gz", ".bz2", ".zst")
_HEADER_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Shards:
    """The files that together are one table.

    Attributes:
        form: `CSV`, `TSV`, `Parquet` or `RecBole`.
        paths: The files in the order of their names; at least one.
    """

    form: str
    paths: tuple[Path, ...]

    def columns(self) -> dict[str, pa.DataType | None]:
        """Returns the columns of the first file, with their types where the file says so, without reading its rows."""
        return read_header(self.paths[0], self.form)

    def digest(self) -> str:
        """Returns the hex digest of what the files hold, but not of where they lie."""
        digest = hashlib.sha256(self.form.encode())
        for path in self.paths:
            with _readable(path):
                digest.update(bytes.fromhex(file_digest(path)))
        return digest.hexdigest()


def find_shards(files: str, root: str | None = None) -> Shards:
    """Finds the files that `files` names.

    Args:
        files: A file, a pattern with `*`, `?` or `[...]`, or a folder, whose files that begin with `.` or `_` are left.
        root: The folder that a relative path starts at; None for that of the process, which no config can change.

    Raises:
        DataError: There is no such file, or the files are of different or of unknown forms.
    """
    # Unlike pathlib's, this leaves the `~` of nobody as it is; there is no such file then.
    named = Path(os.path.expanduser(root or "."), os.path.expanduser(files))  # noqa: PTH111
    if named.is_dir():
        paths = [path for path in named.iterdir() if path.is_file() and not path.name.startswith((".", "_"))]
    elif named.exists():
        paths = [named]
    else:
        matches = glob.glob(str(named), recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
        paths = [Path(path) for path in matches if Path(path).is_file()]
    if not paths and named.is_dir():
        raise DataError(
            f"{files!r} must hold the files of a table, got none in {named.absolute()}. Folders in it, and files that "
            "begin with . or _, are left out; name the files by a pattern, such as '**/*.parquet'."
        )
    if not paths:
        start = "`root`, the folder that relative paths start at, or the whole path" if root else "the path of one"
        raise DataError(
            f"{files!r} must name a file, a folder of files or a pattern such as 'clicks/*.parquet', "
            f"got none at {named.absolute()}. {_near(named)}Give {start}."
        )
    paths.sort(key=str)
    forms = [FORMS.get(_ending(path)) for path in paths]
    faults = [
        f"{path}: the name must end in {', '.join(FORMS)}, got {path.name!r}. Rename the file, or move it elsewhere."
        for path, form in zip(paths, forms, strict=True)
        if form is None
    ]
    faults += [
        f"{path}: all files of {files!r} must be of one form, got {form} here and {forms[0]} in {paths[0]}. "
        "Name those of one form by a pattern, such as '*.parquet'."
        for path, form in zip(paths, forms, strict=True)
        if form is not None and forms[0] is not None and form != forms[0]
    ]
    if faults:
        raise DataError("\n".join(faults))
    return Shards(str(forms[0]), tuple(paths))


def read_header(path: Path, form: str) -> dict[str, pa.DataType | None]:
    """Returns the columns of a file, with their types where the file says so, without reading its rows.

    Raises:
        DataError: The file cannot be read, has no header, or names a column twice.
    """
    with _readable(path):
        if form == "Parquet":
            schema = pq.read_schema(path)
            names: list[str] = schema.names
            types: dict[str, pa.DataType | None] = dict(zip(names, schema.types, strict=True))
        else:
            names = _first_row(path, read_separator(path, form))
            if form == "RecBole" and names:
                return recbole_files.typed_header(names, str(path))
            types = dict.fromkeys(names)
    if not names:
        raise DataError(f"{path} must begin with the names of its columns, got an empty file. Write it anew.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} must name each column once, got {', '.join(map(repr, twice))} again. Rename one.")
    return types


def read_separator(path: Path, form: str) -> str:
    """Returns what stands between the fields of a text file: in CSV a semicolon, where the header knows no comma.

    Raises:
        DataError: The file cannot be read.
    """
    separator = SEPARATORS[form]
    with _readable(path):
        names = _first_row(path, separator)
    return ";" if form == "CSV" and len(names) == 1 and ";" in names[0] else separator


def _first_row(path: Path, separator: str) -> list[str]:
    with pa.input_stream(str(path), compression="detect") as stream:
        start = stream.read(_HEADER_BYTES)
    start.partition(b"\n")[0].decode("utf-8")  # raises UnicodeDecodeError, such as for UTF-16
    text = start.decode("utf-8-sig", errors="replace")
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])


def unreadable(path: Path, reason: object) -> DataError:
    """Returns the error of a file that cannot be read."""
    told = " ".join(str(reason).split()).removesuffix(".")
    return DataError(f"{path} must be a whole file that can be read, got {told!r}. Repair it, or write it anew.")


def odd_row(path: Path, form: str) -> DataError | None:
    """Returns the error of a text file with a row that has not as many fields as the header; None where all have."""
    if form == "Parquet":
        return None
    separator = read_separator(path, form)
    with (
        pa.input_stream(str(path), compression="detect") as stream,
        io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="") as lines,
        contextlib.suppress(csv.Error, pa.ArrowException, OSError),  # what else is wrong with it is told as it is
    ):
        rows = csv.reader(lines, delimiter=separator, quotechar=None if form == "RecBole" else '"')
        fields, line = len(next(rows)), rows.line_num
        for row in rows:
            if row and len(row) != fields:
                return DataError(
                    f"{path}: each row must have {fields} fields, as the header has, got {len(row)} in line "
                    f"{line + 1:,}: {shortened(repr(separator.join(row)), 80)}. Repair it, or write the file anew."
                )
            line = rows.line_num
    return None


class _readable:  # noqa: N801  (reads as a statement)
    """Tells of a file that cannot be read as a DataError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError | UnicodeDecodeError | pa.ArrowException):
            raise unreadable(self.path, getattr(error, "strerror", None) or error) from None


def _ending(path: Path) -> str:
    name = path.name.lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def _near(named: Path) -> str:
    beside = [path.name for path in named.parent.iterdir()] if named.parent.is_dir() else []
    near = nearest(named.name, beside)
    return f"Did you mean {str(named.with_name(near))!r}? " if near else ""
