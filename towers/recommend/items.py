"""Items by what people call them: raw ids and titles."""

from __future__ import annotations

from functools import cached_property

from towerzoo.datasets import UNKNOWN, Table
from towerzoo.registry.errors import RequestError, nearest

LISTED = 10
"""Titles that an error names at most."""


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
