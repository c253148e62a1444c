from __future__ import annotations

import pytest
import torch

from towerzoo.datasets import Column, Table, Vocabulary
from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.item_filters import allowed_items


def ids(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


ITEMS = Table(
    "film",
    {
        "film": Column("film", ids(0, 1, 2, 3, 4), Vocabulary([10, 20, 30, 40])),
        "genres": Column(
            "genres",
            torch.tensor([[0, 0], [1, 2], [2, 0], [0, 0], [3, 1]], dtype=torch.int32),
            Vocabulary(["A", "B", "C"]),
        ),
        "year": Column("year", ids(0, 2, 1, 0, 2), Vocabulary([1990, 2001])),
        "price": Column("price", torch.tensor([float("nan"), 1.5, 2.0, float("nan"), 9.0])),
    },
)


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        (["genres=B"], [1, 2]),
        (["genres=B|C"], [1, 2, 4]),
        (["genres!=A"], [2, 3]),
        (["genres=A", "genres!=B"], [4]),
        (["year>=2001"], [1, 4]),
        (["year<=2000"], [2]),
        ([" price >= 2 "], [2, 4]),
        (["price<=2", "film!=20"], [1]),
        (["price=9"], [4]),
        (["price!=9"], [1, 2, 3]),
        (["film=10|30"], [1, 3]),
        (["genres=Z"], []),
    ],
    ids=str,
)
def test_conditions_choose_items(conditions, rows):
    allowed, _ = allowed_items(ITEMS, conditions)
    assert torch.nonzero(allowed)[:, 0].tolist() == rows


def test_no_condition_allows_all():
    assert allowed_items(ITEMS, []) == (None, ())


def test_values_that_no_item_has_are_told():
    assert allowed_items(ITEMS, ["genres=A|Z", "year!=1900"])[1] == (
        "no item has genres 'Z'",
        "no item has year '1900'",
    )


def test_all_faults_are_told_at_once():
    compared = ["genres>=A", "genres>=2", "price>=cheap", "price=nan", "price=1|", "year>=x"]
    with pytest.raises(RequestError) as error:
        allowed_items(ITEMS, ["genres", "genre=A", *compared, ""])
    told = str(error.value)
    assert "The request has 9 problems." in told
    assert "COLUMN<=NUMBER, got 'genres'." in told
    assert (
        "must name a column of the items, got 'genre'. Did you mean 'genres'? Columns: film, genres, price, year."
        in told
    )
    words = dict.fromkeys(("genres>=A", "genres>=2"), "Use = or != for words.")
    numbers = dict.fromkeys(("price>=cheap", "price=nan", "price=1|"), "price holds numbers.")
    numbers["year>=x"] = "year holds numbers."
    for condition, hint in (words | numbers).items():
        assert f"the filter '{condition}' must compare numbers with a number. {hint}" in told
