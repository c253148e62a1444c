from __future__ import annotations

import torch

from towerzoo.datasets import Interactions, Split, StarSchema, TwoTowerData, encode_table
from towerzoo.towers.metrics.ranking_tasks import ranking_task

USER, ITEM = torch.tensor([1, 1, 2, 2, 1, 2, 1, 2]).int(), torch.tensor([1, 2, 1, 3, 3, 4, 4, 2]).int()
LABEL = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0])
SPLIT = Split(torch.arange(4).int(), torch.tensor([4, 5]).int(), torch.tensor([6, 7]).int())


def make_data() -> TwoTowerData:
    users, items = encode_table("user", {"user": [7, 8]}), encode_table("item", {"item": [1, 2, 3, 4]})
    schema = StarSchema(users, items, Interactions(USER, ITEM, {}), "")
    return TwoTowerData(schema, LABEL, SPLIT, batch_size=2, seed=0)


def test_positive_events_are_to_be_found_among_what_a_user_has_not_met_before():
    valid, test = (ranking_task(make_data(), part, [2]) for part in ("valid", "test"))
    assert (valid.user.tolist(), valid.item.tolist()) == ([1], [3])
    assert (test.user.tolist(), test.item.tolist()) == ([1], [4])
    everyone = torch.tensor([1, 2])
    # What somebody met and did not like is not recommended either; who is not ranked needs nothing kept.
    assert [values.tolist() for values in valid.seen.of(everyone)] == [[0, 0], [1, 2]]
    assert [values.tolist() for values in test.seen.of(everyone)] == [[0, 0, 0], [1, 2, 3]]


def test_popularity_is_that_of_training():
    for part in ("valid", "test"):
        assert ranking_task(make_data(), part, [2]).counts.tolist() == [0, 2, 1, 1, 0]
