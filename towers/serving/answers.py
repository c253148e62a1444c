"""Answers requests from one opened run; only the worker thread calls it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import torch

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.explanation import explain
from towerzoo.towers.recommend.items import ScoredItem, allowed_items
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.retrieval.seen_items import SeenItems
from towerzoo.towers.runs.documents import Metrics
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.serving import schema
from towerzoo.towers.serving.schema import Recommendations, RecommendRequest

MOST_VALUES: Final = 100
"""A feature with more values is listed without them."""
CACHED_FILTERS: Final = 64
"""Sets of conditions whose candidate items are cached."""
MOST_LIKE: Final = 2
"""Liked items that the details of a recommended item name at most."""


class RunAnswers:
    """One opened run folder.

    Args:
        path: The run folder.
        recommender: The recommender of the run.
    """

    def __init__(self, path: Path, recommender: Recommender) -> None:
        self.path = path
        self.recommender = recommender
        self._test = RunFolder(path).read(Metrics).test
        self._allowed = lru_cache(CACHED_FILTERS)(partial(allowed_items, recommender.items))
        events = recommender.events
        positive = events.label > 0.5
        self._liked = SeenItems(events.user[positive], events.item[positive], len(recommender.users))

    def warm_up(self) -> None:
        """Answers one request, so that the first client does not wait for lazy initialisation."""
        self.recommender.top_items([Person(row=min(1, len(self.recommender.users) - 1))], 1)
        assert self.recommender.item_vectors.directions is not None

    def recommend(self, requests: Sequence[RecommendRequest]) -> list[Recommendations | RequestError]:
        """Answers a batch; requests with the same candidates share one call of the model.

        Returns:
            One response per request, in order; a RequestError for a request that cannot be answered.
        """
        responses: dict[int, Recommendations | RequestError] = {}
        groups: dict[tuple[bool, tuple[str, ...]], list[tuple[int, RecommendRequest, Person]]] = {}
        for position, request in enumerate(requests):
            where = tuple(request.where)
            try:
                person = self._person(request)
                self._allowed(where)
                self.recommender.require_answerable([person], request.k, keep_seen=request.keep_seen)
            except RequestError as error:
                responses[position] = error
            else:
                groups.setdefault((request.keep_seen, where), []).append((position, request, person))
        for (keep_seen, where), group in groups.items():
            allowed, notes = self._allowed(where)
            people = [person for _, _, person in group]
            most = max(request.k for _, request, _ in group)
            top = self.recommender.top_items(people, most, keep_seen=keep_seen, allowed=allowed)
            lists = zip(group, top.items.tolist(), self.recommender.answers(top, people), strict=True)
            for (position, request, person), padded_rows, items in lists:
                items = items[: request.k]
                reasons = [*person.notes, *notes]
                if not items:
                    unmet = allowed is not None and not bool(allowed.any())
                    why = "no item meets all conditions" if unmet else "all candidates are seen or excluded"
                    reasons.append(f"the list is empty: {why}")
                if request.details:
                    rows = [row for row in padded_rows if row != UNKNOWN][: request.k]
                    items = self._with_details(person, rows, items)
                responses[position] = Recommendations(self.path.name, items, reasons)
        return [responses[position] for position in range(len(requests))]

    def similar(self, name: str, k: int) -> schema.SimilarItems:
        """Returns the items nearest to an item.

        Raises:
            RequestError: The item is unknown, or k is out of range.
        """
        row = self.recommender.names.row(name)
        (items,) = self.recommender.answers(self.recommender.nearest_items(torch.tensor([row]), k))
        return schema.SimilarItems(self.path.name, self.recommender.names.item(row), items)

    def explain(self, request: RecommendRequest, name: str) -> schema.RunExplanation:
        """Explains the score of an item for a user.

        Raises:
            RequestError: The user or an item is unknown.
        """
        person = self._person(request)
        explanation = explain(self.recommender, person, self.recommender.names.row(name))
        explanation = replace(explanation, notes=[*person.notes, *explanation.notes])
        return schema.RunExplanation(run=self.path.name, **vars(explanation))

    def search(self, text: str, limit: int) -> schema.FoundItems:
        """Finds items whose title contains a text; titles that start with it come first."""
        wanted, names = text.casefold().strip(), self.recommender.names
        titles = [(names.title(row).casefold(), row) for row in range(1, len(self.recommender.items))]
        rows = [(not title.startswith(wanted), row) for title, row in titles if wanted in title]
        return schema.FoundItems(self.path.name, [names.item(row) for _, row in sorted(rows)[:limit]])

    def random_user(self) -> dict[str, int | str]:
        """Returns a known user, each with the same probability."""
        user = random.choice(self.recommender.users.ids.values)  # noqa: S311  (no secret)
        return {"run": self.path.name, "user": user}

    def about(self, name: str, most_items: int) -> schema.RunAbout:
        """Describes the run: its size, test metrics and features.

        Args:
            name: Name of the run in the service.
            most_items: The service's largest k.
        """
        users, items = self.recommender.users, self.recommender.items
        return schema.RunAbout(
            name=name,
            run=self.path.name,
            users=len(users) - 1,
            items=len(items) - 1,
            most_items=most_items,
            test=self._test,
            example_users=list(users.ids.values[:3]),
            user_features=[_feature(users.column(feature)) for feature in self.recommender.features],
            item_features=[_feature(column) for column in items.columns.values() if column.name != items.key],
        )

    def _person(self, request: RecommendRequest) -> Person:
        return self.recommender.person(
            request.user,
            features=request.features,
            liked=request.liked,
            disliked=request.disliked,
            exclude=request.exclude,
        )

    def _with_details(self, person: Person, rows: list[int], items: Sequence[ScoredItem]) -> list[ScoredItem]:
        likes = self._most_like(person, rows)
        return [
            schema.RecommendedItem(
                **vars(item), features=self._features(row), like=[*map(self.recommender.names.item, like)]
            )
            for item, row, like in zip(items, rows, likes, strict=True)
        ]

    def _features(self, row: int) -> dict[str, Any]:
        """Returns the raw values of an item's features; None for unknown values."""
        items = self.recommender.items
        values = {}
        for name, column in items.columns.items():
            if name != items.key:
                (value,) = column.raw(torch.tensor([row]))
                values[name] = [entry for entry in value if entry is not None] if column.is_list else value
        return values

    def _most_like(self, person: Person, rows: list[int]) -> list[list[int]]:
        """Returns, for each item row, the rows of the most similar items that the user liked, nearest first."""
        directions = self.recommender.item_vectors.directions.cpu()
        _, known = self._liked.of(torch.tensor([person.row])) if person.row != UNKNOWN else (None, torch.tensor([]))
        liked = torch.unique(torch.cat([known.long(), torch.tensor(person.liked, dtype=torch.int64)]))
        if not len(liked) or not directions.shape[1]:
            return [[] for _ in rows]
        items = torch.tensor(rows, dtype=torch.int64)
        cosines = (directions[items] @ directions[liked].T).masked_fill(items.unsqueeze(1) == liked, float("-inf"))
        best = cosines.topk(min(MOST_LIKE, len(liked)), dim=1)
        return [
            [row for row, cosine in zip(*lists, strict=True) if cosine > 0]
            for lists in zip(liked[best.indices].tolist(), best.values.tolist(), strict=True)
        ]


def _feature(column: Column) -> schema.Feature:
    kind = "number" if column.vocabulary is None else "list" if column.is_list else "value"
    values = column.vocabulary.values if column.vocabulary is not None else ()
    return schema.Feature(column.name, kind, list(values) if len(values) <= MOST_VALUES else [])
