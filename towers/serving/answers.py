"""Answers questions from one opened run; called by the one thread that runs the model."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, Column, Table
from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.explanation import explain
from towerzoo.towers.recommend.items import allowed_items
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import Answer, Recommender
from towerzoo.towers.retrieval.seen_items import SeenItems
from towerzoo.towers.runs.documents import Metrics
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.serving.schema import Recommend

MOST_LISTED: Final = 100
"""Values of a feature that are listed; those of one with more are not for choosing from a list."""
FILTERS_KEPT: Final = 64
"""Sets of conditions whose items are remembered."""
LIKE: Final = 2
"""Items of a person's own that a recommended one is said to be like."""

JsonObject = dict[str, Any]


class RunAnswers:
    """One run folder, opened.

    Args:
        path: The run folder.
        recommender: What it holds.
    """

    def __init__(self, path: Path, recommender: Recommender) -> None:
        self.path = path
        self.recommender = recommender
        self._metrics = RunFolder(path).read(Metrics).test
        self._filters: dict[tuple[str, ...], tuple[Tensor | None, tuple[str, ...]]] = {}
        events = recommender.events
        positive = events.label > 0.5
        self._liked = SeenItems(events.user[positive], events.item[positive], len(recommender.users))

    def warm_up(self) -> None:
        """Makes what is made at the first question."""
        self.recommender.recommend([Person(row=min(1, len(self.recommender.users) - 1))], 1)
        assert self.recommender.item_vectors.directions is not None

    def recommend(self, asks: Sequence[Recommend]) -> list[JsonObject | Exception]:
        """Answers all questions that wait, those that ask for candidates alike by one call of the model."""
        answers: list[JsonObject | Exception] = [RuntimeError("not answered")] * len(asks)
        alike: dict[Hashable, list[tuple[int, Person, tuple[str, ...]]]] = {}
        for place, ask in enumerate(asks):
            try:
                person = self._person(ask)
                _, notes = self._allowed(tuple(ask.where))
                self.recommender.require_answerable([person], ask.k, keep_seen=ask.keep_seen)
            except RequestError as error:
                answers[place] = error
            else:
                alike.setdefault((ask.keep_seen, *ask.where), []).append((place, person, notes))
        for group in alike.values():
            found = self._recommend([(asks[place], person, notes) for place, person, notes in group])
            for (place, _, _), answer in zip(group, found, strict=True):
                answers[place] = answer
        return answers

    def _recommend(self, asked: Sequence[tuple[Recommend, Person, tuple[str, ...]]]) -> list[JsonObject]:
        """Answers questions with the same conditions, each with its person and notes."""
        first = asked[0][0]
        people = [person for _, person, _ in asked]
        allowed, _ = self._allowed(tuple(first.where))
        most = max(ask.k for ask, _, _ in asked)
        top = self.recommender.recommend(people, most, keep_seen=first.keep_seen, allowed=allowed)
        lists = self.recommender.answers(top, people)
        return [
            self._told(ask, person, answers[: ask.k], notes, allowed)
            for (ask, person, notes), answers in zip(asked, lists, strict=True)
        ]

    def _told(
        self, ask: Recommend, person: Person, answers: Sequence[Answer], notes: tuple[str, ...], allowed: Tensor | None
    ) -> JsonObject:
        items = [_item(answer) for answer in answers]
        if ask.details:
            for item, answer, like in zip(items, answers, self._likes(person, answers), strict=True):
                item["features"] = _features(self.recommender.items, answer.row)
                item["like"] = [self._named(row) for row in like]
        notes = (*person.notes, *notes)
        if not answers:
            none_meets = allowed is not None and not bool(allowed.any())
            why = "no item meets all conditions" if none_meets else "all that might be recommended is seen or excluded"
            notes += (f"the list is empty: {why}",)
        return {"run": self.path.name, "items": items, "notes": notes}

    def similar(self, name: str, k: int) -> JsonObject:
        """Answers which items are nearest to one.

        Raises:
            RequestError: There is no such item, or k is out of range.
        """
        row = self.recommender.names.row(name)
        (answers,) = self.recommender.answers(self.recommender.similar(torch.tensor([row]), k))
        return {"run": self.path.name, "of": self._named(row), "items": [_item(answer) for answer in answers]}

    def explain(self, ask: Recommend, name: str) -> JsonObject:
        """Answers what speaks for and against an item for a person.

        Raises:
            RequestError: Somebody or something is not known.
        """
        row = self.recommender.names.row(name)
        person = self._person(ask)
        told = explain(self.recommender, person, row)
        return {
            "run": self.path.name,
            "of": self._named(row),
            "score": told.logit,
            "probability": told.probability,
            "rank": told.rank,
            "candidates": told.candidates,
            "effects": [effect._asdict() for effect in told.effects],
            "nearest": [self._named(near.row) | {"cosine": near.cosine, "liked": near.liked} for near in told.nearest],
            "notes": [*person.notes, *told.notes],
        }

    def search(self, text: str, limit: int) -> JsonObject:
        """Answers which titles hold a text, those that begin with it first."""
        wanted = text.casefold().strip()
        titles = [(row, self.recommender.names.title(row)) for row in range(1, len(self.recommender.items))]
        found = [(row, title.casefold()) for row, title in titles if wanted in title.casefold()]
        found.sort(key=lambda pair: not pair[1].startswith(wanted))
        return {"run": self.path.name, "items": [self._named(row) for row, _ in found[:limit]]}

    def anyone(self) -> JsonObject:
        """Answers with a known user, each as likely as any other."""
        row = random.randrange(1, len(self.recommender.users))  # noqa: S311  (no secret)
        return {"run": self.path.name, "user": self.recommender.users.ids.values[row - 1]}

    def about(self) -> JsonObject:
        """Answers what there is to ask about."""
        users, items = self.recommender.users, self.recommender.items
        told = [users.column(name) for name in self.recommender.features]
        return {
            "run": self.path.name,
            "users": len(users) - 1,
            "items": len(items) - 1,
            "test": self._metrics,
            "example_users": list(users.ids.values[:3]),
            "user_features": [_about(column) for column in told],
            "item_features": [_about(column) for name, column in items.columns.items() if name != items.key],
        }

    def _person(self, ask: Recommend) -> Person:
        return self.recommender.person(
            ask.user, features=ask.features, liked=ask.liked, disliked=ask.disliked, exclude=ask.exclude
        )

    def _allowed(self, where: tuple[str, ...]) -> tuple[Tensor | None, tuple[str, ...]]:
        if where not in self._filters:
            found = allowed_items(self.recommender.items, where)
            if len(self._filters) >= FILTERS_KEPT:
                del self._filters[next(iter(self._filters))]
            self._filters[where] = found
        return self._filters[where]

    def _likes(self, person: Person, answers: Sequence[Answer]) -> list[list[int]]:
        """Returns for each item the person's own ones that it is most like, nearest first."""
        directions = self.recommender.item_vectors.directions.cpu()
        _, known = self._liked.of(torch.tensor([person.row])) if person.row != UNKNOWN else (None, torch.tensor([]))
        own = torch.unique(torch.cat([known.long(), torch.tensor(person.liked, dtype=torch.int64)]))
        if not len(own) or not directions.shape[1]:
            return [[] for _ in answers]
        rows = torch.tensor([answer.row for answer in answers], dtype=torch.int64)
        near = (directions[rows] @ directions[own].T).masked_fill(rows.unsqueeze(1) == own, float("-inf"))
        best = near.topk(min(LIKE, len(own)), dim=1)
        return [
            [int(own[at]) for at, cosine in zip(*lists, strict=True) if cosine > 0]
            for lists in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _named(self, row: int) -> JsonObject:
        return {"id": self.recommender.names.id(row), "title": self.recommender.names.title(row)}


def _item(answer: Answer) -> JsonObject:
    return {"id": answer.id, "title": answer.title, "score": answer.score, "probability": answer.probability}


def _features(table: Table, row: int) -> JsonObject:
    """Returns the raw values of a row but for its key; None where one is unknown."""
    return {name: _raw(column, row) for name, column in table.columns.items() if name != table.key}


def _raw(column: Column, row: int) -> Any:
    (value,) = column.raw(torch.tensor([row]))
    return [raw for raw in value if raw is not None] if column.is_list else value


def _about(column: Column) -> JsonObject:
    kind = "number" if column.vocabulary is None else "list" if column.is_list else "value"
    values = column.vocabulary.values if column.vocabulary is not None else ()
    return {"name": column.name, "kind": kind, "values": list(values) if len(values) <= MOST_LISTED else []}
