"""A finished run that answers: what to recommend, to whom, and why."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, Interactions, StarSchema, Table
from towerzoo.registry.errors import RequestError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.device import torch_device
from towerzoo.towers.metrics.plan import has_candidates
from towerzoo.towers.model.build import build_model, read_experiment
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.recommend.item_vectors import ItemVectors
from towerzoo.towers.recommend.items import ItemNames, ScoredItem
from towerzoo.towers.recommend.new_items import NewItems
from towerzoo.towers.recommend.people import Person, PersonVectors, givable, read_person
from towerzoo.towers.retrieval.best_items import TopItems, best_items
from towerzoo.towers.retrieval.exact_index import Index
from towerzoo.towers.retrieval.seen_items import SeenItems
from towerzoo.towers.retrieval.vector_table import VectorTable
from towerzoo.towers.runs.events import RunEvents, load_events
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.runs.tables import load_tables

NEAR_LIKES = "the user tower has no history, so that the items nearest to the liked ones are recommended"
LIKES_UNUSED = "the user tower has no history, so that liked and disliked items are only left out"


class Recommender:
    """A run's model, users, items and events, ready to answer.

    Answering changes nothing but that users' factors are kept once they are made; one thread at a time may ask.

    Args:
        experiment: What the model was built from.
        model: The model, with its weights.
        users: The users table, with histories where the model has them.
        items: The items table.
        events: All events that the run was made of.

    Attributes:
        model: The model in eval mode.
        users: The users table.
        items: The items table.
        names: How items are called.
        events: The events.
        seen: The items that each user has met in any of the events.
        person_vectors: The user tower's vectors of people.
        item_vectors: The vectors of all items.
        index: What finds items for people; none scores every item.
    """

    def __init__(self, experiment: Experiment, model: DSSM, users: Table, items: Table, events: RunEvents) -> None:
        self.model = model.eval().requires_grad_(False)
        self.users = users
        self.items = items
        self.names = ItemNames(items)
        self.events = events
        self.seen = SeenItems(events.user, events.item, len(users))
        self._gives_probabilities = not has_candidates(experiment)
        self._known = VectorTable(functools.partial(self.model.user_factors, as_of="test"), len(users))
        self.person_vectors = PersonVectors(self.model.user_tower)
        self.item_vectors = ItemVectors(self.model)
        self.index: Index | None = None

    @classmethod
    def open(cls, path: str | Path, *, device: str = "cpu") -> Recommender:
        """Opens a finished run, from its folder alone.

        Args:
            path: The run folder.
            device: `cpu`, `cuda` or `auto`.

        Raises:
            RunError: A file of the run is missing or damaged.
        """
        run = RunFolder.open(path)
        experiment, _ = read_experiment(run.config)
        users, items = load_tables(run)
        events = load_events(run, n_users=len(users), n_items=len(items))
        users = replace(users, history=events.history)
        nothing = Interactions(events.user, events.item, {})
        model = build_model(experiment, StarSchema(users, items, nothing, digest=""))
        run.load_weights(model)
        return cls(experiment, model.to(torch_device(device)), users, items, events)

    @cached_property
    def features(self) -> list[str]:
        """The features that can be given for somebody new."""
        return list(givable(self.model.user_tower, self.users.key))

    def person(
        self,
        user: object = None,
        *,
        features: Mapping[str, Any] | None = None,
        liked: Sequence[object] = (),
        disliked: Sequence[object] = (),
        exclude: Sequence[object] = (),
    ) -> Person:
        """Returns the person that a request means, by raw ids, titles and raw features; see `read_person`.

        Raises:
            RequestError: Nothing is known of the person, an item is not known, or a value is of the wrong kind.
        """
        person = read_person(
            self.users,
            self.model.user_tower,
            self.names,
            user=user,
            features=features,
            liked=liked,
            disliked=disliked,
            exclude=exclude,
        )
        told = (*person.liked, *person.disliked)
        if told and not self.model.user_tower.reads_events:
            note = NEAR_LIKES if self.by_likes_alone(person) else LIKES_UNUSED
            return replace(person, notes=(*person.notes, note))
        added = [self.names.title(row) for row in told if row >= self.model.item_tower.n_rows]
        notes = (f"to a history {title!r} is an unknown item" for title in added)
        return replace(person, notes=(*person.notes, *notes))

    @torch.no_grad()
    def recommend(
        self, people: Sequence[Person], k: int, *, keep_seen: bool = False, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k best items of each person by logit, without those that she is known to have met.

        Args:
            people: For whom (U,).
            k: Items a person, from 1 to the number of items.
            keep_seen: Whether items that she has met may come again.
            allowed: Which items are candidates (I,), as `allowed_items` returns them; none allows all.

        Raises:
            RequestError: k is out of range, or what people have met is not known, since training events were streamed.
        """
        self.require_answerable(people, k, keep_seen=keep_seen)
        left_out = self.left_out(people, keep_seen=keep_seen)
        factors, seen = self.factors(people), (left_out, torch.arange(len(people)))
        if self.index is not None:
            return self.index.search(factors, k, seen=seen, allowed=allowed)
        return best_items(factors, self.item_vectors.factors, k, seen=seen, allowed=allowed)

    def require_answerable(self, people: Sequence[Person], k: int, *, keep_seen: bool = False) -> None:
        """Raises a RequestError unless there can be lists of k items for people, by what `recommend` says."""
        self._require_k(k)
        if not (keep_seen or self.events.whole) and any(person.row != UNKNOWN for person in people):
            raise RequestError(
                "items that people have met must be kept for a run whose training events were streamed, got a request "
                "to leave them out. Add --keep-seen, and --exclude for those you know of; over HTTP, keep_seen and "
                "exclude."
            )

    @torch.no_grad()
    def similar(self, rows: Tensor, k: int, *, allowed: Tensor | None = None) -> TopItems:
        """Returns the k items nearest to each of item rows (B,) by the cosine of the item tower's vectors, not itself.

        Raises:
            RequestError: k is out of range, or the item tower has no vectors, only biases.
        """
        self._require_k(k)
        directions = self.item_vectors.directions
        if directions.shape[1] == 0:
            raise RequestError(
                "the items must have vectors to be similar, got biases alone. Give the item tower features."
            )
        itself = SeenItems(torch.arange(len(rows)), rows, len(rows))
        wanted = directions.index_select(0, rows.to(directions.device))
        return best_items(wanted, directions, k, seen=(itself, torch.arange(len(rows))), allowed=allowed)

    def answers(self, top: TopItems, people: Sequence[Person] | None = None) -> list[list[ScoredItem]]:
        """Returns the items of each list, without padding.

        Args:
            top: The lists.
            people: For whom they were recommended; None for items that are similar to others.
        """
        probable = [False] * len(top.items) if people is None else [self.is_probability(person) for person in people]
        chances: Tensor = top.scores.double().sigmoid()
        return [
            [
                ScoredItem(self.items.ids.values[row - 1], self.names.title(row), score, chance if known else None)
                for row, score, chance in zip(*lists, strict=True)
                if row != UNKNOWN
            ]
            for known, *lists in zip(probable, top.items.tolist(), top.scores.tolist(), chances.tolist(), strict=True)
        ]

    @torch.no_grad()
    def factors(self, people: Sequence[Person]) -> Tensor:
        """Returns the factors of people (U, F), whose dot products with those of items are the logits.

        Who is known by features or a history is encoded by the user tower. Where neither tells anything of somebody
        new, because the tower has no history, she stands where the items stand that she likes.
        """
        rows = torch.tensor([person.row for person in people], device=self.device)
        known, places = self._known(rows)
        factors = known.index_select(0, places)
        told = [place for place, person in enumerate(people) if person.features or person.liked or person.disliked]
        if told:
            vectors = self.person_vectors([people[place] for place in told], rows[told])
            for at, place in enumerate(told):
                if self.by_likes_alone(people[place]):
                    vectors[at] = self.item_vectors.directions[list(people[place].liked)].mean(dim=0)
            factors[told] = self.model.score.user_factors(vectors, rows[told])  # type: ignore[operator]
        return factors

    def is_probability(self, person: Person) -> bool:
        """Whether the logits of a person are those of a positive label."""
        return self._gives_probabilities and not self.by_likes_alone(person)

    def by_likes_alone(self, person: Person) -> bool:
        """Whether somebody stands where the items stand that she likes, since the user tower knows nothing of her."""
        alone = person.row == UNKNOWN and bool(person.liked) and not person.features
        return alone and not self.model.user_tower.reads_events and self.item_vectors.directions.shape[1] > 0

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    def append(self, new: NewItems) -> None:
        """Lets items that were not there in training be recommended, named, filtered and similar to others."""
        self.items = new.items
        self.names = ItemNames(new.items)
        self.item_vectors.append(new)

    def _require_k(self, k: int) -> None:
        if not 1 <= k < len(self.items):
            raise RequestError(f"k must be from 1 to {len(self.items) - 1}, the number of items, got {k}.")

    def left_out(self, people: Sequence[Person], *, keep_seen: bool = False) -> SeenItems:
        """Returns the items that lists of people leave out, by place: excluded ones, and those that each has met."""
        told = [
            (place, item)
            for place, person in enumerate(people)
            for item in (*person.exclude, *(() if keep_seen else (*person.liked, *person.disliked)))
        ]
        place, item = torch.tensor(told, dtype=torch.int64).reshape(-1, 2).T
        if not keep_seen:
            rows = torch.tensor([person.row for person in people])
            places, items = self.seen.of(rows)
            known = rows[places] != UNKNOWN
            place, item = torch.cat([place, places[known]]), torch.cat([item, items[known]])
        return SeenItems(place, item, len(people))
