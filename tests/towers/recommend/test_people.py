from __future__ import annotations

import math

import pytest
import torch

from towerzoo.datasets import Column, Table, Vocabulary, encode_table
from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.items import ItemNames
from towerzoo.towers.recommend.people import read_person

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
FEATURES = ["user", "town", "tags", "age"]


def read(**request):
    return read_person(USERS, FEATURES, FILMS, **request)


def test_a_known_user_is_a_row():
    assert read(user="6").row == read(user=6).row == 2


def test_features_are_encoded_like_their_columns():
    person = read(told={"town": "Rome", "tags": ["c", "a"], "age": "31"})
    assert {name: value.tolist() for name, value in person.features.items()} == {
        "town": 2,
        "tags": [3, 1, 0],
        "age": 31.0,
    }
    assert person.features["town"].dtype == torch.int32
    assert read(told={"tags": "b|a"}).features["tags"].tolist() == [2, 1, 0]
    assert read(told={"tags": ["a", "b", "c", "a"]}).features["tags"].tolist() == [1, 2, 3]
    assert math.isnan(read(told={"age": None}).features["age"])


def test_items_are_told_by_id_or_title():
    person = read(user=5, liked=["heat", 9], disliked=["7"], exclude=["RAN"])
    assert (person.liked, person.disliked, person.exclude) == ((1, 2), (1,), (2,))


def test_what_is_not_known_stands_for_the_unknown_and_is_told():
    person = read(user=99, told={"town": "Paris", "tags": "a|z", "twon": "Oslo", "user": 5})
    assert person.row == 0
    assert person.features["town"] == 0
    assert person.features["tags"].tolist() == [1, 0, 0]
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
        read(told={"age": age})


def test_all_faults_are_told_at_once():
    with pytest.raises(RequestError) as error:
        read(user=5, told={"age": "old"}, liked=["Hea", "Nothing"], disliked=["a"])
    assert len(error.value.problems) == 3
