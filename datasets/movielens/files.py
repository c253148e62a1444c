"""Reads the rows of MovieLens files, and says what is wrong with files that cannot be read.

Sound files are read by pyarrow in one pass. Only where that fails are the lines looked at one by one, to find out why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from numpy.typing import NDArray

from towerzoo.datasets.schema.star_schema import Interactions
from towerzoo.datasets.vocabulary import Vocabulary
from towerzoo.registry.errors import DataError

RATINGS: Final = range(1, 6)
"""What a rating can be, in stars."""
_SHOWN: Final = 5
"""Line numbers and values that a message lists of each kind of fault."""


@dataclass(frozen=True)
class RowForm:
    """How one row of a file is written.

    Attributes:
        noun: What a row is called in messages, such as `a user row`.
        fields: The names of its fields, as the dataset's own documentation has them.
        separator: What stands between two fields.
        pattern: Matches a row without its line break; has one group a field, in the same order.
    """

    noun: str
    fields: tuple[str, ...]
    separator: str
    pattern: re.Pattern[str]

    def __str__(self) -> str:
        return self.separator.join(self.fields)


def read_file(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} must be a file that can be read, got {error.strerror!r}. Check its permissions."
        ) from None


def read_rows(path: Path, content: bytes, form: RowForm) -> dict[int, tuple[str, ...]]:
    """Reads a small file.

    Args:
        path: Its name in messages.
        content: Its bytes, Latin-1.
        form: How its rows are written; the pattern has a group `id`, a whole number.

    Returns:
        The groups of each row's pattern by its id, in ascending order of the ids.

    Raises:
        DataError: The file is empty or cut off, rows are malformed, or ids come twice; all of it in one message.
    """
    faults = _Faults(path, content)
    rows: dict[int, tuple[str, ...]] = {}
    id_name = form.fields[form.pattern.groupindex["id"] - 1]
    for number, line in faults.rows():
        match = form.pattern.fullmatch(line)
        if match is None:
            faults.add(f"{form.noun} must be {form}, got {{}}", "malformed", number, line)
        elif int(match["id"]) in rows:
            faults.add(f"{id_name} must be given once, got {{}} again", "repeated", number, int(match["id"]))
        else:
            rows[int(match["id"])] = match.groups()
    faults.check_end(form)
    if faults:
        raise faults.error()
    return dict(sorted(rows.items()))


def read_ratings(path: Path, content: bytes, form: RowForm, users: Vocabulary, items: Vocabulary) -> Interactions:
    """Reads the file of ratings.

    Args:
        path: Its name in messages.
        content: Its bytes: a user id, an item id, a rating and a time stamp a row.
        form: How its rows are written.
        users: The user ids that there are.
        items: The item ids that there are.

    Returns:
        One event a rating, in file order, with the measure `rating` (1 to 5).

    Raises:
        DataError: The file is empty or cut off, rows are malformed, a rating is not 1 to 5, or an id is not among the
            users or items; all of it in one message.
    """
    try:
        user_ids, item_ids, ratings, times = _parse(content, form)
    except (pa.ArrowException, ValueError) as error:
        raise _diagnose(path, content, form, users, items, str(error)) from None
    user, item = users.encode(user_ids), items.encode(item_ids)
    sound = (
        len(ratings) > 0
        and content.endswith(b"\n")
        and user.all()
        and item.all()
        and ratings.min() >= RATINGS[0]
        and ratings.max() <= RATINGS[-1]
        and times.min() >= 0
    )
    if not sound:
        raise _diagnose(path, content, form, users, items, "an unexpected value")
    return Interactions(
        user=torch.from_numpy(user),
        item=torch.from_numpy(item),
        measures={"rating": torch.from_numpy(ratings.astype(np.float32))},
        timestamp=torch.from_numpy(times.astype(np.int64)),
    )


def _parse(content: bytes, form: RowForm) -> list[NDArray[Any]]:
    # pyarrow splits at one byte. "::" therefore reads as a field that must be empty between each two.
    delimiter = form.separator[0]
    types: dict[str, pa.DataType] = {}
    for name in form.fields:
        types |= {f"before {name} {i}": pa.null() for i in range(len(form.separator) - 1) if types}
        types[name] = pa.int64()
    table = pa.csv.read_csv(
        pa.BufferReader(content),
        read_options=pa.csv.ReadOptions(column_names=list(types)),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char=False),
        convert_options=pa.csv.ConvertOptions(column_types=types, null_values=[""]),
    )
    columns = [table.column(name) for name in form.fields]
    if any(column.null_count for column in columns):
        raise ValueError("an empty field")
    return [column.to_numpy() for column in columns]


def _diagnose(
    path: Path, content: bytes, form: RowForm, users: Vocabulary, items: Vocabulary, reason: str
) -> DataError:
    faults = _Faults(path, content)
    known = (set(users.values), set(items.values))
    for number, line in faults.rows():
        match = form.pattern.fullmatch(line)
        if match is None:
            faults.add(f"{form.noun} must be {form}, got {{}}", "malformed", number, line)
            continue
        for name, table, ids, value in zip(
            form.fields, ("users", "items"), known, map(int, match.groups()), strict=False
        ):
            if value not in ids:
                faults.add(f"{name} must have a row in the {table} file, got {{}}", "without one", number, value)
        if int(match[3]) not in RATINGS:
            expected = f"{form.fields[2]} must be {RATINGS[0]} to {RATINGS[-1]}, got {{}}"
            faults.add(expected, "out of range", number, int(match[3]))
    faults.check_end(form)
    if faults:
        return faults.error()
    return DataError(f"{path} must be rows of {form}, got {reason!r}. Download the file again.")


@dataclass
class _Fault:
    """One kind of fault of a file."""

    expected: str
    verdict: str
    lines: list[int] = field(default_factory=list)
    values: list[int | str] = field(default_factory=list)

    def message(self, path: Path, total: int) -> str:
        count, values = len(self.lines), list(dict.fromkeys(self.values))
        seen = f"line{'s' * (count > 1)} {_listed(self.lines)}"
        if isinstance(values[0], int) and len(values) > 1:
            seen += f"; {len(values):,} values: {_listed(values)}"
        return (
            f"{path}:{self.lines[0]}: {self.expected.format(_quoted(values[0]))}. {count:,} row{'s' * (count > 1)} "
            f"of {total:,} {'is' if count == 1 else 'are'} {self.verdict} ({seen}); download the file again."
        )


class _Faults:
    """Collects all that is wrong with one file."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content = path, content
        self._kinds: dict[str, _Fault] = {}
        self._others: list[str] = []
        self._total = 0

    def rows(self) -> Iterator[tuple[int, str]]:
        """Yields the number, from 1, and the text of each line that is not blank."""
        for number, line in enumerate(self._content.splitlines(), start=1):
            if line:
                self._total += 1
                yield number, line.decode("latin-1")

    def add(self, expected: str, verdict: str, line: int, value: int | str) -> None:
        """Notes a fault; `expected` has {} for the value and says which faults are of one kind."""
        fault = self._kinds.setdefault(expected, _Fault(expected, verdict))
        fault.lines.append(line)
        fault.values.append(value)

    def check_end(self, form: RowForm) -> None:
        """Notes a file that is empty or ends within a row; to be called after all rows."""
        if not self._total:
            self._others.append(
                f"{self._path} must hold rows of {form}, got none: the file is empty. Download it again."
            )
        elif not self._content.endswith(b"\n"):
            last = self._content.splitlines()[-1].decode("latin-1")
            self._others.append(
                f"{self._path}: the last row must end with a line break, got {_quoted(last)}. "
                "The file seems to be cut off; download it again, or end the row if it is whole."
            )

    def __bool__(self) -> bool:
        return bool(self._kinds or self._others)

    def error(self) -> DataError:
        return DataError(
            "\n".join([fault.message(self._path, self._total) for fault in self._kinds.values()] + self._others)
        )


def _listed(values: list[int] | list[int | str]) -> str:
    return ", ".join(map(str, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")


def _quoted(value: int | str) -> str:
    return repr(value if isinstance(value, int) or len(value) <= 80 else f"{value[:77]}...")
