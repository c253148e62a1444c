"""Items as people know them: found by raw id or title, and filtered by conditions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from towerzoo.datasets import UNKNOWN, Column, Table
from towerzoo.registry.errors import RequestError, name_hint, nearest

LISTED = 10
"""An error lists at most this many titles."""


@dataclass(frozen=True)
class Item:
    """An item as people know it. These classes are also the JSON of commands and of the service."""

    id: Annotated[int | str, Field(description="Raw id.")]
    title: Annotated[str, Field(description="Title; the raw id if the item has none.")]


@dataclass(frozen=True)
class ScoredItem(Item):
    """A recommended item, or one that is similar to another."""

    score: Annotated[float, Field(description="Logit; for similar items the cosine of the vectors.")]
    probability: Annotated[
        float | None, Field(description="Probability of a positive label, in [0, 1]; null if the score gives none.")
    ]


class ItemNames:
    """Finds items by raw id or title, and gives the id and title of a row.

    Args:
        items: The items; their titles are the text column `title`, or else the first text column.

    Example:
        >>> from towerzoo.datasets import encode_table
        >>> names = ItemNames(encode_table("film", {"film": [7, 9]}, {"title": ["Heat (1995)", "Ran (1985)"]}))
        >>> names.row("ran"), names.row("7"), names.title(2)
        (2, 1, 'Ran (1985)')
    """

    def __init__(self, items: Table) -> None:
        self.ids = items.ids
        self.titles = items.texts.get("title") or next(iter(items.texts.values()), None)

    def row(self, name: object) -> int:
        """Returns the row of a raw id, a title, or a part of a single title, ignoring case.

        Raises:
            RequestError: No item matches, or several do.
        """
        if row := self.ids.row(name):
            return row
        wanted = str(name).casefold().strip()
        matches = self._by_title.get(wanted, [])
        if not matches and wanted:
            matches = [row for title, rows in self._by_title.items() if wanted in title for row in rows]
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = "; ".join(f"{self.title(row)} (id {self.id(row)})" for row in matches[:LISTED])
            more = f"; and {len(matches) - LISTED} more" if len(matches) > LISTED else ""
            raise RequestError(
                f"an item must be a raw id or the title of one item, got {name!r}, which matches {listed}{more}."
            )
        near = nearest(wanted, self._by_title)
        hint = (
            f"Did you mean {self.title(self._by_title[near][0])!r}?" if near else "The run's items.parquet lists all."
        )
        raise RequestError(f"an item must be a known raw id or title, got {name!r}. {hint}")

    def item(self, row: int) -> Item:
        """Returns the item of a row; not for the unknown item."""
        return Item(self.ids.values[row - 1], self.title(row))

    def id(self, row: int) -> int | str | None:
        """Returns the raw id of a row; None for the unknown item."""
        return self.ids.values[row - 1] if row != UNKNOWN else None

    def title(self, row: int) -> str:
        """Returns the title of a row, or its raw id if it has none."""
        text = self.titles[row] if self.titles else ""
        return text or str(self.id(row))

    @cached_property
    def _by_title(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, title in enumerate(self.titles or ()):
            if title:
                rows.setdefault(title.casefold().strip(), []).append(row)
        return rows


LIST_SEPARATOR = "|"
"""Separates the values of a list in a command, in a condition and in a CSV file."""


def split_list(text: str) -> list[str]:
    """Returns the values of a list that is given as text.

    Example:
        >>> split_list("Drama | War")
        ['Drama', 'War']
    """
    return [value.strip() for value in text.split(LIST_SEPARATOR)]


CONDITION = re.compile(r"\s*(?P<column>[^=!<>]+?)\s*(?P<sign>!=|>=|<=|=)\s*(?P<value>.*?)\s*")


def allowed_items(items: Table, conditions: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Returns a mask of the items that satisfy all conditions (I,), and notes on unknown values.

    A condition is `COLUMN=VALUE`, `COLUMN!=VALUE`, `COLUMN>=NUMBER` or `COLUMN<=NUMBER`. `=` takes alternatives
    separated by `|`, and a list column equals a value that it contains. An unknown value satisfies only `!=`.

    Args:
        items: The items.
        conditions: The conditions; without any the mask is None.

    Raises:
        RequestError: A condition cannot be parsed, names no column, or compares with something that is not a number.

    Example:
        >>> from towerzoo.datasets import encode_table
        >>> films = encode_table("film", {"film": [7, 9, 8], "genres": [["War"], ["Comedy", "War"], []]})
        >>> allowed_items(films, ["genres=War", "film>=8"])
        (tensor([False, False,  True, False]), ())
        >>> allowed_items(films, ["genres=Drama"])
        (tensor([False, False, False, False]), ("no item has genres 'Drama'",))
    """
    allowed = torch.ones(len(items), dtype=torch.bool)
    problems: list[str] = []
    notes: list[str] = []
    for condition in conditions:
        parsed = CONDITION.fullmatch(condition)
        if parsed is None:
            problems.append(
                f"a filter must be COLUMN=VALUE, COLUMN!=VALUE, COLUMN>=NUMBER or COLUMN<=NUMBER, got {condition!r}."
            )
        elif parsed["column"] not in items.columns:
            hint = name_hint(parsed["column"], items.columns, "Columns")
            problems.append(f"a filter must name a column of the items, got {parsed['column']!r}. {hint}")
        else:
            column = items.columns[parsed["column"]]
            try:
                satisfied = (
                    _equal(column, split_list(parsed["value"]), notes)
                    if parsed["sign"] in ("=", "!=")
                    else _compared(column, parsed["sign"], parsed["value"])
                )
            except ValueError:
                hint = "Use = or != for text" if _is_text(column) else f"{column.name} holds numbers"
                problems.append(f"the filter {condition!r} must compare numbers with a number. {hint}.")
            else:
                allowed &= ~satisfied if parsed["sign"] == "!=" else satisfied
    if problems:
        raise RequestError(*problems)
    allowed[UNKNOWN] = False
    return (allowed if conditions else None), tuple(notes)


def _equal(column: Column, values: Sequence[str], notes: list[str]) -> Tensor:
    if column.vocabulary is None:
        return torch.isin(column.values, torch.tensor([_number(value) for value in values]))
    rows = {value: column.vocabulary.row(value) for value in values}
    notes += [f"no item has {column.name} {value!r}" for value, row in rows.items() if row == UNKNOWN]
    equal = torch.isin(column.values, torch.tensor([row for row in rows.values() if row != UNKNOWN], dtype=torch.int32))
    return equal.any(dim=1) if column.is_list else equal


def _compared(column: Column, sign: str, value: str) -> Tensor:
    bound = _number(value)
    numbers = column.values
    if column.vocabulary is not None:
        if _is_text(column):
            raise ValueError
        numbers = torch.tensor([math.nan, *column.vocabulary.values], dtype=torch.float64)[column.values.long()]
    within = numbers >= bound if sign == ">=" else numbers <= bound
    return within.any(dim=1) if column.is_list else within


def _is_text(column: Column) -> bool:
    return column.vocabulary is not None and any(isinstance(raw, str) for raw in column.vocabulary.values)


def _number(text: str) -> float:
    number = float(text)
    if math.isnan(number):  # NaN stands for an unknown number
        raise ValueError
    return number
