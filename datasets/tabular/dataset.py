"""Your own tables as a dataset, described in YAML."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from towerzoo.datasets.schema.cache import cached
from towerzoo.datasets.schema.star_schema import ColumnNames, StarSchema, Table
from towerzoo.datasets.splits import split_in_order
from towerzoo.datasets.tabular.arrow_encoding import encode_key
from towerzoo.datasets.tabular.entities import encode_entities, feature_names, read_key
from towerzoo.datasets.tabular.events import Ids, Unknown, encode_events, ids_of_events
from towerzoo.datasets.tabular.files import Shards, find_shards
from towerzoo.datasets.tabular.raw_table import read_shards
from towerzoo.datasets.tabular.row_groups import RowGroups
from towerzoo.datasets.tabular.sections import InteractionFiles, TableFiles
from towerzoo.datasets.tabular.stream import ParquetStream, ids_of_stream
from towerzoo.registry import DATASETS
from towerzoo.registry.errors import DataError

ENCODING_VERSION: Final = 3
"""Raise it when equal files give another star schema, so that caches are rebuilt."""
_PARTS: Final = ("interactions", "interactions.valid", "interactions.test")
"""The files of training, validation and test events."""
_NOT_CONTENT: Final = {"files", "valid", "test", "shuffle_buffer"}
"""Keys of the sections that do not change what tables contain; files are compared by digest."""


@DATASETS.register("tabular")
class Tabular:
    """Your own tables of interactions, users and items: CSV, TSV, Parquet or RecBole's atomic files.

    Every file begins with the names of its columns. Raw ids keep their type. Without a table, the users or items are
    the ids in the events. The encoded tables stay in the cache until a file or a parameter changes.

    Args:
        interactions: The events: `files`, the columns `user` and `item`, and optionally `timestamp`, `weight`,
            `feedback` and `negatives`. With the files `valid` and `test`, `files` holds training events only; these may
            be a `stream` larger than memory.
        users: The users: `files`, the column `id`, and what the other columns mean.
        items: The items, likewise.
        root: The folder that relative paths start at; by default the working directory.
        unknown: What becomes of an event whose user or item is missing or has no row in its table: `error`; `row`, it
            is assigned to the unknown one; or `drop`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "plays.csv").write_text("user,song,stars\\nann,7,5\\nbob,9,1\\n")
        ...     plays = {"files": "plays.csv", "user": "user", "item": "song", "feedback": ["stars"]}
        ...     columns = Tabular(interactions=plays, root=folder).columns()
        >>> columns.users, columns.items, columns.feedback
        (('user',), ('song',), ('stars',))
    """

    def __init__(
        self,
        *,
        interactions: InteractionFiles,
        users: TableFiles | None = None,
        items: TableFiles | None = None,
        root: str | None = None,
        unknown: Unknown = "error",
    ) -> None:
        # From YAML they are mappings whose keys and values have been checked.
        self._events = InteractionFiles.model_validate(interactions)
        self._sides = tuple(
            _Side(name, key, None if section is None else TableFiles.model_validate(section))
            for name, key, section in (("users", self._events.user, users), ("items", self._events.item, items))
        )
        self._root = root
        self._unknown: Unknown = unknown
        self.presplit = self._events.valid is not None
        self.streamed = self._events.stream

    def columns(self) -> ColumnNames:
        """Returns the names of all features and feedback columns; only headers are read.

        Raises:
            DataError: A file is missing, or its header cannot be read.
        """
        users, items = (side.features(self._root) for side in self._sides)
        user_texts, item_texts = (
            () if side.section is None or side.section.title is None else ("title",) for side in self._sides
        )
        shown = self._events.negatives is not None
        return ColumnNames(users, items, tuple(self._events.feedback), user_texts, item_texts, shown)

    def load(self) -> StarSchema:
        """Reads, checks and encodes the data, and warns about events that were dropped or have unknown users or items.

        Raises:
            DataError: Files are missing, cannot be read or hold wrong values; all problems in one message.
        """
        shards = self._find()
        made_from = {name: files.digest() for name, files in shards.items()} | self._parameters()
        paths = {name: [str(path.absolute()) for path in files.paths] for name, files in shards.items()}
        stream = RowGroups(shards["interactions"], self._events) if self.streamed else None
        schema = cached(
            f"tabular-{_digest(paths)[:16]}", digest := _digest(made_from), lambda: self._read(shards, stream, digest)
        )
        for note in schema.notes:
            warnings.warn(note, stacklevel=2)
        if stream is None:
            return schema
        users, items = (
            Ids(pa.array(table.ids.values), str(shards.get(side.name, shards["interactions"]).paths[0]))
            for side, table in zip(self._sides, (schema.users, schema.items), strict=True)
        )
        return replace(schema, stream=ParquetStream(stream, users, items, self._unknown))

    def _find(self) -> dict[str, Shards]:
        """Finds the files of each table and of each part of the events."""
        problems: list[str] = []
        shards: dict[str, Shards] = {}
        files = dict(zip(_PARTS, (self._events.files, self._events.valid, self._events.test), strict=True))
        files |= {side.name: None if side.section is None else side.section.files for side in self._sides}
        for name, named in files.items():
            if named is not None:
                try:
                    shards[name] = find_shards(named, self._root or ".")
                except DataError as error:
                    problems.append(f"data.{name if name in _PARTS[1:] else f'{name}.files'}: {error}")
        parts = [part for part in _PARTS if part in shards]
        source: dict[Path, str] = {}
        for part in parts:
            (path, *_), train = shards[part].paths, shards[parts[0]]
            if shards[part].format != train.format:
                problems.append(
                    f"{path} must be {train.format} like {train.paths[0]}, got {shards[part].format}. "
                    "Write all events in one format."
                )
            problems += [
                f"{path} must be in one part of the events, got it in {source[path]} and {part}. "
                "Move it to another folder, or use narrower patterns."
                for path in shards[part].paths
                if source.setdefault(path, part) != part
            ]
        if self.streamed and self._unknown == "drop":
            problems.append(
                "data.unknown must be 'error' or 'row' where interactions are streamed, got 'drop'. "
                "Write the files without such events, or set `row`."
            )
        _raise(problems)
        return shards

    def _parameters(self) -> dict[str, Any]:
        sections = {side.name + " ": side.section for side in self._sides} | {"interactions ": self._events}
        return {"version": ENCODING_VERSION, "unknown": self._unknown} | {
            name: None if section is None else section.model_dump(exclude=_NOT_CONTENT)
            for name, section in sections.items()
        }

    def _read(self, shards: dict[str, Shards], stream: RowGroups | None, digest: str) -> StarSchema:
        section = self._events
        problems = _unused_columns("data.interactions", section, section.columns)
        parts = [shards[part] for part in _PARTS[0 if stream is None else 1 :] if part in shards]
        together = Shards(parts[0].format, tuple(path for part in parts for path in part.paths))
        raw = read_shards(together, section.columns, problems, kinds=section.kinds, lists=section.lists)

        def named(column: str) -> Ids | None:
            if raw is None:
                return None
            ids = ids_of_events if stream is None else functools.partial(ids_of_stream, stream)
            return ids(raw, column, problems)

        (users, user_ids), (items, item_ids) = (
            side.read(shards.get(side.name), named, problems) for side in self._sides
        )
        encoded = None
        if raw is not None:
            encoded = encode_events(raw, section, user_ids, item_ids, self._unknown, problems)
        _raise(problems)
        if users is None or items is None or encoded is None:
            raise AssertionError("what could not be read must have been reported")
        events, notes, lengths = encoded
        split = None
        if self.presplit:
            ends = [0, *accumulate(len(part.paths) for part in parts)]
            sizes = [sum(lengths[start:end]) for start, end in pairwise(ends)]
            if stream is not None:
                sizes = [0, *sizes]
            split = split_in_order(sizes, events.user, events.timestamp, streamed=stream is not None)
        return StarSchema(users, items, events, digest, notes, split)


@dataclass(frozen=True)
class _Side:
    """Users or items: a table in files, or the ids in the events.

    Attributes:
        name: `users` or `items`.
        events_key: The events' column of their ids.
        section: The table's section of YAML; None without a table.
    """

    name: str
    events_key: str
    section: TableFiles | None

    @property
    def key(self) -> str:
        return self.events_key if self.section is None or self.section.id is None else self.section.id

    def features(self, root: str | None) -> tuple[str, ...]:
        if self.section is None:
            return (self.key,)
        return feature_names(self.section, self.key, find_shards(self.section.files, root or "."))

    def read(
        self, shards: Shards | None, named: Callable[[str], Ids | None], problems: list[str]
    ) -> tuple[Table | None, Ids | None]:
        """Reads the table and its ids; without a table, `named` gives the ids in a column of the events.

        None stands for what cannot be read; problems are appended to `problems`.
        """
        if self.section is None or shards is None:
            ids = named(self.key)
            return None if ids is None else Table(self.key, {self.key: encode_key(self.key, ids.values)}), ids
        where = f"data.{self.name}"
        try:
            features = feature_names(self.section, self.key, shards)
        except DataError as error:
            problems.append(str(error))
            return None, None
        columns = list(dict.fromkeys([*features, *([self.section.title] if self.section.title else [])]))
        problems += _unused_columns(where, self.section, columns)
        raw = read_shards(shards, columns, problems, kinds=self.section.kinds, lists=self.section.lists)
        ids = None if raw is None else read_key(raw, self.key, problems)
        if raw is None or ids is None:
            return None, None
        table = encode_entities(raw, self.section, ids, features, where, problems)
        return table, Ids(ids, str(shards.paths[0]))


def _unused_columns(where: str, section: InteractionFiles | TableFiles, columns: list[str]) -> list[str]:
    return [
        f"{where}.{option} must name columns that are used, got {name!r}. Columns: {', '.join(columns)}."
        for option in ("kinds", "lists")
        for name in getattr(section, option)
        if name not in columns
    ]


def _raise(reported: list[str]) -> None:
    if problems := list(dict.fromkeys(reported)):  # ids are checked both in the table and in the events
        lines = [f"The data has {len(problems)} problems."] if len(problems) > 1 else []
        raise DataError("\n".join([*lines, *problems]))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
