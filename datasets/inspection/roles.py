"""Guesses which tables are interactions, users and items, and what their columns mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import pyarrow.compute as pc

from towerzoo.datasets.inspection.profiles import ColumnProfile, TableProfile
from towerzoo.datasets.tabular.arrow_columns import distinct, rows_of
from towerzoo.datasets.tabular.raw_table import ids_fault
from towerzoo.datasets.tabular.timestamps import microseconds
from towerzoo.registry.errors import DataError

Side = Literal["user", "item"]

NAMES: Final = {
    "user": r"user|customer|client|member|visitor|reader|viewer|player|account|session|person|buyer|^uid$|^u$",
    "item": r"item|movie|film|book|isbn|product|article|song|track|artist|video|sku|game|business|recipe|course|news|"
    r"listing|^asin$|^[ip]id$|anime|hotel|^i$",
}
"""Names of columns of raw ids, without case and punctuation."""
TIME: Final = r"time|date|^ts$|created|when"
TITLE: Final = r"title|name|headline"
WEIGHT: Final = r"^weight$"


@dataclass
class Guess:
    """A guess about tables.

    Attributes:
        events: The interactions.
        user: Their column of users' ids.
        item: Their column of items' ids.
        tables: The tables of users and items, if there are any.
        keys: The column of ids of each of these tables.
        title: The column of items that people read.
        timestamp: The column of times.
        weight: The column of weights.
        uncovered: Share of the events whose user or item has no row in its table.
        notes: Remarks for people, a sentence each.
    """

    events: TableProfile
    user: str
    item: str
    tables: dict[Side, TableProfile] = field(default_factory=dict)
    keys: dict[Side, str] = field(default_factory=dict)
    title: str | None = None
    timestamp: str | None = None
    weight: str | None = None
    uncovered: dict[Side, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def key(self, side: Side) -> str:
        """Returns the events' column of users' or items' ids."""
        return self.user if side == "user" else self.item

    def role(self, table: TableProfile, column: str) -> str:
        """Returns the role of a column in a word or two; empty if it is not used."""
        if table is self.events:
            roles = {self.user: "user", self.item: "item", self.timestamp: "timestamp", self.weight: "weight"}
            return roles.get(column, "")
        for side, entities in self.tables.items():
            if table is entities:
                return f"{side} id" if column == self.keys[side] else "title" if column == self.title else "feature"
        return ""


def guess_roles(tables: Sequence[TableProfile]) -> Guess:
    """Guesses from names, from uniqueness, and from which ids occur in which table.

    Raises:
        DataError: No table has both a column of users and one of items.
    """
    candidates = [(table, columns) for table in tables if (columns := _event_columns(table)) is not None]
    if not candidates:
        listed = "; ".join(f"{table.files}: {', '.join(table.columns)}" for table in tables)
        problem = (
            "FILES must include a table of interactions, with columns of repeated user and item ids, "
            f"got {listed}. Name these columns user_id and item_id."
        )
        raise DataError("\n".join([problem, *(fault for table in tables for fault in _ids_faults(table))]))
    # A suffix of RecBole decides, else the number of rows.
    events, (user, item) = max(candidates, key=lambda pair: (pair[0].path.suffix == ".inter", len(pair[0])))
    guess = Guess(events, user, item)
    for column in events.columns.values():
        _guess_meaning(guess, column)
    for table in sorted((table for table in tables if table is not events), key=len, reverse=True):
        _guess_entities(guess, table)
    for side in ("user", "item"):
        missing = events.columns[guess.key(side)].missing
        if missing and side not in guess.tables:
            guess.uncovered[side] = missing / len(events)
            guess.notes.append(f"{missing:,} of {len(events):,} events of {events.files} have no {side}.")
    return guess


def matches(pattern: str, name: str) -> bool:
    """Returns whether a column's name matches a pattern, without regard to case and punctuation.

    Example:
        >>> matches(NAMES["user"], "User-ID"), matches(NAMES["item"], "uid")
        (True, False)
    """
    return re.search(pattern, re.sub(r"[^a-z0-9]", "", name.lower())) is not None


