"""People to recommend for: known users, and new ones by what is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from towerzoo.datasets import UNKNOWN, Column, Table
from towerzoo.datasets.history import History
from towerzoo.registry.errors import RequestError, name_hint
from towerzoo.towers.encoders.history import NO_EVENT, HistoryEncoder
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.items import ItemNames


@dataclass(frozen=True)
class Person:
    """Somebody to recommend for.

    Attributes:
        row: Row of the users table; 0 for somebody new.
        features: Encoded features that are told, in place of those of the row: an id (), ids (L,) or a number () each.
        liked: Item rows that she likes, besides those of her history.
        disliked: Item rows that she does not like.
        exclude: Item rows that she is not to get.
        notes: What was told and is not known, for people to read.
    """

    row: int = UNKNOWN
    features: Mapping[str, Tensor] = field(default_factory=dict)
    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    exclude: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def read_person(
    users: Table,
    features: Sequence[str],
    items: ItemNames,
    *,
    user: object = None,
    told: Mapping[str, Any] | None = None,
    liked: Sequence[object] = (),
    disliked: Sequence[object] = (),
    exclude: Sequence[object] = (),
) -> Person:
    """Returns the person that a request means.

    A user, feature or value that is not known stands for the unknown one, and the person's notes tell of it.

    Args:
        users: The users table.
        features: Names of the features that the user tower has, without histories.
        items: How items are called.
        user: A raw id; None for somebody new.
        told: Raw features by name; a list, or a text parted by `|`, for those that are lists.
        liked: Raw ids or titles.
        disliked: Raw ids or titles.
        exclude: Raw ids or titles.

    Raises:
        RequestError: Nothing is known of the person, an item is not known, or a value is of the wrong kind.

    Example:
        >>> from towerzoo.datasets import encode_table
        >>> users = encode_table("user", {"user": [5, 6], "town": ["Oslo", "Rome"]})
        >>> films = ItemNames(encode_table("film", {"film": [7, 9]}, {"title": ["Heat", "Ran"]}))
        >>> read_person(users, ["user", "town"], films, user=6, liked=["heat"])
        Person(row=2, features={}, liked=(1,), disliked=(), exclude=(), notes=())
        >>> read_person(users, ["user", "town"], films, told={"town": "Paris"}).notes
        ("town 'Paris' is not known",)
    """
    told = dict(told or {})
    problems: list[str] = []
    notes: list[str] = []
    row = UNKNOWN if user is None else users.ids.row(user)
    if row == UNKNOWN and not (told or liked):
        known = [name for name in features if name != users.key]
        found = "nobody" if user is None else f"the unknown id {user!r}"
        expected = "a known user, or somebody new with features or liked items"
        problems.append(f"the person must be {expected}, got {found}. Features: {', '.join(known) or 'none'}.")
    elif row == UNKNOWN and user is not None:
        notes.append(f"user {user!r} is not known")
    encoded: dict[str, Tensor] = {}
    for name, value in told.items():
        if name not in features or name == users.key:
            hint = name_hint(name, [known for known in features if known != users.key], "Features")
            notes.append(f"feature {name!r} is not one of the user tower and was left out. {hint}")
            continue
        try:
            encoded[name] = _encode(users.column(name), value, notes)
        except (TypeError, ValueError):
            problems.append(f"feature {name} must be a finite number, got {value!r}.")
    meant = [_rows(items, names, problems) for names in (liked, disliked, exclude)]
    if problems:
        raise RequestError(*problems)
    return Person(row, encoded, liked=meant[0], disliked=meant[1], exclude=meant[2], notes=tuple(notes))


def _encode(column: Column, value: Any, notes: list[str]) -> Tensor:
    if column.vocabulary is None:
        number = column.unknown if value is None else torch.tensor(float(value), dtype=torch.float32)
        if number.isinf():
            raise ValueError
        return column.unknown if number.isnan() else number
    values = (value if isinstance(value, list) else str(value).split("|")) if column.is_list else [value]
    ids = [column.vocabulary.row(raw) for raw in values]
    notes += [
        f"{column.name} {raw!r} is not known"
        for raw, number in zip(values, ids, strict=True)
        if number == UNKNOWN and raw is not None
    ]
    if not column.is_list:
        return torch.tensor(ids[0], dtype=torch.int32)
    width = column.values.shape[1]
    return torch.tensor((ids + [UNKNOWN] * width)[:width], dtype=torch.int32)


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

    Features that are told take the place of those of the users table. Items that are told as liked or disliked become
    the latest events of a history, each of the kind that most positive, or most other, events are of; those that were
    not there in training are events with the unknown item.

    Args:
        tower: The user tower, in eval mode.
        history: The histories that the tower was built with, if any.
        label: The labels of all events (N,).
    """

    def __init__(self, tower: Tower, history: History | None, label: Tensor) -> None:
        self.tower = tower
        self._kinds = {
            encoder.by: tuple(_usual_kind(history, encoder.by, label, positive) for positive in (True, False))
            for encoder in tower.histories
            if history is not None and encoder.by != "item"
        }

    def __call__(self, people: Sequence[Person], rows: Tensor) -> Tensor:
        """Returns the vectors of people (U, D), whose rows (U,) lie on the tower's device."""
        columns = self.columns(people, rows)
        return self.tower.encode(columns) if columns else self.tower(rows)

    def columns(self, people: Sequence[Person], rows: Tensor) -> dict[str, Tensor]:
        """Returns the encoded features of people (U, ...), as the tower takes them."""
        columns = self.tower.columns(rows)
        for name, values in columns.items():
            encoder = self.tower.encoder(name)
            if isinstance(encoder, HistoryEncoder):
                columns[name] = self._with_told(encoder, people, values)
                continue
            for place, person in enumerate(people):
                if name in person.features:
                    values[place] = person.features[name]
        return columns

    def _with_told(self, encoder: HistoryEncoder, people: Sequence[Person], lists: Tensor) -> Tensor:
        """Puts what people tell of items before their histories (U, L)."""
        told = [self._told(encoder, person) for person in people]
        newest = pad_sequence(told, batch_first=True, padding_value=NO_EVENT).to(lists.device)
        whole = torch.cat([newest, lists], dim=1)
        return whole.gather(1, (whole == NO_EVENT).byte().argsort(dim=1, stable=True))

    def _told(self, encoder: HistoryEncoder, person: Person) -> Tensor:
        items = torch.tensor([*person.liked, *person.disliked], dtype=torch.int32)
        items = items.where(items < encoder.n_partners, UNKNOWN)
        if encoder.by == "item":
            return encoder.ids_of(items, None)
        counts = torch.tensor([len(person.liked), len(person.disliked)])
        return encoder.ids_of(items, torch.tensor(self._kinds[encoder.by], dtype=torch.int32).repeat_interleave(counts))


def _usual_kind(history: History, by: str, label: Tensor, positive: bool) -> int:
    """Returns which kind most events of one label are of; 0 where there are none, and so nothing tells it."""
    held = torch.nonzero(history.place >= 0)[:, 0]
    labels = torch.empty(len(held)).index_copy_(0, history.place[held].long(), label[held])
    kinds = history.kinds[by][(labels > 0.5) == positive]
    return int(kinds.bincount().argmax()) if len(kinds) else 0
