"""People to recommend for: known users, and new ones by what is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, Table
from towerzoo.registry.errors import RequestError, name_hint
from towerzoo.towers.encoders import Encoder
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.items import ItemNames


@dataclass(frozen=True)
class Person:
    """Somebody to recommend for.

    Attributes:
        row: Row of the users table; 0 for somebody new.
        features: Raw features that are given in place of those of the row.
        liked: Item rows that she likes, besides those of her history.
        disliked: Item rows that she does not like.
        exclude: Item rows that she is not to get.
        notes: What was told and is not known, for people to read.
    """

    row: int = UNKNOWN
    features: Mapping[str, Any] = field(default_factory=dict)
    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    exclude: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def read_person(
    users: Table,
    tower: Tower,
    items: ItemNames,
    *,
    user: object = None,
    features: Mapping[str, Any] | None = None,
    liked: Sequence[object] = (),
    disliked: Sequence[object] = (),
    exclude: Sequence[object] = (),
) -> Person:
    """Returns the person that a request means.

    An unseen user, feature or value stands for the unknown one, and the person's notes say so.

    Args:
        users: The users table.
        tower: The user tower.
        items: How items are called.
        user: A raw id; None for somebody new.
        features: Raw features by name; a list, or a text with `|` between its values, for a feature of lists.
        liked: Raw ids or titles.
        disliked: Raw ids or titles.
        exclude: Raw ids or titles.

    Raises:
        RequestError: Nothing is known of the person, an item is not known, or a value is of the wrong kind.

    Example:
        >>> from towerzoo.datasets import encode_table
        >>> users = encode_table("user", {"user": [5, 6], "town": ["Oslo", "Rome"]})
        >>> films = ItemNames(encode_table("film", {"film": [7, 9]}, {"title": ["Heat", "Ran"]}))
        >>> tower = Tower(users, {"town": {"encoder": "embedding", "dim": 4}})
        >>> read_person(users, tower, films, user=6, liked=["heat"])
        Person(row=2, features={}, liked=(1,), disliked=(), exclude=(), notes=())
        >>> read_person(users, tower, films, features={"town": "Paris"}).notes
        ("town 'Paris' is not known",)
    """
    known = givable(tower, users.key)
    problems: list[str] = []
    notes: list[str] = []
    row = UNKNOWN if user is None else users.ids.row(user)
    if row == UNKNOWN and not (features or liked):
        found = "nobody" if user is None else f"the unknown id {user!r}"
        expected = "a known user, or somebody new with features or liked items"
        problems.append(f"the person must be {expected}, got {found}. Features: {', '.join(known) or 'none'}.")
    elif row == UNKNOWN and user is not None:
        notes.append(f"user {user!r} is not known")
    given: dict[str, Any] = {}
    for name, value in (features or {}).items():
        if name not in known:
            hint = name_hint(name, known, "Features")
            notes.append(f"feature {name!r} is not one of the user tower and was left out. {hint}")
            continue
        try:
            given[name] = _checked(known[name], value, notes)
        except (TypeError, ValueError):
            problems.append(f"feature {name} must be a finite number, got {value!r}.")
    meant = [_rows(items, names, problems) for names in (liked, disliked, exclude)]
    if problems:
        raise RequestError(*problems)
    return Person(row, given, liked=meant[0], disliked=meant[1], exclude=meant[2], notes=tuple(notes))


def givable(tower: Tower, key: str) -> dict[str, Encoder]:
    """Returns the features that can be given for somebody new, by name: all but the raw id and events."""
    return {name: encoder for name, encoder in tower.features() if name != key and encoder.source == "column"}


def _checked(encoder: Encoder, value: Any, notes: list[str]) -> Any:
    """Returns a raw value as its encoder reads it, and notes which of its values are unseen."""
    if encoder.column.is_list and not isinstance(value, list):
        value = str(value).split("|")
    encoder.read([value])
    if encoder.column.vocabulary is not None:
        for raw in value if encoder.column.is_list else [value]:
            inputs = encoder.read([[raw] if encoder.column.is_list else raw])
            if raw is not None and torch.equal(inputs, encoder.unknown_like(inputs)):
                notes.append(f"{encoder.column.name} {raw!r} is not known")
    return value


def _rows(items: ItemNames, names: Sequence[object], problems: list[str]) -> tuple[int, ...]:
    rows = []
    for name in names:
        try:
            rows.append(items.row(name))
        except RequestError as error:
            problems += error.problems
    return tuple(rows)


class PersonVectors:
    """Encodes people without training.

    Given features take the place of those of the users table. Liked and disliked items become the latest events of a
    history.

    Args:
        tower: The user tower, in eval mode.
    """

    def __init__(self, tower: Tower) -> None:
        self.tower = tower

    def __call__(self, people: Sequence[Person], rows: Tensor) -> Tensor:
        """Returns the vectors of people (U, D), whose rows (U,) lie on the tower's device."""
        inputs = self.inputs(people, rows)
        return self.tower.encode(inputs) if inputs else self.tower(rows)

    def inputs(self, people: Sequence[Person], rows: Tensor) -> dict[str, Tensor]:
        """Returns the encoded features of people (U, ...), as the tower takes them."""
        inputs = self.tower.inputs(rows)
        for name, encoder in self.tower.features():
            if encoder.source == "events":
                given = [(person.liked, person.disliked) for person in people]
                inputs[name] = encoder.with_newest(inputs[name], encoder.read(given))
            elif any(name in person.features for person in people):
                raw = encoder.column.raw(rows.cpu())
                given = [person.features.get(name, known) for person, known in zip(people, raw, strict=True)]
                inputs[name] = encoder.read(given).to(rows.device)
        return inputs
