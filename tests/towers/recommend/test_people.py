from __future__ import annotations

import math

import pytest
import torch

from towerzoo.datasets import Column, Table, Vocabulary, encode_table
from towerzoo.registry.errors import RequestError
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.items import ItemNames
from towerzoo.towers.recommend.people import PersonVectors, read_person

USERS = Table(
    "user",
    {
        "user": Column("user", torch.arange(3, dtype=torch.int32), Vocabulary([5, 6])),
        "town": Column("town", torch.tensor([0, 1, 2], dtype=torch.int32), Vocabulary(["Oslo", "Rome"])),
        "tags": Column("tags", torch.zeros(3, 3, dtype=torch.int32), Vocabulary(["a", "b", "c"])),
        "age": Column("age", torch.tensor([math.nan, 30.0, 40.0])),
    },
)
FILMS = ItemNames(encode_table("film", {"film": [7, 9]}, {"title": ["Heat", "Ran"]}))
TOWER = Tower(
    USERS,
    {
        "user": {"encoder": "embedding", "dim": 2},
        "town": {"encoder": "embedding", "dim": 2},
        "tags": {"encoder": "embedding-bag", "dim": 2},
        "age": "numeric",
    },
)


def read(**request):
    return read_person(USERS, TOWER, FILMS, **request)


def test_a_known_user_is_a_row():
    assert read(user="6").row == read(user=6).row == 2


def test_features_are_encoded_like_their_columns():
    people = [
        read(features={"town": "Rome", "tags": ["c", "a"], "age": "31"}),
        read(features={"tags": "b|a", "age": None}),
        read(features={"tags": ["a", "b", "c", "a"]}),
        read(user=6),
    ]
    inputs = PersonVectors(TOWER).inputs(people, torch.tensor([person.row for person in people]))
    assert inputs["town"].tolist() == [2, 0, 0, 2]
    assert inputs["tags"].tolist() == [[3, 1, 0], [2, 1, 0], [1, 2, 3], [0, 0, 0]]
    assert inputs["age"].tolist() == pytest.approx([31.0, math.nan, math.nan, 40.0], nan_ok=True)


def test_items_are_given_by_id_or_title():
    person = read(user=5, liked=["heat", 9], disliked=["7"], exclude=["RAN"])
    assert (person.liked, person.disliked, person.exclude) == ((1, 2), (1,), (2,))


def test_unknown_values_count_as_unknown_and_are_noted():
    person = read(user=99, features={"town": "Paris", "tags": "a|z", "twon": "Oslo", "user": 5})
    assert person.row == 0
    inputs = PersonVectors(TOWER).inputs([person], torch.tensor([person.row]))
    assert inputs["town"].tolist() == [0]
    assert inputs["tags"].tolist() == [[1, 0, 0]]
    assert person.notes == (
        "user 99 is not known",
        "town 'Paris' is not known",
        "tags 'z' is not known",
        "feature 'twon' is not one of the user tower and was left out. Did you mean 'town'? Features: age, tags, town.",
        "feature 'user' is not one of the user tower and was left out. Features: age, tags, town.",
    )


@pytest.mark.parametrize(
    ("request_", "found"), [({}, "nobody"), ({"user": 99}, "the unknown id 99"), ({"disliked": ["Heat"]}, "nobody")]
)
def test_nobody_is_refused(request_, found):
    with pytest.raises(RequestError, match=f"with features or liked items, got {found}. Features: town, tags, age."):
        read(**request_)


@pytest.mark.parametrize("age", ["old", "inf", 1e39, [1], {}], ids=str)
def test_a_number_must_be_one(age):
    with pytest.raises(RequestError, match="feature age must be a finite number, got "):
        read(features={"age": age})


def test_all_problems_are_reported_at_once():
    with pytest.raises(RequestError) as error:
        read(user=5, features={"age": "old"}, liked=["Hea", "Nothing"], disliked=["a"])
    assert len(error.value.problems) == 3
