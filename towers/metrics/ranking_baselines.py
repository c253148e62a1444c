"""Rankings that cost nothing, which a model must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from towerzoo.datasets import TwoTowerData
from towerzoo.towers.metrics.baselines import item_means
from towerzoo.towers.metrics.ranking import RankingTask, rank

RANDOM_FACTORS, RANDOM_SEED = 16, 0
"""Length and seed of random vectors; long enough for two users' lists to have no more in common than by chance."""


def ranking_baselines(
    data: TwoTowerData, task: RankingTask, biases: tuple[Tensor, Tensor] | None
) -> dict[str, dict[str, float]]:
    """Returns the figures of `Ranking` for rankings that need no towers, by the code and on the task of the model.

    `random` gives each user an order of its own, by vectors that mean nothing. All others give everybody the order of
    `item_scores`, less what the task leaves out for each user. `biases` are the data's `training_biases`.
    """
    n_users, n_items = len(data.schema.users), len(data.schema.items)
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    users, items = (torch.randn(n, RANDOM_FACTORS, generator=generator) for n in (n_users, n_items))
    figures = {"random": rank(users, items, task).figures()}
    # A number's own precision: in float32 two item means could tie that are not equal.
    everybody = torch.ones(n_users, 1, dtype=torch.float64)
    return figures | {
        name: rank(everybody, scores.unsqueeze(1), task).figures() for name, scores in item_scores(data, biases).items()
    }


def item_scores(data: TwoTowerData, biases: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
    """Returns scores of items, from the training split alone, that are the same for every user.

    | name | score |
    |---|---|
    | popularity | events |
    | positive popularity | positive events |
    | item mean | share of positives, smoothed by `PRIOR_EVENTS` events of the overall share |
    | user + item bias | the item's fitted bias; a user's own bias does not change the order |

    Returns:
        float64 (n_items,) by name; where all labels are the same, popularity alone.
    """
    counts = data.train_counts
    scores = {"popularity": counts.item.double()}
    if biases is not None:
        scores |= {"positive popularity": counts.positive.double(), "item mean": item_means(counts)}
        scores["user + item bias"] = biases[1]
    return scores
