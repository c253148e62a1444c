"""People to recommend for: known users, and new ones described by features and liked items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, Table
from towerzoo.registry.errors import RequestError, name_hint
from towerzoo.towers.encoders import Encoder
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.items import ItemNames, split_list

LISTED = 5
"""An error lists at most this many unknown users."""


@dataclass(frozen=True)
class Person:
    """A user of the run, or somebody new.

    Attributes:
        row: Row of the users table; 0 for somebody new.
        features: Raw features that replace those of the row.
        liked: Rows of liked items, in addition to the user's history.
        disliked: Rows of disliked items, likewise.
        exclude: Rows of items that are not recommended.
        notes: Which values are unknown, for people to read.
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
    """Returns the person that a request describes.

    An unseen user, feature or value counts as unknown, and the notes say so.

    Args:
        users: The users table.
        tower: The user tower.
        items: The names of the items.
        user: A raw id; None for somebody new.
        features: Raw features by name; a list feature takes a list, or text with `|` between the values.
        liked: Raw ids or titles.
        disliked: Raw ids or titles.
        exclude: Raw ids or titles.

    Raises:
        RequestError: Nothing is known about the person, an item is unknown, or a value has the wrong type.

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
    known = accepted_features(tower, users.key)
    problems: list[str] = []
    notes: list[str] = []
    row = UNKNOWN if user is None else users.ids.row(user)
    if row == UNKNOWN and not (features or liked):
        actual = "nobody" if user is None else f"the unknown id {user!r}"
        expected = "a known user, or somebody new with features or liked items"
        problems.append(f"the person must be {expected}, got {actual}. Features: {', '.join(known) or 'none'}.")
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
    liked_rows, disliked_rows, excluded = (_rows(items, names, problems) for names in (liked, disliked, exclude))
    if problems:
        raise RequestError(*problems)
    return Person(row, given, liked_rows, disliked_rows, excluded, tuple(notes))


def known_people(users: Table, names: Iterable[object], exclude: Sequence[int] = ()) -> list[Person]:
    """Returns the users of raw ids, each once.

    Args:
        users: The users table.
        names: The raw ids.
        exclude: Rows of items that are not recommended.

    Raises:
        RequestError: There are none, or some are unknown.
    """
    rows = {name: users.ids.row(name) for name in names}
    unknown = [name for name, row in rows.items() if row == UNKNOWN]
    if unknown:
        listed = ", ".join(map(repr, unknown[:LISTED])) + (" and more" if len(unknown) > LISTED else "")
        raise RequestError(f"{len(unknown)} of {len(rows)} users are unknown: {listed}. Leave them out.")
    if not rows:
        raise RequestError("The list of users is empty. Give at least one raw id.")
    return [Person(row, exclude=tuple(exclude)) for row in rows.values()]


def accepted_features(tower: Tower, key: str) -> dict[str, Encoder]:
    """Returns the encoders of the features that describe somebody new: all but the raw id and events."""
    return {name: encoder for name, encoder in tower.features() if name != key and encoder.source == "column"}


def _rows(items: ItemNames, names: Iterable[object], problems: list[str]) -> tuple[int, ...]:
    rows = []
    for name in names:
        try:
            rows.append(items.row(name))
        except RequestError as error:
            problems += error.problems
    return tuple(rows)


def _checked(encoder: Encoder, value: Any, notes: list[str]) -> Any:
    """Returns a raw value as its encoder reads it, and adds a note for each unseen one."""
    is_list, name = encoder.column.is_list, encoder.column.name
    if is_list and not isinstance(value, list):
        value = split_list(str(value))
    encoder.read([value])
    if encoder.column.vocabulary is not None:
        for raw in value if is_list else [value]:
            inputs = encoder.read([[raw] if is_list else raw])
            if raw is not None and torch.equal(inputs, encoder.unknown_like(inputs)):
                notes.append(f"{name} {raw!r} is not known")
    return value


class PersonVectors:
    """Encodes people without training.

    Given features replace those of the users table. Liked and disliked items become the latest events of a history.

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
