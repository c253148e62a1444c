"""Approximate search against exact search, on vectors clustered like trained ones."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.suites.options import thorough
from towerzoo.towers.retrieval.best_items import best_items
from towerzoo.towers.retrieval.exact_index import recall
from towerzoo.towers.retrieval.faiss_index import FaissIndex

K, LENGTH, SCALE = 100, 64, 10.0
CLUSTERS, SPREAD = 1_000, 0.6
APPROXIMATE, EXACT = 2_048, 256
"""Users searched in a round."""
LEAST_RECALL = 0.95


@pytest.mark.parametrize("catalogue", [thorough(1_000_000)])
def test_hnsw(measure: Measure, catalogue: int) -> None:
    """FAISS's HNSW against scoring every item; recall is checked before anything is timed."""
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'towerzoo[faiss]'")
    users, items = clustered_vectors(catalogue, APPROXIMATE)
    index = FaissIndex(items, factory="HNSW32,Flat", parameters="efConstruction=80,efSearch=256")
    few = users[:EXACT]
    actual = recall(index.search(few, K), best_items(few, items, K))
    assert actual >= LEAST_RECALL, f"recall@{K} is {actual:.4f}"

    measure.pair(
        lambda: _rate(lambda: index.search(users, K), APPROXIMATE),
        lambda: _rate(lambda: best_items(few, items, K), EXACT),
        unit="users/s",
        target=20,
        k=K,
        least_recall=LEAST_RECALL,
    )


def clustered_vectors(n_items: int, n_users: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns user vectors (U, 64) of length 10 and item vectors (I + 1, 64) of length 1, as a cosine score has them.

    Items and users are drawn around 1,000 random centres, with 0.6 of the centres' spread. The share of the n-th
    largest cluster falls with the square root of n, like the popularity of tastes.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLUSTERS, LENGTH, generator=generator)
    shares = torch.arange(1, CLUSTERS + 1).double() ** -0.5

    def around(n: int) -> Tensor:
        centre = torch.multinomial(shares, n, replacement=True, generator=generator)
        return functional.normalize(centres[centre] + SPREAD * torch.randn(n, LENGTH, generator=generator), dim=1)

    items, users = around(n_items), around(n_users)
    return SCALE * users, torch.cat([torch.zeros(1, LENGTH), items])


def _rate(run: Callable[[], object], users: int) -> float:
    started = time.perf_counter()
    run()
    return users / (time.perf_counter() - started)
