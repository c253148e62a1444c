"""Full ranking: the best unseen items of the whole catalogue for every user."""

from __future__ import annotations

import pytest
import torch

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.suites.options import Prepare, thorough
from towerzoo.towers.model.build import build_model
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.retrieval.best_items import best_items
from towerzoo.towers.runs.events import RunEvents

USERS_AT_ONCE, K = 512, 100


def test_full_ranking(measure: Measure, device: str, prepare: Prepare) -> None:
    """Both towers over all rows, and the top 100 items of each user without those that they have seen."""
    experiment, data = prepare("tanh_bn_dropout_first")
    model = build_model(experiment, data.schema).to(device)
    users, items = data.schema.users, data.schema.items
    events = RunEvents(*data.schema.interactions.pairs, data.labels, history=None)
    everyone = [Person(row) for row in range(1, len(users))]

    def rank() -> None:
        Recommender(experiment, model, users, items, events).top_items(everyone, K)

    measure.calls(rank, samples=len(everyone), unit="users/s", k=K)


@pytest.mark.parametrize("catalogue", [4_000, thorough(100_000), thorough(1_000_000)])
def test_ranking_over_items(measure: Measure, device: str, catalogue: int) -> None:
    """512 users against catalogues of random vectors of length 256."""
    users, items = (torch.randn(n, 256, device=device) for n in (USERS_AT_ONCE, catalogue))
    flops = 2.0 * 256 * catalogue
    measure.calls(lambda: best_items(users, items, K), samples=USERS_AT_ONCE, unit="users/s", flops=flops, k=K)
