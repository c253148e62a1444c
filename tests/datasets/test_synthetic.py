from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from towerzoo.datasets.schema.star_schema import StarSchema
from towerzoo.datasets.synthetic import AGES, GENDERS, GENRES, Synthetic, _Urn
from towerzoo.registry import DATASETS
from towerzoo.registry.errors import DataError


def tensors(world: StarSchema) -> dict[str, torch.Tensor]:
    events = world.interactions
    assert events.timestamp is not None
    features = {
        f"{table.key}/{name}": column.values
        for table in (world.users, world.items)
        for name, column in table.columns.items()
    }
    return {"user": events.user, "item": events.item, "timestamp": events.timestamp, **events.feedback, **features}


def feedback(world: StarSchema, name: str) -> np.ndarray:
    return world.interactions.feedback[name].numpy().astype(np.float64)


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    _, tie, count = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = (np.cumsum(count) - (count - 1) / 2)[tie]
    n = int(positive.sum())
    return float((mean_rank[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def additive_scores(world: StarSchema) -> np.ndarray:
    """The best scores (N,) that a user and an item bias can give: the logistic fit of the true chances."""
    user, item = world.interactions.user.numpy(), world.interactions.item.numpy()
    chance, score = feedback(world, "probability"), np.zeros(len(user))
    for _ in range(10):
        for side in (user, item):
            fitted = 1 / (1 + np.exp(-score))
            step = np.bincount(side, chance - fitted) / np.maximum(np.bincount(side, fitted * (1 - fitted)), 1e-9)
            score += step[side]
    return score


@pytest.fixture(scope="module")
def world() -> StarSchema:
    return Synthetic().load()


def test_columns_match_the_data(world: StarSchema) -> None:
    names = DATASETS.build("synthetic").columns()
    assert names.users == tuple(world.users.columns) == ("user_id", "gender", "age", "occupation")
    assert names.items == tuple(world.items.columns) == ("movie_id", "genres")
    assert (
        (names.user_texts, names.item_texts) == (tuple(world.users.texts), tuple(world.items.texts)) == ((), ("title",))
    )
    assert names.feedback == tuple(world.interactions.feedback) == ("rating", "probability")


def test_equal_parameters_give_equal_data_and_digest(world: StarSchema) -> None:
    again = Synthetic().load()
    assert again.digest == world.digest
    assert again.items.texts == world.items.texts
    for name, values in tensors(again).items():
        assert torch.equal(values, tensors(world)[name]), name


def test_seed_changes_the_data() -> None:
    one, two = (Synthetic(users=90, items=70, interactions=900, seed=seed).load() for seed in (0, 1))
    assert one.digest != two.digest
    assert one.items.texts != two.items.texts
    for name in ("item", "timestamp", "rating", "probability", "user_id/age", "movie_id/genres"):
        assert not torch.equal(tensors(one)[name], tensors(two)[name]), name


@pytest.mark.parametrize(
    "change",
    [{"users": 91}, {"items": 71}, {"interactions": 901}, {"genres": 5}, {"sharpness": 1.0}, {"feature_share": 0.4},
     {"popularity_skew": 0.5}, {"activity_spread": 0.5}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_parameter_is_part_of_the_digest(change: dict[str, float]) -> None:
    parameters = {"users": 90, "items": 70, "interactions": 900}
    assert Synthetic(**parameters).load().digest != Synthetic(**{**parameters, **change}).load().digest  # type: ignore[arg-type]


def test_shapes_types_and_ranges(world: StarSchema) -> None:
    assert (len(world.users), len(world.items), len(world.interactions)) == (2_001, 801, 200_000)
    for name, values in tensors(world).items():
        kind = {"rating": torch.float32, "probability": torch.float32, "timestamp": torch.int64}.get(name, torch.int32)
        assert values.dtype == kind, name
        assert values.is_contiguous(), name
    for table, rows in ((world.users, world.interactions.user), (world.items, world.interactions.item)):
        assert rows.min() >= 1
        assert rows.max() < len(table)
        assert torch.equal(table.columns[table.key].values, torch.arange(len(table), dtype=torch.int32))
        assert table.ids.decode([0, 1, len(table) - 1]) == [None, 1, len(table) - 1]
        for name, column in table.columns.items():
            assert len(column.values) == len(table), name
            assert not column.values[0].any(), name
            assert (column.values[1:].reshape(len(table) - 1, -1)[:, 0] > 0).all(), name
            assert column.values.max() < column.cardinality, name
    assert set(world.interactions.feedback["rating"].tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert feedback(world, "probability").min() > 0
    assert feedback(world, "probability").max() < 1


def test_features_keep_their_raw_values(world: StarSchema) -> None:
    vocabularies = {name: column.vocabulary for name, column in (world.users.columns | world.items.columns).items()}
    assert vocabularies["gender"].values == GENDERS
    assert vocabularies["age"].values == AGES
    assert len(set(vocabularies["occupation"].values)) == 21
    assert vocabularies["genres"].values == tuple(sorted(GENRES.split(",")))


def test_items_have_one_to_six_distinct_genres_padded_at_the_end(world: StarSchema) -> None:
    genres = world.items.columns["genres"].values
    assert genres.shape == (801, 6)
    lengths = (genres[1:] > 0).sum(dim=1)
    assert set(lengths.tolist()) == {1, 2, 3, 4, 5, 6}
    for row, length in zip(genres[1:].tolist(), lengths.tolist(), strict=True):
        assert len(set(row[:length])) == length
        assert row[length:] == [0] * (6 - length)


def test_titles_are_readable_and_unique() -> None:
    titles = Synthetic(users=2, items=5_000, interactions=9).load().items.texts["title"]
    assert len(titles) == 5_001
    assert titles[0] == ""
    assert len(set(titles)) == 5_001
    assert all(
        re.fullmatch(r"The [A-Z][a-z]+ [A-Z][a-z]+( [2-6])? \((19[3-9]\d|2000)\)", title) for title in titles[1:]
    )


def test_no_user_rates_an_item_twice(world: StarSchema) -> None:
    pairs = world.interactions.user.long() * len(world.items) + world.interactions.item
    assert len(torch.unique(pairs)) == len(pairs)


def test_events_are_in_time_order_within_a_user(world: StarSchema) -> None:
    user, time = world.interactions.user, tensors(world)["timestamp"]
    same = user[1:] == user[:-1]
    steps = time[1:] - time[:-1]
    assert (user[1:] >= user[:-1]).all()
    assert (steps[same] >= 0).all()
    assert (steps[same] == 0).any()
    first = torch.cat([torch.tensor([True]), ~same])
    assert (time[first].diff() >= 0).all()
    assert (time.max() - time.min()) < 5 * 365 * 86_400
    assert time.min() >= 946_684_800  # the year 2000


def test_time_is_unrelated_to_item_numbers(world: StarSchema) -> None:
    user, item = world.interactions.user.numpy(), world.interactions.item.numpy()
    same = user[1:] == user[:-1]
    rises, falls = np.sum(same & (item[1:] > item[:-1])), np.sum(same & (item[1:] < item[:-1]))
    assert abs(rises - falls) < 5 * np.sqrt(rises + falls)


@pytest.mark.parametrize(("skew", "low", "high"), [(0.0, 0.10, 0.13), (0.8, 0.28, 0.60)])
def test_popularity_follows_the_skew(skew: float, low: float, high: float) -> None:
    world = Synthetic(interactions=100_000, popularity_skew=skew).load()
    counts = np.sort(np.bincount(world.interactions.item.numpy(), minlength=801))[::-1]
    assert low <= counts[:80].sum() / counts.sum() <= high


def test_activity_of_users(world: StarSchema) -> None:
    counts = np.bincount(world.interactions.user.numpy(), minlength=2_001)[1:]
    assert counts.mean() > 1.2 * np.median(counts)
    even = Synthetic(activity_spread=0.0).load().interactions.user.numpy()
    assert set(np.bincount(even)[1:].tolist()) == {100}


def test_labels_are_calibrated(world: StarSchema) -> None:
    chance, positive = feedback(world, "probability"), feedback(world, "rating") >= 4
    bins = np.minimum((chance * 20).astype(int), 19)
    surplus = np.bincount(bins, positive - chance, minlength=20)
    error = np.sqrt(np.bincount(bins, chance * (1 - chance), minlength=20))
    assert (error > 5).all()  # enough events a bin for the normal approximation
    assert np.abs(surplus / error).max() < 4.5


def test_ratings_rise_with_probability(world: StarSchema) -> None:
    chance, rating = feedback(world, "probability"), feedback(world, "rating")
    means = (
        [chance[rating == stars].mean() for stars in (1, 2, 3)],
        [chance[rating == stars].mean() for stars in (4, 5)],
    )
    assert means[0] == sorted(means[0])
    assert means[1] == sorted(means[1])


@pytest.mark.parametrize("seed", range(4))
def test_best_auc_and_positive_share(seed: int) -> None:
    world = Synthetic(seed=seed).load()
    positive = feedback(world, "rating") >= 4
    assert 0.52 <= positive.mean() <= 0.62
    assert 0.80 <= auc(feedback(world, "probability"), positive) <= 0.85


def test_biases_alone_stay_below_the_best_auc(world: StarSchema) -> None:
    positive = feedback(world, "rating") >= 4
    biases = auc(additive_scores(world), positive)
    assert 0.72 <= biases <= 0.78
    assert biases < auc(feedback(world, "probability"), positive) - 0.04


def test_labels_without_sharpness() -> None:
    world = Synthetic(users=200, items=100, interactions=5_000, sharpness=0.0).load()
    assert np.ptp(feedback(world, "probability")) == 0
    assert feedback(world, "probability")[0] == pytest.approx(0.5987, abs=1e-3)


def test_equal_features_give_equal_users_if_features_explain_all() -> None:
    world = Synthetic(users=3_000, items=1, interactions=3_000, feature_share=1.0).load()
    features = np.stack([world.users.columns[name].values.numpy()[1:] for name in ("gender", "age", "occupation")])
    groups = np.unique(features, axis=1, return_inverse=True)[1].ravel()
    chance = feedback(world, "probability")
    first = np.full(groups.max() + 1, np.nan)
    first[groups] = chance
    assert groups.max() > 100
    assert np.array_equal(first[groups], chance)
    assert len(np.unique(chance)) > 50


@pytest.mark.parametrize(
    ("users", "items", "interactions"), [(1, 1, 1), (1, 9, 4), (9, 1, 4), (3, 4, 12), (2_000, 800, 3), (300, 1_000, 1)]
)
def test_tiny_and_full_worlds_work(users: int, items: int, interactions: int) -> None:
    world = Synthetic(users=users, items=items, interactions=interactions, genres=1).load()
    pairs = set(zip(world.interactions.user.tolist(), world.interactions.item.tolist(), strict=True))
    assert len(pairs) == len(world.interactions) == interactions
    assert all(torch.isfinite(values).all() for values in world.interactions.feedback.values())


def test_extreme_parameters() -> None:
    world = Synthetic(
        users=40, items=900, interactions=4_000, popularity_skew=30.0, activity_spread=50.0, sharpness=1e6
    )
    events = world.load().interactions
    pairs = events.user.long() * 1_000 + events.item
    assert len(torch.unique(pairs)) == 4_000
    assert all(torch.isfinite(values).all() for values in events.feedback.values())


def test_more_interactions_than_pairs_are_refused() -> None:
    message = re.escape("synthetic: interactions must be at most users * items = 12, got 13. Reduce")
    with pytest.raises(DataError, match=message):
        Synthetic(users=3, items=4, interactions=13).load()


@pytest.mark.parametrize("balls", [4, 40])  # both ways of drawing
def test_urn_draws_by_weight(balls: int) -> None:
    weights = np.ones(balls, dtype=np.int64)
    weights[:2] = (6, 3)
    rows, total = 40_000, int(weights.sum())
    drawn = _Urn(weights).draw(np.random.default_rng(5), np.full(rows, 2)).reshape(rows, 2)
    assert (drawn[:, 0] < drawn[:, 1]).all()
    # Both heavy balls: 6 then 3, or 3 then 6.
    chance = 6 / total * 3 / (total - 6) + 3 / total * 6 / (total - 3)
    actual = np.sum((drawn[:, 0] == 0) & (drawn[:, 1] == 1))
    assert abs(actual - rows * chance) < 4.5 * np.sqrt(rows * chance * (1 - chance))
