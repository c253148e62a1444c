"""A finished run that answers: what to recommend, to whom, and why."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN, Interactions, StarSchema, Table
from towerzoo.registry.errors import RequestError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.device import torch_device
from towerzoo.towers.metrics.plan import has_candidates
from towerzoo.towers.model.build import build_model, stored_experiment
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.recommend.item_vectors import ItemVectors
from towerzoo.towers.recommend.items import ItemNames, ScoredItem, allowed_items
from towerzoo.towers.recommend.people import Person, PersonVectors, accepted_features, known_people, read_person
from towerzoo.towers.retrieval.best_items import TopItems, best_items
from towerzoo.towers.retrieval.seen_items import SeenItems
from towerzoo.towers.retrieval.vector_table import VectorTable
from towerzoo.towers.runs.events import RunEvents, load_events
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.runs.tables import load_tables

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from towerzoo.towers.recommend.explanation import Explanation
    from towerzoo.towers.retrieval.exact_index import Index

NEAR_LIKES = "the user tower has no history, so the items nearest to the liked ones are recommended"
LIKES_UNUSED = "the user tower has no history, so liked and disliked items are only left out"


class Recommender:
    """A run's model, users, items and events, ready to answer.

    `recommend`, `similar` and `explain` take raw ids and titles. `top_items` and `nearest_items` take rows and answer
    many people in one call. Answers cache the factors of users, so only one thread at a time may ask.

    Args:
        experiment: The experiment that the model was built from.
        model: The trained model.
        users: The users table, with histories if the model reads them.
        items: The items table.
        events: All events of the run.

    Attributes:
        model: The model in eval mode.
        users: The users table.
        items: The items table, with the items that were added.
        names: The ids and titles of the items.
        events: The events.
        seen: The items that each user has seen, in any part of the split.
        person_vectors: Encodes people.
        item_vectors: The vectors of all items.
        index: The index that is searched; None scores every item.
        added: The raw features of the items that were added; None if there are none.

    Example:
        >>> import towerzoo as tz
        >>> recommender = tz.load("runs/quickstart")  # doctest: +SKIP
        >>> recommender.recommend(42, k=3)  # doctest: +SKIP
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
        self.added: pa.Table | None = None

    @classmethod
    def open(cls, path: str | PathLike[str], *, device: str = "cpu", index: bool = False) -> Recommender:
        """Opens a finished run; its folder is all that is needed.

        Args:
            path: The run folder.
            device: `cpu`, `cuda` or `auto`.
            index: Whether to search the index that was saved into the run, with the items that were added to it.

        Raises:
            RunError: A file of the run or its index is missing or damaged.
            SearchError: The index cannot be read, or its library or database is missing.
        """
        run = RunFolder.open(Path(path))
        experiment = stored_experiment(run.config)
        users, items = load_tables(run)
        events = load_events(run, n_users=len(users), n_items=len(items))
        users = replace(users, history=events.history)
        nothing = Interactions(events.user, events.item, {})
        model = build_model(experiment, StarSchema(users, items, nothing, digest=""))
        run.load_weights(model)
        recommender = cls(experiment, model.to(torch_device(device)), users, items, events)
        if index:
            from towerzoo.towers.recommend.saved_index import SavedIndex

            saved = SavedIndex.open(run)
            with saved.reading():
                if saved.added is not None:
                    recommender.append(saved.added)
                recommender.index = saved.load(recommender.item_vectors.factors)
        return recommender

    def recommend(
        self,
        user: object = None,
        *,
        k: int = 10,
        features: Mapping[str, Any] | None = None,
        liked: Sequence[object] = (),
        disliked: Sequence[object] = (),
        exclude: Sequence[object] = (),
        where: Sequence[str] = (),
        keep_seen: bool = False,
    ) -> pd.DataFrame:
        """Recommends items to a user, to several, or to somebody new.

        Args:
            user: A raw id, or a list of them; None for somebody new.
            k: Items per user, from 1 to the number of items.
            features: Raw features of one person by name; they replace those of the user.
            liked: Raw ids or titles of items that the person likes, in addition to the user's history.
            disliked: Raw ids or titles, likewise.
            exclude: Raw ids or titles of items that are not recommended.
            where: Conditions on items, such as `genres=Drama|War`, `year>=1990`, `id!=7`; see `allowed_items`.
            keep_seen: Whether items that a user has seen may be recommended again.

        Returns:
            The columns `rank`, `id`, `title`, `score` (a logit) and `probability` (in [0, 1]; missing if the score
            gives none), best first; for several users `user` comes first. `attrs["notes"]` lists unknown values.

        Raises:
            RequestError: A user, an item or a condition is unknown or wrong, or k is out of range.
        """
        import pandas as pd

        if isinstance(user, str) or not isinstance(user, Iterable):
            items, notes = self.recommend_items(
                user, k=k, features=features, liked=liked, disliked=disliked, exclude=exclude, where=where,
                keep_seen=keep_seen,
            )  # fmt: skip
            return _frame(items, notes)
        if features or liked or disliked:
            raise RequestError("features, liked and disliked describe one person; leave them out for a list of users.")
        people = known_people(self.users, user, [self.names.row(item) for item in exclude])
        allowed, unknown = allowed_items(self.items, where)
        frame: pd.DataFrame = pd.DataFrame(
            self.columns(self.top_items(people, k, keep_seen=keep_seen, allowed=allowed), people)
        )
        frame.attrs["notes"] = list(unknown)
        return frame

    def similar(self, item: object, *, k: int = 10, where: Sequence[str] = ()) -> pd.DataFrame:
        """Returns the k items nearest to an item by the cosine of the item tower's vectors.

        Args:
            item: A raw id or title.
            k: Number of items, from 1 to the number of items.
            where: Conditions on items, see `recommend`.

        Returns:
            The columns `rank`, `id`, `title` and `cosine` (in [-1, 1]), nearest first.

        Raises:
            RequestError: The item or a condition is unknown or wrong, k is out of range, or items have no vectors.
        """
        items, notes = self.similar_items(item, k=k, where=where)
        similar: pd.DataFrame = _frame(items, notes).rename(columns={"score": "cosine"}).drop(columns="probability")
        return similar

    def explain(
        self,
        user: object = None,
        item: object = None,
        *,
        features: Mapping[str, Any] | None = None,
        liked: Sequence[object] = (),
        disliked: Sequence[object] = (),
    ) -> Explanation:
        """Explains the score of an item for a person.

        Args:
            user: A raw id; None for somebody new.
            item: A raw id or title.
            features: Raw features by name, see `recommend`.
            liked: Raw ids or titles, likewise.
            disliked: Raw ids or titles, likewise.

        Returns:
            The rank of the item, the effect of each feature, and the closest items that the person has seen.

        Raises:
            RequestError: The user or an item is unknown, or a value has the wrong type.
        """
        from towerzoo.towers.recommend.explanation import explain

        person = self.person(user, features=features, liked=liked, disliked=disliked)
        explanation = explain(self, person, self.names.row(item))
        return replace(explanation, notes=[*person.notes, *explanation.notes])

    def recommend_items(
        self, user: object = None, *, k: int = 10, where: Sequence[str] = (), keep_seen: bool = False, **person: Any
    ) -> tuple[list[ScoredItem], list[str]]:
        """Returns what `recommend` does for one person, as items and notes."""
        described = self.person(user, **person)
        allowed, notes = allowed_items(self.items, where)
        top = self.top_items([described], k, keep_seen=keep_seen, allowed=allowed)
        return self.answers(top, [described])[0], [*described.notes, *notes]

    def similar_items(
        self, item: object, *, k: int = 10, where: Sequence[str] = ()
    ) -> tuple[list[ScoredItem], list[str]]:
        """Returns what `similar` does, as items and notes."""
        allowed, notes = allowed_items(self.items, where)
        top = self.nearest_items(torch.tensor([self.names.row(item)]), k, allowed=allowed)
        return self.answers(top)[0], list(notes)

    @property
    def features(self) -> list[str]:
        """The features that can describe somebody new."""
        return list(accepted_features(self.model.user_tower, self.users.key))

    def person(
        self,
        user: object = None,
        *,
        features: Mapping[str, Any] | None = None,
        liked: Sequence[object] = (),
        disliked: Sequence[object] = (),
        exclude: Sequence[object] = (),
    ) -> Person:
        """Returns the person that raw ids, titles and raw features describe; see `read_person`.

        Raises:
            RequestError: Nothing is known about the person, an item is unknown, or a value has the wrong type.
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
        rated = (*person.liked, *person.disliked)
        if rated and not self.model.user_tower.reads_events:
            note = NEAR_LIKES if self.by_likes_alone(person) else LIKES_UNUSED
            return replace(person, notes=(*person.notes, note))
        added = [self.names.title(row) for row in rated if row >= self.model.item_tower.n_rows]
        notes = (f"to a history {title!r} is an unknown item" for title in added)
        return replace(person, notes=(*person.notes, *notes))

    @torch.no_grad()
    def top_items(
        self, people: Sequence[Person], k: int, *, keep_seen: bool = False, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k items of the highest logits for each person, without those that they have seen.

        Args:
            people: The people (U,).
            k: Items per person, from 1 to the number of items.
            keep_seen: Whether items that a person has seen may be recommended again.
            allowed: Mask of the candidates (I,), see `allowed_items`; None allows all.

        Raises:
            RequestError: k is out of range, or the run does not know what people have seen.
        """
        self.require_answerable(people, k, keep_seen=keep_seen)
        left_out = self.left_out(people, keep_seen=keep_seen)
        factors, seen = self.factors(people), (left_out, torch.arange(len(people)))
        if self.index is not None:
            return self.index.search(factors, k, seen=seen, allowed=allowed)
        return best_items(factors, self.item_vectors.factors, k, seen=seen, allowed=allowed)

    def require_answerable(self, people: Sequence[Person], k: int, *, keep_seen: bool = False) -> None:
        """Raises the RequestError of `top_items`, if any."""
        self._require_k(k)
        if not (keep_seen or self.events.whole) and any(person.row != UNKNOWN for person in people):
            raise RequestError(
                "This run was trained on a stream, so it does not know what users have seen. Pass --keep-seen, and "
                "--exclude for the items that you know of; over HTTP and in Python, keep_seen and exclude."
            )

    @torch.no_grad()
    def nearest_items(self, rows: Tensor, k: int, *, allowed: Tensor | None = None) -> TopItems:
        """Returns the k items of the highest cosine to each of item rows (B,), without the item itself.

        Raises:
            RequestError: k is out of range, or the item tower has no vectors, only biases.
        """
        self._require_k(k)
        directions = self.item_vectors.directions
        if directions.shape[1] == 0:
            raise RequestError("The items have biases, but no vectors to compare. Give the item tower features.")
        itself = SeenItems(torch.arange(len(rows)), rows, len(rows))
        wanted = directions.index_select(0, rows.to(directions.device))
        return best_items(wanted, directions, k, seen=(itself, torch.arange(len(rows))), allowed=allowed)

    def answers(self, top: TopItems, people: Sequence[Person] | None = None) -> list[list[ScoredItem]]:
        """Returns the items of each list, without padding.

        Args:
            top: The lists.
            people: The people of the lists; None for items that are similar to others.
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

    def columns(self, top: TopItems, people: Sequence[Person]) -> dict[str, Any]:
        """Returns the lists of known users as columns of one table, one row per item, best first.

        Its columns are `user`, `rank` from 1, `id`, `title`, `score` and `probability`, NaN if the score gives none.
        """
        import numpy as np

        positions, ranks = torch.nonzero(top.items.cpu() != UNKNOWN, as_tuple=True)
        items, scores = (values.cpu()[positions, ranks] for values in (top.items, top.scores))
        users = torch.tensor([person.row for person in people])[positions] - 1
        titles = np.array([self.names.title(row) for row in range(len(self.items))], dtype=object)
        chances = scores.double().sigmoid().numpy()
        return {
            "user": np.array(self.users.ids.values)[users],
            "rank": ranks.numpy() + 1,
            "id": np.array(self.items.ids.values)[items - 1],
            "title": titles[items],
            "score": scores.numpy(),
            "probability": chances if self._gives_probabilities else np.full_like(chances, np.nan),
        }

    @torch.no_grad()
    def factors(self, people: Sequence[Person]) -> Tensor:
        """Returns the factors of people (U, F), whose dot products with those of items are the logits.

        The user tower encodes people by their features and history. Somebody new with neither gets the mean direction
        of the liked items.
        """
        rows = torch.tensor([person.row for person in people], device=self.device)
        known, positions = self._known(rows)
        factors = known.index_select(0, positions)
        described = [at for at, person in enumerate(people) if person.features or person.liked or person.disliked]
        if described:
            vectors = self.person_vectors([people[at] for at in described], rows[described])
            for position, at in enumerate(described):
                if self.by_likes_alone(people[at]):
                    vectors[position] = self.item_vectors.directions[list(people[at].liked)].mean(dim=0)
            factors[described] = self.model.score.user_factors(vectors, rows[described])  # type: ignore[operator]
        return factors

    def is_probability(self, person: Person) -> bool:
        """Whether the sigmoid of a person's logits is the probability of a positive label."""
        return self._gives_probabilities and not self.by_likes_alone(person)

    def by_likes_alone(self, person: Person) -> bool:
        """Whether a person is represented by the liked items, because the user tower knows nothing about them."""
        alone = person.row == UNKNOWN and bool(person.liked) and not person.features
        return alone and not self.model.user_tower.reads_events and self.item_vectors.directions.shape[1] > 0

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.device

    def append(self, added: pa.Table) -> None:
        """Adds items that were not there in training; they are recommended, found, filtered and compared like others.

        Args:
            added: Raw features of the new items, as `read_new_items` returns them.
        """
        import pyarrow as pa

        from towerzoo.towers.recommend.new_items import NewItems

        new = NewItems.encode(self.items, added, self.model)
        self.items = new.items
        self.names = ItemNames(new.items)
        self.item_vectors.append(new)
        if self.index is not None:
            self.index.add(new.factors(self.model))
        earlier = [] if self.added is None else [self.added]
        self.added = pa.concat_tables([*earlier, added], promote_options="default")

    def _require_k(self, k: int) -> None:
        if not 1 <= k < len(self.items):
            raise RequestError(f"k must be from 1 to {len(self.items) - 1}, the number of items, got {k}.")

    def left_out(self, people: Sequence[Person], *, keep_seen: bool = False) -> SeenItems:
        """Returns the items that each person's list leaves out: excluded ones, and unless `keep_seen` seen ones."""
        pairs = [
            (position, item)
            for position, person in enumerate(people)
            for item in (*person.exclude, *(() if keep_seen else (*person.liked, *person.disliked)))
        ]
        position, item = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
        if not keep_seen:
            rows = torch.tensor([person.row for person in people])
            positions, items = self.seen.of(rows)
            known = rows[positions] != UNKNOWN
            position, item = torch.cat([position, positions[known]]), torch.cat([item, items[known]])
        return SeenItems(position, item, len(people))


def _frame(items: Sequence[ScoredItem], notes: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    columns = ["id", "title", "score", "probability"]
    values = {name: [getattr(item, name) for item in items] for name in columns}
    frame: pd.DataFrame = pd.DataFrame(values).astype({"score": float, "probability": float})
    frame.insert(0, "rank", range(1, len(items) + 1))
    frame.attrs["notes"] = list(notes)
    return frame
