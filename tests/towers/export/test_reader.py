"""What a bundle's reader makes of raw values; tests/tools/answers/test_export.py exports and reads whole bundles."""

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
MET = {"name": "met", "kind": "events", "vocabulary": None, "length": None, "padding": -1, "items": 5, "kinds": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle but for its towers: four films of genres and a year, for people by what they have met."""
    content: dict[str, Any] = {
        "bundle.json": {
            "format": FORMAT,
            "version": VERSION,
            "item_key": "film",
            "factors": 2,
            "towers": {"user": {"inputs": [MET]}, "item": {"inputs": [GENRES, MAKER, YEAR]}},
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
        (["Drama"], [1, 0, 0]),
        ("Drama", [1, 0, 0]),
        ("War|Drama", [2, 1, 0]),
        (("War", "?"), [2, 0, 0]),
        (np.array(["War"]), [2, 0, 0]),
        ("War|War|War|Drama", [2, 2, 2]),
        ("", [0, 0, 0]),
        ([], [0, 0, 0]),
        (None, [0, 0, 0]),
    ],
    ids=str,
)
def test_the_values_of_a_list_may_be_one_text(folder, given, expected):
    assert Bundle(folder).item_inputs([{"genres": given}])["genres"].tolist() == [expected]


def test_a_whole_number_may_be_a_float(folder):
    """As pandas makes one of each in a column that lacks some."""
    lists = [[12.0, np.float64(7), np.nan, 1.5], ["12.0"]]
    assert Bundle(folder).user_inputs([{"met": met} for met in lists])["met"].tolist() == [
        [1, 4, 0, 0],
        [0, -1, -1, -1],
    ]


@pytest.mark.parametrize(("given", "expected"), [("12|7", [1, 4]), (12, [1]), ([12, (7, 1)], [1, 9]), (None, [-1])])
def test_so_may_the_events_of_a_history(folder, given, expected):
    assert Bundle(folder).user_inputs([{"met": given}])["met"].tolist() == [expected]


def test_a_number_may_be_a_text_or_unknown(folder):
    years = Bundle(folder).item_inputs([{"year": 1995}, {"year": "1995"}, {"year": None}, {}, {"year": np.nan}])["year"]
    assert years.dtype == np.float32
    np.testing.assert_array_equal(years, [1995, 1995, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    ("side", "rows", "why"),
    [
        ("item", [{"year": "nineties"}], r"^year must be a finite number, or None .*, got 'nineties'\. Correct it"),
        ("item", [{"year": float("inf")}], r"^year must be a finite number, .* got inf"),
        ("item", [{"year": "1e99"}], r"^year must be a finite number, .* got '1e99'"),
        ("item", [{"year": [1995, 1996]}], r"^year must be a finite number, .* got \[1995, 1996\]"),
        ("item", [{"maker": ["A", "B"]}], r"^maker must be one value, got \['A', 'B'\]\. Give one, or leave it out"),
        (
            "item",
            [{1: 2, "yaer": 3}],
            r"^features of the item tower must be among genres, maker, year, got 1, yaer\. Leave",
        ),
        ("item", {"year": 1995}, r"^each item must be a mapping of features, got 'year'\. Write \{name: value, ...\}"),
        ("user", ["12"], r"^each user must be a mapping of features, got '12'"),
        (
            "user",
            [{"met": [(12, 2)]}],
            r"^an event of met must be an item's raw id, or a pair .* to 1, got \(12, 2\)\. See",
        ),
        ("user", [{"met": [(12, -1)]}], r"^an event of met must be .* got \(12, -1\)"),
        ("user", [{"met": [(12, "a")]}], r"^an event of met must be .* got \(12, 'a'\)"),
        ("user", [{"met": [(12, 1, 0)]}], r"^an event of met must be .* got \(12, 1, 0\)"),
        ("user", [{"met": [[(12, 1)]]}], r"^an event of met must be .* got \[\(12, 1\)\]"),
    ],
)
def test_raw_values_that_cannot_be_are_refused(folder, side, rows, why):
    with pytest.raises(ValueError, match=why):
        getattr(Bundle(folder), f"{side}_inputs")(rows)


@pytest.mark.parametrize("exclude", ["12", 12, None])
def test_excluded_items_are_a_list(folder, exclude):
    with pytest.raises(
        ValueError, match=rf"^exclude must be a list of raw ids, got {exclude!r}\. Write \[{exclude!r}\]"
    ):
        Bundle(folder).recommend({}, exclude=exclude)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None])
def test_a_list_is_of_one_item_at_least(folder, k):
    with pytest.raises(ValueError, match=rf"^k must be a whole number of at least 1, got {k!r}\. Ask for some"):
        Bundle(folder).recommend({}, k)


JSON_FILES = ("bundle.json", "items.json", "vocabularies.json")


@pytest.mark.parametrize("name", [*JSON_FILES, "item_vectors.npy"])
@pytest.mark.parametrize("content", [None, b"", b"[1, 2]", b"\xff\xfe\x00"], ids=["missing", "empty", "list", "bytes"])
def test_a_file_that_is_missing_or_damaged_is_told(folder, name, content):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"^{folder / name} must be a whole file of a bundle, got .+\. Copy the bundle"
    ):
        Bundle(folder)


@pytest.mark.parametrize("name", [*JSON_FILES, "item_vectors.npy"])
def test_a_file_that_ends_too_early_is_told(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-3])
    with pytest.raises(ValueError, match=rf"^{folder / name} must be a whole file of a bundle, got "):
        Bundle(folder)


def test_a_bundle_that_was_replaced_before_its_towers_were_read_is_told(folder):
    """Its towers would be of one run, and the vectors that are in memory of another."""
    bundle, about = Bundle(folder), json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(about | {"run": "another/one"}))
    with pytest.raises(ValueError, match=rf"^{folder} must hold the bundle that was opened, got another one\. Open it"):
        bundle.recommend({}, 3)


def test_vectors_of_other_items_are_told(folder):
    np.save(folder / "item_vectors.npy", np.eye(5, 2, dtype=np.float32))
    with pytest.raises(
        ValueError, match=r"item_vectors.npy must be .* got vectors of shape \(5, 2\) where .* \(4, 2\)\."
    ):
        Bundle(folder)


def test_a_folder_without_a_bundle_is_told(tmp_path):
    with pytest.raises(
        ValueError, match=r"bundle.json must be a whole file of a bundle, got No such file or directory"
    ):
        Bundle(tmp_path)
