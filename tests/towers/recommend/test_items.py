from __future__ import annotations

import pytest
import torch

from towerzoo.datasets import Column, Table, Vocabulary, encode_table
from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.items import ItemNames, allowed_items


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


def test_values_that_no_item_has_are_noted():
    assert allowed_items(ITEMS, ["genres=A|Z", "year!=1900"])[1] == (
        "no item has genres 'Z'",
        "no item has year '1900'",
    )


def test_all_problems_are_reported_at_once():
    compared = ["genres>=A", "genres>=2", "price>=cheap", "price=nan", "price=1|", "year>=x"]
    with pytest.raises(RequestError) as error:
        allowed_items(ITEMS, ["genres", "genre=A", *compared, ""])
    message = str(error.value)
    assert "The request has 9 problems." in message
    assert "COLUMN<=NUMBER, got 'genres'." in message
    assert (
        "must name a column of the items, got 'genre'. Did you mean 'genres'? Columns: film, genres, price, year."
        in message
    )
    words = dict.fromkeys(("genres>=A", "genres>=2"), "Use = or != for text.")
    numbers = dict.fromkeys(("price>=cheap", "price=nan", "price=1|"), "price holds numbers.")
    numbers["year>=x"] = "year holds numbers."
    for condition, hint in (words | numbers).items():
        assert f"the filter '{condition}' must compare numbers with a number. {hint}" in message


TITLES = ["Heat (1995)", "Ran (1985)", "Heat (1972)", "Body Heat (1981)", "Ran (1985)", ""]
NAMES = ItemNames(encode_table("film", {"film": [30, 10, 20, 1995, 50, 60]}, {"title": TITLES}))


@pytest.mark.parametrize(
    ("name", "row"),
    [(30, 1), ("10", 2), (1995, 4), ("1995", 4), ("HEAT (1995)", 1), (" heat (1972) ", 3), ("body", 4), ("(1981)", 4)],
    ids=str,
)
def test_ids_come_before_titles_and_whole_titles_before_parts(name, row):
    assert NAMES.row(name) == row


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "heat",
            r"got 'heat', which matches Heat \(1995\) \(id 30\); Heat \(1972\) \(id 20\); Body Heat \(1981\)",
        ),
        (
            "ran (1985)",
            r"title of one item, got 'ran \(1985\)', which matches Ran \(1985\) \(id 10\); Ran \(1985\) \(id 50\)\.",
        ),
        ("heet (1995)", r"must be a known raw id or title, got 'heet \(1995\)'. Did you mean 'Heat \(1995\)'\?"),
        ("", "must be a known raw id or title, got ''. The run's items.parquet lists all."),
        (None, "must be a known raw id or title, got None"),
    ],
)
def test_names_of_no_or_several_items_are_refused(name, message):
    with pytest.raises(RequestError, match=message):
        NAMES.row(name)


def test_a_long_list_of_titles_is_cut():
    names = ItemNames(encode_table("film", {"film": list(range(1, 31))}, {"title": [f"Part {n}" for n in range(30)]}))
    with pytest.raises(RequestError, match=r"Part 9 \(id 10\); and 20 more\.$"):
        names.row("part")


def test_items_without_titles_are_found_by_id():
    names = ItemNames(encode_table("sku", {"sku": ["a1", "b2"]}))
    assert (names.row("b2"), names.title(2), names.id(2), names.id(0)) == (2, "b2", "b2", None)
    assert NAMES.title(6) == "60"
