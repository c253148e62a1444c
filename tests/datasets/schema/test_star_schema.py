from __future__ import annotations

import pytest
import torch

from towerzoo.datasets import Column, Table, Vocabulary

IDS = Column("user_id", torch.arange(4, dtype=torch.int32), Vocabulary(["x", "y", "z"]))
LISTS = Column("genres", torch.zeros((4, 6), dtype=torch.int32), Vocabulary(["a"]))
NUMBERS = Column("age", torch.zeros(4))


@pytest.mark.parametrize(
    ("column", "is_list", "cardinality"),
    [(IDS, False, 4), (LISTS, True, 2), (NUMBERS, False, 0)],
    ids=lambda value: getattr(value, "name", value),
)
def test_kinds_of_columns(column, is_list, cardinality):
    assert column.is_list is is_list
    assert column.cardinality == cardinality


def test_text_as_a_feature():
    table = Table("user_id", {"user_id": IDS}, {"motto": ("", "b", "a", ""), "user_id": ("", "1", "2", "3")})
    motto = table.column("motto")
    assert (motto.name, motto.vocabulary) == ("motto", Vocabulary(["a", "b"]))
    assert motto.values.tolist() == [0, 2, 1, 0]
    assert motto.values.dtype == torch.int32
    assert table.column("user_id") is IDS, "features take precedence over texts"


def test_empty_texts_and_unknown_columns():
    table = Table("user_id", {"user_id": IDS}, {"motto": ("", "", "", "")})
    assert table.column("motto").values.tolist() == [0, 0, 0, 0]
    with pytest.raises(KeyError, match="moto"):
        table.column("moto")


def test_ids_fit_their_vocabularies(world):
    for table, rows in ((world.users, world.interactions.user), (world.items, world.interactions.item)):
        assert 1 <= int(rows.min()) <= int(rows.max()) < len(table)
        assert table.columns[table.key].values.tolist() == list(range(len(table)))
        for column in table.columns.values():
            assert len(column.values) == len(table)
            assert int(column.values[0].sum()) == 0, "row 0 is unknown"
            assert 0 <= int(column.values.min()) <= int(column.values.max()) < column.cardinality
