"""Results that cost nothing: what a model must beat, and the best that generated data allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import Batch, TwoTowerData
from towerzoo.datasets.batches.counts import EventCounts
from towerzoo.towers.metrics.pairs import SplitMetrics
from towerzoo.towers.metrics.plan import BEST_REACHABLE, Figures
from towerzoo.towers.metrics.ranking import RankingTask, rank

PRIOR_EVENTS: Final = 5.0
"""Events of the overall positive share that each item starts with, so that rare items have no extreme mean."""
BIAS_PENALTY: Final = 1.0
"""Half the square of each bias counts as this many nats: a standard normal prior."""
CACHED_EVENTS: Final = 1 << 15
"""Events of one step of the fit; its intermediate results stay in the processor's cache."""
BIAS_ROUNDS: Final = 5
"""Rounds of Newton steps over all user and all item biases, two passes over the events each; on MovieLens-1M further
ones change the AUC by less than 0.00002."""
RANDOM_FACTORS, RANDOM_SEED = 16, 0
"""Length and seed of random vectors; long enough for the lists of two users to overlap only by chance."""


def baselines(data: TwoTowerData, biases: tuple[Tensor, Tensor]) -> dict[str, Figures]:
    """Test figures, on labelled pairs, of predictions that need no towers.

    `constant` predicts the training split's share of positives for every pair, `item mean` each item's share, smoothed,
    and `user + item bias` the logistic function of two fitted numbers, one of the user and one of the item. Generated
    data adds `best reachable`: the true probabilities that the labels were drawn from.

    Args:
        data: The data, with training labels of both classes.
        biases: The result of `training_biases`.
    """
    events, split = data.schema.interactions, data.split
    overall = positive_share(data.train_counts)
    test_user, test_item = (rows[split.test].long() for rows in (events.user, events.item))
    logits = {
        "constant": torch.logit(overall).expand(len(test_user)),
        "item mean": torch.logit(item_means(data.train_counts))[test_item],
    }
    user_biases, item_biases = biases
    logits["user + item bias"] = torch.logit(overall) + user_biases[test_user] + item_biases[test_item]
    if "probability" in events.feedback:
        logits[BEST_REACHABLE] = torch.logit(events.feedback["probability"][split.test].double(), eps=1e-9)
    return {name: _figures(values, data.labels[split.test], test_user) for name, values in logits.items()}


def positive_share(counts: EventCounts) -> Tensor:
    """Share of positive events, float64 ()."""
    return torch.tensor(counts.positives / counts.total, dtype=torch.float64)


def item_means(counts: EventCounts) -> Tensor:
    """Each item's share of positive events, smoothed by `PRIOR_EVENTS`, float64 (n_items,)."""
    return (counts.positive + PRIOR_EVENTS * positive_share(counts)) / (counts.item + PRIOR_EVENTS)


def training_biases(data: TwoTowerData) -> tuple[Tensor, Tensor] | None:
    """Fits biases to the training events; None if all labels are equal. A stream is read again in each pass."""
    if not 0 < data.train_counts.positives < data.train_counts.total:
        return None
    held = None if data.stream is not None else list(data.events("train"))
    return fit_biases(
        lambda: data.events("train") if held is None else held,
        positive_share(data.train_counts),
        len(data.schema.users),
        len(data.schema.items),
    )


def fit_biases(
    passes: Callable[[], Iterable[Batch]], share: Tensor, n_users: int, n_items: int
) -> tuple[Tensor, Tensor]:
    """Fits a bias for each user and each item by penalised logistic regression, on top of the overall share.

    Its memory grows with the users and items, not with the events.

    Args:
        passes: Starts a pass over all events, in batches, with labels of 0 or 1.
        share: Share of positive events, float64 ().
        n_users: Rows of the users table.
        n_items: Rows of the items table.

    Returns:
        User biases (n_users,) and item biases (n_items,), float64 logits; 0 without events.
    """
    overall = torch.logit(share)
    user_biases, item_biases = share.new_zeros(n_users), share.new_zeros(n_items)
    for _ in range(BIAS_ROUNDS):
        for side, biases in enumerate((user_biases, item_biases)):
            slope, curvature = -BIAS_PENALTY * biases, torch.full_like(biases, BIAS_PENALTY)
            for events in passes():
                for chunk in zip(*(torch.split(column, CACHED_EVENTS) for column in events[:3]), strict=True):
                    user, item, label = chunk
                    probability = user_biases.index_select(0, user)
                    probability += item_biases.index_select(0, item)
                    probability.add_(overall).sigmoid_()
                    slope.index_add_(0, chunk[side], label - probability)
                    curvature.index_add_(0, chunk[side], probability.mul_(1 - probability))
            biases += slope / curvature
    return user_biases, item_biases


def _figures(logits: Tensor, labels: Tensor, user: Tensor) -> Figures:
    metrics = SplitMetrics()
    metrics.update(functional.binary_cross_entropy_with_logits(logits, labels.double()), logits, labels, user)
    return {name: value.item() for name, value in metrics.compute().items()}


def ranking_baselines(
    data: TwoTowerData, task: RankingTask, biases: tuple[Tensor, Tensor] | None
) -> dict[str, Figures]:
    """Test figures of rankings that need no towers, by the same code and on the same task as the model's.

    `random` gives each user an order of their own, by random vectors. All others rank by `item_scores`, less the items
    that the task leaves out for each user. `biases` is the result of `training_biases`.
    """
    n_users, n_items = len(data.schema.users), len(data.schema.items)
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    users, items = (torch.randn(n, RANDOM_FACTORS, generator=generator) for n in (n_users, n_items))
    figures = {"random": rank(users, items, task).figures()}
    # In float32 two item means could tie that are not equal.
    everybody = torch.ones(n_users, 1, dtype=torch.float64)
    return figures | {
        name: rank(everybody, scores.unsqueeze(1), task).figures() for name, scores in item_scores(data, biases).items()
    }


def item_scores(data: TwoTowerData, biases: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
    """Scores of items, from the training split alone, that are the same for every user.

    | name | score |
    |---|---|
    | popularity | events |
    | positive popularity | positive events |
    | item mean | share of positives, smoothed by `PRIOR_EVENTS` events of the overall share |
    | user + item bias | the item's fitted bias; a user's own bias does not change the order |

    Returns:
        float64 (n_items,) by name; if all labels are equal, popularity alone.
    """
    counts = data.train_counts
    scores = {"popularity": counts.item.double()}
    if biases is not None:
        scores |= {"positive popularity": counts.positive.double(), "item mean": item_means(counts)}
        scores["user + item bias"] = biases[1]
    return scores
