"""What costs nothing: results that a model must beat, and the best that generated data allows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import TwoTowerData
from towerzoo.towers.metrics import SplitMetrics

PRIOR_EVENTS = 5.0
"""Events of the overall positive share that each item starts with, so that rare items are not sure of themselves."""


def baselines(data: TwoTowerData) -> dict[str, dict[str, float]]:
    """Returns the test loss, AUC and accuracy of predictions that need no model.

    `constant` predicts the training split's share of positives for every pair; `item mean` predicts each item's share,
    smoothed. Generated data adds `best reachable`: the true probabilities that the labels were drawn from.
    """
    events, split = data.schema.interactions, data.split
    train_labels = data.labels[split.train]
    share = train_labels.double().mean()
    items = events.item[split.train].long()
    shape = (len(data.schema.items),)
    counts = torch.zeros(shape, dtype=torch.float64).index_add_(0, items, torch.ones(len(items), dtype=torch.float64))
    positives = torch.zeros(shape, dtype=torch.float64).index_add_(0, items, train_labels.double())
    item_means = (positives + PRIOR_EVENTS * share) / (counts + PRIOR_EVENTS)
    test_labels = data.labels[split.test]
    predictions = {
        "constant": share.expand(len(test_labels)),
        "item mean": item_means[events.item[split.test].long()],
    }
    if "probability" in events.measures:
        predictions["best reachable"] = events.measures["probability"][split.test].double()
    return {name: _score(probabilities, test_labels) for name, probabilities in predictions.items()}


def _score(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    metrics = SplitMetrics()
    logits = torch.logit(probabilities, eps=1e-9)
    metrics.update(functional.binary_cross_entropy_with_logits(logits, labels.double()), logits, labels)
    return {name: value.item() for name, value in metrics.compute().items()}
