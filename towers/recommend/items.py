"""Items by what people call them: raw ids and titles."""

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
"""Titles that an error names at most."""


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
    """Finds items by raw id or title, and names them.

    Args:
        items: The items; their titles are the text `title`, or the first one of another name.

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
        """Returns the row of a raw id, a title, or a part of one title alone; in titles, case does not matter.

        Raises:
            RequestError: Nothing is called so, or several items are.
        """
        if row := self.ids.row(name):
            return row
        wanted = str(name).casefold().strip()
        found = self._by_title.get(wanted, [])
        if not found and wanted:
            found = [row for title, rows in self._by_title.items() if wanted in title for row in rows]
        if len(found) == 1:
            return found[0]
        if found:
            some = "; ".join(f"{self.title(row)} (id {self.id(row)})" for row in found[:LISTED])
            more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
            raise RequestError(
                f"an item must be a raw id or the title of one item, got {name!r}, which fits {some}{more}."
            )
        near = nearest(wanted, self._by_title)
        hint = (
            f"Did you mean {self.title(self._by_title[near][0])!r}?" if near else "Look into the run's items.parquet."
        )
        raise RequestError(f"an item must be a known raw id or title, got {name!r}. {hint}")

    def item(self, row: int) -> Item:
        """Returns the item of a row; not for the unknown item."""
        return Item(self.ids.values[row - 1], self.title(row))

    def id(self, row: int) -> int | str | None:
        """Returns the raw id of a row; None of the unknown one."""
        return self.ids.values[row - 1] if row != UNKNOWN else None

    def title(self, row: int) -> str:
        """Returns the title of a row; its raw id where it has none."""
        text = self.titles[row] if self.titles else ""
        return text or str(self.id(row))

    @cached_property
    def _by_title(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, title in enumerate(self.titles or ()):
            if title:
                rows.setdefault(title.casefold().strip(), []).append(row)
        return rows


CONDITION = re.compile(r"\s*(?P<column>[^=!<>]+?)\s*(?P<sign>!=|>=|<=|=)\s*(?P<value>.*?)\s*")


def allowed_items(items: Table, conditions: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Returns which items meet all conditions (I,), None where there are none, and notes on what is not known.

    A condition is `COLUMN=VALUE`, `COLUMN!=VALUE`, `COLUMN>=NUMBER` or `COLUMN<=NUMBER`; several values, of which one
    must be met, are parted by `|`. A list meets a value that it holds. What is unknown of an item meets no condition
    but `!=`.

    Args:
        items: The items.
        conditions: As texts.

    Raises:
        RequestError: A condition cannot be read, there is no such column, or it is compared with what is no number.

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
        read = CONDITION.fullmatch(condition)
        if read is None:
            problems.append(
                f"a filter must be COLUMN=VALUE, COLUMN!=VALUE, COLUMN>=NUMBER or COLUMN<=NUMBER, got {condition!r}."
            )
        elif read["column"] not in items.columns:
            hint = name_hint(read["column"], items.columns, "Columns")
            problems.append(f"a filter must name a column of the items, got {read['column']!r}. {hint}")
        else:
            column = items.columns[read["column"]]
            try:
                met = (
                    _equal(column, read["value"].split("|"), notes)
                    if read["sign"] in ("=", "!=")
                    else _compared(column, read["sign"], read["value"])
                )
            except ValueError:
                hint = "Use = or != for words" if _of_words(column) else f"{column.name} holds numbers"
                problems.append(f"the filter {condition!r} must compare numbers with a number. {hint}.")
            else:
                allowed &= ~met if read["sign"] == "!=" else met
    if problems:
        raise RequestError(*problems)
    allowed[UNKNOWN] = False
    return (allowed if conditions else None), tuple(notes)


def _equal(column: Column, values: Sequence[str], notes: list[str]) -> Tensor:
    if column.vocabulary is None:
        return torch.isin(column.values, torch.tensor([_number(value) for value in values]))
    rows = [column.vocabulary.row(value.strip()) for value in values]
    notes += [
        f"no item has {column.name} {value.strip()!r}"
        for value, row in zip(values, rows, strict=True)
        if row == UNKNOWN
    ]
    met = torch.isin(column.values, torch.tensor([row for row in rows if row != UNKNOWN], dtype=torch.int32))
    return met.any(dim=1) if column.is_list else met


def _compared(column: Column, sign: str, value: str) -> Tensor:
    bound = _number(value)
    numbers = column.values
    if column.vocabulary is not None:
        if _of_words(column):
            raise ValueError
        numbers = torch.tensor([math.nan, *column.vocabulary.values], dtype=torch.float64)[column.values.long()]
    met = numbers >= bound if sign == ">=" else numbers <= bound
    return met.any(dim=1) if column.is_list else met


def _of_words(column: Column) -> bool:
    return column.vocabulary is not None and any(isinstance(raw, str) for raw in column.vocabulary.values)


def _number(text: str) -> float:
    number = float(text)
    if math.isnan(number):  # as the unknown one, which no condition finds
        raise ValueError
    return number
