"""Mistakes in custom datasets and splits: each is reported with the part, its source line and what it returned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from towerzoo.datasets import ColumnNames, Interactions, Split, StarSchema, encode_table
from towerzoo.datasets import checks as part_checks
from towerzoo.datasets.checks import draw_split, load_schema
from towerzoo.registry import DATASETS, SPLITS
from towerzoo.registry.errors import DataError, PartError

HERE = r"(?s)test_checks\.py:\d+: "
NAMES = ColumnNames(users=("u",), items=("i", "tags"), feedback=("liked",))


def schema(**changed) -> StarSchema:
    users = encode_table("u", {"u": [10, 20]})
    items = encode_table("i", {"i": [7, 8, 9], "tags": [["a"], [], ["a", "b"]]})
    rows = torch.tensor([1, 2, 1, 0])
    events = Interactions(rows, rows + 1, {"liked": torch.ones(4)}, torch.arange(4))
    return replace(StarSchema(users, items, replace(events, **changed), "digest"))


def with_column(name: str, values: torch.Tensor) -> StarSchema:
    good = schema()
    column = replace(good.items.columns[name], values=values)
    return replace(good, items=replace(good.items, columns={**good.items.columns, name: column}))


def split_of(*parts):
    return lambda: Split(*(torch.tensor(part) for part in parts))


class Songs:
    def __init__(self) -> None: ...
    def columns(self):
        return NAMES

    def load(self):
        return schema()


def songs(monkeypatch, load=schema, columns=NAMES):
    monkeypatch.setitem(DATASETS._parts, "songs", Songs)
    monkeypatch.setattr(Songs, "load", lambda self: load())
    monkeypatch.setattr(Songs, "columns", lambda self: columns)


def test_sound_dataset_is_loaded(monkeypatch):
    songs(monkeypatch)
    assert len(load_schema("songs").interactions) == 4


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda: None, r"return StarSchema from load\(\), got a NoneType"),
        (lambda: Path("missing.csv").read_text(), "load without an error, got FileNotFoundError"),
        (lambda: schema(user=torch.tensor([1, 2, 3, 0])), "rows of the users table .* from 0 to 2, .* from 0 to 3"),
        (lambda: schema(item=torch.tensor([1, 2, -3, 0])), "rows of the items table .* from 0 to 3, .* from -3 to 2"),
        (lambda: schema(user=np.array([1, 2])), "got a ndarray.*users.ids.encode"),
        (lambda: schema(user=torch.ones(4)), "got a tensor of torch.float32"),
        (lambda: schema(user=torch.zeros(4, dtype=torch.int32)), r"row 0, in all 4 events.*such as \(10,\)"),
        (lambda: schema(item=torch.tensor([1, 2])), "one value an event as item of events, got a Tensor of 2 for 4"),
        (lambda: schema(feedback={"liked": np.ones(4)}), "as liked of events, got a ndarray of 4 for 4"),
        (lambda: schema(timestamp=torch.arange(3)), "as timestamp of events, got a Tensor of 3 for 4"),
        (lambda: schema(timestamp=torch.arange(4.0)), "whole numbers as timestamp"),
        (lambda: replace(schema(), digest=None), "load a digest that is text, got None"),
        (lambda: with_column("i", torch.tensor([0, 1, 2, 9])), "from 0 to 3, as i of items, got rows from 0 to 9"),
        (lambda: with_column("tags", torch.zeros(3, 2).int()), "column of items in every row, got 3 of tags for 4"),
        (lambda: replace(schema(), split=split_of([0], [1, 0], [2])()), "in one part at most, got 1 of valid twice"),
        (lambda: replace(schema(), users=replace(schema().users, key="zz")), "load the key .* for users, got no zz"),
        (
            lambda: replace(schema(), items=encode_table("i", {"i": [7, 8, 9]})),
            r"load the key and every column that columns\(\) names for items, got no tags",
        ),
    ],
)
def test_unsound_dataset_is_refused(monkeypatch, load, message):
    songs(monkeypatch, load)
    with pytest.raises(PartError, match=f"{HERE}dataset 'songs' must .*{message}"):
        load_schema("songs")


def test_dataset_without_its_methods_is_refused(monkeypatch):
    songs(monkeypatch, columns={"users": ()})
    with pytest.raises(PartError, match=rf"{HERE}dataset 'songs' must return ColumnNames from columns\(\), got a dict"):
        load_schema("songs")
    monkeypatch.setitem(DATASETS._parts, "songs", lambda: 3)
    with pytest.raises(PartError, match=f"{HERE}dataset 'songs' must load .* got AttributeError: 'int' .* 'load'"):
        load_schema("songs")


def drawn(monkeypatch, parts):
    monkeypatch.setitem(SPLITS._parts, "mine", lambda user, timestamp: parts())
    return draw_split("mine", torch.ones(6), None)


@pytest.mark.parametrize("train", [[3, 0, 1], [1, 3, 0], [0, 1, 3]])
def test_rows_of_a_split_become_int32_and_ascending(monkeypatch, train):
    split = drawn(monkeypatch, lambda: Split(torch.tensor(train), torch.tensor([2]), torch.tensor([5, 4])))
    assert (split.train.tolist(), split.test.tolist()) == ([0, 1, 3], [4, 5])
    assert split.train.dtype is torch.int32


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: ([0], [1], [2]), r"return Split\(train, valid, test\), got a tuple"),
        (split_of([0, 1, 2], [2, 3], [4]), "each event in one part at most, got 1 of valid twice or in an earlier"),
        (split_of([0, 1, 1], [2], [4]), "got 1 of train twice"),
        (split_of([0, 1], [2], [4, 6]), "rows of events .* from 0 to 5 as test, got rows from 4 to 6"),
        (split_of([-1, 1], [2], [4]), "got rows from -1 to 1"),
        (split_of([True, False], [2], [4]), "got a tensor of torch.bool.*mask.nonzero"),
        (lambda: Split([0], [1], [2]), "as train, got a list"),
        (lambda: Split(torch.tensor([0])), "without an error, got TypeError"),
    ],
)
def test_unsound_split_is_refused(monkeypatch, parts, message):
    monkeypatch.setattr(part_checks, "ROWS_AT_ONCE", 2)
    with pytest.raises(PartError, match=f"{HERE}split 'mine' must .*{message}"):
        drawn(monkeypatch, parts)


def test_empty_part_of_a_split_is_refused(monkeypatch):
    with pytest.raises(DataError, match="The test split is empty"):
        drawn(monkeypatch, split_of([0], [1], []))
