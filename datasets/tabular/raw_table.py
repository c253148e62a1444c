"""A table as its files hold it: columns of a few plain types, and the file and row that each value came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from towerzoo.datasets.tabular.arrow_columns import as_text, is_plain, kind_of, plain, split_lists, whole_numbers
from towerzoo.datasets.tabular.files import Shards, read_header, read_separator, reading
from towerzoo.datasets.tabular.recbole_files import SEQUENCE_SEPARATOR
from towerzoo.registry.errors import DataError, name_hint, shortened


@dataclass(frozen=True)
class RawTable:
    """The rows of all shards, one shard after the other.

    Attributes:
        table: Columns of type int64, double, string, timestamp, date32, null, or lists of int64 or string.
        paths: The shards.
        lengths: Rows of each shard.
        starts: Rows of each file that precede those of this table; empty if the files are read from their start.
    """

    table: pa.Table
    paths: tuple[Path, ...]
    lengths: tuple[int, ...]
    starts: tuple[int, ...] = ()

    def __getitem__(self, column: str) -> pa.ChunkedArray:
        return self.table.column(column)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def fault(self, column: str, expected: str, bad: NDArray[np.bool_], next_step: str) -> str:
        """Returns a message about bad values of a column, with the file and row of the first.

        Args:
            column: The column.
            expected: What its values must be, to be read after "must be".
            bad: Which rows are bad (N,); at least one.
            next_step: The remedy, a sentence.
        """
        first, count = int(np.argmax(bad)), int(bad.sum())
        shard = int(np.searchsorted(np.cumsum(self.lengths), first, side="right"))
        row = first - sum(self.lengths[:shard]) + 1 + (self.starts[shard] if self.starts else 0)
        value = self[column][first].as_py()
        actual = "nothing" if value is None else repr(value)
        affected = "1 row is" if count == 1 else f"{count:,} rows are"
        return (
            f"{self.paths[shard]}: {column} must be {expected}, got {shortened(actual, 80)} in row {row:,}. "
            f"{affected} like that, of {len(self):,}. {next_step}"
        )

    def type_fault(self, column: str, expected: str, next_step: str) -> str:
        """Returns a message about a column of the wrong type.

        Args:
            column: The column.
            expected: What it must be, to be read after "must be".
            next_step: The remedy, a sentence.
        """
        return f"{self.paths[0]}: {column} must be {expected}, got {kind_of(self[column].type)}. {next_step}"


def read_shards(
    shards: Shards,
    columns: Sequence[str],
    problems: list[str],
    *,
    kinds: Mapping[str, str],
    lists: Mapping[str, str],
) -> RawTable | None:
    """Reads columns of all shards; `kinds` and `lists` are as in the YAML section of the table."""
    before = len(problems)
    parts: list[pa.Table] = []
    first: set[str] = set()
    for path in shards.paths:
        try:
            header = read_header(path, shards.format)
            first = first or set(header)
            if path == shards.paths[0]:
                problems += missing_columns(path, columns, header)
            elif set(header) != first:
                different = ", ".join(sorted(first ^ set(header)))
                problems.append(
                    f"{path} must have the columns of {shards.paths[0]}, but only one of the two has {different}. "
                    "Write all shards with the same columns, or select those that have them by a pattern."
                )
            if len(problems) == before:
                texts = {column for column, kind in kinds.items() if kind == "text"}
                parts.append(_read(path, shards.format, header, columns, {*lists, *texts}))
        except DataError as error:
            problems.append(str(error))
    if len(problems) > before:
        return None
    return join_parts(parts, shards.paths, columns, problems, kinds=kinds, lists=lists, format=shards.format)


def join_parts(
    parts: list[pa.Table],
    paths: Sequence[Path],
    columns: Sequence[str],
    problems: list[str],
    *,
    kinds: Mapping[str, str],
    lists: Mapping[str, str],
    format: str = "Parquet",
    starts: tuple[int, ...] = (),
) -> RawTable | None:
    """Joins tables of plain columns into one, with one type a column.

    Args:
        parts: The rows, a whole file or some of its rows each.
        paths: The file of each part.
        columns: The columns, which all parts have.
        problems: See `towerzoo.datasets.tabular`.
        kinds: As in the YAML section of the table, like `lists`.
        lists: The separator of each text column of lists.
        format: The format of the files.
        starts: As in `RawTable`.
    """
    before = len(problems)
    for column in columns:
        parts = _unify(column, parts, paths, kinds.get(column), problems)
    if len(problems) > before:
        return None
    raw = RawTable(pa.concat_tables(parts), tuple(paths), tuple(part.num_rows for part in parts), starts)
    for column in columns:
        raw = _convert(raw, column, format, kinds.get(column), lists.get(column), problems)
    return raw if len(problems) == before else None


def missing_columns(path: Path, columns: Sequence[str], header: Mapping[str, Any]) -> list[str]:
    """Returns a message for each column that a file lacks."""
    return [
        f"{path} must have a column {column!r}, got no such column. {name_hint(column, header, 'Columns')}"
        for column in columns
        if column not in header
    ]


def _read(path: Path, format: str, header: Mapping[str, Any], columns: Sequence[str], texts: set[str]) -> pa.Table:
    with reading(path):
        if format == "Parquet":
            table = pq.ParquetFile(path).read(columns=list(columns))
        else:
            types = {name: pa.string() for name in texts if name in header}
            types |= {n: t if pa.types.is_floating(t) else pa.string() for n, t in header.items() if t is not None}
            table = pa.csv.read_csv(
                str(path),
                read_options=pa.csv.ReadOptions(column_names=list(header), skip_rows=1),
                parse_options=pa.csv.ParseOptions(
                    delimiter=read_separator(path, format),
                    quote_char=False if format == "RecBole" else '"',
                    newlines_in_values=format != "RecBole",
                ),
                convert_options=pa.csv.ConvertOptions(include_columns=list(columns), column_types=types),
            )
        arrays = {column: plain(table.column(column)) for column in columns}
        for column in columns:
            if format == "RecBole" and pa.types.is_list(header[column]):
                arrays[column] = split_lists(arrays[column], SEQUENCE_SEPARATOR).cast(header[column])
    return pa.table(arrays)


def _unify(
    column: str, parts: list[pa.Table], paths: Sequence[Path], kind: str | None, problems: list[str]
) -> list[pa.Table]:
    """Gives a column one type in all shards: text if YAML says so, whatever its types are there."""
    known: dict[pa.DataType, Path] = {}
    for part, path in zip(parts, paths, strict=True):
        known.setdefault(part.schema.field(column).type, path)
    for unsupported in [actual for actual in known if not is_plain(actual)]:
        problems.append(
            f"{known[unsupported]}: {column} must be UTF-8 text, numbers, dates or lists of them, got {unsupported}. "
            "Leave the column out, or write it in one of these types."
        )
    types = [actual for actual in known if not pa.types.is_null(actual)]
    if {pa.int64(), pa.float64()} == set(types):
        types = [pa.float64()]
    elif len(types) > 1 and kind == "text" and all(map(is_plain, types)):
        return [_with(part, column, as_text(part.column(column))) for part in parts]
    if len(types) > 1:
        other, here = types[:2]
        problems.append(
            f"{known[here]}: {column} must be {kind_of(other)}, as in {known[other]}, got {kind_of(here)}. "
            f"Repair the file, or read all of them as text with `kinds: {{{column}: text}}`."
        )
        return parts
    if not types:
        return parts
    return [_with(part, column, plain(part.column(column).cast(types[0]))) for part in parts]


def _with(table: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


def _convert(
    raw: RawTable, column: str, format: str, kind: str | None, separator: str | None, problems: list[str]
) -> RawTable:
    """Converts a column to the type that YAML or a RecBole header gives it."""
    values = raw[column]
    if kind == "text":
        values = as_text(values)
    elif kind == "number" and not pa.types.is_null(values.type):
        sound = are_numbers(values)
        if not sound.all():
            next_step = f"Repair the file, or remove {column!r} from `kinds`."
            problems.append(raw.fault(column, "a number", ~sound, next_step))
            return raw
        values = values.cast(pa.float64())
    elif separator and pa.types.is_string(values.type):
        values = whole_numbers(split_lists(values, separator))
    elif separator and not pa.types.is_list(values.type) and not pa.types.is_null(values.type):
        expected = f"text with the separator {separator!r}, or lists"
        problems.append(raw.type_fault(column, expected, "Remove it from `lists`, or write it as text."))
    elif format == "RecBole":
        values = whole_numbers(values)
    return replace(raw, table=_with(raw.table, column, values))


def ids_fault(raw: RawTable, column: str) -> str:
    """Returns a message about a column of raw ids whose type cannot hold ids."""
    next_step = (
        "If a missing value turned whole numbers into fractions, remove it; to read ids as they are written, add "
        f"`kinds: {{{column}: text}}`."
    )
    return raw.type_fault(column, "whole numbers or text", next_step)


def infinite_fault(raw: RawTable, column: str) -> str | None:
    """Returns a message about numbers that are infinite or too large for float32, if there are any."""
    if not pa.types.is_floating(raw[column].type):
        return None
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite
        infinite = np.isinf(raw[column].to_numpy().astype(np.float32))
    return raw.fault(column, "a finite float32 number", infinite, "Repair these rows.") if infinite.any() else None


def are_numbers(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Returns which values (N,) are numbers or texts that are written like numbers; a missing value is one, too."""
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return np.ones(len(values), dtype=bool)
    if not pa.types.is_string(values.type):
        return np.zeros(len(values), dtype=bool)
    matched = pc.match_substring_regex(values, r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$")
    sound: NDArray[np.bool_] = matched.fill_null(True).to_numpy()
    return sound
