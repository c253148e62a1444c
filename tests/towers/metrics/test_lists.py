from __future__ import annotations

from math import log2

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from towerzoo.towers.metrics.lists import (
    LIST_METRICS,
    coverage,
    list_metrics,
    list_popularity,
    overlap,
    popularity_percentiles,
)


def of_one_user(hits: list[int], n_relevant: int, k: int) -> dict[str, float]:
    found = list_metrics(torch.tensor([hits], dtype=torch.bool), torch.tensor([n_relevant]), [k])
    return {name.removesuffix(f"@{k}"): value.item() for name, value in found.items()}


def test_a_list_by_hand():
    """Relevant are the second and third of four places, and two items beyond the list."""
    assert of_one_user([0, 1, 1, 0], 4, 4) == pytest.approx(
        {
            "recall": 2 / 4,
            "precision": 2 / 4,
            "ndcg": (1 / log2(3) + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4) + 1 / log2(5)),
            "map": (1 / 2 + 2 / 3) / 4,
            "mrr": 1 / 2,
            "hit_rate": 1,
        }
    )


def test_the_best_list_is_worth_1_but_for_what_it_has_no_room_for():
    best = of_one_user([1, 1, 1], 3, 3)
    assert best == dict.fromkeys(LIST_METRICS, 1.0)
    too_many = of_one_user([1, 1, 1], 6, 3)
    assert too_many == {**best, "recall": 0.5, "map": 0.5}


def test_a_list_without_a_hit_is_worth_nothing():
    assert of_one_user([0, 0, 0], 2, 3) == dict.fromkeys(LIST_METRICS, 0.0)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 5))
def test_longer_lists_find_no_less(hits, elsewhere):
    n_relevant = max(1, sum(hits) + elsewhere)
    ks = range(1, len(hits) + 1)
    found = list_metrics(torch.tensor([hits]), torch.tensor([n_relevant]), ks)
    assert all(0 <= value.item() <= 1 + 1e-12 for value in found.values())
    for name in ("recall", "map", "mrr", "hit_rate"):
        values = [found[f"{name}@{k}"].item() for k in ks]
        assert values == sorted(values), name


def test_a_hit_is_worth_more_the_earlier_it_comes():
    for name in ("ndcg", "map", "mrr"):
        values = [of_one_user([int(place == at) for place in range(5)], 2, 5)[name] for at in range(5)]
        assert values == sorted(set(values), reverse=True), name


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_the_mean_percentile_of_a_catalogue_is_one_half(counts):
    found = popularity_percentiles(torch.tensor([99, *counts]))[1:]
    assert found.mean().item() == pytest.approx(0.5)
    for count, percentile in zip(counts, found.tolist(), strict=True):
        less, equal = sum(other < count for other in counts), counts.count(count)
        assert percentile == pytest.approx((less + equal / 2) / len(counts))


def test_empty_places_have_no_popularity():
    percentiles = torch.tensor([0.0, 0.2, 0.8], dtype=torch.float64)
    found = list_popularity(torch.tensor([[2, 0], [2, 1], [0, 0]]), percentiles, [1, 2])
    assert found["popularity@1"].tolist() == pytest.approx([0.8, 0.8, float("nan")], nan_ok=True)
    assert found["popularity@2"].tolist() == pytest.approx([0.8, 0.5, float("nan")], nan_ok=True)


def test_the_unknown_item_is_neither_covered_nor_shared():
    counts = torch.tensor([9, 2, 0, 2])
    assert coverage(counts) == pytest.approx(2 / 3)
    assert overlap(counts, n_users=2, k=2) == 1
    assert overlap(torch.tensor([9, 1, 1, 1]), n_users=3, k=1) == 0
