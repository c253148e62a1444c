"""How a bundle's reader encodes raw values; tests/tools/answers/test_export.py reads exported bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from towerzoo.towers.export.reader import FORMAT, VERSION, Bundle

GENRES = {"name": "genres", "kind": "ids", "vocabulary": "genres", "length": 3, "padding": 0}
MAKER = {"name": "maker", "kind": "id", "vocabulary": "maker"}
YEAR = {"name": "year", "kind": "number", "vocabulary": None, "unknown": None}
SEEN = {"name": "seen", "kind": "events", "vocabulary": None, "length": None, "padding": -1, "items": 5, "kinds": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle without towers: four films with genres, maker and year; users with a history."""
    content: dict[str, Any] = {
        "bundle.json": {
            "format": FORMAT,
            "version": VERSION,
            "item_key": "film",
            "factors": 2,
            "towers": {"user": {"inputs": [SEEN]}, "item": {"inputs": [GENRES, MAKER, YEAR]}},
        },
        "items.json": {"id": [12, 1, 2, 7]},
        "vocabularies.json": {
            "user": {},
            "item": {"film": {"first": 1, "values": [12, 1, 2, 7]}, "genres": {"first": 1, "values": ["Drama", "War"]}},
        },
    }
    for name, value in content.items():
        (tmp_path / name).write_text(json.dumps(value))
    np.save(tmp_path / "item_vectors.npy", np.eye(4, 2, dtype=np.float32))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Drama", [1, 0, 0]),
        (("War", "?"), [2, 0, 0]),
        (np.array(["War"]), [2, 0, 0]),
        ("War|War|War|Drama", [2, 2, 2]),
        ("", [0, 0, 0]),
        (None, [0, 0, 0]),
    ],
    ids=str,
)
def test_a_list_may_be_a_string(folder, given, expected):
    assert Bundle(folder).inputs("item", [{"genres": given}])["genres"].tolist() == [expected]


def test_an_integer_id_may_be_a_float(folder):
    """pandas reads integer columns with missing values as floats."""
    lists = [[12.0, np.float64(7), np.nan, 1.5], ["12.0"]]
    assert Bundle(folder).inputs("user", [{"seen": seen} for seen in lists])["seen"].tolist() == [
        [1, 4, 0, 0],
        [0, -1, -1, -1],
    ]


@pytest.mark.parametrize(("given", "expected"), [("12|7", [1, 4]), (12, [1]), ([12, (7, 1)], [1, 9]), (None, [-1])])
def test_events_may_be_a_string_or_pairs(folder, given, expected):
    assert Bundle(folder).inputs("user", [{"seen": given}])["seen"].tolist() == [expected]


def test_a_number_may_be_a_string_or_unknown(folder):
    items = [{"year": 1995}, {"year": "1995"}, {"year": None}, {}, {"year": np.nan}]
    years = Bundle(folder).inputs("item", items)["year"]
    assert years.dtype == np.float32
    np.testing.assert_array_equal(years, [1995, 1995, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    ("side", "rows", "why"),
    [
        ("item", [{"year": "nineties"}], r"^year must be a finite number, or None .*, got 'nineties'\. Correct it"),
        ("item", [{"year": float("inf")}], r"^year must be a finite number, .* got inf"),
        ("item", [{"maker": ["A", "B"]}], r"^maker must be one value, got \['A', 'B'\]\. Pass one, or leave it out"),
        ("item", [{1: 2, "yaer": 3}], r"^features of the item tower must be among .*, year, got 1, yaer\. Leave"),
        ("item", {"year": 1995}, r"^each item must be a mapping of features, got 'year'\. Write \{name: value, ...\}"),
        ("user", ["12"], r"^each user must be a mapping of features, got '12'"),
        ("user", [{"seen": [(12, 2)]}], r"^an event of seen must be .* or a pair .* to 1, got \(12, 2\)\. See"),
        ("user", [{"seen": [(12, "a")]}], r"^an event of seen must be .* got \(12, 'a'\)"),
        ("user", [{"seen": [(12, 1, 0)]}], r"^an event of seen must be .* got \(12, 1, 0\)"),
        ("user", [{"seen": [[(12, 1)]]}], r"^an event of seen must be .* got \[\(12, 1\)\]"),
    ],
)
def test_invalid_raw_values_are_refused(folder, side, rows, why):
    with pytest.raises(ValueError, match=why):
        Bundle(folder).inputs(side, rows)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"exclude": "12"}, r"^exclude must be a list of raw ids, got '12'\. Write \['12'\]"),
        ({"k": 0}, r"^k must be a whole number of at least 1, got 0\. Pass"),
        ({"k": 2.5}, r"^k must be a whole number of at least 1, got 2\.5\. Pass"),
    ],
)
def test_invalid_options_are_refused(folder, options, why):
    with pytest.raises(ValueError, match=why):
        Bundle(folder).recommend({}, **options)


@pytest.mark.parametrize("name", ["bundle.json", "items.json", "vocabularies.json", "item_vectors.npy"])
@pytest.mark.parametrize("damage", ["missing", "list", "truncated"])
def test_a_missing_or_damaged_file_is_reported(folder, name, damage):
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage != "missing":
        (folder / name).write_bytes(b"[1, 2]" if damage == "list" else content[:-3])
    with pytest.raises(ValueError, match=rf"^{folder / name} is missing or damaged: .+\. Copy or export the bundle"):
        Bundle(folder)


def test_a_bundle_of_another_version_is_refused(folder):
    (folder / "bundle.json").write_text(json.dumps({"format": FORMAT, "version": 2}))
    with pytest.raises(ValueError, match="must be a bundle of format towerzoo-bundle 1, got 'towerzoo-bundle 2'"):
        Bundle(folder)


def test_a_bundle_that_was_replaced_after_it_was_opened_is_refused(folder):
    """Otherwise towers of the new bundle would be combined with item vectors of the old one."""
    bundle, about = Bundle(folder), json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(about | {"run": "another/one"}))
    with pytest.raises(ValueError, match=rf"^{folder} was replaced by another bundle .*\. Open it again"):
        bundle.recommend({}, 3)


def test_vectors_of_other_items_are_refused(folder):
    np.save(folder / "item_vectors.npy", np.eye(5, 2, dtype=np.float32))
    with pytest.raises(ValueError, match=r"item_vectors.npy .*: vectors of shape \(5, 2\) instead of \(4, 2\)\."):
        Bundle(folder)
