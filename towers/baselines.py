"""What costs nothing: results that a model must beat, and the best that generated data allows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import TwoTowerData
from towerzoo.datasets.event_counts import EventCounts
from towerzoo.towers.metrics import SplitMetrics

BEST_REACHABLE = "best reachable"
"""The name of the true probabilities, which are no baseline but what no model can beat."""

PRIOR_EVENTS = 5.0
"""Events of the overall positive share that each item starts with, so that rare items are not sure of themselves."""

BIAS_PENALTY = 1.0
"""Half the square of each bias counts as this many nats, which is a standard normal prior."""

BIAS_ROUNDS = 10
"""Rounds of Newton steps over all user and all item biases; on MovieLens-1M the AUC stands still from the fifth on."""


def baselines(data: TwoTowerData) -> dict[str, dict[str, float]]:
    """Returns the test figures, on labelled pairs, of predictions that need no towers.

    `constant` predicts the training split's share of positives for every pair, `item mean` each item's share, smoothed,
    and `user + item bias` the logistic function of two fitted numbers, one of the user and one of the item; training
    events that are streamed have none, since fitting it takes twenty passes over them. Generated data adds `best
    reachable`: the true probabilities that the labels were drawn from.
    """
    events, split = data.schema.interactions, data.split
    overall = positive_share(data.train_counts)
    test_user, test_item = (rows[split.test].long() for rows in (events.user, events.item))
    logits = {
        "constant": torch.logit(overall).expand(len(test_user)),
        "item mean": torch.logit(item_means(data.train_counts))[test_item],
    }
    if data.stream is None:
        user_biases, item_biases = training_biases(data)
        logits["user + item bias"] = torch.logit(overall) + user_biases[test_user] + item_biases[test_item]
    if "probability" in events.measures:
        logits[BEST_REACHABLE] = torch.logit(events.measures["probability"][split.test].double(), eps=1e-9)
    return {name: _score(values, data.labels[split.test], test_user) for name, values in logits.items()}


def positive_share(counts: EventCounts) -> Tensor:
    """Returns the share of positive events, float64 ()."""
    return torch.tensor(counts.positives / counts.total, dtype=torch.float64)


def item_means(counts: EventCounts) -> Tensor:
    """Returns each item's share of positive events, smoothed by `PRIOR_EVENTS`, float64 (n_items,)."""
    return (counts.positive + PRIOR_EVENTS * positive_share(counts)) / (counts.item + PRIOR_EVENTS)


def training_biases(data: TwoTowerData) -> tuple[Tensor, Tensor]:
    """Returns what `fit_biases` makes of the training events; not of a stream."""
    events, train = data.schema.interactions, data.split.train
    user, item = (side.index_select(0, train).long() for side in events.pairs)
    labels = data.labels.index_select(0, train).double()
    return fit_biases(user, item, labels, len(data.schema.users), len(data.schema.items))


def fit_biases(user: Tensor, item: Tensor, labels: Tensor, n_users: int, n_items: int) -> tuple[Tensor, Tensor]:
    """Fits a bias for each user and each item by penalised logistic regression, on top of the overall share.

    Args:
        user: int64 user rows (N,).
        item: int64 item rows (N,).
        labels: float64 in {0, 1} (N,).
        n_users: Rows of the users table.
        n_items: Rows of the items table.

    Returns:
        User biases (n_users,) and item biases (n_items,), float64 logits; 0 where there is no event.
    """
    overall = torch.logit(labels.mean())
    user_biases, item_biases = labels.new_zeros(n_users), labels.new_zeros(n_items)
    for _ in range(BIAS_ROUNDS):
        for biases, rows in ((user_biases, user), (item_biases, item)):
            chance = torch.sigmoid(overall + user_biases[user] + item_biases[item])
            slope = _sums(labels - chance, rows, len(biases)) - BIAS_PENALTY * biases
            curvature = _sums(chance * (1 - chance), rows, len(biases)) + BIAS_PENALTY
            biases += slope / curvature
    return user_biases, item_biases


def _sums(values: Tensor, rows: Tensor, n_rows: int) -> Tensor:
    return values.new_zeros(n_rows).index_add_(0, rows, values)


def _score(logits: Tensor, labels: Tensor, user: Tensor) -> dict[str, float]:
    metrics = SplitMetrics()
    metrics.update(functional.binary_cross_entropy_with_logits(logits, labels.double()), logits, labels, user)
    return {name: value.item() for name, value in metrics.compute().items()}
