from __future__ import annotations

from math import log2

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from towerzoo.towers.metrics.lists import list_figures, list_metrics, list_popularity, popularity_percentiles

NAMES = ("recall", "precision", "ndcg", "map", "mrr", "hit_rate")


def of_one_user(hits: list[int], n_relevant: int, k: int) -> dict[str, float]:
    metrics = list_metrics(torch.tensor([hits], dtype=torch.bool), torch.tensor([n_relevant]), [k])
    return {name.removesuffix(f"@{k}"): value.item() for name, value in metrics.items()}


@pytest.mark.parametrize(
    ("hits", "n_relevant", "expected"),
    [
        # The second and third of four positions are relevant, and two items beyond the list.
        (
            [0, 1, 1, 0],
            4,
            {
                "recall": 2 / 4,
                "precision": 2 / 4,
                "ndcg": (1 / log2(3) + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4) + 1 / log2(5)),
                "map": (1 / 2 + 2 / 3) / 4,
                "mrr": 1 / 2,
                "hit_rate": 1,
            },
        ),
        ([1, 1, 1], 3, dict.fromkeys(NAMES, 1)),
        ([1, 1, 1], 6, dict.fromkeys(NAMES, 1) | {"recall": 0.5, "map": 0.5}),
        ([0, 0, 0], 2, dict.fromkeys(NAMES, 0)),
    ],
)
def test_metrics_of_a_list(hits, n_relevant, expected):
    assert of_one_user(hits, n_relevant, len(hits)) == pytest.approx(expected)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 5))
def test_longer_lists_find_no_less(hits, elsewhere):
    ks = range(1, len(hits) + 1)
    metrics = list_metrics(torch.tensor([hits]), torch.tensor([max(1, sum(hits) + elsewhere)]), ks)
    assert all(0 <= value.item() <= 1 + 1e-12 for value in metrics.values())
    for name in ("recall", "map", "mrr", "hit_rate"):
        values = [metrics[f"{name}@{k}"].item() for k in ks]
        assert values == sorted(values), name


@pytest.mark.parametrize("name", ["ndcg", "map", "mrr"])
def test_an_earlier_hit_counts_more(name):
    values = [of_one_user([int(rank == hit) for rank in range(5)], 2, 5)[name] for hit in range(5)]
    assert values == sorted(set(values), reverse=True)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_the_mean_percentile_of_a_catalogue_is_one_half(counts):
    percentiles = popularity_percentiles(torch.tensor([99, *counts]))[1:]
    assert percentiles.mean().item() == pytest.approx(0.5)
    for count, percentile in zip(counts, percentiles.tolist(), strict=True):
        less, equal = sum(other < count for other in counts), counts.count(count)
        assert percentile == pytest.approx((less + equal / 2) / len(counts))


def test_empty_positions_have_no_popularity():
    percentiles = torch.tensor([0.0, 0.2, 0.8], dtype=torch.float64)
    popularity = list_popularity(torch.tensor([[2, 0], [2, 1], [0, 0]]), percentiles, [1, 2])
    assert popularity["popularity@1"].tolist() == pytest.approx([0.8, 0.8, float("nan")], nan_ok=True)
    assert popularity["popularity@2"].tolist() == pytest.approx([0.8, 0.5, float("nan")], nan_ok=True)


def test_the_unknown_item_is_neither_covered_nor_shared():
    assert list_figures(torch.tensor([[9, 2, 0, 2]]), 2, [2]) == {"coverage@2": 2 / 3, "overlap@2": 1}
    assert list_figures(torch.tensor([[9, 1, 1, 1]]), 3, [1]) == {"coverage@1": 1, "overlap@1": 0}
