"""A generated world of users, films and ratings, for tests, demonstrations and benchmarks without a download.

Equal parameters give equal data on any machine. Roots, quotients and PCG64 are the same everywhere, but the last digits
of `exp` and `pow` and the order of sums in a product are not; so numbers are rounded to a grid, where sums are exact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from towerzoo.datasets.schema.star_schema import Column, ColumnNames, Interactions, StarSchema, Table
from towerzoo.datasets.vocabulary import Vocabulary
from towerzoo.registry import DATASETS
from towerzoo.registry.errors import DataError
from towerzoo.registry.ranges import Count, Fraction, NonNegative, WholeNumber

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FORMAT: Final = 1  # raise it with every change that gives other data for equal parameters
GENDERS: Final = ("F", "M")
AGES: Final = (1, 18, 25, 35, 45, 50, 56)
OCCUPATIONS: Final = (
    "academic,artist,clerical,customer service,doctor,engineer,executive,farmer,homemaker,K-12 student,lawyer,other,"
    "programmer,retired,sales,scientist,self-employed,student,tradesman,unemployed,writer"
)
GENRES: Final = (
    "Drama,Comedy,Action,Thriller,Romance,Horror,Adventure,Sci-Fi,Children's,Crime,War,Documentary,Musical,Mystery,"
    "Animation,Fantasy,Western,Film-Noir"
)
MOODS: Final = (
    "Silent Golden Broken Hidden Crimson Distant Burning Frozen Gentle Hollow Lonely Midnight Paper Quiet Restless "
    "Scarlet Second Secret Sleeping Stolen Twisted Velvet Wandering Winter Wooden Yellow Ancient Bitter Copper Electric"
)
THINGS: Final = (
    "Harbour Garden River Mirror Station Island Orchard Bridge Letter Kingdom Lantern Mountain Ocean Piano Promise "
    "Road Shadow Soldier Stranger Summer Teacher Tower Train Valley Village Violin Voyage Window Witness Clock"
)

SLOTS: Final = 6  # genres an item can have
AXES: Final = 8  # latent dimensions of taste; column 0 of a trait matrix is the bias, the others are taste
USER_BIAS, ITEM_BIAS, TASTE = 0.5, 0.6, 0.625  # shares of the logit's standard deviation; their squares sum to 1
INTERCEPT: Final = 0.4
GRID: Final = 64.0
LOGIT_GRID, LOGIT_LIMIT = 1024, 16
EVENTS_AT_ONCE: Final = 1 << 18


@DATASETS.register("synthetic")
class Synthetic:
    """A seeded world in the shape of MovieLens, with the true probability of every positive label.

    A user's traits (a bias and eight tastes) are a sum over gender, age and occupation plus a personal part; an item's
    are the mean over its genres plus its own part. The true logit is `0.4 + sharpness * (0.5 user bias + 0.6 item bias
    + 0.625 dot product of tastes)`, each of the three with unit variance. A label is drawn from it, then a rating: 4 or
    5 for a positive label, else 1 to 3, so that `rating >= 4` is the label. About 56 % are positive.

    With the defaults the best reachable AUC, that of the column `probability`, is about 0.83; user and item biases
    alone reach about 0.76. Which items a user rates depends on popularity, not on taste.

    Events are grouped by user, in the order in which users joined, and in time order. No user rates an item twice.

    Args:
        users: Users in the table.
        items: Items in the table.
        interactions: Events; at most `users * items`. Memory grows by 24 bytes an event.
        genres: Genres that items can have; 1 to 6 an item.
        seed: Seed of all random numbers.
        sharpness: Standard deviation of the true logit; 0 gives all labels the same probability.
        feature_share: Share of the traits' variance that features explain, for users and items alike: nothing at 0, all
            at 1.
        popularity_skew: Zipf exponent of item popularity; 0 makes all items equally popular.
        activity_spread: Standard deviation of the logarithm of users' activity; 0 makes all users equally active.

    Example:
        >>> world = Synthetic(users=50, items=20, interactions=300, seed=7).load()
        >>> len(world.users), len(world.items), len(world.interactions)  # with the unknown rows
        (51, 21, 300)
        >>> world.items.texts["title"][1]
        'The Twisted Voyage (1990)'
        >>> Synthetic().columns().items
        ('movie_id', 'genres')
    """

    def __init__(
        self,
        *,
        users: Count = 2_000,
        items: Count = 800,
        interactions: Count = 200_000,
        genres: Count = 18,
        seed: WholeNumber = 0,
        sharpness: NonNegative = 1.7,
        feature_share: Fraction = 0.5,
        popularity_skew: NonNegative = 0.8,
        activity_spread: NonNegative = 0.8,
    ) -> None:
        self.users, self.items, self.interactions, self.genres, self.seed = users, items, interactions, genres, seed
        self.sharpness, self.feature_share = float(sharpness), float(feature_share)
        self.popularity_skew, self.activity_spread = float(popularity_skew), float(activity_spread)

    def columns(self) -> ColumnNames:
        """Returns the names of MovieLens's features and feedback, and of the true `probability`."""
        users, items = ("user_id", "gender", "age", "occupation"), ("movie_id", "genres")
        return ColumnNames(users, items, feedback=("rating", "probability"), item_texts=("title",))

    def load(self) -> StarSchema:
        """Generates the world.

        Raises:
            DataError: There are fewer pairs of a user and an item than interactions.
        """
        if self.interactions > self.users * self.items:
            raise DataError(
                f"synthetic: interactions must be at most users * items = {self.users * self.items}, got "
                f"{self.interactions}. Reduce interactions, or increase users or items."
            )
        rng = np.random.Generator(np.random.PCG64(self.seed))
        activity = np.clip(self.activity_spread * rng.standard_normal(self.users), -14, 14)
        events = _apportion(self.interactions, np.maximum(np.rint(1024 * np.exp(activity)), 1), limit=self.items)
        popularity = rng.permutation(_zipf_weights(self.items, self.popularity_skew))
        users, user_features = _make_users(rng, self.users)
        items, item_features = _make_items(rng, self.items, self.genres)
        user_traits = _traits(rng, user_features, self.feature_share, events)
        item_traits = _traits(rng, item_features, self.feature_share, popularity)
        interactions = _make_interactions(rng, events, popularity, user_traits, item_traits, self.sharpness)
        made_from = json.dumps(["synthetic", FORMAT, vars(self)], sort_keys=True)
        return StarSchema(users, items, interactions, hashlib.sha256(made_from.encode()).hexdigest())