def _event_columns(table: TableProfile) -> tuple[str, str] | None:
    """Returns the columns of users and items, if a table has both: by name, else the two with the most distinct ids."""
    ids = [c for c in table.columns.values() if c.is_id and not c.is_list and c.distinct]
    users, items = (
        # Columns called ids first.
        sorted(
            (c for c in ids if matches(NAMES[side], c.name)),
            key=lambda c: re.search(r"(id|key|code|no|number)$", c.name.lower()) is None,
        )
        for side in ("user", "item")
    )
    for user in users:
        for item in items:
            if user is not item and len(table) > max(user.distinct, item.distinct):
                return user.name, item.name
    if users or items:
        return None
    repeated = [c for c in ids if 1 < c.distinct < len(table) and not c.missing and not matches(TIME, c.name)]
    if len(repeated) < 2 or len(repeated) < len(ids):
        return None
    most = sorted(repeated, key=lambda column: -column.distinct)[:2]
    user_name, item_name = (column.name for column in repeated if column in most)
    return user_name, item_name


def _ids_faults(table: TableProfile) -> list[str]:
    """Returns a message for each column that is called ids of users or items and cannot hold ids."""
    pattern = "|".join(NAMES.values())
    return [
        ids_fault(table.raw, name)
        for name, column in table.columns.items()
        if matches(pattern, name) and re.search(r"(?i)id$|^(user|item)$", name)
        if not column.is_id and not column.is_list
    ]


def _guess_meaning(guess: Guess, column: ColumnProfile) -> None:
    raw = guess.events.raw
    if column.name in (guess.user, guess.item):
        return
    called_time = matches(TIME, column.name) or column.name.endswith(("_at", "At"))
    if guess.timestamp is None and (column.type == "dates" or called_time):
        problems: list[str] = []
        if microseconds(raw, column.name, problems) is not None:
            guess.timestamp = column.name
        guess.notes += problems
    elif guess.weight is None and matches(WEIGHT, column.name) and column.type in ("numbers", "whole numbers"):
        least = pc.min(raw[column.name]).as_py()
        if not column.missing and least is not None and least > 0:
            guess.weight = column.name


def _why_not_used(guess: Guess, table: TableProfile) -> str:
    """Returns why a table is used neither for users nor for items."""
    for key in (guess.user, guess.item):
        here, there = table.columns.get(key), guess.events.columns[key]
        if here is not None and here.type != there.type:
            return f"its {key} is {here.type}, but {there.type} in {guess.events.files}; write both with one type"
    return "none of its columns holds the interactions' users or items"


def _guess_entities(guess: Guess, table: TableProfile) -> None:
    """Uses a table for users or items if it has a column of their ids, all different."""
    best: tuple[float, Side, str, float] | None = None
    for side in ("user", "item"):
        if side in guess.tables:
            continue
        key = guess.key(side)
        ids = guess.events.raw[key]
        for column in table.columns.values():
            same_name = matches(f"^{re.sub(r'[^a-z0-9]', '', key.lower())}$", column.name)
            if column.type != guess.events.columns[key].type or not (
                same_name or matches(f"{NAMES[side]}|^id$", column.name) or table.path.suffix == f".{side}"
            ):
                continue
            if column.missing or column.distinct < len(table):
                if same_name:
                    guess.notes.append(
                        f"{table.files} cannot be a table of {side}s: {column.name} is repeated or missing in "
                        f"{len(table) - column.distinct:,} rows. Keep one row of each."
                    )
                continue
            covered = float((rows_of(ids, distinct(table.raw[column.name])) > 0).mean())
            score = covered + (2 if same_name else 0) + (1 if table.path.suffix == f".{side}" else 0)
            if covered > 0 and (best is None or score > best[0]):
                best = (score, side, column.name, covered)
    if best is None:
        guess.notes.append(f"{table.files} is not used: {_why_not_used(guess, table)}.")
        return
    _, side, name, covered = best
    guess.tables[side], guess.keys[side], guess.uncovered[side] = table, name, 1 - covered
    if covered < 1:
        guess.notes.append(f"{1 - covered:.2%} of the events have {side}s without a row in {table.files}.")
    if side == "item":
        titles = [
            c.name
            for c in table.columns.values()
            if c.name != name and c.type in ("text", "lists of text") and matches(TITLE, c.name)
        ]
        guess.title = next(iter(sorted(titles, key=lambda title: not matches("title", title))), None)
