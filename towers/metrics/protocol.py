"""The protocol of a result: what was measured, on which events, and a fingerprint of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from towerzoo.registry.errors import RunError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.metrics.plan import EvaluationPlan

if TYPE_CHECKING:
    from torch import Tensor

    from towerzoo.datasets import TwoTowerData

RANKED: Final = {
    "recall": "share of the relevant items in the list",
    "ndcg": "binary gains, log2 discounts, against the best order",
}
"""The metrics of rankings that records hold, and their definitions."""


def protocol(experiment: Experiment, data: TwoTowerData) -> dict[str, Any]:
    """Returns everything that must be equal for two results to be comparable.

    Events are identified by their content, not by file: two copies of a dataset with equal events in an equal split
    have the same protocol.
    """
    plan = EvaluationPlan.of(experiment)
    ranked = {
        "candidates": "all items of the catalogue",
        "seen_items": "removed: training events, in test validation events as well",
        "metrics": {f"{name}@{k}": f"{RANKED[name]}, over users" for k in plan.at for name in RANKED},
    }
    paired = {
        "candidates": "the labelled pairs of the split",
        "seen_items": "kept",
        "metrics": {
            "loss": "mean binary cross-entropy, nats",
            "auc": "over all pairs at once, ties half",
            "accuracy": "probability > 0.5",
        },
    }
    return {
        "dataset": experiment.data.name,
        "label": experiment.data.label.text,
        "split": experiment.data.split,
        "events": event_digests(data),
        **(paired if plan.pairs else ranked),
        **({"ranking": ranked} if plan.pairs and plan.at else {}),
    }


def event_digests(data: TwoTowerData) -> dict[str, str]:
    """Returns the number and the digest of the labelled events of each part of the split."""
    from towerzoo.datasets.splits import PARTS

    columns, streamed = (*data.schema.interactions.pairs, data.labels), data.stream is not None
    return {
        part: data.stream_digest if streamed and part == "train" else event_digest(*columns, getattr(data.split, part))
        for part in PARTS
    }


def event_digest(user: Tensor, item: Tensor, label: Tensor, rows: Tensor) -> str:
    """Returns `NUMBER:DIGEST` of the events at `rows` (M,) of users, items and labels (N,)."""
    from towerzoo.datasets.batches.counts import digest_of_columns

    return digest_of_columns([values.index_select(0, rows)] for values in (user, item, label))


def fingerprint(described: Mapping[str, Any]) -> str:
    """Returns a short digest of a protocol.

    Example:
        >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
        True
    """
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]


def require_same_protocol(protocols: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises a RunError that names the differing fields unless all protocols, by the run's name, are equal."""
    (first_name, first), *others = protocols.items()
    for name, other in others:
        fields = [key for key in sorted({*first, *other}) if first.get(key) != other.get(key)]
        if fields:
            raise RunError(
                f"The protocols of {first_name} and {name} differ in {', '.join(fields)}, so their results cannot be "
                "compared. Train both on the same data, label rule and split."
            )
