"""Full ranking: the best items of the whole catalogue for every user, seen ones removed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from towerzoo.benchmarks.measuring import Measure
from towerzoo.benchmarks.thorough import thorough
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.assembly import build_model, read_experiment
from towerzoo.towers.best_items import best_items
from towerzoo.towers.retrieval import recommend
from towerzoo.towers.seen_items import SeenItems

USERS_AT_ONCE, K = 512, 100


def test_full_ranking(
    measure: Measure, device: str, overrides: list[str], load: Callable[[Experiment], TwoTowerData]
) -> None:
    """Both towers over all rows, the training events left out, and the top 100."""
    experiment, _ = read_experiment("tanh_bn_dropout_first", overrides)
    data = load(experiment)
    model = build_model(experiment, data.schema).eval().to(device)
    events, train = data.schema.interactions, data.split.train
    users = torch.arange(1, len(data.schema.users), device=device)

    def rank() -> None:
        seen = SeenItems(events.user.index_select(0, train), events.item.index_select(0, train), len(data.schema.users))
        recommend(model, users, K, seen=seen)

    measure.calls(rank, samples=len(users), unit="users/s", k=K)


@pytest.mark.parametrize("catalogue", [4_000, thorough(100_000), thorough(1_000_000)])
def test_ranking_over_items(measure: Measure, device: str, catalogue: int) -> None:
    """512 users against catalogues of random vectors of length 256."""
    users, items = (torch.randn(n, 256, device=device) for n in (USERS_AT_ONCE, catalogue))
    flops = 2.0 * 256 * catalogue
    measure.calls(lambda: best_items(users, items, K), samples=USERS_AT_ONCE, unit="users/s", flops=flops, k=K)