def _make_users(rng: np.random.Generator, n: int) -> tuple[Table, Floats]:
    """Returns the users and the part of their traits (n, 1 + AXES) that features explain."""
    columns, traits = {"user_id": _id_column("user_id", n)}, np.zeros((n, 1 + AXES))
    occupations = OCCUPATIONS.split(",")
    features: tuple[tuple[str, Sequence[int | str], Sequence[int]], ...] = (
        ("gender", GENDERS, (28, 72)),
        ("age", AGES, (4, 18, 35, 20, 9, 8, 6)),
        ("occupation", occupations, (1,) * len(occupations)),
    )
    for name, values, shares in features:
        choice = rng.choice(len(values), size=n, p=np.array(shares) / sum(shares))
        vocabulary = Vocabulary.fit(values)
        codes = np.zeros(n + 1, dtype=np.int32)
        codes[1:] = vocabulary.encode(np.array(values))[choice]
        columns[name] = Column(name, torch.from_numpy(codes), vocabulary)
        traits += rng.standard_normal((len(values), 1 + AXES))[choice]
    return Table("user_id", columns), traits


def _make_items(rng: np.random.Generator, n: int, n_genres: int) -> tuple[Table, Floats]:
    """Returns the items and the part of their traits (n, 1 + AXES) that features explain."""
    names = [*GENRES.split(","), *(f"Genre {number}" for number in range(19, n_genres + 1))]
    vocabulary = Vocabulary.fit(names[:n_genres])
    lengths = np.minimum(1 + rng.choice(SLOTS, size=n, p=(0.38, 0.33, 0.18, 0.07, 0.03, 0.01)), n_genres)
    urn = _Urn(rng.permutation(_zipf_weights(n_genres, 0.7)))
    genres = np.zeros((n + 1, SLOTS), dtype=np.int32)
    genres[1:][np.arange(SLOTS) < lengths[:, None]] = 1 + urn.draw(rng, lengths)
    meaning = rng.standard_normal((n_genres + 1, 1 + AXES)) * (np.arange(n_genres + 1) > 0)[:, None]
    traits = sum((meaning[genres[1:, slot]] for slot in range(SLOTS)), np.zeros((n, 1 + AXES))) / lengths[:, None]

    plain = rng.permutation([f"The {mood} {thing}" for mood in MOODS.split() for thing in THINGS.split()]).tolist()
    years = rng.integers(1930, 2001, size=n).tolist()
    sequels = [f" {part + 1}" if part else "" for part in range(n // len(plain) + 1)]
    titles = (f"{plain[i % len(plain)]}{sequels[i // len(plain)]} ({years[i]})" for i in range(n))
    columns = (_id_column("movie_id", n), Column("genres", torch.from_numpy(genres), vocabulary))
    return Table("movie_id", {column.name: column for column in columns}, {"title": ("", *titles)}), traits


def _make_interactions(
    rng: np.random.Generator, events: Ints, popularity: Ints, users: Floats, items: Floats, sharpness: float
) -> Interactions:
    """Draws each user's items, times, labels and ratings, a group of users at a time."""
    ends, urn = np.cumsum(events), _Urn(popularity)
    user, item = (np.empty(ends[-1], dtype=np.int32) for _ in range(2))
    rating, probability = (np.empty(ends[-1], dtype=np.float32) for _ in range(2))
    timestamp = np.empty(ends[-1], dtype=np.int64)
    joined = np.sort(rng.integers(956_703_932, 1_046_454_590, size=len(events)))  # the span of MovieLens-1M
    user_traits, item_traits = users.astype(np.float32), items.astype(np.float32)
    steps = np.arange(-LOGIT_LIMIT * LOGIT_GRID, LOGIT_LIMIT * LOGIT_GRID + 1) / LOGIT_GRID
    sigmoid = (1 / (1 + np.exp(-steps))).astype(np.float32)

    batch = np.maximum(ends - 1, 0) // EVENTS_AT_ONCE
    for rows in np.split(np.arange(len(events)), np.flatnonzero(np.diff(batch)) + 1):
        part = slice(int(ends[rows[0]] - events[rows[0]]), int(ends[rows[-1]]))
        who = np.repeat(rows, events[rows])
        # An urn returns items in table order, which times must not follow.
        order = np.argsort((who << 32) + rng.integers(0, 1 << 32, size=len(who)), kind="stable")
        what = urn.draw(rng, events[rows])[order]
        u, i = user_traits[who], item_traits[what]
        # Exact in float32 in any order of summation: traits are whole multiples of 1/64 below 8.
        dot = np.einsum("na,na->n", u[:, 1:], i[:, 1:])
        logit = INTERCEPT + sharpness * (USER_BIAS * u[:, 0] + ITEM_BIAS * i[:, 0] + (TASTE / AXES**0.5) * dot)
        logit = np.clip(logit, -LOGIT_LIMIT, LOGIT_LIMIT)
        chance = sigmoid[np.rint((logit + LOGIT_LIMIT) * LOGIT_GRID).astype(np.int64)]
        positive, luck = rng.random(len(who), dtype=np.float32) < chance, rng.random(len(who), dtype=np.float32)
        liked = 4.0 + (luck < chance)
        disliked = 3.0 - (luck >= 0.5 + 0.5 * chance) - (luck >= 1 - 0.25 * (1 - chance) ** 2)
        user[part], item[part], probability[part] = who + 1, what + 1, chance
        rating[part] = np.where(positive, liked, disliked)
        timestamp[part] = joined[who] + _waits(rng, events[rows])
    feedback = {"rating": torch.from_numpy(rating), "probability": torch.from_numpy(probability)}
    return Interactions(torch.from_numpy(user), torch.from_numpy(item), feedback, torch.from_numpy(timestamp))


class _Urn:
    """Weighted draws without replacement: one ball at a time, each with probability weight / remaining weight.

    Args:
        weights: Whole numbers of at least 1, one a ball.
    """

    def __init__(self, weights: Ints) -> None:
        self.weights = weights
        self._tickets = np.repeat(np.arange(len(weights)), weights)

    def draw(self, rng: np.random.Generator, counts: Ints) -> Ints:
        """Returns `counts[r]` distinct balls for each row r, row after row, in ascending order within a row."""
        balls = len(self.weights)
        keys, missing = np.empty(0, dtype=np.int64), counts.copy()  # a key is row * balls + ball
        # Redraw repeated balls, which is cheap while a row takes few of them ...
        for _ in range(8):
            rows = np.repeat(np.arange(len(counts)), np.where(8 * counts < balls, missing, 0))
            if not len(rows):
                break
            drawn = np.sort(rows * balls + self._tickets[rng.integers(0, len(self._tickets), size=len(rows))])
            drawn = drawn[np.diff(drawn, prepend=-1) > 0]
            position = np.searchsorted(keys, drawn)
            new = np.append(keys, -1)[position] != drawn
            keys = np.insert(keys, position[new], drawn[new])
            missing = missing - np.bincount(drawn[new] // balls, minlength=len(counts))
        # ... and rank the balls of the other rows by exponential times divided by weight, which has the same law.
        drawn_keys, short = [keys], np.flatnonzero(missing)
        step = max(1, EVENTS_AT_ONCE // balls)
        for rows in (short[start : start + step] for start in range(0, len(short), step)):
            finish = rng.standard_exponential((len(rows), balls)) / self.weights
            row, ball = np.divmod(keys[slice(*np.searchsorted(keys, (rows[0] * balls, (rows[-1] + 1) * balls)))], balls)
            slot = np.searchsorted(rows, row)
            taken = rows[slot] == row
            finish[slot[taken], ball[taken]] = np.inf
            first = rows[:, None] * balls + np.argsort(finish, axis=1, kind="stable")
            drawn_keys.append(first[np.arange(balls) < missing[rows, None]])
        return np.sort(np.concatenate(drawn_keys)) % balls


def _traits(rng: np.random.Generator, explained: Floats, share: float, weights: Ints) -> Floats:
    """Returns traits (n, 1 + AXES) of zero mean and unit variance, of which features explain `share`."""
    unexplained = rng.standard_normal(explained.shape)
    return _standardize(share**0.5 * _standardize(explained, weights) + (1 - share) ** 0.5 * unexplained, weights)


def _standardize(values: Floats, weights: Ints) -> Floats:
    """Returns values on the grid, each column with weighted mean 0 and variance 1, or all 0 if it is constant."""
    on_grid = np.clip(np.rint(values * GRID), -16 * GRID, 16 * GRID) / GRID
    total = weights.sum()
    mean = weights @ on_grid / total
    variance = np.maximum(weights @ (on_grid * on_grid) / total - mean * mean, 0.0)
    scaled = (on_grid - mean) / np.sqrt(np.where(variance > 1 / GRID, variance, np.inf))
    standard: Floats = np.clip(np.rint(scaled * GRID), 1 - 8 * GRID, 8 * GRID - 1) / GRID
    return standard


def _zipf_weights(n: int, exponent: float) -> Ints:
    """Returns whole-number weights >= 1 that fall as 1 / rank**exponent."""
    weights: Floats = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    whole: Ints = np.maximum(np.rint(weights / weights.sum() * max(1 << 20, 16 * n)), 1).astype(np.int64)
    return whole


def _apportion(total: int, weights: Floats, limit: int) -> Ints:
    """Returns whole numbers <= limit that sum to `total` <= limit * len(weights), in proportion to weights."""
    shares = np.zeros(len(weights), dtype=np.int64)
    while left := total - int(shares.sum()):
        bounds = np.cumsum(np.where(shares < limit, weights, 0.0))
        extra = np.diff(np.rint(bounds / bounds[-1] * left), prepend=0.0).astype(np.int64)
        shares = np.minimum(shares + extra, limit)
    return shares


def _waits(rng: np.random.Generator, counts: Ints) -> Ints:
    """Returns seconds from joining to each event: mostly minutes apart or in the same second, sometimes days."""
    total = int(counts.sum())
    gaps = rng.integers(0, 128, size=total) ** 2 // 64
    gaps += np.where(rng.integers(0, 64, size=total) == 0, rng.integers(0, 14 * 86_400, size=total), 0)
    elapsed: Ints = np.cumsum(gaps)
    waits: Ints = elapsed - np.repeat(np.append(elapsed, 0)[np.cumsum(counts) - counts], counts)
    return waits


def _id_column(name: str, n: int) -> Column:
    return Column(name, torch.arange(n + 1, dtype=torch.int32), Vocabulary.fit(range(1, n + 1)))
