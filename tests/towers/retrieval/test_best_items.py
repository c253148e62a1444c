from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from towerzoo.towers.retrieval import best_items as best_items_module
from towerzoo.towers.retrieval.best_items import best_items
from towerzoo.towers.retrieval.seen_items import SeenItems


def brute_force(users: Tensor, items: Tensor, k: int, seen: dict[int, set[int]]) -> list[list[int]]:
    """Sorts every candidate by descending score, then by row."""
    scores = (users.double() @ items.double().T).numpy()
    lists = []
    for user, row in enumerate(scores):
        candidates = [item for item in range(1, len(items)) if item not in seen.get(user, set())]
        ranked = sorted(candidates, key=lambda item: (-row[item], item))[:k]
        lists.append(ranked + [0] * (k - len(ranked)))
    return lists


def whole_numbers(n: int, seed: int, largest: int = 2) -> Tensor:
    """Small whole numbers: many scores tie, and sums are exact in any order."""
    return torch.randint(-largest, largest + 1, (n, 3), generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("k", [1, 5, 40, 60])
@pytest.mark.parametrize("blocks", [(512, 16_384), (7, 11), (1, 1)], ids=str)
def test_lists_equal_those_of_a_full_sort(k, blocks, monkeypatch):
    monkeypatch.setattr(best_items_module, "USERS_AT_ONCE", blocks[0])
    monkeypatch.setattr(best_items_module, "ITEMS_AT_ONCE", blocks[1])
    users, items = whole_numbers(20, 0), whole_numbers(50, 1)
    rng = np.random.default_rng(0)
    user, item = torch.from_numpy(rng.integers(0, 20, 300)), torch.from_numpy(rng.integers(0, 50, 300))
    seen = {row: set(item[user == row].tolist()) for row in range(20)}
    top = best_items(users, items, k, seen=(SeenItems(user, item, 20), torch.arange(20)))
    assert top.items.tolist() == brute_force(users, items, k, seen)
    expected = torch.where(top.items > 0, (users @ items.T).gather(1, top.items), float("-inf"))
    assert torch.equal(top.scores, expected)


@pytest.mark.parametrize("blocks", [(512, 16_384), (7, 11)], ids=str)
def test_only_allowed_items_are_candidates(blocks, monkeypatch):
    monkeypatch.setattr(best_items_module, "USERS_AT_ONCE", blocks[0])
    monkeypatch.setattr(best_items_module, "ITEMS_AT_ONCE", blocks[1])
    users, items = whole_numbers(20, 0), whole_numbers(50, 1)
    allowed = torch.arange(50) % 3 != 1
    others = {user: set(torch.nonzero(~allowed)[:, 0].tolist()) for user in range(20)}
    assert best_items(users, items, 40, allowed=allowed).items.tolist() == brute_force(users, items, 40, others)


def test_every_item_but_the_unknown_one_is_a_candidate():
    users, items = whole_numbers(4, 2), whole_numbers(9, 3)
    assert best_items(users, items, 8).items.tolist() == brute_force(users, items, 8, {})
    assert (best_items(users, items, 8).items > 0).all()


def test_the_lowest_rows_are_kept_if_all_items_tie():
    assert best_items(torch.ones(3, 2), torch.ones(2_000, 2), 4).items.tolist() == [[1, 2, 3, 4]] * 3


@pytest.mark.parametrize("blocks", [(512, 16_384), (7, 11)], ids=str)
def test_lists_of_distinct_vectors_are_the_same_for_one_user_and_for_many(blocks, monkeypatch):
    monkeypatch.setattr(best_items_module, "USERS_AT_ONCE", blocks[0])
    monkeypatch.setattr(best_items_module, "ITEMS_AT_ONCE", blocks[1])
    random = torch.Generator().manual_seed(0)
    users, items = torch.randn(30, 66, generator=random), torch.randn(501, 66, generator=random)
    for size in (1, 2, 30):
        lists = torch.cat([best_items(chunk, items, 40).items for chunk in torch.split(users, size)])
        assert lists.tolist() == brute_force(users, items, 40, {})


def test_a_user_who_has_seen_everything_gets_nothing():
    seen = SeenItems(torch.tensor([0, 0]), torch.tensor([1, 2]), n_users=1)
    top = best_items(torch.ones(1, 2), torch.ones(3, 2), 2, seen=(seen, torch.tensor([0])))
    assert top.items.tolist() == [[0, 0]]
    assert top.scores.isneginf().all()


def test_no_users_get_no_lists():
    assert best_items(torch.empty(0, 2), torch.ones(3, 2), 2).items.shape == (0, 2)


def test_seen_items_follow_the_order_of_the_given_users():
    user, item = torch.tensor([3, 1, 3, 0, 1, 3]), torch.tensor([9, 8, 7, 6, 5, 7])
    positions, items = SeenItems(user, item, n_users=5).of(torch.tensor([4, 3, 0, 3, 2, 1]))
    assert positions.tolist() == [1, 1, 1, 2, 3, 3, 3, 5, 5]
    assert items.tolist() == [9, 7, 7, 6, 9, 7, 7, 8, 5]


def test_pairs_are_seen_in_any_shape():
    torch.manual_seed(0)
    user, item = torch.randint(0, 9, (200,)), torch.randint(1, 30, (200,))
    seen = SeenItems(user, item, n_users=9)
    pairs = set(zip(user.tolist(), item.tolist(), strict=True))
    held = seen.holds(torch.arange(9).unsqueeze(1), torch.arange(31).unsqueeze(0))
    assert held.tolist() == [[(u, i) in pairs for i in range(31)] for u in range(9)]
    assert not SeenItems(user[:0], item[:0], n_users=9).holds(torch.arange(9), torch.arange(9)).any()
