from __future__ import annotations

import pytest

from towerzoo.datasets import encode_table
from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.items import ItemNames

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
            r"got 'heat', which fits Heat \(1995\) \(id 30\); Heat \(1972\) \(id 20\); Body Heat \(1981\)",
        ),
        (
            "ran (1985)",
            r"the title of one item, got 'ran \(1985\)', which fits Ran \(1985\) \(id 10\); Ran \(1985\) \(id 50\)\.",
        ),
        ("heet (1995)", r"must be a known raw id or title, got 'heet \(1995\)'. Did you mean 'Heat \(1995\)'\?"),
        ("", "must be a known raw id or title, got ''. Look into the run's items.parquet."),
        (None, "must be a known raw id or title, got None"),
    ],
)
def test_what_is_called_by_no_or_several_items_is_told(name, message):
    with pytest.raises(RequestError, match=message):
        NAMES.row(name)


def test_a_long_list_of_titles_is_cut():
    names = ItemNames(encode_table("film", {"film": list(range(1, 31))}, {"title": [f"Part {n}" for n in range(30)]}))
    with pytest.raises(RequestError, match=r"Part 9 \(id 10\); and 20 more\.$"):
        names.row("part")


def test_items_without_titles_are_called_by_their_ids():
    names = ItemNames(encode_table("sku", {"sku": ["a1", "b2"]}))
    assert (names.row("b2"), names.title(2), names.id(2), names.id(0)) == (2, "b2", "b2", None)
    assert NAMES.title(6) == "60"
